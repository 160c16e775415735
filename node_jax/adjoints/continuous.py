"""What the continuous adjoints share: how outputs enter, what is refused, the gradient for the times."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from node_jax.adjoints.base import AbstractAdjoint
from node_jax.adjoints.rule import Solved
from node_jax.solvers import AbstractSolver
from node_jax.stepping import Problem
from node_jax.tree import tree_read, tree_vdot
from node_jax.types import State, Time


class Outputs(eqx.Module):
    """The outputs of a solve, each time once: cotangents of repeated times are summed."""

    ts: Float[Array, " time"]
    """The requested times; those that were not reached are equal to the last that was."""
    ys: State
    """Values at the times, NaN where the solve did not come."""
    rows: State
    """Cotangents: of equal times their sum in the first row, zero in the others."""

    @classmethod
    def of(cls, solved: Solved, ys: State, num_saved: Int[Array, ""]) -> "Outputs":
        """The outputs of a solve whose first `num_saved` rows `ys` were reached."""
        ts = solved.problem.ts
        numbers = jnp.arange(ts.shape[0])
        ts = jnp.where(numbers < num_saved, ts, ts[num_saved - 1])
        is_first = jnp.concatenate([jnp.array([True]), ts[1:] != ts[:-1]])
        first = lax.cummax(jnp.where(is_first, numbers, 0))
        rows = jax.tree.map(lambda leaf: jax.ops.segment_sum(leaf, first, ts.shape[0]), solved.rows)
        return cls(ts, ys, rows)

    def at(self, t: Time) -> tuple[State, State]:
        """The value and the summed cotangent of an output time."""
        first = jnp.argmax(self.ts == t)
        return tree_read(self.ys, first), tree_read(self.rows, first)


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
    f0 = jax.tree.map(lambda leaf, bar: jnp.where(bar == 0, 0, leaf), f0, y0_bar)
    return ts_bar.at[0].add(-tree_vdot(y0_bar, f0).astype(problem.ts.dtype))
