"""Values at the requested times, read off the dense output while the loop runs, and the transpose of that.

Rows are handled in windows of a few at a time: most steps meet at most one window, so many requested times hardly
slow the loop, and a step that spans more of them runs the window loop again. Rows of a window beyond the step are
written with values that mean nothing and are overwritten when their own step comes; no `where` over a buffer is needed.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from node_jax.solvers import AbstractSolver, Step
from node_jax.stepping.problem import Problem
from node_jax.tree import tree_size
from node_jax.types import State, Time

_WINDOW_ELEMENTS = 4096
"""A window holds about this many numbers: enough to pay for its loop, too few to matter beside a large state."""


def window_length(problem: Problem) -> int:
    """Rows handled at once: from 1 for a large state to 8 for a small one."""
    most = max(1, min(8, problem.ts.shape[0] - 1))
    return max(1, min(most, _WINDOW_ELEMENTS // max(1, tree_size(problem.y0))))


def only_ends(problem: Problem) -> bool:
    """Whether `ts` holds just a start and an end, so that no dense output is needed."""
    return problem.ts.shape[0] <= 2


def first_rows(problem: Problem) -> tuple[State, Int[Array, ""]]:
    """The output buffer with y0 in every row, and the number of leading times that equal the start."""
    num_rows = problem.ts.shape[0] + (0 if only_ends(problem) else window_length(problem))
    ys = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_rows, *leaf.shape)), problem.y0)
    return ys, jnp.sum(problem.ts == problem.ts[0], dtype=jnp.int32)


def write_rows(
    problem: Problem, ys: State, row: Int[Array, ""], t0: Time, dt: Time, t1: Time, y0: State, step: Step
) -> tuple[State, Int[Array, ""]]:
    """Write the values at all times in (t0, t1] from a finished step.

    Arguments:
        problem: the problem; its `ts` say what is wanted.
        ys: the buffer, a window longer than `ts`.
        row: first row that is not yet written.
        t0, dt, t1, y0, step: the step.

    Returns:
        The buffer and the first row that is still missing.
    """
    window = window_length(problem)
    direction = problem.direction
    times = jnp.concatenate([problem.ts, jnp.full((window,), jnp.inf, t0.dtype) * direction])

    def more(carry: tuple[State, Array]) -> Array:
        return (times[carry[1]] - t1) * direction <= 0

    def write(carry: tuple[State, Array]) -> tuple[State, Array]:
        ys, row = carry
        here = lax.dynamic_slice_in_dim(times, row, window)
        is_reached = (here - t1) * direction <= 0
        theta = jnp.where(is_reached, (here - t0) / dt, 1.0)
        rows = jax.vmap(lambda x: problem.solver.interpolate(x, dt, y0, step))(theta)
        ys = jax.tree.map(lambda buffer, values: lax.dynamic_update_slice_in_dim(buffer, values, row, 0), ys, rows)
        return ys, row + jnp.sum(is_reached, dtype=jnp.int32)

    return lax.while_loop(more, write, (ys, row))


class RowCotangents:
    """The cotangents of the output rows, handed out step by step from the last step to the first."""

    def __init__(self, problem: Problem, cotangent: State) -> None:
        self.window = window_length(problem)
        self.direction = problem.direction
        pad = self.window
        self.times = jnp.concatenate([jnp.full((pad,), -jnp.inf, problem.ts.dtype) * self.direction, problem.ts])
        self.rows = jax.tree.map(
            lambda leaf: jnp.concatenate([jnp.zeros((pad, *leaf.shape[1:]), leaf.dtype), leaf]), cotangent
        )

    def accumulate(
        self,
        row: Int[Array, ""],
        t0: Time,
        totals: State,
        add: Callable[[State, Float[Array, " window"], Bool[Array, " window"], State, Int[Array, ""]], State],
    ) -> tuple[Int[Array, ""], State]:
        """Fold every row whose time is after `t0` into `totals`.

        Arguments:
            row: number of rows still to be handed out.
            t0: start time of the step.
            totals: what `add` folds into.
            add: `add(totals, times, mask, cotangents, first_row)` for one window; rows outside the step have mask
                False and a time that is to be ignored.

        Returns:
            The number of rows left, and the totals.
        """

        def more(carry: tuple[Array, State]) -> Array:
            return (self.times[carry[0] + self.window - 1] - t0) * self.direction > 0

        def fold(carry: tuple[Array, State]) -> tuple[Array, State]:
            row, totals = carry
            # Row i of `ts` stands at i + window in the padded arrays, so the window of rows that ends before `row`
            # starts there at `row`.
            here = lax.dynamic_slice_in_dim(self.times, row, self.window)
            mask = (here - t0) * self.direction > 0
            cotangents = jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, row, self.window), self.rows)
            totals = add(totals, here, mask, cotangents, row - self.window)
            return row - jnp.sum(mask, dtype=jnp.int32), totals

        return lax.while_loop(more, fold, (row, totals))


def transpose_interpolate(
    solver: AbstractSolver,
    theta: Float[Array, " window"],
    dt: Time,
    y0: State,
    step: Step,
    cotangents: State,
) -> tuple[State, tuple[State, ...], State]:
    """The transpose of `solver.interpolate` over a window, with θ and dt held constant.

    Returns:
        The cotangents of `step.z1`, of the stages, and of `y0`.
    """

    def interpolate(y1: State, stages: tuple[State, ...], start: State) -> State:
        return jax.vmap(lambda x: solver.interpolate(x, dt, start, Step(y1, None, stages, None)))(theta)

    _, transpose = jax.vjp(interpolate, step.z1, step.stages, y0)
    return transpose(cotangents)
