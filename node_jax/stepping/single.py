"""The loop over steps for one system."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int, PyTree

from node_jax.solution import Stats
from node_jax.status import Status
from node_jax.stepping.outputs import first_rows, only_ends, write_rows
from node_jax.stepping.problem import LoopResult, Problem
from node_jax.stepping.tape import Tape
from node_jax.tree import expand_like, tree_all_finite, tree_where
from node_jax.types import State, Time

_SLACK = 1.001
"""A step that would leave less than a thousandth of itself to the end is stretched to end there."""


class _Carry(NamedTuple):
    t: Time
    dt: Time
    y: State
    f: State
    controller: PyTree
    ys: State
    row: Int[Array, ""]
    num_accepted: Int[Array, ""]
    num_rejected: Int[Array, ""]
    status: Int[Array, ""]
    is_running: Bool[Array, ""]
    tape: Tape | None


def integrate_single(problem: Problem, tape_rows: int | None) -> tuple[LoopResult, Tape | None]:
    """Step `problem` from `ts[0]` to `ts[-1]` and read off the values at `ts`.

    Arguments:
        problem: the problem.
        tape_rows: length of the tape of accepted steps to record; `None` records nothing.

    Returns:
        The result, and the tape (its rows from `stats.num_accepted` on are unused).
    """
    solver, controller, field = problem.solver, problem.controller, problem.field
    t_start, t_end = problem.ts[0], problem.ts[-1]
    f0 = field(t_start, problem.y0)
    dt0, memory = controller.first_step(field, t_start, t_end, problem.y0, f0, solver.order)
    ys, row = first_rows(problem)
    zero = jnp.zeros((), jnp.int32)
    status = jnp.where(tree_all_finite(f0) & tree_all_finite(problem.y0), Status.success, Status.non_finite)
    status = jnp.where((t_start + dt0 == t_start) & (t_start != t_end), Status.dt_underflow, status)
    status = jnp.where(problem.times_are_valid(), status, Status.invalid_input).astype(jnp.int32)
    tape = None if tape_rows is None else Tape.empty(tape_rows, t_start, problem.y0)
    start = _Carry(
        t=t_start,
        dt=lax.stop_gradient(dt0),
        y=problem.y0,
        f=f0,
        controller=lax.stop_gradient(memory),
        ys=ys,
        row=row,
        num_accepted=zero,
        num_rejected=zero,
        status=status,
        is_running=(status == Status.success) & (t_start != t_end),
        tape=tape,
    )
    end = lax.while_loop(lambda carry: carry.is_running, lambda carry: _attempt(problem, carry), start)

    if only_ends(problem):
        ys = jax.tree.map(lambda y0, y1: jnp.stack([y0, y1][: problem.ts.shape[0]]), problem.y0, end.y)
        num_saved = jnp.where(end.t == t_end, problem.ts.shape[0], 1).astype(jnp.int32)
    else:
        ys = jax.tree.map(lambda leaf: leaf[: problem.ts.shape[0]], end.ys)
        num_saved = end.row
    num_saved = jnp.where(end.status == Status.invalid_input, 1, num_saved)
    num_attempts = end.num_accepted + end.num_rejected
    num_evals = 1 + controller.num_evals_first_step + solver.num_evals(not only_ends(problem)) * num_attempts
    stats = Stats(num_evals.astype(jnp.int32), end.num_accepted, end.num_rejected)
    return LoopResult(_nan_beyond(ys, num_saved), end.status, stats, num_saved), end.tape


def _attempt(problem: Problem, carry: _Carry) -> _Carry:
    """One attempted step: step, decide, record, read off outputs."""
    t_end = problem.ts[-1]
    remaining = t_end - carry.t
    is_last = abs(carry.dt) * _SLACK >= abs(remaining)
    t1 = jnp.where(is_last, t_end, carry.t + carry.dt)
    # The size that was really taken, after rounding of t1: the tape must add up to the times.
    dt = lax.stop_gradient(t1 - carry.t)
    step = problem.solver.step(problem.field, carry.t, dt, carry.y, carry.f)
    decision = problem.controller.decide(carry.controller, t1, dt, carry.y, step.z1, step.error, problem.solver.order)
    accept = decision.accept

    tape = None if carry.tape is None else carry.tape.write(carry.num_accepted, carry.t, dt, carry.y)
    if only_ends(problem):
        ys, row = carry.ys, carry.row
    else:
        # A rejected attempt reaches no output: its end is moved back to its start.
        reached = jnp.where(accept, t1, carry.t)
        ys, row = write_rows(problem, carry.ys, carry.row, carry.t, dt, reached, carry.y, step)

    num_accepted = carry.num_accepted + accept
    num_rejected = carry.num_rejected + ~accept
    t, y, f = tree_where(accept, (t1, step.z1, step.f1), (carry.t, carry.y, carry.f))
    is_done = accept & is_last
    # In floating point a smaller step may still end at the same t1: no progress is possible then.
    next_t1 = t + decision.dt
    has_stalled = (next_t1 == t) | (~accept & (next_t1 == t1)) | problem.controller.is_too_small(decision.dt)
    is_finite = tree_all_finite(step.z1)
    status = jnp.where(
        is_done,
        Status.success,
        jnp.where(
            (has_stalled & ~is_finite) | (~accept & (not problem.controller.is_adaptive)),
            Status.non_finite,
            jnp.where(
                has_stalled,
                Status.dt_underflow,
                jnp.where(num_accepted + num_rejected >= problem.max_steps, Status.max_steps, Status.success),
            ),
        ),
    ).astype(jnp.int32)
    return _Carry(
        t=t,
        dt=decision.dt,
        y=y,
        f=f,
        controller=decision.state,
        ys=ys,
        row=row,
        num_accepted=num_accepted,
        num_rejected=num_rejected,
        status=status,
        is_running=~is_done & (status == Status.success),
        tape=tape,
    )


def _nan_beyond(ys: State, num_saved: Int[Array, ""]) -> State:
    """`ys` with NaN in all rows from `num_saved` on."""

    def fill(leaf: Array) -> Array:
        is_saved = jnp.arange(leaf.shape[0]) < num_saved
        return jnp.where(expand_like(is_saved, leaf), leaf, jnp.nan)

    return jax.tree.map(fill, ys)
