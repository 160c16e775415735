"""What the continuous adjoints share: how outputs enter, what is refused, the gradient for the times."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from node_jax.adjoints.base import AbstractAdjoint
from node_jax.adjoints.rule import Solved
from node_jax.solvers import AbstractSolver
from node_jax.stepping import Problem
from node_jax.tree import tree_read, tree_vdot, tree_where_rows
from node_jax.types import State, Time


class Outputs(eqx.Module):
    """The outputs of a solve, each time once: cotangents of repeated times are summed."""

    ts: Float[Array, " time"]
    """The requested times; those that were not reached are equal to the last that was."""
    ys: State
    """Values at the times, of the last row of equal ones."""
    rows: State
    """Cotangents, summed over rows of equal times."""
    group: Int[Array, " time"]
    """Which entry of `ys` and `rows` belongs to a row of `ts`."""

    @classmethod
    def of(cls, solved: Solved, ys: State, num_saved: Int[Array, ""], rows: State) -> "Outputs":
        """The outputs of a solve whose first `num_saved` rows `ys` were reached; `rows` are zero beyond."""
        num_rows = solved.problem.ts.shape[0]
        is_saved = jnp.arange(num_rows) < num_saved
        ts = jnp.where(is_saved, solved.problem.ts, solved.problem.ts[num_saved - 1])
        ys = tree_where_rows(is_saved, ys, jax.tree.map(lambda leaf: leaf[num_saved - 1], ys))
        group = jnp.concatenate([jnp.zeros((1,), jnp.int32), jnp.cumsum(ts[1:] != ts[:-1], dtype=jnp.int32)])
        summed = jax.tree.map(lambda leaf: jax.ops.segment_sum(leaf, group, num_rows), rows)
        values = jax.tree.map(lambda leaf: jnp.zeros_like(leaf).at[group].set(leaf), ys)
        return cls(ts, values, summed, group)

    def at(self, t: Time) -> tuple[State, State]:
        """The value and the summed cotangent of an output time."""
        i = self.group[jnp.argmax(self.ts == t)]
        return tree_read(self.ys, i), tree_read(self.rows, i)


def refuse_path_and_costs(adjoint: AbstractAdjoint, problem: Problem, solver: AbstractSolver) -> None:
    """Raise `ValueError` where a continuous adjoint is asked for what only a discrete one has.

    Arguments:
        adjoint: whose name the message says.
        problem: what is asked for.
        solver: what solves backward, or is asked for the path of y.
    """
    name = type(adjoint).__name__
    if problem.wants_path or problem.costs:
        asked = "dense=True" if problem.wants_path else f"record={problem.costs}"
        raise ValueError(
            f"odeint: {name} differentiates the values at `ts` alone, and has no gradient for {asked}. "
            "Use adjoint=nj.CheckpointedAdjoint() or nj.DirectAdjoint()."
        )
    if not solver.is_plain:
        raise ValueError(
            f"odeint: {name} solves an equation of another structure backward, which "
            f"{type(solver).__name__} cannot step. Use a Runge-Kutta method such as nj.Tsit5(), or "
            "adjoint=nj.CheckpointedAdjoint()."
        )


def adjoint_slope(field: Callable[[State], State], y: State, a: State) -> State:
    """da/dt = -(∂f/∂y)ᵀ a at y."""
    _, pull = jax.vjp(field, y)
    return jax.tree.map(jnp.negative, pull(a)[0])


def times_cotangent(solved: Solved, ys: State, y0_bar: State) -> Float[Array, " time"]:
    """Each output moves along the slope there, and a shift of the start moves the whole solution."""
    problem = solved.problem
    slopes = jax.vmap(lambda t, y: problem.field(t, y))(problem.ts, ys)
    slopes = jax.tree.map(lambda leaf, row: jnp.where(row == 0, 0, leaf), slopes, solved.rows)
    ts_bar = jax.vmap(tree_vdot)(solved.rows, slopes).astype(problem.ts.dtype)
    f0 = problem.field(problem.ts[0], problem.y0)
    return ts_bar.at[0].add(-tree_vdot(y0_bar, f0).astype(problem.ts.dtype))
