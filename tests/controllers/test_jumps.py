"""`jump_ts`: steps end at known discontinuities of the field, which is seen from the proper side."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj

JUMP = 0.6


def switched(t, y, args):
    """The rate doubles at the jump; the value at the jump itself belongs to the later side."""
    return -args * jnp.where(t >= JUMP, 2.0, 1.0) * y


def exact(t, rate=1.0):
    t = np.asarray(t)
    return np.exp(-rate * (t + np.maximum(t - JUMP, 0.0)))


def solve(ts, jump_ts, field=switched, y0=None, rtol=1e-8, rate=1.0, **keywords):
    controller = nj.PIController(rtol=rtol, atol=rtol, jump_ts=jump_ts)
    y0 = jnp.ones(1) if y0 is None else y0
    return nj.odeint(field, y0, ts, rate, controller=controller, **keywords)


def run(ts, jump_ts, field=switched, y0=None, rtol=1e-8, **keywords):
    """`solve` as one program."""
    y0 = jnp.ones(1) if y0 is None else y0
    quick = jax.jit(lambda ts, y0: solve(ts, jump_ts, field, y0, rtol, **keywords))
    return quick(jnp.asarray(ts), y0)


def ends_of(sol):
    num = int(sol.stats.num_accepted)
    return np.asarray(sol.path.times)[1 : num + 1]


@pytest.mark.parametrize("is_backward", [False, True], ids=["forward", "backward"])
def test_a_step_ends_at_every_jump(precision, is_backward):
    dtype = np.dtype(precision)
    jumps = np.array([0.9, 0.2, JUMP, 0.6, -3.0, 7.0], dtype)
    ts = np.array([0.0, 1.0], dtype)[:: -1 if is_backward else 1]
    sol = run(ts, jumps, lambda t, y, args: -y, rtol=1e-4, dense=True)
    ends = ends_of(sol)
    for jump in (dtype.type(0.2), dtype.type(JUMP), dtype.type(0.9)):
        assert jump in ends
    assert ends[-1] == ts[-1]
    assert ends.min() >= 0
    assert ends.max() <= 1


def test_steps_that_end_at_stops_do_not_hold_back_the_others():
    """Stops a little wider than steps: the remainders, whose error is tiny, must not keep the steps so short."""

    def circle(t, y, args):
        return jnp.stack([y[1], -y[0]])

    y0, ts = jnp.array([1.0, 0.0]), [0.0, 20.0]
    free = solve(ts, None, circle, y0, rtol=1e-5)
    stops = np.linspace(0.0, 20.0, int(1.2 * free.stats.num_accepted))
    stopped = solve(ts, stops, circle, y0, rtol=1e-5)
    assert int(stopped.stats.num_accepted) < 1.2 * len(stops)


@pytest.mark.parametrize("is_backward", [False, True], ids=["forward", "backward"])
def test_a_known_jump_costs_no_rejection_and_no_accuracy(x64, is_backward):
    ts = np.linspace(0.0, 1.0, 6)
    y0 = jnp.ones(1)
    if is_backward:
        ts, y0 = ts[::-1], jnp.array([float(exact(1.0))])
    known, unknown = run(ts, [JUMP], y0=y0), run(ts, None, y0=y0)
    np.testing.assert_allclose(known.ys[:, 0], exact(ts), rtol=1e-7)
    assert int(known.stats.num_rejected) <= 2 < int(unknown.stats.num_rejected)
    assert int(known.stats.num_accepted) < int(unknown.stats.num_accepted)


@pytest.mark.parametrize("is_backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("later", [True, False], ids=["value of the later side", "value of the earlier side"])
def test_the_field_is_seen_from_the_side_of_the_step(x64, is_backward, later):
    """With one step on each side, any look at the other side would show; the jump is huge."""

    def field(t, y, args):
        is_after = t >= JUMP if later else t > JUMP
        return jnp.where(is_after, 1e6, 1.0) * jnp.ones_like(y)

    ts = jnp.array([0.0, JUMP, 1.0])[:: -1 if is_backward else 1]
    sol = run(ts, [JUMP], field, y0=jnp.zeros(1))
    slopes = [1e6, 1.0] if is_backward else [1.0, 1e6]
    expected = np.cumsum([0.0, *(np.diff(ts) * slopes)])
    np.testing.assert_allclose(sol.ys[:, 0], expected, rtol=1e-12)
    assert int(sol.stats.num_rejected) == 0


@pytest.mark.parametrize("jumps", [[0.0, 1.0], [-1.0, 5.0], [0.5, 0.5, 0.5], []], ids=str)
def test_jumps_at_the_ends_outside_and_repeated_change_nothing(x64, jumps):
    ts = jnp.array([0.0, 0.3, 1.0])
    sol = run(ts, jnp.asarray(jumps), lambda t, y, args: -y)
    assert int(sol.status) == nj.Status.success
    np.testing.assert_allclose(sol.ys[:, 0], np.exp(-np.asarray(ts)), rtol=1e-7)
    without = run(ts, None, lambda t, y, args: -y)
    assert int(sol.stats.num_accepted) <= int(without.stats.num_accepted) + 2


@pytest.mark.parametrize("jump", [0.0, 0.5])
@pytest.mark.parametrize("later", [True, False], ids=["value of the later side", "value of the earlier side"])
def test_a_jump_at_time_zero_is_as_good_as_another(precision, jump, later):
    def field(t, y, args):
        is_after = t >= jump if later else t > jump
        return jnp.where(is_after, 1e3, 1.0) * jnp.ones_like(y)

    sol = run(jnp.array([-1.0, jump, 1.0]), [jump], field, y0=jnp.zeros(1), rtol=1e-5)
    np.testing.assert_allclose(sol.ys[1:, 0], [1 + jump, 1 + jump + 1e3 * (1 - jump)], rtol=1e-6)


def test_the_field_is_not_asked_at_a_jump_at_the_end(x64):
    def field(t, y, args):
        return jnp.where(t == 1.0, jnp.nan, 1.0) * jnp.cos(t) * jnp.ones_like(y)

    sol = run(jnp.array([0.0, 1.0]), [1.0], field, y0=jnp.zeros(1))
    assert int(sol.status) == nj.Status.success
    np.testing.assert_allclose(sol.ys[-1], np.sin(1.0), rtol=1e-7)


@pytest.mark.parametrize("t0", [1e3, 1e5])
def test_float32_crosses_jumps_far_from_time_zero(t0):
    jumps = np.float32(t0) + np.array([0.5, 1.5], np.float32)

    def field(t, y, args):
        return jnp.where((t >= jumps[0]) & (t < jumps[1]), -1.0, 0.5) * jnp.ones_like(y)

    ts = jnp.asarray(np.float32(t0) + np.array([0.0, 0.5, 1.5, 2.5], np.float32))
    sol = run(ts, jumps, field, y0=jnp.zeros(1), rtol=1e-4)
    assert int(sol.status) == nj.Status.success
    np.testing.assert_allclose(sol.ys[:, 0], [0.0, 0.25, -0.75, -0.25], atol=1e-5)


@functools.cache
def end_gradient(adjoint, has_jumps):
    def loss(y0, rate, jump_ts):
        sol = solve(jnp.array([0.0, 0.3, 1.0]), jump_ts if has_jumps else None, y0=y0, rate=rate, adjoint=adjoint)
        return jnp.sum(sol.ys)

    return jax.jit(jax.grad(loss, argnums=(0, 1)))


@pytest.mark.parametrize(
    "adjoint",
    [nj.CheckpointedAdjoint(), nj.CheckpointedAdjoint(4), nj.DirectAdjoint(), nj.BacksolveAdjoint(), nj.GaussAdjoint()],
    ids=str,
)
def test_gradients_across_a_jump_are_those_of_the_solution(x64, adjoint):
    y0_bar, rate_bar = end_gradient(adjoint, True)(jnp.ones(1), jnp.array(1.0), jnp.array([JUMP]))
    times = np.array([0.0, 0.3, 1.0])
    np.testing.assert_allclose(y0_bar, exact(times).sum(), rtol=1e-6)
    exponent = times + np.maximum(times - JUMP, 0)
    np.testing.assert_allclose(rate_bar, -(exponent * exact(times)).sum(), rtol=1e-6)


@pytest.mark.parametrize(
    "adjoint",
    [
        nj.CheckpointedAdjoint(),
        nj.DirectAdjoint(),
        nj.ForwardMode(),
    ],
    ids=str,
)
def test_times_can_be_differentiated_beside_jumps(x64, adjoint):
    """dy/dt1 is the field at the end; moving the start moves the whole autonomous solution of each side."""

    def end(t1):
        return solve(jnp.stack([0.0, t1]), [JUMP], adjoint=adjoint).ys[-1, 0]

    derivative = jax.jacfwd(end) if isinstance(adjoint, nj.ForwardMode) else jax.grad(end)
    np.testing.assert_allclose(jax.jit(derivative)(jnp.array(1.0)), -2 * exact(1.0), rtol=1e-6)


def test_other_jump_times_do_not_trace_again_and_may_be_traced():
    traces = []

    def field(t, y, args):
        traces.append(1)
        return jnp.where(t >= args, 0.0, 1.0) * jnp.ones_like(y)

    for jump in (0.25, 0.5):
        jumps = jnp.array([jump])
        sol = nj.odeint(field, jnp.zeros(1), [0.0, 1.0], jumps[0], controller=nj.PIController(jump_ts=jumps))
        np.testing.assert_allclose(sol.ys[-1], [jump], rtol=1e-6)
    assert len(traces) == 1

    def end(jump):
        controller = nj.PIController(jump_ts=jump[None])
        return nj.odeint(field, jnp.zeros(1), [0.0, 1.0], jump, controller=controller).ys[-1, 0]

    jumps = jnp.array([0.1, 0.4, 0.7])
    np.testing.assert_allclose(jax.vmap(end)(jumps), jumps, rtol=1e-6)


@pytest.mark.parametrize("jump_ts", [[float("nan")], [float("inf")]])
def test_jumps_that_never_happen_are_refused(jump_ts):
    with pytest.raises(ValueError, match="jump_ts to be finite"):
        solve([0.0, 1.0], jump_ts)
