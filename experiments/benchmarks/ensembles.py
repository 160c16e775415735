"""What does an ensemble cost, from eight trajectories to half a million?

Lorenz's system with ρ from 0 to 21, from t = 0 to 1: a thousand equal steps, and adaptive ones. It is the problem of
GPUODEBenchmarks (Utkarsh et al. 2024, doi:10.1016/j.cma.2023.116591), which compares packages on a GPU.

    python -m experiments.benchmarks.ensembles [--quick] [--record]
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import ours, rivals
from experiments.benchmarks.batch_sides import (
    Measured,
    Problem,
    SolveBatch,
    measure_batch,
    medians,
    solve_lanes,
    solve_mapped,
    table_of,
)
from experiments.benchmarks.contender import Setting
from experiments.benchmarks.problems import lorenz
from experiments.benchmarks.report import Results, main, say

SIZES = {"cpu": (8, 1024, 8192), "gpu": (8, 8192, 524_288)}
EQUAL = Setting(constant_dt=1e-3, max_steps=1024)
ADAPTIVE = Setting(rtol=1e-6, atol=1e-6, dt0=1e-3, max_steps=512)
PUBLISHED = replace(ADAPTIVE, rtol=1e-8, atol=1e-8)
"""The tolerance of the published figures, beyond what float32 can hold: both sides take some steps for rounding."""
NUM_CHECKED = 64
"""Trajectories whose error is measured."""


def run(quick: bool = False) -> Results:
    """Measure ensembles of Lorenz's system."""
    question = "What does an ensemble cost, from eight trajectories to half a million?"
    results = Results("ensembles", question, [], is_quick=quick)
    settings = {"1000 equal steps": EQUAL, "adaptive, 1e-6": ADAPTIVE, "adaptive, 1e-8": PUBLISHED}
    sizes = SIZES.get(jax.default_backend(), SIZES["gpu"])
    for size in sizes[::2] if quick else sizes:
        exact = _problem(_checked(size), size, ADAPTIVE).exact()[:, -1]
        for name, setting in settings.items():
            if not (quick and setting is PUBLISHED):
                problem = _problem(np.arange(size), size, setting)
                _ensemble(results, f"{size} trajectories, {name}", problem, exact, quick)
    results.notes += [
        f"Final states by Tsit5. Errors are those of {NUM_CHECKED} trajectories, relative to float64 at rtol 1e-10.",
        "Efficiency: attempted steps that some trajectory needed, over those that were executed, under vmap until the "
        "last row was done.",
    ]
    return results


def _lorenz(t: Any, y: Any, args: Any) -> Any:
    """Lorenz's system; `args` is `None`, for a network that there is not, and ρ."""
    _, rho = args
    return jnp.moveaxis(lorenz(jnp, t, jnp.moveaxis(y, -1, 0), rho), 0, -1)


def _problem(picked: np.ndarray, size: int, setting: Setting) -> Problem:
    """The `picked` trajectories of an ensemble of `size`."""
    y0s = jnp.broadcast_to(jnp.array([1.0, 0.0, 0.0]), (len(picked), 3))
    args, ts = (None, jnp.linspace(0.0, 21.0, size)[picked]), jnp.array([0.0, 1.0])
    return Problem(_lorenz, y0s, ts, args, (None, 0), setting, final_only=True)


def _checked(size: int) -> np.ndarray:
    """Which trajectories of an ensemble have their errors measured."""
    return np.linspace(0, size - 1, min(size, NUM_CHECKED)).astype(int)


def _ensemble(results: Results, what: str, problem: Problem, exact: np.ndarray, quick: bool) -> None:
    """`exact` holds the ends of the trajectories that are checked."""
    say(what)
    picked = _checked(len(problem.y0s))
    sides: dict[str, tuple[Problem, SolveBatch]] = {
        "node_jax, odeint_batch": (problem, solve_lanes),
        "node_jax, vmap": (problem, functools.partial(solve_mapped, ours.solve)),
        "diffrax, vmap": (problem, functools.partial(solve_mapped, rivals.diffrax_solve)),
    }
    measured = measure_batch(sides, rounds=3 if quick else 9, repeats=1)

    def errors(side: Measured) -> np.ndarray:
        ends = side.result[:, -1][picked]
        return np.linalg.norm(ends - exact, axis=-1) / np.linalg.norm(exact, axis=-1)

    columns: dict[str, Callable[[Measured], Any]] = {
        "most steps of one": lambda side: int(np.max(side.solved.num_attempted)),
        "a needed step [ns]": lambda side: side.timing.median * 1e9 / side.num_needed,
        "median error": lambda side: float(np.median(errors(side))),
        "largest error": lambda side: float(np.max(errors(side))),
    }
    results.tables.append(table_of(what, measured, columns))
    results.data[what] = medians(measured)


if __name__ == "__main__":
    main(run)
