"""One attempted step, whatever the loop around it keeps."""

from functools import reduce
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from node_jax.controllers import Decision
from node_jax.kernels import one_kernel
from node_jax.solvers import Step
from node_jax.status import Status
from node_jax.stepping.costs import step_cost
from node_jax.stepping.happenings import jump_if_due, look_for_events, nodes_of
from node_jax.stepping.problem import Problem
from node_jax.stepping.progress import RUNNING, End, Progress
from node_jax.stepping.watch import NONE as NO_EVENT
from node_jax.stepping.watch import first_events
from node_jax.tree import (
    rms_norm,
    tree_add,
    tree_bytes,
    tree_nan_with,
    tree_nan_with_integrals,
    tree_put_states,
    tree_where,
    tree_without_integrals,
    tree_zero_if_finite,
)
from node_jax.types import BoundField, State, Time

_SLACK = 1.001
"""A step that would leave less than a thousandth of itself to the next stop is stretched to end there."""

_LARGEST_GAP = 0.01
"""Copies of the state that differ by more than this, relative to its size, no longer stand for one solution."""


class Attempt(NamedTuple):
    """What one attempt did."""

    accept: Bool[Array, ""]
    coefficients: tuple[State, ...] | None
    """Of the step's dense output, if that is needed."""
    error_ratio: Float[Array, ""]
    is_jump: Bool[Array, ""] | None
    """Whether this was no step but a jump of the state, if the problem has jumps."""


def begin(problem: Problem) -> tuple[Progress, State, Int[Array, ""]]:
    """The state of a solve before its first step, the slope at the start, and how many of the times lie there."""
    solver, ts = problem.solver, problem.ts
    z0 = solver.start(problem.y0)
    f0 = solver.slope(problem.field, ts[0], z0)
    dt, memory = _first_step(problem, f0)
    zero = jnp.zeros((), jnp.int32)
    zero_if_finite = tree_zero_if_finite(tree_nan_with(problem.y0, f0))

    @one_kernel()
    def judge() -> tuple[Time, Int[Array, ""], Int[Array, ""]]:
        t0 = ts[0]
        is_empty = t0 == ts[-1]
        status = _status_where(is_empty, Status.success, jnp.int32(RUNNING))
        status = _status_where(~jnp.isfinite(zero_if_finite), Status.non_finite, status)
        status = _status_where((t0 + dt == t0) & ~is_empty, Status.dt_underflow, status)
        is_valid, num_at_start = problem.judge_times()
        return t0, _status_where(~is_valid, Status.invalid_input, status), num_at_start

    t0, status, num_at_start = judge()
    progress = Progress(
        t=t0,
        dt=lax.stop_gradient(dt),
        z=z0,
        f=f0 if problem.reuses_slope else None,
        memory=lax.stop_gradient(memory),
        costs={name: jnp.zeros((), ts.dtype) for name in problem.costs},
        num_attempts=zero,
        num_accepted=zero,
        num_dense=zero if problem.chooses_dense else None,
        status=status,
        has_jumped=None if problem.jumps is None else jnp.asarray(False),
        events=None,
    )
    if problem.watch is not None:
        y0, slope = problem.y0, problem.field(t0, problem.y0)
        progress = progress._replace(events=first_events(problem.watch, t0, y0, slope, problem.direction))
    return progress, f0, num_at_start


def _first_step(problem: Problem, f0: State) -> tuple[Time, Any]:
    """The controller's first step and its memory. It sees the state without integrals, as in every attempt."""

    def field(t: Time, y: State) -> State:
        return tree_without_integrals(problem.field(t, tree_put_states(problem.y0, y)))

    y0, f0 = tree_without_integrals((problem.y0, f0))
    return problem.controller.first_step(field, problem.controller_ts, y0, f0, problem.solver.order)


