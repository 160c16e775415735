"""What tasks that solve trajectories tell of their solves: scalars to log, and a batch to look at."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from node_jax.analysis import measure_growth
from node_jax.controllers import FixedSteps
from node_jax.errors import UsageError
from node_jax.integrate import Integrator
from node_jax.solution import Solution
from node_jax.solvers import AbstractSolver
from node_jax.status import is_success
from node_jax.tasks.base import Inspection
from node_jax.types import Args, VectorField


def solve_metrics(solution: Solution, integrator: Integrator) -> dict[str, Array]:
    """Means over a batch of solves: evaluations, accepted and rejected steps, and the share that failed.

    A solver of diffrax does not count evaluations, and has none.
    """
    stats = solution.stats
    counted = {}
    if isinstance(integrator.solver, AbstractSolver):
        counted = {"num_evals": jnp.mean(stats.num_evals.astype(float))}
    return {
        **counted,
        "num_accepted": jnp.mean(stats.num_accepted.astype(float)),
        "num_rejected": jnp.mean(stats.num_rejected.astype(float)),
        "failed_share": jnp.mean((~is_success(solution.status)).astype(float)),
    }


def monitor_solve(
    integrator: Integrator,
    field: VectorField,
    start: Float[Array, " dim"],
    times: Float[Array, " time"],
    args: Args = None,
    *,
    growth_of: Callable[[Float[Array, " dim"]], Float[Array, ""]] | None = None,
) -> dict[str, Array]:
    """Of one solve, the smallest and the largest step, and, if growth is watched, the scalars of `Growth`.

    Arguments:
        integrator, field, start, times, args: of the solve.
        growth_of: the loss of the last state whose gradients' growth is measured, such as `squared_error_to(end)`;
            `None` measures none.
    """
    found = {}
    if isinstance(integrator.solver, AbstractSolver):
        solution = integrator(field, start, times, args, steps=True)
        assert solution.steps is not None
        sizes = jnp.abs(solution.steps.dt)
        found = {"dt_min": jnp.nanmin(sizes), "dt_max": jnp.nanmax(sizes)}
    if growth_of is not None:
        found |= measure_growth(field, start, times, args, loss=growth_of, integrator=integrator).scalars()
    return found


def squared_error_to(end: Float[Array, " dim"]) -> Callable[[Float[Array, " dim"]], Float[Array, ""]]:
    """The mean squared error of a state that should be `end`."""

    def error(state: Float[Array, " dim"]) -> Float[Array, ""]:
        return jnp.mean((state - end) ** 2)

    return error


def inspect_solves(solution: Solution, times: Any, targets: Any) -> Inspection:
    """A batch of solves to be looked at.

    Arguments:
        solution: of the batch.
        times: shape (batch, time).
        targets: shape (batch, time, dim); NaN where nothing was observed.
    """
    error = np.asarray(jnp.nanmean((solution.ys - targets) ** 2, axis=(1, 2)))
    arrays = (np.asarray(times), np.asarray(targets), np.asarray(solution.ys), np.asarray(solution.status))
    return Inspection(*arrays, {**work_of(solution), "mean squared error": error})


def work_of(solution: Solution) -> dict[str, np.ndarray]:
    """Evaluations, if the solver counts them, and accepted and rejected steps of each solve of a batch."""
    stats = solution.stats
    is_counted = bool(jnp.all(stats.num_evals >= 0))
    counts = {
        **({"evaluations": stats.num_evals} if is_counted else {}),
        "accepted": stats.num_accepted,
        "rejected": stats.num_rejected,
    }
    return {name: np.asarray(values) for name, values in counts.items()}


def require_room(where: str, integrator: Integrator, num_intervals: int) -> None:
    """`max_steps` suffices for the longest solve that a task makes in training, validation or evaluation.

    Arguments:
        where: named in the error.
        integrator: it matters where its steps are counted beforehand.
        num_intervals: between the times of that solve.

    Raises:
        UsageError: if it does not: the run would fail in its report, after training.
    """
    controller = integrator.controller
    if isinstance(controller, FixedSteps) and controller.n * num_intervals > integrator.max_steps:
        raise UsageError(
            f"{where}: expected max_steps of at least {controller.n * num_intervals}, which {controller!r} takes over "
            f"the {num_intervals} intervals of the longest solve, got {integrator.max_steps}. Raise max_steps, or take "
            "fewer steps an interval."
        )


def with_more_steps(integrator: Integrator, factor: int) -> Integrator:
    """The same for a grid `factor` times as fine, on which a controller may take that many more steps."""
    return dataclasses.replace(integrator, max_steps=factor * integrator.max_steps)
