"""Events in batches: every trajectory has its own, and none depends on another."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.interpolate import Linear
from tests.adjoints.cases import weigh
from tests.integrate.event_cases import BALL, FINE, bounce, clear, concentration, dose, drop, fall, rebound

BATCH = 5
ADAPTIVE = {"solver": nj.Bosh3(), "controller": nj.PIController(rtol=1e-6, atol=1e-6), "max_steps": 64}


def test_thresholds_of_each_trajectory_end_it_at_its_own_time(x64):
    y0s, thresholds = jnp.linspace(1.0, 2.0, BATCH), jnp.linspace(0.9, 0.1, BATCH).at[1].set(-1.0)
    starts = jnp.linspace(0.0, 0.5, BATCH)

    def solve(y0s, rate, thresholds, starts):
        ts = starts[:, None] + jnp.array([0.0, 0.02, 1.0, 4.0])
        axes = (0, 0, {"rate": None, "threshold": 0})
        args = {"rate": rate, "threshold": thresholds}
        event = nj.Event(lambda t, y, args: y - args["threshold"])
        return nj.odeint_batch(
            lambda t, y, args: -args["rate"] * y,
            y0s,
            ts,
            args,
            in_axes=axes,
            events=event,
            lanes=2,
            **FINE,
        )

    def loss(*inputs):
        sol = solve(*inputs)
        return jnp.sum(jnp.where(sol.num_events > 0, jnp.sin(sol.event_ts[:, 0]), 0.0)) + jnp.sum(sol.ys), sol

    def exact(y0s, rate, thresholds, starts):
        passed = jnp.log(y0s / jnp.where(thresholds > 0, thresholds, 1.0)) / rate
        ends = jnp.where(thresholds > 0, passed, 4.0)
        after = jnp.minimum(jnp.array([0.0, 0.02, 1.0, 4.0]), ends[:, None])
        return jnp.sum(jnp.where(thresholds > 0, jnp.sin(starts + passed), 0.0)) + jnp.sum(
            y0s[:, None] * jnp.exp(-rate * after)
        )

    inputs = (y0s, 1.1, thresholds, starts)
    gradient, sol = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3), has_aux=True))(*inputs)
    expected = [nj.Status.event if threshold > 0 else nj.Status.success for threshold in thresholds]
    np.testing.assert_array_equal(sol.status, expected)
    np.testing.assert_array_equal(sol.event_index[:, 0], np.where(thresholds > 0, 0, -1))
    ends = starts + np.log(y0s / abs(thresholds)) / 1.1
    np.testing.assert_allclose(sol.event_ts[:, 0], np.where(thresholds > 0, ends, np.nan), rtol=1e-7)
    for mine, theirs in zip(gradient, jax.jit(jax.grad(exact, argnums=(0, 1, 2, 3)))(*inputs), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("lanes", [None, 2])
def test_doses_of_each_patient_have_values_and_gradients_of_their_closed_form(x64, lanes):
    times = jnp.array([[1.1, 0.4], [0.3, np.inf], [np.inf, np.inf], [0.0, 1.9], [1.0, 0.6]])
    amounts, ts = jnp.linspace(0.2, 1.0, BATCH), jnp.array([0.0, 0.5, 1.0, 2.0])

    def solve(rate, amounts, times):
        axes = (0, None, {"rate": None, "amount": 0})
        settings = {"in_axes": axes, "events": nj.Jump(times, dose), "lanes": lanes, **FINE}
        return nj.odeint_batch(clear, jnp.ones(BATCH), ts, {"rate": rate, "amount": amounts}, **settings).ys

    def exact(rate, amounts, times):
        def one(amount, times):
            return concentration(1.0, ts, {"rate": rate, "amount": amount}, times)

        return jax.vmap(one)(amounts, times)

    inputs = (0.8, amounts, times)
    found, expected = (
        jax.jit(jax.grad(lambda *a, f=f: (weigh(f(*a)), f(*a)), argnums=(0, 1, 2), has_aux=True))(*inputs)
        for f in (solve, exact)
    )
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-7)
    for mine, theirs in zip(found[0], expected[0], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-9)


def test_a_trajectory_that_fails_changes_neither_values_nor_gradients_of_others():
    heights, restitutions = jnp.linspace(0.8, 1.2, BATCH), jnp.linspace(0.9, 0.5, BATCH)

    def loss(factor, heights, restitutions):
        def jump(t, y, args):
            return rebound(t, y, args[0] * args[1])

        event = nj.Event(lambda t, y, args: args[0] * y[0], -1, terminate=False, jump=jump, max_events=4)
        knock = nj.Jump([0.3], lambda t, y, args: y * args[0] * args[1])
        args, axes = (factor, restitutions), (0, None, (None, 0))
        sol = nj.odeint_batch(
            fall,
            drop(heights),
            jnp.linspace(0.0, 1.0, 4),
            args,
            in_axes=axes,
            events=(event, knock),
            lanes=2,
            **BALL,
        )
        is_good = sol.status == nj.Status.success
        ends = jnp.where(is_good[:, None], sol.ys[:, -1], 0.0)
        first = jnp.where(is_good, sol.event_ts[:, 0], 0.0)
        # The last trajectory counts for nothing, whether it fails or not.
        return jnp.sum(ends[:-1]) + jnp.sum(first[:-1]), sol

    run = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
    healthy, sol = run(1.0, heights, restitutions)
    for sick in ((heights.at[-1].set(jnp.nan), restitutions), (heights, restitutions.at[-1].set(jnp.nan))):
        gradient, other = run(1.0, *sick)
        assert int(other.status[-1]) == nj.Status.non_finite
        for name in ("ys", "event_ts", "event_ys", "event_index", "num_events", "status"):
            np.testing.assert_array_equal(getattr(other, name)[:-1], getattr(sol, name)[:-1])
        np.testing.assert_array_equal(gradient[0], healthy[0])
        for mine, theirs in zip(gradient[1:], healthy[1:], strict=True):
            np.testing.assert_array_equal(mine[:-1], theirs[:-1])
            assert float(mine[-1]) == 0.0


def test_a_jump_is_differentiated_only_where_it_happens(x64):
    """The root in it has no derivative where the other trajectory is at that time."""

    def loss(factor, y0s):
        event = nj.Jump([[0.3], [1.3]], lambda t, y, args: args * jnp.sqrt(y - 1.0))
        return jnp.sum(
            nj.odeint_batch(lambda t, y, args: y, y0s, [0.0, 1.0, 2.0], factor, events=event, **FINE).ys[:, -1]
        )

    def exact(factor, y0s):
        times = jnp.array([0.3, 1.3])
        return jnp.sum(factor * jnp.sqrt(y0s * jnp.exp(times) - 1.0) * jnp.exp(2.0 - times))

    y0s = jnp.array([2.0, 0.4])
    found = jax.jit(jax.grad(loss, argnums=(0, 1)))(1.0, y0s)
    for mine, theirs in zip(found, jax.jit(jax.grad(exact, argnums=(0, 1)))(1.0, y0s), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3)


def test_lanes_and_the_order_of_the_batch_change_nothing(x64):
    heights, restitutions = jnp.linspace(0.5, 2.0, BATCH), jnp.linspace(0.9, 0.5, BATCH)

    def solve(heights, restitutions, lanes):
        settings = {"in_axes": (0, None, 0), "events": bounce(6), "lanes": lanes, **ADAPTIVE}
        return nj.odeint_batch(fall, drop(heights), jnp.linspace(0.0, 1.5, 4), restitutions, **settings)

    at_once, queued = (jax.jit(functools.partial(solve, lanes=lanes)) for lanes in (None, 2))
    expected = at_once(heights, restitutions)
    order = np.array([3, 0, 4, 2, 1])
    for sol, places in (
        (queued(heights, restitutions), slice(None)),
        (at_once(heights[order], restitutions[order]), order),
    ):
        for name in ("ys", "event_ts", "event_ys", "event_index", "num_events", "status"):
            np.testing.assert_allclose(getattr(sol, name), getattr(expected, name)[places], rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(sol.stats.num_accepted, expected.stats.num_accepted[places])


def test_control_inputs_beside_a_jump_have_the_gradient_of_each_solve(x64):
    knots, levels = jnp.linspace(0.0, 2.0, 5), jnp.sin(jnp.arange(15.0)).reshape(3, 5)
    times = jnp.array([[0.3, np.inf], [1.1, 0.7], [np.inf, np.inf]])
    settings = {"solver": nj.Midpoint(), "controller": nj.FixedSteps(4), "max_steps": 64}

    def field(t, y, args):
        return args["u"](t) - args["leak"] * y

    def jump(t, y, args):
        return args["leak"] * y + args["u"](t)

    def together(levels, leak, times):
        args = {"u": jax.vmap(lambda row: Linear(knots, row))(levels), "leak": leak}
        axes = (0, None, {"u": 0, "leak": None})
        jumps = nj.Jump(times, jump)
        return nj.odeint_batch(
            field, jnp.ones(3), [0.0, 1.0, 2.0], args, in_axes=axes, events=jumps, lanes=2, **settings
        ).ys

    def each(levels, leak, times):
        def one(row, times):
            args = {"u": Linear(knots, row), "leak": leak}
            return nj.odeint(field, 1.0, [0.0, 1.0, 2.0], args, events=nj.Jump(times, jump), **settings).ys

        return jax.vmap(one)(levels, times)

    found, expected = (
        jax.jit(jax.grad(lambda *a, f=f: weigh(f(*a)), argnums=(0, 1, 2)))(levels, 1.3, times) for f in (together, each)
    )
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)
