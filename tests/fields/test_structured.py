"""Fields with a structure keep its law for any weights, under every adjoint, in batches and through diffrax."""

import functools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from tests.adjoints.cases import ADJOINTS, weigh

KEY = jax.random.key(0)
TIGHT = nj.PIController(rtol=1e-9, atol=1e-9)
TS = np.linspace(0.0, 1.0, 4)


def grown(field, factor=2.0):
    """The same field with all its floating-point arrays drawn anew around their start, and multiplied."""
    random = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(factor * (np.asarray(x) + random.normal(size=x.shape)), x.dtype), field)


def port(num_coordinates=2, num_controls=1):
    return nj.fields.mechanical_port_hamiltonian(num_coordinates, num_controls, 6, 1, angles=(0,), key=KEY)


def gradient_flow(dim=4):
    potential = nj.fields.Network(dim, (), 6, 1, key=KEY)
    mobility = np.diag([1.0, 2.0, 0.5, 1.0][:dim]) + 0.1
    return nj.fields.GradientFlowField(potential, mobility)


def stable(rate=0.3, dim=4):
    nominal = nj.fields.MLP(dim, 6, 1, activation=jnp.tanh, num_controls=1, key=KEY)
    centre = [0.1, 0.0, -0.2, 0.3][:dim]
    return nj.fields.StableField(nominal, dim, 6, dim // 2, rate=rate, equilibrium=centre, key=KEY)


def second_order():
    return nj.fields.SecondOrderField(nj.fields.AccelerationNetwork(1, 6, 1, num_controls=1, key=KEY))


FIELDS = {
    "port": lambda: port(1),
    "gradient flow": lambda: gradient_flow(2),
    "stable": lambda: stable(dim=2),
    "second order": second_order,
}
Y0 = np.array([0.5, -0.4, 0.8, 0.3])
VALUES = np.array([[0.5], [-1.0], [2.0]])


class Together(nj.fields.AbstractField):
    """All fields side by side, each on a state of its own, so that one program serves them all."""

    fields: dict

    def __call__(self, t, y, args=None):
        return {name: field(t, y[name], args) for name, field in self.fields.items()}


def together():
    """All fields, their states, and a control."""
    fields = Together({name: make() for name, make in FIELDS.items()})
    starts = {name: jnp.asarray(Y0[:2]) for name in FIELDS}
    return fields, starts


def torque(values):
    return nj.interpolate.Linear([0.0, 0.4, 1.0], values)


FIXED = {"solver": nj.Midpoint(), "controller": nj.FixedSteps(8), "max_steps": 32}


@functools.cache
def gradients(adjoint):
    """For the fields' arrays, the starts and the control, in NumPy, of a sum of losses of each field."""
    field, starts = together()
    leaves, static = eqx.partition(field, eqx.is_inexact_array)

    def loss(leaves, starts, values):
        sol = nj.odeint(eqx.combine(leaves, static), starts, TS, torque(values), adjoint=ADJOINTS[adjoint], **FIXED)
        return weigh(sol.ys)

    if adjoint == "forward":
        # A directional derivative: one column of what the others give in full.
        point = leaves, starts, jnp.asarray(VALUES)
        ones = jax.tree.map(jnp.ones_like, point)
        return jax.device_get(jax.jit(lambda *point: jax.jvp(loss, point, ones)[1])(*point))
    return jax.device_get(jax.jit(jax.grad(loss, (0, 1, 2)))(leaves, starts, jnp.asarray(VALUES)))


@pytest.mark.parametrize("adjoint", ["direct", "backsolve", "gauss", "reversible", "forward"])
def test_every_adjoint_differentiates_every_field(x64, adjoint):
    expected, found = gradients("checkpointed"), gradients(adjoint)
    if adjoint == "forward":
        np.testing.assert_allclose(found, sum(leaf.sum() for leaf in jax.tree.leaves(expected)), rtol=1e-9)
        return
    # The continuous ones are those of the flow, and a reversible solve has two copies of the state.
    tolerance = 1e-12 if adjoint == "direct" else 3e-2
    for mine, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=tolerance * (1e-3 + np.abs(theirs).max()))


