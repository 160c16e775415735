"""Fields of mechanics keep what mechanics keeps, for known systems and for any weights."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from tests.adjoints.cases import ADJOINTS

KEY = jax.random.key(3)
EXACT = {"controller": nj.PIController(rtol=1e-10, atol=1e-10)}
NETWORKS = {
    "hamiltonian": nj.fields.HamiltonianField,
    "separable": nj.fields.SeparableHamiltonianField,
    "lagrangian": nj.fields.LagrangianField,
    "natural": nj.fields.NaturalLagrangianField,
}
SYSTEMS = {
    "mass and spring": (nj.fields.MassSpring(), [0.6, -0.5]),
    "pendulum": (nj.fields.Pendulum(), [1.8, 0.4]),
    "two bodies": (nj.fields.TwoBody((1.0, 2.0)), [1.0, 0.2, -0.5, -0.1, 0.1, 0.9, -0.1, -0.9]),
}


def _network(name, dim=4):
    return NETWORKS[name].network(dim, 8, 1, key=KEY)


def _bent(y):
    """An energy that is not separable, written for one state."""
    return 0.5 * (1.0 + 0.3 * jnp.sin(y[0])) * y[1] ** 2 + 0.25 * y[0] ** 4


@pytest.mark.parametrize("name", NETWORKS)
def test_any_weights_conserve_the_energy_that_the_field_names(x64, name):
    field = _network(name)
    ys = nj.odeint(field, jnp.array([0.5, -0.3, 0.8, 0.2]), jnp.linspace(0.0, 5.0, 6), **EXACT).ys
    assert np.ptp(ys, axis=0).max() > 0.5
    np.testing.assert_allclose(field.energy(ys), field.energy(ys[0]), atol=1e-8)


@pytest.mark.parametrize("name", SYSTEMS)
def test_known_systems_are_hamiltons_equations_of_their_energies(x64, name):
    field, y = SYSTEMS[name]
    y = jnp.array(y)
    derived = nj.fields.HamiltonianField(field.energy, dim=y.size)
    np.testing.assert_allclose(field(0.0, y), derived(0.0, y), rtol=1e-9)


def test_two_bodies_keep_their_angular_momentum_and_the_sum_of_momenta(x64):
    field, y = SYSTEMS["two bodies"]
    ys = nj.odeint(field, jnp.array(y), jnp.linspace(0.0, 5.0, 6), **EXACT).ys
    np.testing.assert_allclose(field.angular_momentum(ys), field.angular_momentum(ys[0]), rtol=1e-8)
    np.testing.assert_allclose(ys[:, 4:6] + ys[:, 6:], jnp.zeros((6, 2)), atol=1e-8)


def test_a_mass_on_a_spring_has_its_period(x64):
    field = nj.fields.MassSpring(mass=2.0, stiffness=8.0)
    ys = nj.odeint(field, jnp.array([1.0, 0.5]), [0.0, np.pi / 2, np.pi], **EXACT).ys
    np.testing.assert_allclose(ys[2], ys[0], atol=1e-7)
    np.testing.assert_allclose(ys[1], -ys[0], atol=1e-7)
    assert {name: round(float(value), 9) for name, value in field.named_parameters().items()} == {
        "mass": 2.0,
        "stiffness": 8.0,
    }


def test_symplectic_steps_keep_the_energy_error_bounded_where_others_let_it_grow(x64):
    field = nj.fields.SeparableHamiltonianField(lambda p: jnp.sum(p**2), lambda q: -3.0 * jnp.cos(q[0]))
    y0, ts = (jnp.array([1.5]), jnp.array([0.0])), jnp.linspace(0.0, 1000.0, 101)

    def drift(solver):
        sol = nj.odeint(field, y0, ts, solver=solver, controller=nj.ConstantStep(0.2), max_steps=8192)
        energy = field.energy(nj.check(sol).ys)
        return np.abs(energy - energy[0]).reshape(-1)

    symplectic, ordinary = drift(nj.StormerVerlet()), drift(nj.RK4())
    assert symplectic[51:].max() < 1.5 * symplectic[1:51].max()
    assert ordinary[51:].max() > 1.5 * ordinary[1:51].max()


def test_a_pair_and_an_array_are_the_same_state():
    for name in ("separable", "natural"):
        field, y = _network(name), jnp.array([0.5, -0.3, 0.8, 0.2])
        pair = (y[:2], y[2:])
        look = jax.jit(lambda y: (field(0.0, y), field.energy(y)))  # noqa: B023
        (slopes, energy), (whole, same_energy) = look(pair), look(y)
        np.testing.assert_allclose(np.concatenate(slopes), whole, rtol=1e-5)
        np.testing.assert_allclose(energy, same_energy, rtol=1e-5)


def test_batch_axes_are_taken_care_of_even_where_an_energy_is_written_for_one_state():
    fields = [_network("natural"), SYSTEMS["two bodies"][0], nj.fields.HamiltonianField(_bent)]
    for field, dim in zip(fields, (4, 8, 2), strict=True):
        ys = 1.0 + 0.5 * jax.random.normal(KEY, (2, 3, dim))
        whole, one, energy = jax.jit(lambda ys: (field(0.0, ys), field(0.0, ys[1, 2]), field.energy(ys)))(ys)  # noqa: B023
        assert energy.shape == (2, 3)
        np.testing.assert_allclose(whole[1, 2], one, rtol=2e-4, atol=1e-5)


def _double_pendulum(q, v):
    """Its accelerations, for unit masses and lengths and a gravity of 9.8, from a textbook."""
    d, g = q[0] - q[1], 9.8
    common = 3.0 - np.cos(2 * d)
    first = -3 * g * np.sin(q[0]) - g * np.sin(q[0] - 2 * q[1])
    first -= 2 * np.sin(d) * (v[1] ** 2 + v[0] ** 2 * np.cos(d))
    second = 2 * np.sin(d) * (2 * v[0] ** 2 + 2 * g * np.cos(q[0]) + v[1] ** 2 * np.cos(d))
    return np.array([first, second]) / common


def _double_pendulum_mass(q):
    c = jnp.cos(q[0] - q[1])
    return jnp.array([[2.0, c], [c, 1.0]])


def _double_pendulum_potential(q):
    return -9.8 * (2 * jnp.cos(q[0]) + jnp.cos(q[1]))


def test_both_lagrangian_fields_are_a_double_pendulum_in_closed_form(x64):
    def lagrangian(q, v):
        return 0.5 * v @ _double_pendulum_mass(q) @ v - _double_pendulum_potential(q)

    fields = (
        nj.fields.LagrangianField(lagrangian),
        nj.fields.NaturalLagrangianField(_double_pendulum_mass, _double_pendulum_potential),
    )
    y = jnp.array([1.1, -0.7, 0.4, 2.0])
    for field in fields:
        np.testing.assert_allclose(field(0.0, y), [*y[2:], *_double_pendulum(y[:2], y[2:])], rtol=1e-10)
    np.testing.assert_allclose(fields[0].energy(y), fields[1].energy(y), rtol=1e-12)


def test_a_mass_matrix_that_is_given_is_kept_and_its_leaves_cannot_make_it_indefinite(x64):
    mass = np.array([[2.0, 0.5], [0.5, 1.0]])
    field = nj.fields.NaturalLagrangianField(mass, lambda q: q @ q)
    np.testing.assert_allclose(field.mass_matrix(jnp.zeros(2)), mass, rtol=1e-12)
    pushed = jax.tree.map(lambda x: x - 7.0 if eqx.is_array(x) else x, field)
    assert np.linalg.eigvalsh(pushed.mass_matrix(jnp.zeros(2))).min() > 0
    learned = _network("natural")
    assert np.linalg.eigvalsh(learned.mass_matrix(jnp.array([3.0, -5.0]))).min() > 0


def test_arguments_of_a_solve_reach_the_energy_and_have_gradients(x64):
    field = nj.fields.HamiltonianField(lambda y, stiffness: 0.5 * (stiffness * y[0] ** 2 + y[1] ** 2), dim=2)
    y0, ts = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
    slope = jax.grad(lambda k: nj.odeint(field, y0, ts, k, **EXACT).ys[-1, 0])(jnp.asarray(4.0))
    np.testing.assert_allclose(slope, -np.sin(2.0) / 4, rtol=1e-6)


def _gradient(field, adjoint, y0=None, **options):
    y0 = jnp.array([0.5, -0.3, 0.8, 0.2]) if y0 is None else y0

    def loss(scale):
        scaled = jax.tree.map(lambda x: scale * x if eqx.is_inexact_array(x) else x, field)
        sol = nj.odeint(scaled, y0, jnp.array([0.0, 0.4]), adjoint=adjoint, **options)
        return sum(jnp.sum(y[-1] ** 2) for y in jax.tree.leaves(sol.ys))

    differentiate = jax.jacfwd if isinstance(adjoint, nj.ForwardMode) else jax.grad
    return differentiate(loss)(jnp.asarray(1.0))


@pytest.fixture(scope="module")
def reference_gradient():
    """By the reverse mode of JAX through the steps; compiled once."""
    with jax.enable_x64(True):
        return _gradient(_network("hamiltonian"), nj.DirectAdjoint(), controller=nj.PIController(rtol=1e-7, atol=1e-7))


@pytest.mark.parametrize("adjoint", ["checkpointed", "backsolve", "gauss", "forward"])
def test_every_adjoint_gives_the_gradient(x64, adjoint, reference_gradient):
    controller = nj.PIController(rtol=1e-7, atol=1e-7)
    gradient = _gradient(_network("hamiltonian"), ADJOINTS[adjoint], controller=controller)
    np.testing.assert_allclose(gradient, reference_gradient, rtol=1e-5)


def test_the_gradient_goes_through_what_inverts_the_masses(x64):
    few = {"solver": nj.Euler(), "controller": nj.FixedSteps(2)}
    found, expected = (
        _gradient(_network("natural"), adjoint, **few) for adjoint in (ADJOINTS["checkpointed"], nj.ForwardMode())
    )
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_the_reversible_adjoint_of_a_symplectic_method_gives_the_gradient(x64):
    start = (jnp.array([0.5, -0.3]), jnp.array([0.8, 0.2]))
    pair = {"y0": start, "solver": nj.StormerVerlet(), "controller": nj.FixedSteps(8)}
    found, expected = (
        _gradient(_network("separable"), adjoint, **pair) for adjoint in (nj.ReversibleAdjoint(), nj.DirectAdjoint())
    )
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_batch_and_diffrax_solve_the_same_trajectories(x64):
    field = _network("hamiltonian")
    y0s, ts = 0.5 * jax.random.normal(KEY, (3, 4)), jnp.array([0.0, 0.5, 1.0])
    batch = nj.odeint_batch(field, y0s, ts, **EXACT).ys
    np.testing.assert_allclose(batch[1], nj.odeint(field, y0s[1], ts, **EXACT).ys, rtol=1e-7)
    controller = diffrax.PIDController(rtol=1e-10, atol=1e-10)
    sol = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        diffrax.Tsit5(),
        0.0,
        1.0,
        0.1,
        y0s[1],
        saveat=diffrax.SaveAt(ts=ts),
        stepsize_controller=controller,
    )
    np.testing.assert_allclose(batch[1], sol.ys, rtol=1e-7)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nj.fields.HamiltonianField.network(3, 4, 1, key=KEY), "even integer.*got 3"),
        (lambda: nj.fields.SeparableHamiltonianField.network(0, 4, 1, key=KEY), "even integer.*got 0"),
        (lambda: nj.fields.LagrangianField.network(5, 4, 1, key=KEY), "even integer.*got 5"),
        (lambda: nj.fields.HamiltonianField(_bent)(0.0, jnp.ones(3)), "even number of entries.*\\(3,\\)"),
        (lambda: _network("hamiltonian")(0.0, jnp.ones(6)), "dim=4 entries.*\\(6,\\)"),
        (lambda: _network("natural")(0.0, (jnp.ones(2), jnp.ones(3))), "pair of arrays.*\\(2,\\), \\(3,\\)"),
        (lambda: nj.fields.HamiltonianField(lambda y: y)(0.0, jnp.ones(2)), "expected a scalar.*\\(2,\\)"),
        (lambda: nj.fields.NaturalLagrangianField(np.diag([1.0, -1.0]), jnp.sum), "positive definite.*-1.0"),
        (lambda: nj.fields.NaturalLagrangianField(np.array([[1.0, 0.5], [0.0, 1.0]]), jnp.sum), "symmetric positive"),
        (lambda: nj.fields.NaturalLagrangianField(np.ones(2), jnp.sum), "of shape \\(n, n\\), got shape \\(2,\\)"),
        (lambda: nj.fields.NaturalLagrangianField(np.eye(2), jnp.sum, dim=2), "expected dim=4"),
        (lambda: nj.fields.Pendulum(inertia=0.0), "inertia to be positive"),
        (lambda: nj.fields.TwoBody((1.0, -1.0)), "mass_2 to be positive"),
        (lambda: nj.fields.TwoBody().energy(jnp.ones(4)), "dim=8 entries"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
