"""The gradient of a batch is that of its trajectories alone, and what they share gets one sum."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
import node_jax.stepping.lane_tape
from tests.adjoints.test_programs import equations
from tests.integrate.batch_cases import (
    BATCH,
    OTHERS,
    PI,
    Inputs,
    Oscillators,
    inputs,
    keywords_of,
    solve_batch,
    solve_each,
)

GRADIENTS = [
    *(("Tsit5", is_ragged, num, lanes) for is_ragged in (False, True) for num in (2, 6) for lanes in (None, 3)),
    *((name, *case) for name in OTHERS for case in ((False, 2, None), (True, 6, 3))),
    ("jumps", False, 6, 3),
]
"""Setting, whether each trajectory has times of its own, their number, lanes: all for Tsit5, two for most others."""


def gradient(solve, x, **keywords):
    """Of a loss that sees every row, for everything that is floating point."""

    def loss(x):
        sol = solve(x, **keywords)
        rows = jax.tree.leaves(sol.ys)
        weights = [jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape) for leaf in rows]
        costs = sum(jnp.sum(jnp.arange(BATCH) * cost) for cost in sol.costs.values())
        return sum(jnp.sum(w * jnp.tanh(leaf)) for w, leaf in zip(weights, rows, strict=True)) + 1e-3 * costs

    return jax.jit(jax.grad(loss))(x)


def assert_same_gradient(found, expected, tolerance=1e-9):
    def compare(a, b):
        np.testing.assert_allclose(a, b, atol=tolerance * (1 + np.abs(b).max()))

    jax.tree.map(compare, found, expected)


@functools.cache
def expected_gradient(name, is_ragged, num_times):
    x = inputs(num_times, is_ragged, is_pair=name == "StormerVerlet")
    return x, jax.device_get(gradient(solve_each, x, **keywords_of(name)))


@pytest.mark.parametrize(("name", "is_ragged", "num_times", "lanes"), GRADIENTS)
def test_the_gradient_of_a_batch_is_that_of_its_trajectories(x64, name, is_ragged, num_times, lanes):
    x, expected = expected_gradient(name, is_ragged, num_times)
    assert_same_gradient(gradient(solve_batch, x, lanes=lanes, **keywords_of(name)), expected)


@pytest.mark.parametrize(("name", "num_times"), [("Tsit5", 6), ("Tsit5", 2), ("jumps", 6), ("Reversible", 6)])
def test_the_gradient_from_the_starts_of_chunks_is_the_same(x64, name, num_times, monkeypatch):
    monkeypatch.setattr(node_jax.stepping.lane_tape, "_SMALL_BYTES", 0)
    # With two slots most chunks are reached from an earlier one.
    monkeypatch.setattr(node_jax.stepping.lane_tape, "_LEAST_SLOTS", 2)
    x, expected = expected_gradient(name, True, num_times)
    assert_same_gradient(gradient(solve_batch, x, lanes=3, **keywords_of(name)), expected)


def gradients_of_forty(num_times, **keywords):
    """Of trajectories in 32 lanes, the last the stiffest; together and alone, and whether all came through."""
    y0s, damping = jnp.tile(jnp.array([[2.0, 0.0]]), (40, 1)), jnp.linspace(0.5, 3.0, 40).at[-1].set(15.0)
    times = jnp.linspace(0.0, 8.0, num_times)
    x = Inputs(Oscillators(jnp.asarray(1.0)), y0s, times, {"damping": damping, "push": 0.0})
    is_there = solve_batch(x, 32, controller=PI, **keywords).status == nj.Status.success

    def gradient_of(solve):
        def loss(x):
            rows = jnp.where(is_there[:, None, None], solve(x).ys, 0.0)
            return jnp.sum(jnp.cos(jnp.arange(rows.size)).reshape(rows.shape) * rows)

        return jax.jit(jax.grad(loss))(x)

    together = gradient_of(lambda x: solve_batch(x, 32, controller=PI, **keywords))
    return together, gradient_of(lambda x: solve_each(x, controller=PI)), bool(is_there.all())


@pytest.mark.parametrize("num_times", [2, 5])
@pytest.mark.parametrize("max_rows", [None, 70])
def test_the_gradient_of_what_ran_in_fewer_lanes_is_the_same(x64, num_times, max_rows):
    """Seventy attempts are too few for all."""
    found, expected, is_complete = gradients_of_forty(num_times, max_rows=max_rows)
    assert is_complete == (max_rows is None)
    assert_same_gradient(found, expected)


def test_the_record_of_fewer_lanes_may_have_no_room_for_all_states(x64, monkeypatch):
    """That of the others has: it is bounded by `max_rows`, and the former by `max_steps`."""
    monkeypatch.setattr(node_jax.stepping.lane_tape, "_SMALL_BYTES", 600_000)
    found, expected, is_complete = gradients_of_forty(2, max_rows=400, max_steps=2**14)
    assert is_complete
    assert_same_gradient(found, expected)


def test_the_gradient_of_costs_is_that_of_the_trajectories(x64):
    x = inputs()
    keywords = {"record": ("error", "stiffness"), "controller": PI}
    expected = gradient(solve_each, x, **keywords)
    # Differences of almost equal stages, on which the stiffness rests, are many times the rounding of the steps.
    assert_same_gradient(gradient(solve_batch, x, lanes=3, **keywords), expected, 1e-4)


def test_arrays_that_a_function_closes_over_get_one_summed_gradient(x64):
    x = inputs(4)

    def loss(shared, y0s, is_batch):
        def field(t, y, args):
            return -shared * y * args

        ts, rates = jnp.linspace(0.0, 1.0, 4), x.args["damping"] / 20
        if is_batch:
            return jnp.sum(nj.odeint_batch(field, y0s, ts, rates, in_axes=(0, None, 0), controller=PI).ys ** 2)
        return jnp.sum(jax.vmap(lambda y, r: nj.odeint(field, y, ts, r, controller=PI).ys)(y0s, rates) ** 2)

    shared = jnp.array([1.0, 2.0])
    found, expected = (jax.grad(loss, (0, 1))(shared, x.y0s, is_batch) for is_batch in (True, False))
    assert_same_gradient(found, expected)


def test_a_shared_start_and_mapped_times_get_gradients(x64):
    ts = jnp.array([[0.0, 1.0, 2.0], [0.5, 0.5, 1.0], [0.3, 0.1, 0.0]])

    def loss(y0, ts, is_batch):
        def field(t, y, args):
            return jnp.sin(t) * y

        if is_batch:
            ys = nj.odeint_batch(field, y0, ts, in_axes=(None, 0, None), lanes=2, controller=PI).ys
        else:
            ys = jax.vmap(lambda ts: nj.odeint(field, y0, ts, controller=PI).ys)(ts)
        return jnp.sum(jnp.arange(1.0, 19.0).reshape(3, 3, 2) * ys)

    y0 = jnp.array([1.0, 2.0])
    found, expected = (jax.grad(loss, (0, 1))(y0, ts, is_batch) for is_batch in (True, False))
    assert found[0].shape == (2,)
    assert_same_gradient(found, expected)


@pytest.mark.parametrize("lanes", [None, 3])
def test_a_trajectory_that_fails_leaves_the_gradient_of_the_others(lanes):
    """Its rows are masked in the loss; its start, its argument and the field there are NaN or infinite."""

    def loss(shared, y0s, args):
        def field(t, y, args):
            return -shared * jnp.log(y) * args

        sol = nj.odeint_batch(field, y0s, [0.0, 0.5, 1.0], args, in_axes=(0, None, 0), lanes=lanes)
        is_good = (sol.status == nj.Status.success)[:, None, None]
        return jnp.sum(jnp.where(is_good, sol.ys, 0.0) ** 2)

    y0s, args = 2 + jnp.ones((5, 2)), jnp.ones(5)
    bad = (y0s.at[1].set(-1.0).at[3].set(jnp.nan), args.at[4].set(jnp.nan))
    found = jax.grad(loss, (0, 1, 2))(jnp.asarray(0.5), *bad)
    healthy = np.array([0, 2])
    expected = jax.grad(loss, (0, 1, 2))(jnp.asarray(0.5), y0s[healthy], args[healthy])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    for mine, theirs in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_allclose(mine[healthy], theirs, rtol=1e-5)
        assert np.isfinite(mine).all()


def test_a_gradient_that_nothing_flows_to_is_zero():
    """No lane has a step to transpose, and the derivative of the field is infinite or NaN there."""

    def masked(shared, y0s):
        sol = nj.odeint_batch(lambda t, y, m: m @ jnp.tanh(y), y0s, [0.0, 0.5, 1.0], shared)
        is_good = (sol.status == nj.Status.success)[:, None, None]
        return jnp.sum(jnp.where(is_good, sol.ys, 0.0) ** 2)

    assert not np.any(jax.grad(masked)(jnp.eye(2), jnp.full((3, 2), jnp.nan)))

    def second(shared, lanes):
        y0s = jnp.array([[0.0], [1.0]])
        return nj.odeint_batch(lambda t, y, a: jnp.sqrt(y) * a, y0s, [0.0, 0.5, 1.0], shared, lanes=lanes).ys[1, -1, 0]

    for lanes in (None, 1):
        np.testing.assert_allclose(jax.grad(second)(1.0, lanes), 1.5, rtol=1e-4)


def test_a_hessian_is_that_of_the_trajectories(x64):
    x = inputs(3)

    def loss(stiffness, solve):
        return jnp.sum(jnp.sin(solve(x._replace(field=Oscillators(stiffness)), solver=nj.Bosh3(), controller=PI).ys))

    found, expected = (
        jax.hessian(loss)(jnp.asarray(1.3), solve) for solve in (functools.partial(solve_batch, lanes=3), solve_each)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-7)


@pytest.mark.parametrize("lanes", [None, 3])
def test_a_batch_under_vmap_is_a_batch_for_each(x64, lanes):
    x = inputs(4)
    stiffness = jnp.array([1.0, 1.5, 2.5])

    def value_and_gradient(stiffness):
        def loss(stiffness):
            return jnp.sum(solve_batch(x._replace(field=Oscillators(stiffness)), lanes, controller=PI).ys ** 2)

        return jax.value_and_grad(loss)(stiffness)

    together = jax.jit(jax.vmap(value_and_gradient))(stiffness)
    apart = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(jax.jit(value_and_gradient), stiffness))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-8), together, apart)


def test_no_gradient_of_shared_parameters_is_kept_for_each_trajectory():
    width, batch = 33, 19
    parameters, static = eqx.partition(nj.fields.MLP(2, width, 2, key=jax.random.key(0)), eqx.is_inexact_array)

    def loss(parameters, y0s):
        field = eqx.combine(parameters, static)
        return jnp.sum(nj.odeint_batch(field, y0s, jnp.linspace(0.0, 1.0, 9), lanes=5, max_steps=64).ys ** 2)

    jaxpr = jax.make_jaxpr(jax.grad(loss, (0, 1)))(parameters, jnp.ones((batch, 2))).jaxpr
    shapes = {var.aval.shape for equation in equations(jaxpr) for var in equation.outvars}
    assert (width, width) in shapes
    assert not [shape for shape in shapes if len(shape) > 2 and shape[-2:] == (width, width)]
    primitives = {equation.primitive.name for equation in equations(jaxpr)}
    assert not [primitive for primitive in primitives if "callback" in primitive]