def test_a_batch_is_its_trajectories_and_diffrax_agrees(x64):
    field, start = together()
    starts = jax.tree.map(lambda y: jnp.stack([y, -0.5 * y, y[::-1]]), start)
    values = np.stack([VALUES, 2 * VALUES, -VALUES])
    paths = jax.vmap(torque)(values)
    settings = {"solver": nj.Euler(), "controller": nj.ConstantStep(0.25)}
    batch = nj.odeint_batch(field, starts, [0.0, 0.5], paths, in_axes=(0, None, 0), **settings).ys
    one = jax.tree.map(lambda y: y[1], starts)
    foreign, term, euler = one, diffrax.ODETerm(field), diffrax.Euler()
    for t in (0.0, 0.25):
        foreign = euler.step(term, t, t + 0.25, foreign, torque(values[1]), None, False)[0]
    jax.tree.map(lambda mine, theirs: np.testing.assert_allclose(mine[1, -1], theirs, atol=1e-9), batch, foreign)
    whole, single = field(0.0, starts, jnp.ones(1)), field(0.0, one, jnp.ones(1))
    jax.tree.map(lambda mine, theirs: np.testing.assert_allclose(mine[1], theirs, rtol=1e-9), whole, single)


def test_no_more_energy_is_stored_than_was_put_in(x64):
    """Passivity for grown random weights: the balance holds, and what is dissipated is never negative."""
    field = grown(port())
    path = nj.interpolate.ZeroOrderHold(np.linspace(0.0, 3.0, 7), 3.0 * np.random.default_rng(1).normal(size=(7, 1)))

    class Ledger(eqx.Module):
        """The state, the energy put in, and the energy dissipated."""

        def __call__(self, t, y, args):
            put_in = jnp.sum(args.evaluate(t) * field.output(y[0]))
            return field(t, y[0], args), put_in, field.dissipated_power(y[0])

    ts = np.linspace(0.0, 3.0, 20)
    start = (jnp.asarray(Y0), jnp.zeros(()), jnp.zeros(()))
    ys, put_in, lost = nj.check(nj.odeint(Ledger(), start, ts, path, controller=TIGHT)).ys
    stored = field.energy(ys) - field.energy(ys[0])
    np.testing.assert_allclose(stored, put_in - lost, atol=1e-6 * float(jnp.max(abs(stored))))
    assert (np.diff(lost) > 0).all()
    assert (stored <= put_in + 1e-7).all()
    # Both happen: energy is put in, and taken out again.
    assert put_in.max() > 0.1
    assert np.diff(put_in).min() < 0


def test_a_port_hamiltonian_field_is_its_formula(x64):
    field = grown(port())
    y, u = jnp.asarray(Y0), jnp.array([0.7])
    slope = jax.grad(field.hamiltonian)(y)
    J = np.block([[np.zeros((2, 2)), np.eye(2)], [-np.eye(2), np.zeros((2, 2))]])
    R, G = field.dissipation_matrix(y), field.input_matrix(y)
    np.testing.assert_allclose(field(0.0, y, u), (J - R) @ slope + G @ u, rtol=1e-9)
    assert np.linalg.eigvalsh(R).min() > -1e-12
    np.testing.assert_allclose(field.output(y), G.T @ slope)
    np.testing.assert_allclose(field.dissipated_power(y), slope @ R @ slope)
    # A whole turn of an angle changes nothing, and a coordinate that is no angle does.
    turns = 2 * np.pi * np.eye(4)[:2]
    np.testing.assert_allclose(field(0.0, y + turns[0], u), field(0.0, y, u), atol=1e-9)
    assert not np.allclose(field(0.0, y + turns[1], u), field(0.0, y, u))


def test_known_parts_give_the_pendulum(x64):
    pendulum = nj.fields.ControlledPendulum(damping=0.3)
    L, G = jnp.array([[0.0], [np.sqrt(0.3)]]), jnp.array([[0.0], [1.0]])
    field = nj.fields.PortHamiltonianField(pendulum.energy, L, G)
    y = np.random.default_rng(0).normal(size=(5, 2))
    u = np.random.default_rng(1).normal(size=(5, 1))
    np.testing.assert_allclose(field(0.0, y, u), pendulum(0.0, y, u), rtol=1e-6)
    np.testing.assert_allclose(field(0.0, y), pendulum(0.0, y), rtol=1e-6)
    free = nj.fields.PortHamiltonianField(pendulum.energy)
    ys = nj.odeint(free, jnp.array([2.0, 0.5]), np.linspace(0.0, 10.0, 20), controller=TIGHT).ys
    np.testing.assert_allclose(free.energy(ys), free.energy(ys[0]), rtol=1e-7)
    assert free.output(ys).shape == (20, 0)
    assert not free.dissipated_power(ys).any()
    assert {name: round(float(x), 3) for name, x in pendulum.named_parameters().items()} == {
        "inertia": 0.333,
        "weight": 5.0,
        "damping": 0.3,
    }


