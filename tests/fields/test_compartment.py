"""Compartments obey their closed forms, and keep what is given to them."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

import node_jax as nj
from node_jax.fields import ClearanceNetwork, CompartmentField, Regimen

_STEPS = {"solver": nj.RK4(), "controller": nj.FixedSteps(40)}


def _dose(amount, times=(0.0,)):
    return Regimen(jnp.array(times), jnp.full(len(times), amount))


def test_one_dose_by_mouth_follows_the_bateman_function(x64):
    field = CompartmentField(clearance=0.04, volume=0.5, absorption=1.5)
    regimen, ts = _dose(4.0), jnp.array([0.0, 0.5, 2.0, 8.0, 24.0])
    solution = nj.odeint(field, field.start(), ts, regimen, events=[nj.Jump(regimen.dose_times, field.give)], **_STEPS)
    ke, ka = 0.04 / 0.5, 1.5
    wanted = 4.0 * ka / (0.5 * (ka - ke)) * (np.exp(-ke * ts) - np.exp(-ka * ts))
    np.testing.assert_allclose(field.concentration(solution.ys), wanted, rtol=2e-5, atol=1e-8)


def test_three_compartments_are_a_matrix_exponential_and_an_infusion_comes_to_its_steady_state(x64):
    field = CompartmentField(2.5, 5.0, flows=[1.7, 0.07], volumes=[9.0, 6.5])
    rate = nj.interpolate.ZeroOrderHold([0.0, 4.0], [100.0, 0.0])
    regimen = Regimen(jnp.zeros(0), jnp.zeros(0), rate)
    solution = nj.odeint(field, field.start(), jnp.array([0.0, 4.0, 10.0]), regimen, **_STEPS)
    matrix = np.array(
        [
            [-(2.5 + 1.7 + 0.07) / 5.0, 1.7 / 9.0, 0.07 / 6.5],
            [1.7 / 5.0, -1.7 / 9.0, 0.0],
            [0.07 / 5.0, 0.0, -0.07 / 6.5],
        ]
    )
    level = np.linalg.solve(matrix, [-100.0, 0.0, 0.0])
    after = level - expm(4 * matrix) @ level
    np.testing.assert_allclose(solution.ys[1], after, rtol=1e-6)
    np.testing.assert_allclose(solution.ys[2], expm(6 * matrix) @ after, rtol=1e-6)
    assert level[0] / 5.0 == pytest.approx(100.0 / 2.5)


def test_nothing_is_lost_but_what_is_cleared(x64):
    field = CompartmentField(1e-9, 5.0, absorption=0.8, flows=[1.7], volumes=[9.0])
    regimen = _dose(2.0, (0.0, 3.0, jnp.inf))
    jump = nj.Jump(regimen.dose_times, field.give)
    solution = nj.odeint(field, field.start(), jnp.array([0.0, 3.0, 9.0]), regimen, events=[jump], **_STEPS)
    np.testing.assert_allclose(jnp.sum(solution.ys, axis=1), [0.0, 2.0, 4.0], rtol=1e-7)


def test_doses_and_infusions_of_a_batch_are_of_each_row(x64):
    field = CompartmentField(0.5, 2.0)
    doses = jnp.array([[0.0, jnp.inf], [0.0, 1.0]])
    amounts = jnp.array([[3.0, 0.0], [1.0, 2.0]])
    holds = jax.vmap(nj.interpolate.ZeroOrderHold)(
        jnp.array([[0.0, 2.0], [0.0, 1.0]]), jnp.array([[0.0, 1.0], [2.0, 0.0]])
    )
    regimens = Regimen(doses, amounts, holds, jnp.zeros((2, 0)))
    ts = jnp.array([0.0, 1.0, 3.0])
    batch = nj.odeint_batch(
        field, jnp.zeros((2, 1)), ts, regimens, in_axes=(0, None, 0), events=[nj.Jump(doses, field.give)], **_STEPS
    )
    for i in range(2):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], regimens)
        single = nj.odeint(field, field.start(), ts, one, events=[nj.Jump(doses[i], field.give)], **_STEPS)
        np.testing.assert_allclose(batch.ys[i], single.ys, rtol=1e-9)
    k = 0.25
    assert float(batch.ys[0, 1, 0]) == pytest.approx(3 * np.exp(-k), rel=1e-6)


def _network(key=0):
    return ClearanceNetwork(1, 2.0, key=jax.random.key(key), final_scale=1.0)


def test_a_network_of_the_clearance_is_bounded_and_starts_at_the_plain_model():
    network = _network()
    levels = jnp.concatenate([-jnp.ones(1), jnp.logspace(-3, 5, 50)])
    found = jax.vmap(lambda c: network(c, jnp.array([1.0])))(levels)
    assert float(jnp.max(jnp.abs(found))) <= 1.0
    assert float(jnp.std(found)) > 0
    small = ClearanceNetwork(1, 2.0, key=jax.random.key(0), final_scale=1e-6)
    plain, hybrid = (CompartmentField(0.5, 2.0, correction=c) for c in (None, small))
    regimen = Regimen(jnp.zeros(0), jnp.zeros(0), None, jnp.array([0.3]))
    np.testing.assert_allclose(hybrid(0.0, jnp.ones(1), regimen), plain(0.0, jnp.ones(1), regimen), rtol=1e-5)


_ADJOINTS = [
    nj.CheckpointedAdjoint(),
    nj.DirectAdjoint(),
    nj.BacksolveAdjoint(),
    nj.GaussAdjoint(),
    nj.ReversibleAdjoint(),
]


def test_gradients_agree_under_every_adjoint(x64):
    regimen = Regimen(jnp.zeros(0), jnp.zeros(0), None, jnp.array([0.3]))

    def loss(field, adjoint):
        grid = {"solver": nj.RK4(), "controller": nj.FixedSteps(20), "max_steps": 20}
        return jnp.sum(
            nj.odeint(field, jnp.array([3.0, 1.0]), jnp.array([0.0, 2.0]), regimen, adjoint=adjoint, **grid).ys
        )

    network = ClearanceNetwork(1, 2.0, key=jax.random.key(0), final_scale=1.0, width=2)
    field = CompartmentField(0.5, 2.0, absorption=1.1, correction=network)
    found = [jax.tree.leaves(eqx.filter_jit(eqx.filter_grad(loss))(field, adjoint)) for adjoint in _ADJOINTS]
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6)

    def moved(volume):
        return loss(eqx.tree_at(lambda f: f.log_volume, field, volume), nj.ForwardMode())

    slope = jax.jit(jax.jacfwd(moved))(field.log_volume)
    wanted = eqx.filter_jit(eqx.filter_grad(loss))(field, nj.CheckpointedAdjoint()).log_volume
    assert float(slope) == pytest.approx(float(wanted), rel=1e-9)


def test_it_is_a_term_of_diffrax():
    field = CompartmentField(0.5, 2.0)
    found = diffrax.diffeqsolve(diffrax.ODETerm(field), diffrax.Tsit5(), 0.0, 2.0, 0.1, jnp.ones(1)).ys
    assert float(found[0, 0]) == pytest.approx(np.exp(-0.5), rel=1e-4)


def test_parameters_have_names_and_units():
    field = CompartmentField(2.5, 5.0, absorption=1.5, flows=[1.7], volumes=[9.0])
    named = {name: float(value) for name, value in field.named_parameters().items()}
    assert named == pytest.approx({"clearance": 2.5, "volume": 5.0, "absorption": 1.5, "flow_1": 1.7, "volume_1": 9.0})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clearance": -1.0, "volume": 2.0}, "positive clearance"),
        ({"clearance": 1.0, "volume": 2.0, "flows": [1.0]}, "as many flows as volumes"),
        ({"clearance": 1.0, "volume": 2.0, "flows": [1.0], "volumes": [0.0]}, "positive volumes"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CompartmentField(**arguments)


def test_a_state_of_another_size_and_an_empty_network_are_refused():
    with pytest.raises(ValueError, match=r"a state of shape \(1,\)"):
        CompartmentField(1.0, 2.0)(0.0, jnp.ones(2))
    with pytest.raises(nj.UsageError, match="a usual concentration > 0"):
        ClearanceNetwork(0, 0.0, key=jax.random.key(0))