def attempt(problem: Problem, stops: Array | None, now: Progress) -> tuple[Progress, Attempt]:
    """Step, decide, and move on where the step is accepted. Of a solve that has ended nothing changes that is read."""
    controller = problem.controller
    events, is_pending = now.events, jnp.asarray(False)
    if events is not None:
        is_pending = events.pending != NO_EVENT
    t1, dt, target, reaches_target = _aim(problem, stops, now, is_pending)
    step = take_step(problem, stops, problem.field, now.t, t1, dt, now.z, now.f)
    y0, y1 = problem.solver.read(now.z), problem.solver.read(step.z1)
    coefficients = problem.solver.coefficients(dt, step.stages) if problem.needs_dense else None
    # What is read later must be finite too: the last stage, if the error estimate does not see it, and dense output,
    # whose coefficients may overflow where no stage does.
    read_later = list(coefficients or ())
    if step.f1 is not None and problem.reads_last_slope and not problem.judges_last_slope:
        read_later.append(step.f1)
    if read_later:
        y1 = tree_nan_with(y1, reduce(tree_add, read_later))
    ts, order = problem.controller_ts, problem.solver.order
    before, error = tree_without_integrals((y0, step.error))
    decision = controller.decide(now.memory, ts, t1, dt, before, tree_nan_with_integrals(y1), error, order)
    f1 = step.f1 if problem.reuses_slope else None
    end = End(decision.accept, t1, step.z1, f1, decision.dt, decision.memory, events)
    is_found = end_status = None
    if problem.watch is not None:
        nodes = nodes_of(y0, y1, coefficients)
        is_fine = decision.accept & now.is_running
        is_wanted, is_firing = is_fine & ~is_pending, is_fine & is_pending & (t1 == target)
        end, is_found, end_status = look_for_events(problem, now, end, nodes, is_wanted, is_firing)
    if problem.at_stop is not None:
        end = end._replace(z=tree_where(jnp.any(stops == t1), problem.at_stop(t1, end.z), end.z))
    if controller.is_adaptive and (stops is not None or problem.watch is not None):
        # A step that was cut short at a stop says little about the next: that one starts at least at the full size,
        # and the small error of the short one is not remembered.
        is_cut = end.accept & reaches_target & (abs(target - now.t) < abs(now.dt))
        next_dt = jnp.where(is_cut & (abs(end.dt) < abs(now.dt)), now.dt, end.dt)
        end = end._replace(dt=next_dt, memory=tree_where(is_cut, now.memory, end.memory))
    is_jump, has_jumped = None, None
    if problem.jumps is not None:
        assert now.has_jumped is not None
        is_jump = now.is_running & ~now.has_jumped & problem.jumps.is_due(now.t)
        end = jump_if_due(problem, now, end, is_jump)
        has_jumped = is_jump | (now.has_jumped & ~end.accept)

    settled = _settle(problem, now, end, decision, is_found, is_jump)
    accept, t, next_dt, status, num_attempts, num_accepted = settled
    z, f = tree_where(accept, (end.z, end.f), (now.z, now.f))
    is_step = accept if is_jump is None else accept & ~is_jump
    costs = {
        name: total + jnp.where(is_step, step_cost(name, problem.solver, dt, now.z, step), 0)
        for name, total in now.costs.items()
    }
    num_dense = now.num_dense
    if num_dense is not None:
        num_dense = num_dense + (now.is_running & problem.holds_output(now.t, end.t))
    gap = problem.solver.gap(z)
    if gap is not None:
        status = _status_where(now.is_running & _is_wide(problem, gap, z), Status.copies_apart, status)
    if end_status is not None:
        status = _status_where(now.is_running & (end_status != Status.success), end_status, status)
    counts = (num_attempts, num_accepted, num_dense)
    progress = Progress(t, next_dt, z, f, end.memory, costs, *counts, status, has_jumped, end.events)
    return progress, Attempt(accept, coefficients, decision.error_ratio, is_jump)


def _aim(
    problem: Problem, stops: Array | None, now: Progress, is_pending: Bool[Array, ""]
) -> tuple[Time, Time, Time, Bool[Array, ""]]:
    """Where an attempt ends, and its size; where it must not go beyond, and whether it ends there."""

    @one_kernel(tree_bytes(now.z))
    def aim() -> Any:
        target = problem.ts[-1] if stops is None else _next_stop(problem, stops, now.t)
        if now.events is not None:
            target = jnp.where(is_pending, now.events.target, target)
        reaches_target = (abs(now.dt) * _SLACK >= abs(target - now.t)) | (now.t + now.dt == target)
        # Sizes are constants of the derivative: the end of a step moves with its start, wherever it was meant to be.
        t1 = tree_where(reaches_target, target, now.t + now.dt)
        t1 = lax.stop_gradient(t1) + (now.t - lax.stop_gradient(now.t))
        # The size that was really taken, after rounding of t1: the tape must add up to the times.
        return t1, lax.stop_gradient(t1 - now.t), target, reaches_target

    return aim()


def _settle(
    problem: Problem,
    now: Progress,
    end: End,
    decision: Decision,
    is_found: Bool[Array, ""] | None,
    is_jump: Bool[Array, ""] | None,
) -> tuple[Bool[Array, ""], Time, Time, Int[Array, ""], Int[Array, ""], Int[Array, ""]]:
    """Whether an attempt is accepted; time, next step and status after it; how many were made and accepted."""
    is_adaptive = problem.controller.is_adaptive

    @one_kernel(tree_bytes(now.z))
    def settle() -> Any:
        is_running = now.is_running
        accept = end.accept & is_running
        t, next_dt = tree_where(accept, end.t, now.t), end.dt
        num_attempts = now.num_attempts + is_running
        is_refused = ~(end.accept if is_found is None else end.accept | is_found)
        is_done = (t == problem.ts[-1]) & (accept if is_jump is None else accept & ~is_jump)
        if is_adaptive:
            too_far = jnp.where(is_refused, end.t, jnp.inf)
            next_dt = _representable(problem.direction, lax.stop_gradient(t), next_dt, lax.stop_gradient(too_far))
        has_stalled = (t + next_dt == t) | (decision.is_stuck & ~accept)
        is_broken = has_stalled & ~jnp.isfinite(decision.error_ratio) if is_adaptive else is_refused
        status = jnp.full((), RUNNING, jnp.int32)
        status = _status_where(num_attempts >= problem.max_steps, Status.max_steps, status)
        status = _status_where(has_stalled, Status.dt_underflow, status)
        status = _status_where(is_broken, Status.non_finite, status)
        status = _status_where(is_done, Status.success, status)
        status = lax.select(is_running, status, now.status)
        return accept, t, next_dt, status, num_attempts, now.num_accepted + accept

    return settle()


