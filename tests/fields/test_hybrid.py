"""A hybrid adds what a network finds to any known part, on the components that are chosen, under every adjoint."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.fields import DampedPendulum, HybridField, LotkaVolterra

NETWORK = nj.fields.MLP(2, 4, 1, activation=jnp.tanh, key=jax.random.key(0))
Y0S, TS = jnp.array([[1.0, 0.2], [-0.5, 0.7], [0.3, -1.0]]), jnp.linspace(0.0, 1.5, 4)


def swing(t, y, args):
    """A known part as a plain function, whose rates are those of the sample."""
    return jnp.stack([y[..., 1], -args["rate"] * jnp.sin(y[..., 0]) + args["push"](t)], -1)


def test_a_hybrid_acts_on_and_sees_the_chosen_components():
    y, known = jnp.array([[0.3, -0.2], [1.0, 2.0]]), DampedPendulum(period=6.0)
    whole = HybridField(known, NETWORK)
    np.testing.assert_allclose(whole(0.0, y), known(0.0, y) + NETWORK(0.0, y), rtol=1e-6)
    part = HybridField(known, NETWORK, acts_on=(1,), sees=[1])
    np.testing.assert_allclose(part(0.0, y)[:, 0], y[:, 1])
    expected = NETWORK(0.0, jnp.stack([0 * y[:, 0], y[:, 1]], -1))[:, 1]
    np.testing.assert_allclose(part.correction(0.0, y)[:, 1], expected, rtol=1e-6)
    np.testing.assert_array_equal(jax.jacfwd(lambda y: part.correction(0.0, y))(y[0])[:, 0], 0.0)


def test_components_of_a_state_in_parts_are_its_leaves():
    def known(t, y, args):
        return {"position": y["rate"], "rate": -y["position"]}

    def found(t, y, args):
        return jax.tree.map(lambda leaf: leaf + y["rate"], y)

    y = {"position": jnp.array([1.0, 2.0]), "rate": jnp.array([0.5, -1.0])}
    slope = HybridField(known, found, acts_on=(1,), sees=(0,))(0.0, y)
    np.testing.assert_allclose(slope["position"], y["rate"])
    np.testing.assert_allclose(slope["rate"], -y["position"])
    np.testing.assert_allclose(
        HybridField(known, found, acts_on=(0,))(0.0, y)["position"], 2 * y["rate"] + y["position"]
    )


def test_rates_and_controls_of_each_sample_go_through_args():
    field = HybridField(swing, NETWORK, acts_on=(1,))
    knots = jnp.linspace(0.0, 1.5, 4)
    values = jnp.array([[0.0, 1.0, 0.0, 0.0], [0.2, 0.2, 0.2, 0.2], [1.0, 0.0, 0.0, 1.0]])
    paths = jax.vmap(lambda values: nj.interpolate.Linear(knots, values))(values)
    rates = jnp.array([0.5, 1.0, 2.0])
    steps = {"solver": nj.RK4(), "controller": nj.FixedSteps(4)}

    def loss(rates):
        args = {"rate": rates, "push": paths}
        return jnp.sum(nj.odeint_batch(field, Y0S, TS, args, in_axes=(0, None, 0), **steps).ys ** 2)

    def loss_of_one(rate, y0, values):
        args = {"rate": rate, "push": nj.interpolate.Linear(knots, values)}
        return jnp.sum(nj.odeint(field, y0, TS, args, **steps).ys ** 2)

    found = jax.jit(jax.grad(loss))(rates)
    expected = jax.jit(jax.vmap(jax.grad(loss_of_one)))(rates, Y0S, values)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.fixture(scope="module")
def gradients():
    field = HybridField(DampedPendulum(6.0, 0.2), NETWORK, acts_on=(1,))

    def loss(field, adjoint):
        options = {"solver": nj.RK4(), "controller": nj.FixedSteps(8), "adjoint": adjoint}
        return jnp.sum(nj.odeint(field, Y0S[0], TS[:2], **options).ys ** 2)

    return field, loss


@pytest.mark.parametrize(
    "adjoint",
    [nj.DirectAdjoint(), nj.BacksolveAdjoint(), nj.GaussAdjoint(), nj.ReversibleAdjoint(), nj.ForwardMode()],
    ids=lambda adjoint: type(adjoint).__name__,
)
def test_a_hybrid_has_its_gradient_under_every_adjoint(gradients, adjoint):
    field, loss = gradients
    expected = eqx.filter_jit(eqx.filter_grad(loss))(field, nj.CheckpointedAdjoint())
    if isinstance(adjoint, nj.ForwardMode):
        arrays, rest = eqx.partition(field, eqx.is_inexact_array)
        along = jax.jit(lambda x: jax.jvp(lambda x: loss(eqx.combine(x, rest), adjoint), (x,), (x,)))(arrays)[1]
        whole = sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(arrays), jax.tree.leaves(expected), strict=True))
        assert float(along) == pytest.approx(float(whole), rel=1e-4)
        return
    found = eqx.filter_jit(eqx.filter_grad(loss))(field, adjoint)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


def test_a_hybrid_is_a_term_of_diffrax():
    field = HybridField(DampedPendulum(6.0, 0.2), NETWORK)
    term, y = diffrax.ODETerm(field), Y0S[0]
    np.testing.assert_array_equal(term.vf(0.0, y, None), field(0.0, y))


def test_the_energy_of_a_pendulum_is_kept_without_friction_and_decreases_with_it(x64):
    ts, y0 = jnp.linspace(0.0, 12.0, 40), jnp.array([1.4, 0.3])
    for damping in (None, 0.2):
        field = DampedPendulum(6.0, damping)
        ys = nj.odeint(field, y0, ts, controller=nj.PIController(rtol=1e-9, atol=1e-9)).ys
        energy, power = field.energy(ys), -(damping or 0.0) * ys[:, 1] ** 2
        np.testing.assert_allclose(jax.vmap(jax.grad(field.energy))(ys)[:, 1] * ys[:, 1] * -(damping or 0.0), power)
        if damping is None:
            np.testing.assert_allclose(energy, energy[0], rtol=1e-7)
        else:
            assert (jnp.diff(energy) < 0).all()


def test_parameters_have_their_names_and_units():
    assert {k: float(v) for k, v in DampedPendulum(6.0).named_parameters().items()} == pytest.approx(
        {"omega0": 2 * np.pi / 6}
    )
    log = nj.fields.LogLotkaVolterra(1.1, 0.4, 0.1, 0.3).named_parameters()
    assert {k: float(v) for k, v in log.items()} == pytest.approx(
        {"growth": 1.1, "predation": 0.4, "reproduction": 0.1, "death": 0.3}
    )
    assert list(LotkaVolterra().named_parameters()) == [*log]
    assert float(nj.fields.Lorenz().named_parameters()["rho"]) == 28.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: HybridField(lambda t, y, args: (y,), NETWORK)(0.0, Y0S[0]), r"mechanism: \(\(2,\),\)"),
        (lambda: HybridField(NETWORK, lambda t, y, args: y[:1])(0.0, Y0S[0]), r"residual:  \(1,\)"),
        (lambda: nj.odeint(HybridField(NETWORK, lambda t, y, args: y[0]), Y0S[0], TS), "mechanism and residual"),
        (lambda: HybridField(NETWORK, NETWORK, acts_on=(2,))(0.0, Y0S[0]), "acts_on to be indices below 2"),
        (lambda: HybridField(NETWORK, NETWORK, sees=(0, 0)), "sees to be a tuple of different indices"),
        (lambda: HybridField(NETWORK, NETWORK, acts_on=(True, False)), "acts_on"),
        (lambda: HybridField(NETWORK, NETWORK, acts_on=-1), "acts_on"),
        (lambda: DampedPendulum(0.0), "period > 0"),
        (lambda: DampedPendulum(6.0)(0.0, jnp.ones(3)), r"\(q, p\)"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
