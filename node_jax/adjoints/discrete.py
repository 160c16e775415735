"""What the discrete adjoints of one solve and of a batch share: where the way back begins and ends, and the times.

Everything here is for one trajectory; a batch maps it.
"""

from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from node_jax.solvers import AbstractSolver, Step
from node_jax.stepping import Problem
from node_jax.tree import expand_like, tree_add, tree_any_nonzero, tree_scale, tree_vdot, tree_where_rows, tree_zeros
from node_jax.types import State, Time

_LARGE_ROWS = 2**22
"""Rows of so many numbers are not copied to be masked and reduced, at the price of a longer compilation."""


def cotangent_at_end(problem: Problem, rows: State, z_end: State) -> State:
    """The cotangent of the internal state where the solve ended.

    Arguments:
        problem: the problem.
        rows: cotangents of the outputs, leaves of shape (time, ...).
        z_end: the internal state at the end.

    Returns:
        That of the last row, where the end alone was read; else zero, for rows are read off the steps before.
    """
    if not _reads_end(problem):
        return tree_zeros(z_end)
    return jax.vjp(problem.solver.read, z_end)[1](jax.tree.map(lambda leaf: leaf[-1], rows))[0]


def cotangent_of_start(problem: Problem, rows: State, z_bar: State) -> State:
    """The cotangent of y0: through the internal state at the start, and through the rows that are y0 itself.

    Arguments:
        problem: the problem.
        rows: cotangents of the outputs, leaves of shape (time, ...).
        z_bar: that of the internal state at the start.
    """
    is_start = jnp.array([True, False]) if _reads_end(problem) else problem.ts == problem.ts[0]

    def total(leaf: Array) -> Array:
        if leaf.size < _LARGE_ROWS:
            return jnp.sum(tree_where_rows(is_start, leaf, 0), axis=0)
        return jnp.tensordot(is_start.astype(leaf.dtype), leaf, 1, precision=lax.Precision.HIGHEST)

    at_start = jax.tree.map(total, rows)
    return tree_add(jax.vjp(problem.solver.start, problem.y0)[1](z_bar)[0], at_start)


def _reads_end(problem: Problem) -> bool:
    """Whether the last row is the state at the end, instead of a value of dense output."""
    return problem.only_ends and problem.ts.shape[0] == 2


class DenseBars(NamedTuple):
    """Cotangents of what the dense output of a step is made of. It is linear in that, so that its transpose is written
    down instead of found by differentiating it.
    """

    ends: tuple[State, State]
    """Of the states at the start and the end."""
    stages: dict[int, State]
    """Of the stages that enter it, by their number."""

    @classmethod
    def of(cls, solver: AbstractSolver, dt: Time, parts: State, without: int | None = None) -> "DenseBars":
        """From the cotangents of its parts: both ends and the coefficients, leaves of shape (part, ...).

        Arguments:
            solver: the method.
            dt: signed step size.
            parts: the cotangents.
            without: a stage that is seen to elsewhere.
        """
        start, end, *coefficients = _take_apart(solver, parts)
        # Scaled once, instead of the sum for every stage.
        coefficients = [tree_scale(dt, coefficient) for coefficient in coefficients]
        stages = (i for i in range(solver.num_dense_stages) if i != without)
        found = {i: solver.stage_cotangent(i, coefficients) for i in stages}
        return cls((start, end), {i: bar for i, bar in found.items() if bar is not None})

    def read(self, solver: AbstractSolver, z0: State, step: Step) -> "DenseBars":
        """What these are the cotangents of, in a step from z0."""
        ends = (solver.read(z0), solver.read(step.z1))
        return DenseBars(ends, {i: step.stages[i] for i in self.stages})


def slope_cotangent(solver: AbstractSolver, dt: Time, parts: State) -> State:
    """The cotangent of a step's last stage from those of the parts of its dense output, leaves of shape (part, ...)."""
    return tree_scale(dt, solver.stage_cotangent(solver.last_stage, _take_apart(solver, parts, 2)))


def _take_apart(solver: AbstractSolver, parts: State, first: int = 0) -> list[State]:
    """Leaves of shape (part, ...) as one state for each part from number `first` on."""
    numbers = range(first, 2 + solver.num_coefficients)
    taken = [jax.tree.map(lambda leaf, part=part: leaf[part], parts) for part in numbers]
    # As in `ends_of`: the shape (1, ...) of a slice would be carried through all of a step's arithmetic.
    return lax.optimization_barrier(taken)


def last_read(problem: Problem, rows: State, costs: dict[str, Float[Array, ""]]) -> Time:
    """The last time at which something with a cotangent is read, times the direction; minus infinity if nothing is.

    A step from there on changes nothing, and its derivative may be infinite: 0 times infinity must stay 0.
    """
    ts = problem.ts * problem.direction
    last = last_nonzero(ts, rows)
    return jnp.where(tree_any_nonzero(costs), ts[-1], last) if problem.costs else last


def last_nonzero(times: Float[Array, " time"], rows: State) -> Time:
    """The largest of the times whose row is not zero; minus infinity if all are."""

    def last(leaf: Array) -> Time:
        is_read = leaf != 0
        if leaf.size >= _LARGE_ROWS:
            is_read = jnp.any(is_read, axis=tuple(range(1, leaf.ndim)))
        return jnp.max(jnp.where(is_read, expand_like(times, is_read), -jnp.inf), initial=-jnp.inf)

    return reduce(jnp.maximum, [last(leaf) for leaf in jax.tree.leaves(rows)])


def cotangent_of_times(
    problem: Problem, rows: State, slopes: State | None, z_end: State, shift: Time
) -> Float[Array, " time"]:
    """The cotangent of `ts`: each output moves along the slope there.

    Moving the start moves all steps: stage times by `shift`, every output to an earlier place in its step.

    Arguments:
        problem: the problem.
        rows: cotangents of the outputs.
        slopes: dy/dt at the times; `None` where the end alone was read, at the internal state `z_end`.
        shift: cotangent of a shift of all stage times.
    """
    if slopes is None:
        f_end = problem.field(problem.ts[-1], problem.solver.read(z_end))
        slopes = jax.tree.map(lambda row, leaf: jnp.zeros_like(row).at[-1].set(leaf), rows, f_end)
    else:
        slopes = jax.tree.map(lambda leaf: leaf[: problem.ts.shape[0]], slopes)
    # The slope at a time that was never reached may be NaN; the cotangent there is 0.
    slopes = jax.tree.map(lambda leaf, row: jnp.where(row == 0, 0, leaf), slopes, rows)
    ts_bar = jax.vmap(tree_vdot)(rows, slopes).astype(problem.ts.dtype)
    return ts_bar.at[0].add(shift - jnp.sum(ts_bar))
