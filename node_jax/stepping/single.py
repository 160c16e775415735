"""The loop over steps for one system."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from node_jax.interpolate.dense import DensePath
from node_jax.kernels import one_kernel
from node_jax.solution import Stats
from node_jax.status import Status
from node_jax.stepping.attempt import attempt, begin
from node_jax.stepping.batching import any_over_batch
from node_jax.stepping.outputs import Rows, chunk_length, empty_path, extend_path, first_rows, restart_path, write_rows
from node_jax.stepping.problem import LoopResult, Problem
from node_jax.stepping.progress import Progress
from node_jax.stepping.tape import Tape
from node_jax.tree import tree_bytes, tree_where_rows, tree_write
from node_jax.types import State


class _Carry(NamedTuple):
    now: Progress
    num_nodes: Int[Array, ""]
    """Steps recorded: those accepted, under `jax.vmap` those that any lane accepted."""
    tape: Tape | None
    errors: Float[Array, " step"] | None
    path: DensePath | None
    first_node: Int[Array, ""]
    """Steps before those in `path`."""
    is_running: Bool[Array, ""]
    """Whether the solve has not ended, under `jax.vmap` that of any lane."""
    goes_on: Bool[Array, ""]
    """Whether it goes on within this chunk. The condition only reads it: one that computes is a kernel of its own."""


def integrate_single(
    problem: Problem,
    num_slots: int = 0,
    stride: int | None = None,
    *,
    with_slopes: bool = False,
) -> tuple[LoopResult, Tape | None, Rows | None]:
    """Step `problem` from `ts[0]` to `ts[-1]` and read off the values at `ts`.

    Arguments:
        problem: the problem.
        num_slots: how many states to keep on a tape (see `Tape.empty`); 0 keeps none.
        stride: keep every so many states; `None` lets the stride double when slots run out.
        with_slopes: whether to read dy/dt off beside y.

    Returns:
        The result; the tape, if states or times were asked for; the rows with slopes, if there are more than two times.
    """
    now, f0, num_at_start = begin(problem)
    slope = f0 if with_slopes else None
    stops = problem.stops()
    zero = jnp.zeros((), jnp.int32)
    length = 0 if problem.wants_path or problem.only_ends else chunk_length(problem)
    # A chunk of dense output holds all that a tape of every state does: it need not be written at each step.
    is_of_chunks = length > 0 and num_slots > problem.max_steps and _has_plain_nodes(problem)

    @one_kernel()
    def room() -> tuple[DensePath | None, Tape | None, Array | None, Rows | None, Array]:
        path = tape = errors = rows = None
        if problem.wants_path:
            # With room for the step of no length that the way back may begin with.
            path = empty_path(problem, problem.max_steps + 1)
        elif length:
            path = empty_path(problem, length)
        if num_slots or problem.wants_errors:
            num_at_once, has_jumps = 1 + length if is_of_chunks else 1, problem.jumps is not None
            settings = {"has_jumps": has_jumps, "num_at_once": num_at_once}
            tape = Tape.empty(problem.max_steps, now.t, problem.direction, now.z, num_slots, stride, **settings)
        if problem.wants_errors:
            errors = jnp.zeros((problem.max_steps,), now.t.dtype)
        if path is not None:
            rows = first_rows(problem, num_at_start, slope)
        return path, tape, errors, rows, any_over_batch(now.is_running)

    path, tape, errors, rows, is_running = room()
    start = _Carry(now, zero, None if is_of_chunks else tape, errors, path, zero, is_running, is_running)

    def steps(carry: _Carry) -> _Carry:
        return lax.while_loop(lambda carry: carry.goes_on, lambda carry: _attempt(problem, stops, carry, length), carry)

    if problem.wants_path:
        end = steps(start)
        assert end.path is not None
        assert rows is not None
        rows = write_rows(problem, end.path, end.now.t, rows)
    elif problem.only_ends:
        end = steps(start)
    else:

        def chunk(carry: tuple[_Carry, Rows, Tape | None]) -> tuple[_Carry, Rows, Tape | None]:
            inner, rows, tape = carry
            assert inner.path is not None
            y = problem.solver.read(inner.now.z)
            path = restart_path(problem, inner.path, inner.now.t, y)
            inner = steps(inner._replace(path=path, first_node=inner.num_nodes, goes_on=jnp.asarray(True)))
            path = inner.path
            assert path is not None
            if tape is not None:
                states = jax.tree.map(lambda leaf: leaf[:, 0], path.nodes)
                tape = tape.extend(inner.first_node, path.times, states)
            return inner, write_rows(problem, path, inner.now.t, rows), tape

        assert rows is not None
        first = (start, rows, tape if is_of_chunks else None)
        end, rows, tape = lax.while_loop(lambda carry: carry[0].is_running, chunk, first)
        if is_of_chunks:
            end = end._replace(tape=tape)

    now, num_rows = end.now, problem.ts.shape[0]
    if rows is None:
        y_end = problem.solver.read(now.z)
        ys = jax.tree.map(lambda y0, y1: jnp.stack([y0, y1][:num_rows]), problem.y0, y_end)
    else:
        ys = jax.tree.map(lambda leaf: leaf[:num_rows], rows.ys)
    if rows is None:
        is_reached = problem.ts * problem.direction <= now.t * problem.direction
        num_saved = jnp.where(now.status == Status.invalid_input, 1, jnp.sum(is_reached, dtype=jnp.int32))
    else:
        num_saved = rows.num_written
    result = LoopResult(
        ys=nan_beyond(ys, num_saved),
        status=now.status,
        stats=stats_of(problem, now.num_attempts, now.num_accepted, now.num_dense),
        num_saved=num_saved,
        costs=now.costs,
        path=end.path if problem.wants_path else None,
        errors=errors if errors is None else end.errors,
        times=end.tape.times if end.tape is not None and problem.wants_errors else None,
        z_end=now.z,
        num_nodes=end.num_nodes,
        events=now.events,
    )
    return result, end.tape, rows


def _has_plain_nodes(problem: Problem) -> bool:
    """Whether a node is a time and the state y, and nothing is asked of the tape but the way back."""
    return problem.solver.is_plain and problem.jumps is None and not problem.wants_errors


def _attempt(problem: Problem, stops: Array | None, carry: _Carry, length: int) -> _Carry:
    """One attempt of a chunk of `length` steps, 0 for any number, and its record. A rejected attempt leaves a record
    that the next overwrites.
    """
    now, did = attempt(problem, stops, carry.now)

    @one_kernel(tree_bytes(problem.y0))
    def count() -> tuple[Int[Array, ""], Bool[Array, ""], Bool[Array, ""]]:
        num_nodes, is_running = carry.num_nodes + any_over_batch(did.accept), any_over_batch(now.is_running)
        has_room = num_nodes - carry.first_node < length if length else True
        return num_nodes, is_running, is_running & has_room

    tape, errors, path = carry.tape, carry.errors, carry.path
    if tape is not None:
        tape = tape.write(carry.num_nodes + 1, now.t, now.z, did.is_jump)
    if errors is not None:
        errors = tree_write(errors, carry.num_nodes, did.error_ratio)
    if path is not None:
        assert did.coefficients is not None
        n = carry.num_nodes - carry.first_node
        path = extend_path(path, n, now.t, problem.solver.read(now.z), did.coefficients)
    num_nodes, is_running, goes_on = count()
    return _Carry(now, num_nodes, tape, errors, path, carry.first_node, is_running, goes_on)


def stats_of(
    problem: Problem,
    num_attempts: Int[Array, ""],
    num_accepted: Int[Array, ""],
    num_dense: Int[Array, ""] | None,
    num_executed: Int[Array, ""] | None = None,
) -> Stats:
    """What is told of a solve, or of each of a batch; evaluations follow from the number of attempts."""
    solver = problem.solver
    a_step = solver.num_evals(problem.needs_dense and num_dense is None)
    if solver.is_fsal and not problem.reuses_slope:
        # The first stage instead of the last, or beside it.
        a_step += problem.evaluates_last_slope
    num_evals = 1 + problem.controller.num_evals_first_step + a_step * num_attempts
    if num_dense is not None:
        num_evals += num_dense * (solver.num_evals(True) - solver.num_evals(False))
    return Stats(num_evals.astype(jnp.int32), num_accepted, num_attempts - num_accepted, num_executed)


def nan_beyond(ys: State, num_saved: Int[Array, ""]) -> State:
    """`ys` with NaN in all rows from `num_saved` on."""
    return jax.tree.map(lambda leaf: tree_where_rows(jnp.arange(leaf.shape[0]) < num_saved, leaf, math.nan), ys)