def _representable(direction: Time, t: Time, dt: Time, too_far: Time) -> Time:
    """`dt`, or the nearest step that moves t and ends before `too_far`, where a step was rejected; 0 if there is none.

    The smallest step that floating point has gets its turn, say to cross a jump, before a solve gives up.
    """
    dt = tree_where(t + dt == t, _next_float(t, direction) - t, dt)
    return tree_where(t + dt == too_far, _next_float(too_far, direction, is_back=True) - t, dt)


def _next_float(t: Time, direction: Time, is_back: bool = False) -> Time:
    """The floating-point number next to `t` in this direction, 1 or -1, or against it.

    `jnp.nextafter` towards infinity is many small operations of which seven more end up as kernels of a solve, each of
    them some milliseconds to compile.
    """
    whole = {2: jnp.int16, 4: jnp.int32, 8: jnp.int64}[t.dtype.itemsize]
    # Away from zero is up in bits, whatever the sign.
    is_away = t * direction < 0 if is_back else t * direction > 0
    bits = lax.bitcast_convert_type(t, whole) + lax.select(is_away, whole(1), whole(-1))
    least = jnp.finfo(t.dtype).smallest_subnormal
    # With t in the product, XLA has no constant of the loop to compute beforehand, which would be a kernel.
    return lax.select(t == 0, (t + direction) * (-least if is_back else least), lax.bitcast_convert_type(bits, t.dtype))


def _status_where(condition: Bool[Array, ""], status: Any, otherwise: Int[Array, ""]) -> Int[Array, ""]:
    """`status` where the condition holds."""
    return lax.select(condition, jnp.asarray(status, jnp.int32), otherwise)


def _is_wide(problem: Problem, gap: State, z: State) -> Bool[Array, ""]:
    """Whether the two copies of the state that some methods have differ by a hundredth of its size."""
    y0, y, gap = tree_without_integrals((problem.y0, problem.solver.read(z), gap))
    size = jnp.maximum(rms_norm(y0), rms_norm(y))
    return rms_norm(gap) > _LARGEST_GAP * size


def take_step(
    problem: Problem,
    stops: Array | None,
    field: BoundField,
    t0: Time,
    t1: Time,
    dt: Time,
    z0: State,
    f0: State | None = None,
    *,
    dense: bool | None = None,
    with_slope: bool = True,
) -> Step:
    """A step from t0 to t1 = t0 + dt, that sees a discontinuous field from the inner side at both ends."""
    field = inside(problem, stops, field, t0, t1)
    holds_output = problem.needs_dense if dense is None else dense
    if dense is None and problem.chooses_dense:
        holds_output = problem.holds_output(t0, t1)
    return problem.solver.step(field, t0, dt, z0, f0, dense=holds_output, with_slope=with_slope)


def inside(problem: Problem, stops: Array | None, field: BoundField, t0: Time, t1: Time) -> BoundField:
    """`field` with its time kept within (t0, t1), by a rounding error, at the ends where it may jump."""
    if stops is None or not problem.has_jumps:
        return field
    direction = problem.direction
    first = t0 + jnp.where(jnp.any(stops == t0), direction * _least_change(t0), 0)
    last = t1 - jnp.where(jnp.any(stops == t1), direction * _least_change(t1), 0)

    def inner(t: Time, y: State) -> State:
        return field(jnp.clip(t * direction, first * direction, last * direction) * direction, y)

    return inner


def _least_change(t: Time) -> Time:
    """What makes a difference to t: one or two units in its last place, and near zero the smallest normal number."""
    info = jnp.finfo(t.dtype)
    return lax.stop_gradient(jnp.maximum(info.eps * abs(t), info.tiny))


def _next_stop(problem: Problem, stops: Array, t: Time) -> Time:
    """The first stop beyond t, or the end of the solve."""
    direction = problem.direction
    after = jnp.sum(stops * direction <= t * direction, dtype=jnp.int32)
    stop = stops[jnp.minimum(after, stops.shape[0] - 1)]
    end = problem.ts[-1]
    is_before_end = (after < stops.shape[0]) & (stop * direction < end * direction)
    return jnp.where(is_before_end, stop, end)
