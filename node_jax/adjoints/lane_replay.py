"""The states before every attempt of a chunk, of a batched solve whose tape does not have them all."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from node_jax.stepping import Batch, LaneTape, Problem, take_step
from node_jax.stepping.batching import any_over_batch, repeat
from node_jax.stepping.happenings import jump_instead
from node_jax.tree import tree_read, tree_where_rows, tree_write
from node_jax.types import State


class LaneReplay:
    """Takes the steps of chunks again, at the recorded ends, without error estimate or controller.

    Arguments:
        batch: the problems.
        has_queue: whether lanes change trajectories between chunks.
    """

    def __init__(self, batch: Batch, *, has_queue: bool) -> None:
        self.batch, self.has_queue = batch, has_queue

    def states(self, tape: LaneTape, chunk: Int[Array, ""]) -> tuple[State, State | None]:
        """Internal state and slope before each attempt of a chunk, with leading axes (attempt, lane)."""
        return self._steps(tape, chunk, self._states_before(tape, chunk))[1]

    def _states_before(self, tape: LaneTape, chunk: Int[Array, ""]) -> tuple[State, State | None]:
        """The states at the start of a chunk, from the last one before whose states were kept."""
        base = tape.kept_before(chunk)
        kept = tree_read(tape.states, tape.slot(base))
        if not tape.is_doubling:
            return kept

        def forward(state: Any) -> Any:
            i, now = state
            return i + 1, self._refill(tape, i + 1, self._steps(tape, i, now)[0])

        return lax.while_loop(lambda state: any_over_batch(state[0] < chunk), forward, (base, kept))[1]

    def _refill(
        self, tape: LaneTape, chunk: Int[Array, ""], now: tuple[State, State | None]
    ) -> tuple[State, State | None]:
        """What the lanes hold at the start of a chunk: those with a new trajectory its start."""
        if not self.has_queue:
            return now
        before, index = tree_read(tape.index, chunk - 1), tree_read(tape.index, chunk)
        is_new = before != index

        def start(problem: Problem) -> tuple[State, State | None]:
            z0 = problem.solver.start(problem.y0)
            return z0, problem.solver.slope(problem.field, problem.ts[0], z0) if problem.records_slope else None

        starts = self.batch.map(start, self.batch.rows(index))
        return tree_where_rows(is_new, starts, now)

    def _steps(
        self, tape: LaneTape, chunk: Int[Array, ""], first: tuple[State, State | None]
    ) -> tuple[tuple[State, State | None], tuple[State, State | None]]:
        """The states after a chunk and before each of its attempts, from those before the first."""
        index, times, num_attempts = tree_read((tape.index, tape.times, tape.num_attempts), chunk)
        is_jump = tree_read(tape.is_jump, chunk)
        problem_rows = self.batch.rows(index if self.has_queue else None)
        stops = stops_among(self.batch.map(Problem.stops, problem_rows), times)
        length = times.shape[0] - 1

        def step(problem: Problem, t0: Array, t1: Array, stops: Any, is_jump: Any, z: State, f: State | None) -> Any:
            with_slope = problem.records_slope
            taken = take_step(problem, stops, problem.field, t0, t1, t1 - t0, z, f, dense=False, with_slope=with_slope)
            after = (taken.z1, taken.f1 if with_slope else None)
            after = jax.tree.map(lambda new, old: jnp.where(t1 == t0, old, new), after, (z, f))
            if problem.jumps is None:
                return after
            return jump_instead(problem, problem.field, problem.jumps, is_jump, t0, z, *after)

        def forward(state: Any) -> Any:
            i, now, window = state
            after = self.batch.map(step, problem_rows, *ends_of(times, stops, i), tree_read(is_jump, i), *now)
            return i + 1, after, tree_write(window, i, now)

        window = jax.tree.map(lambda leaf: jnp.zeros((length, *leaf.shape), leaf.dtype), first)
        start = (jnp.zeros((), jnp.int32), first, window)
        return repeat(lambda state: state[0] < num_attempts, forward, start, length)[1:]


def stops_among(stops: Array | None, times: Float[Array, "node lane"]) -> Float[Array, "node lane"] | None:
    """Those of `times` that are stops, infinite where they are not: all that a step needs to know of its stops."""
    if stops is None:
        return None
    return jnp.where(jnp.any(stops[None] == times[..., None], axis=-1), times, jnp.inf)


def ends_of(times: Array, stops: Array | None, i: Array) -> tuple[Array, Array, Array | None]:
    """Start and end of attempt i in all lanes, and which of them are stops."""
    if stops is not None:
        stops = jnp.stack([tree_read(stops, i), tree_read(stops, i + 1)], axis=1)
    return tree_read(times, i), tree_read(times, i + 1), stops