def test_a_gradient_flow_goes_downhill(x64):
    field = grown(gradient_flow())
    starts = 2.0 * np.random.default_rng(0).normal(size=(6, 4))
    solution = nj.odeint(field, starts, np.linspace(0.0, 2.0, 20), controller=TIGHT)
    energies = np.asarray(field.energy(nj.check(solution).ys))
    assert (np.diff(energies, axis=0) < 0).all()
    quadratic = nj.fields.GradientFlowField(lambda y: jnp.sum(y**2) / 2, [[2.0, 1.0], [1.0, 2.0]])
    y = nj.odeint(quadratic, jnp.array([1.0, -1.0]), [0.0, 1.0], controller=TIGHT).ys[-1]
    np.testing.assert_allclose(y, np.exp(-1.0) * np.array([1.0, -1.0]), rtol=1e-6)


def test_a_stable_field_cannot_diverge_whatever_its_weights(x64):
    field = grown(stable(), 3.0)
    starts = 5.0 * np.random.default_rng(0).normal(size=(6, 4))
    ts = np.linspace(0.0, 2.0, 20)
    controller = nj.PIController(rtol=1e-7, atol=1e-9)
    sol = nj.odeint_batch(field, starts, ts, VALUES[0], controller=controller, max_steps=20_000)
    energies = np.asarray(field.energy(nj.check(sol).ys))
    ratios = energies[:, 1:] / energies[:, :-1]
    assert (ratios <= np.exp(-0.3 * np.diff(ts)) * (1 + 1e-5)).all()
    away = np.sum((sol.ys - field.equilibrium) ** 2, -1)
    assert (field.floor * away <= energies[:, :1]).all()
    # The nominal field alone would not.
    slopes = jax.vmap(jax.grad(field.energy))(starts)
    assert (np.sum(slopes * field.nominal(0.0, starts, VALUES[0]), -1) > 0).any()


def test_a_lyapunov_function_is_convex_with_its_least_value_at_the_equilibrium(x64):
    field = grown(stable(), 3.0)
    centre = field.equilibrium
    y = centre + np.random.default_rng(1).normal(size=(20, 4))
    np.testing.assert_allclose(field.energy(centre), 0.0, atol=1e-12)
    np.testing.assert_allclose(field(0.0, centre, jnp.ones(1)), 0.0, atol=1e-12)
    np.testing.assert_allclose(jax.grad(field.energy)(centre), 0.0, atol=1e-12)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.grad(lambda f: f(0.0, centre).sum())(field)))
    curvature = np.linalg.eigvalsh(jax.vmap(jax.hessian(field.energy))(y))
    assert (curvature > 0).all()
    # What already goes down fast enough is left alone.
    sink = nj.fields.StableField(lambda t, y, args: -y, 4, 6, 1, rate=0.5, key=KEY)
    np.testing.assert_allclose(sink(0.0, y), -y)


def test_a_second_order_field_meets_the_closed_form(x64):
    """A damped oscillator as an array, and an undamped one as a pair with a symplectic method."""
    ts = np.linspace(0.0, 3.0, 7)
    field = nj.fields.SecondOrderField(lambda t, x, v, args: -1.0625 * x - 0.5 * v)
    ys = nj.odeint(field, jnp.array([1.0, 0.0]), ts, controller=TIGHT).ys
    expected = np.exp(-0.25 * ts) * (np.cos(ts) + 0.25 * np.sin(ts))
    np.testing.assert_allclose(ys[:, 0], expected, atol=1e-7)
    driven = nj.fields.SecondOrderField(lambda t, x, v, args: args - x)
    pair = (jnp.array([0.0]), jnp.array([0.0]))
    settings = {"solver": nj.StormerVerlet(), "controller": nj.ConstantStep(0.005)}
    x, v = nj.odeint(driven, pair, ts, jnp.array([2.0]), **settings).ys
    np.testing.assert_allclose(x[:, 0], 2 - 2 * np.cos(ts), atol=1e-4)
    np.testing.assert_allclose(v[:, 0], 2 * np.sin(ts), atol=1e-4)


