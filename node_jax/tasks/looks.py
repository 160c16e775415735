"""What tasks that solve trajectories tell of their solves: scalars to log, and a batch to look at."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from node_jax.analysis import measure_growth
from node_jax.integrate import Integrator
from node_jax.solution import Solution
from node_jax.solvers import AbstractSolver
from node_jax.status import is_success
from node_jax.tasks.base import Inspection
from node_jax.types import VectorField


def solve_metrics(solution: Solution) -> dict[str, Array]:
    """Means over a batch of solves: evaluations, accepted and rejected steps, and the share that failed."""
    stats = solution.stats
    return {
        "num_evals": jnp.mean(stats.num_evals.astype(float)),
        "num_accepted": jnp.mean(stats.num_accepted.astype(float)),
        "num_rejected": jnp.mean(stats.num_rejected.astype(float)),
        "failed_share": jnp.mean((~is_success(solution.status)).astype(float)),
    }


def monitor_solve(
    integrator: Integrator,
    field: VectorField,
    start: Float[Array, " dim"],
    times: Float[Array, " time"],
    end: Float[Array, " dim"],
    watches_growth: bool,
) -> dict[str, Array]:
    """Of one solve, the smallest and the largest step, and, if growth is watched, the scalars of `Growth` for the mean
    squared error of its last state.

    Arguments:
        integrator, field, start, times: of the solve.
        end: what the last state should be.
        watches_growth: whether growth is measured.
    """
    found = {}
    if isinstance(integrator.solver, AbstractSolver):
        solution = integrator(field, start, times, steps=True)
        assert solution.steps is not None
        sizes = jnp.abs(solution.steps.dt)
        found = {"dt_min": jnp.nanmin(sizes), "dt_max": jnp.nanmax(sizes)}
    if watches_growth:

        def error(state: Array) -> Array:
            return jnp.mean((state - end) ** 2)

        found |= measure_growth(field, start, times, loss=error, integrator=integrator).scalars()
    return found


def inspect_solves(solution: Solution, times: Any, targets: Any) -> Inspection:
    """A batch of solves to be looked at.

    Arguments:
        solution: of the batch.
        times: shape (batch, time).
        targets: shape (batch, time, dim); NaN where nothing was observed.
    """
    stats = solution.stats
    figures = {
        "evaluations": stats.num_evals,
        "accepted": stats.num_accepted,
        "rejected": stats.num_rejected,
        "mean squared error": jnp.nanmean((solution.ys - targets) ** 2, axis=(1, 2)),
    }
    arrays = (np.asarray(times), np.asarray(targets), np.asarray(solution.ys), np.asarray(solution.status))
    return Inspection(*arrays, {name: np.asarray(values) for name, values in figures.items()})
