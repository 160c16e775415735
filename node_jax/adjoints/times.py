"""The gradient for the times of a discrete solve."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.stepping import Problem
from node_jax.tree import tree_vdot
from node_jax.types import State, Time


def times_cotangent_of_steps(
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
