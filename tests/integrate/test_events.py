"""What fires, when, and what a solve with events returns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from tests.adjoints.test_programs import equations
from tests.integrate.event_cases import (
    FINE,
    GRAVITY,
    TIGHT,
    before_bounces,
    bounce,
    bounce_times,
    bounced,
    clear,
    concentration,
    dose,
    drop,
    fall,
    height,
)


def decay(t, y, args):
    return -y


SETTINGS = {
    "Tsit5": (nj.Tsit5(), TIGHT),
    "Bosh3": (nj.Bosh3(), nj.PIController(rtol=1e-6, atol=1e-6)),
    "Dopri8": (nj.Dopri8(), TIGHT),
    "RK4 constant": (nj.RK4(), nj.ConstantStep(0.03)),
    "Midpoint fixed": (nj.Midpoint(), nj.FixedSteps(4)),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_bouncing_ball_follows_its_closed_form(x64, name):
    """Every method solves it without an error, so that events are all that is tested."""
    solver, controller = SETTINGS[name]
    ts = jnp.linspace(0.0, 2.0, 9)
    sol = jax.jit(
        lambda y0, e: nj.odeint(fall, y0, ts, e, events=bounce(), solver=solver, controller=controller, max_steps=128)
    )(drop(1.0), 0.8)
    assert int(nj.check(sol).status) == nj.Status.success
    assert int(sol.num_events) == 3
    np.testing.assert_allclose(sol.event_ts[:3], bounce_times(1.0, 0.8, 3), rtol=1e-12)
    np.testing.assert_allclose(sol.event_ys[:3], before_bounces(1.0, 0.8, 3), atol=1e-12)
    np.testing.assert_allclose(sol.ys, bounced(1.0, 0.8, ts, 3), atol=1e-11)
    np.testing.assert_array_equal(sol.event_index, [0, 0, 0, -1])
    assert np.isnan(sol.event_ts[3])
    assert np.isnan(sol.event_ys[3]).all()
    if isinstance(controller, nj.FixedSteps):
        # Each of four steps in eight intervals, and for each event one more up to it, and the jump.
        assert int(sol.stats.num_accepted) == 4 * 8 + 3 * 2


CLOCK = (
    nj.Event(lambda t, y, s: s * t - 0.3, terminate=False),
    nj.Event(lambda t, y, s: 0.3 - s * t, terminate=False),
    nj.Event(lambda t, y, s: (s * t - 0.2) * (s * t - 0.7), direction=1, terminate=False),
    nj.Event(lambda t, y, s: (s * t - 0.2) * (s * t - 0.7), direction=-1, terminate=False),
    nj.Event(lambda t, y, s: t, terminate=False),
    nj.Event(lambda t, y, s: s * t * (s * t - 0.5), terminate=False),
    nj.Event(lambda t, y, s: y + 1.0, terminate=False),
    nj.Event(lambda t, y, s: s * t - 1.0, terminate=False),
)
"""Of time alone, in a single step, forward for s = 1 and backward for s = -1."""


@functools.cache
def _clock(precision):
    del precision
    settings = {"solver": nj.RK4(), "controller": nj.ConstantStep(1.0), "max_steps": 32}
    return jax.jit(lambda ts, s: nj.odeint(lambda t, y, s: s, 0.0, ts, s, events=CLOCK, **settings))


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["forward", "backward"])
def test_events_fire_in_order_in_their_direction_and_of_equal_ones_the_first(precision, sign):
    sol = _clock(precision)(sign * jnp.array([0.0, 0.5, 1.0]), jnp.asarray(sign))
    assert int(sol.status) == nj.Status.success
    np.testing.assert_array_equal(sol.event_index, [3, 0, 1, 5, 2, 7, -1, -1])
    tolerance = 1e-14 if precision == "float64" else 3e-7
    np.testing.assert_allclose(sol.event_ts[:6], sign * np.array([0.2, 0.3, 0.3, 0.5, 0.7, 1.0]), atol=tolerance)
    np.testing.assert_allclose(sol.event_ys[:6], abs(sol.event_ts[:6]), atol=tolerance)
    np.testing.assert_allclose(sol.ys, [0.0, 0.5, 1.0], atol=tolerance)


WAVE = {
    "recorded": ({"terminate": False}, nj.Status.success, 2),
    "ends": ({"terminate": True}, nj.Status.event, 2),
    "jumps": ({"terminate": False, "jump": lambda t, y, args: y}, nj.Status.max_events, 2),
    "jumps and ends": ({"terminate": True, "jump": lambda t, y, args: y + 1.0}, nj.Status.event, 2),
}


@pytest.mark.parametrize("name", WAVE)
def test_max_events_bounds_what_an_event_does(x64, name):
    """sin(3 t) has roots at multiples of π/3, of which the first is the start."""
    settings, status, num = WAVE[name]
    event = nj.Event(lambda t, y, args: jnp.sin(3 * t), max_events=2, **settings)
    ts = jnp.array([0.0, 1.5, 2.5, 4.0])
    sol = jax.jit(lambda y0: nj.odeint(decay, y0, ts, events=event, controller=nj.ConstantStep(0.2)))(1.0)
    assert nj.Status(int(sol.status)) == status
    assert int(sol.num_events) == num
    np.testing.assert_allclose(sol.event_ts, np.array([1, 2]) * np.pi / 3, rtol=1e-12)
    if name == "jumps":
        # The third one, at t = π, is due before the last row.
        np.testing.assert_allclose(sol.ys[:3], np.exp(-ts[:3]), rtol=1e-5)
        assert np.isnan(sol.ys[3])
        with pytest.raises(nj.SolveError, match="more often than its max_events"):
            nj.check(sol)
    elif status == nj.Status.event:
        np.testing.assert_array_equal(sol.ys[2:], np.asarray(sol.event_ys)[[1, 1]])
        nj.check(sol)
    else:
        np.testing.assert_allclose(sol.ys, np.exp(-ts), rtol=1e-5)


def test_a_jump_event_a_known_jump_and_a_terminal_event_share_a_solve(x64):
    """1 decays through 0.8, is raised by 1 at t = 0.5, and ends when it comes to 0.8 again."""
    events = (
        nj.Jump([0.5], lambda t, y, args: y + args),
        nj.Event(lambda t, y, args: y - 0.8, direction=-1, max_events=2),
        nj.Event(lambda t, y, args: y - 9.0),
    )
    keywords = {
        "save": lambda t, y, args: {"t": t, "y": y},
        "record": ("error", "stiffness"),
        "dense": True,
        "steps": True,
    }

    def solve(amount, ts):
        return nj.odeint(decay, 1.0, ts, amount, events=events, controller=TIGHT, max_steps=64, **keywords)

    def loss(amount, ts):
        sol = solve(amount, ts)
        return sol.costs["error"] + sol.costs["stiffness"], sol

    ts = jnp.array([0.0, 0.5, 1.0, 1.5, 2.0])
    gradient, sol = jax.jit(jax.grad(loss, has_aux=True))(1.0, ts)
    assert np.isfinite(gradient)
    raised = np.exp(-0.5) + 1.0
    end = 0.5 + np.log(raised / 0.8)
    assert int(sol.status) == nj.Status.event
    np.testing.assert_allclose(sol.event_ts, [-np.log(0.8), end, np.nan], rtol=1e-8)
    np.testing.assert_array_equal(sol.event_index, [0, 0, -1])
    np.testing.assert_allclose(sol.ys["y"], [1.0, np.exp(-0.5), raised * np.exp(-0.5), 0.8, 0.8], rtol=1e-8)
    np.testing.assert_allclose(sol.ys["t"], [0.0, 0.5, 1.0, end, end], rtol=1e-8)
    np.testing.assert_array_equal(sol.ts, ts)
    # Dense output has the value before the jump at its time, and none behind the end.
    times = np.array([0.2, 0.5, 0.5 + 1e-9, 1.0, end + 1e-6])
    expected = np.array([np.exp(-0.2), np.exp(-0.5), raised, raised * np.exp(-0.5), np.nan])
    np.testing.assert_allclose(sol.evaluate(times), expected, rtol=1e-8)
    np.testing.assert_allclose(sol.derivative(times), -expected, rtol=1e-6)
    num = int(np.isfinite(sol.steps.t).sum())
    assert num == int(sol.stats.num_accepted) - 1
    assert np.isnan(sol.steps.dt[num:]).all()
    np.testing.assert_allclose(sol.steps.t[1:num], (sol.steps.t + sol.steps.dt)[: num - 1], rtol=1e-14)
    np.testing.assert_allclose(np.nansum(sol.steps.dt), end, rtol=1e-8)


def test_an_event_comes_before_a_known_jump_at_the_same_time(x64):
    events = (
        nj.Jump([0.5], lambda t, y, args: 2 * y),
        nj.Event(lambda t, y, args: t - 0.5, terminate=False, jump=lambda t, y, args: y + 1.0),
    )
    ts = jnp.array([0.0, 0.5, 1.0])
    sol = jax.jit(lambda ts: nj.odeint(lambda t, y, args: jnp.zeros_like(y), 1.0, ts, events=events))(ts)
    np.testing.assert_array_equal(sol.ys, [1.0, 1.0, 4.0])
    np.testing.assert_array_equal(sol.event_ys, [1.0])


DOSES = {
    "unsorted": [1.3, 0.4],
    "at the start": [0.2, 0.9],
    "at the end and at an output": [2.0, 0.7],
    "outside": [-1.0, 7.0],
    "padded": [np.inf, 0.7],
}


@functools.cache
def _dosed():
    def solve(times, ts):
        args = {"rate": jnp.asarray(0.8), "amount": jnp.asarray(0.5)}
        return nj.odeint(clear, 1.0, ts, args, events=nj.Jump(times, dose), **FINE).ys

    return jax.jit(solve)


@pytest.mark.parametrize("name", DOSES)
def test_doses_at_known_times_follow_their_closed_form(x64, name):
    ts, times = jnp.array([0.2, 0.7, 0.7, 1.5, 2.0]), jnp.array(DOSES[name])
    args = {"rate": 0.8, "amount": 0.5}
    for times_of_outputs in (ts, ts[::-1]):
        expected = concentration(1.0, times_of_outputs, args, times)
        np.testing.assert_allclose(_dosed()(times, times_of_outputs), expected, rtol=1e-7)


@pytest.mark.parametrize("ts", [[1.0], [1.0, 1.0]], ids=["one time", "no time"])
def test_nothing_happens_where_no_time_passes(ts):
    events = (nj.Jump([1.0], lambda t, y, args: y + 1.0), nj.Event(lambda t, y, args: y - 1.0))
    sol = nj.check(jax.jit(lambda ts: nj.odeint(decay, 1.0, ts, events=events))(jnp.array(ts)))
    np.testing.assert_array_equal(sol.ys, np.ones(len(ts)))
    assert int(sol.num_events) == 0


def test_methods_with_a_state_of_their_own_stop_at_events(x64):
    settings = {"solver": nj.ReversibleHeun(), "controller": nj.ConstantStep(0.01)}
    sol = jax.jit(lambda y0: nj.odeint(fall, y0, [0.0, 1.0], events=nj.Event(height), **settings))(drop(1.0))
    assert int(sol.status) == nj.Status.event
    np.testing.assert_allclose(sol.event_ts, [np.sqrt(2 / GRAVITY)], rtol=1e-9)


def test_programs_with_events_hold_no_callback_and_are_traced_once():
    traces = []

    def field(t, y, args):
        traces.append(1)
        return -y

    def jump(t, y, args):
        return y + 1.0

    event = nj.Event(lambda t, y, args: jnp.sum(y) - args["threshold"], terminate=False, max_events=2)
    for solve in (nj.odeint, nj.odeint_batch):
        for times, threshold in (([0.2, 0.4], 0.5), ([1, 3], 0.6), (np.array([0.1, 0.3]), 0.7)):
            args = {"threshold": threshold}
            happenings = (nj.Jump(times, jump), event)
            # The shapes alone: what is traced is found in the cache as under any call, and nothing is compiled.
            jax.eval_shape(functools.partial(solve, field, jnp.ones((2, 1)), [0.0, 1.0], args, events=happenings))
            traces.append(0)
        first, second, third = np.flatnonzero(np.array(traces) == 0)
        assert 0 < first == second - 1 == third - 2
        traces.clear()

    def loss(y0s, threshold):
        sol = nj.odeint_batch(field, y0s, [0.0, 1.0], {"threshold": threshold}, events=event, max_steps=16)
        return jnp.sum(sol.event_ts[:, 0])

    program = jax.make_jaxpr(jax.grad(loss, argnums=(0, 1)))(jnp.ones((2, 1)), 0.5)
    primitives = {equation.primitive.name for equation in equations(program.jaxpr)}
    assert "while" in primitives
    assert not [name for name in primitives if "callback" in name]