def test_a_network_reads_what_it_is_told_to():
    blind = nj.fields.AccelerationNetwork(1, 4, 1, reads_velocity=False, key=KEY)
    timed = nj.fields.AccelerationNetwork(1, 4, 1, is_time_dependent=True, num_controls=2, key=KEY)
    x, v, u = jnp.array([0.5]), jnp.array([1.0]), jnp.array([1.0, -1.0])
    assert blind(0.0, x, v, None) == blind(1.0, x, 2 * v, None)
    values = [timed(0.0, x, v, u), timed(1.0, x, v, u), timed(0.0, x, 2 * v, u), timed(0.0, x, v, 2 * u)]
    assert len({float(value[0]) for value in values}) == 4
    mlp = nj.fields.MLP(1, 4, 1, num_controls=2, key=KEY)
    assert mlp(0.0, x, u) != mlp(0.0, x)
    np.testing.assert_allclose(mlp(0.0, x), mlp(0.0, x, jnp.zeros(2)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: port()(0.0, jnp.ones(3)), r"even number of entries, positions first, got shape \(3,\)"),
        (lambda: port()(0.0, jnp.ones(4), jnp.ones(2)), r"control of shape \(1,\), got \(2,\)"),
        (lambda: port()(0.0, jnp.ones(4), nj.interpolate.Linear([0.0], [[1.0, 2.0]])), r"shape \(1,\), got \(2,\)"),
        (lambda: port()(0.0, jnp.ones(4), {"u": jnp.ones(1)}), "got a dict. Wrap the field"),
        (lambda: port()(0.0, jnp.ones(6)), r"positions of shape \(2,\), got \(3,\)"),
        (lambda: nj.fields.PortHamiltonianField(jnp.sum, jnp.ones((3, 1))), r"dim even, got shape \(3, 1\)"),
        (lambda: nj.fields.PortHamiltonianField(jnp.sum, None, jnp.sin), "num_controls beside an input_map"),
        (
            lambda: nj.fields.PortHamiltonianField(jnp.sum, None, jnp.ones((2, 1)), num_controls=2),
            "num_controls to be 1, the columns of input_map, got 2",
        ),
        (
            lambda: nj.fields.PortHamiltonianField(jnp.sum, jnp.ones((2, 1)))(0.0, jnp.ones(4)),
            r"dissipation of shape \(4, columns\) for a state of size 4, got \(2, 1\)",
        ),
        (lambda: nj.fields.mechanical_port_hamiltonian(2, 1, 4, 1, angles=(2,), key=KEY), "indices from 0 to 1"),
        (lambda: nj.fields.mechanical_port_hamiltonian(0, 1, 4, 1, key=KEY), "num_coordinates to be an integer"),
        (lambda: nj.fields.GradientFlowField(jnp.sum, [[1.0, 2.0], [2.0, 1.0]]), "least eigenvalue -1"),
        (lambda: nj.fields.GradientFlowField(jnp.sum, [[1.0, 2.0], [0.0, 4.0]]), "symmetric positive definite"),
        (lambda: nj.fields.GradientFlowField(jnp.sum, np.eye(2))(0.0, jnp.ones(3)), r"2 entries, got shape \(3,\)"),
        (lambda: stable(rate=-1.0), "finite rate of 0 or more"),
        (lambda: stable()(0.0, jnp.ones(3)), r"dim=4 entries, got shape \(3,\)"),
        (
            lambda: nj.fields.StableField(jnp.sin, 2, 4, 1, equilibrium=[1.0], key=KEY),
            r"equilibrium of shape \(2,\), as dim says, got \(1,\)",
        ),
        (lambda: nj.fields.StableField(jnp.sin, 2, 4, 1, floor=0.0, key=KEY), "floor to be a finite number > 0"),
        (lambda: nj.fields.StableField(jnp.sin, 2, 4, 0, key=KEY), "depth to be an integer of at least 1, got 0"),
        (lambda: second_order()(0.0, jnp.ones(3)), r"even number of entries, positions first, got shape \(3,\)"),
        (lambda: second_order()(0.0, (jnp.ones(2), jnp.ones(3))), "equal structure and shapes"),
        (
            lambda: nj.fields.SecondOrderField(lambda t, x, v, args: x[:1])(0.0, jnp.ones(4)),
            r"structure and shapes of x, \(2,\), got \(1,\)",
        ),
        (lambda: nj.fields.ControlledPendulum(inertia=0.0), "inertia > 0"),
        (lambda: nj.fields.ControlledPendulum()(0.0, jnp.ones(3)), r"\(\.\.\., 2\), got \(3,\)"),
        (lambda: nj.fields.Network(2, (), 4, -1, key=KEY), "depth to be an integer of at least 0, got -1"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
