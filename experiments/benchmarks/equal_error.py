"""Times at equal error of the gradient: a side that is quick and wrong must not look good beside one that is not."""

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from experiments.benchmarks.contender import Solve, gradient_of, relative_error
from experiments.benchmarks.harness import compare
from experiments.benchmarks.report import Results, Table, say
from experiments.benchmarks.sides import Case

NOTE = (
    "Times at equal error are interpolated (log-log) over a sweep of rtol with atol = rtol / 100. Empty: the sweep did "
    "not come that near. A side that is nearer than asked at its loosest tolerance shows that time."
)


@dataclass(frozen=True)
class Point:
    """One tolerance of a sweep."""

    rtol: float
    error: float
    seconds: float


def add_times_at_equal_error(
    results: Results,
    case: Case,
    contenders: Mapping[str, Solve],
    tolerances: Mapping[str, Sequence[float]],
    targets: Sequence[float],
) -> None:
    """Add a table of times at the `targets`, from a sweep of each side over its `tolerances`."""
    exact = case.exact()
    sweeps = {}
    for name, solve in contenders.items():
        say(f"sweep: {name}")
        sweeps[name] = _sweep(case, solve, exact, tolerances[name], is_traced=name != "jax.experimental.ode")
    results.data["sweeps"] = {
        name: [(point.rtol, point.error, point.seconds) for point in points] for name, points in sweeps.items()
    }
    columns = ("side", *(f"time [ms] at error {target:g}" for target in targets), "smallest error seen")
    rows = [
        (name, *(_time_at(points, target) for target in targets), min((point.error for point in points), default=None))
        for name, points in sweeps.items()
    ]
    results.tables.append(Table("Time at equal relative error of the gradient", columns, rows))
    results.notes.append(NOTE)


def _sweep(case: Case, solve: Solve, exact: Any, tolerances: Sequence[float], is_traced: bool) -> list[Point]:
    """Error and time of the gradient at each tolerance; one compilation where tolerances can be traced."""
    parameters, static = eqx.partition(case.field, eqx.is_inexact_array)

    def gradient(parameters: Any, y0: Any, rtol: Any) -> Any:
        setting = replace(case.setting, rtol=rtol, atol=rtol * 1e-2, max_steps=512)
        return gradient_of(solve, eqx.combine(parameters, static), y0, case.ts, setting, case.final_only)

    traced = jax.jit(gradient)
    points = []
    for rtol in tolerances:
        call: Callable[[], Any] = functools.partial(traced, parameters, case.y0, jnp.asarray(rtol))
        if not is_traced:
            call = functools.partial(jax.jit(functools.partial(gradient, rtol=rtol)), parameters, case.y0)
        error = relative_error(call(), exact)
        points.append(Point(rtol, error, compare({"side": call}, rounds=5)["side"].median))
    return [point for point in points if math.isfinite(point.error)]


def _time_at(points: list[Point], target: float) -> float | None:
    """Milliseconds at a gradient error, interpolated in logarithms between the points that enclose it."""
    if not points or points[0].error <= target:
        return points[0].seconds * 1e3 if points else None
    for before, after in itertools.pairwise(points):
        if before.error >= target >= after.error:
            share = math.log(before.error / target) / math.log(before.error / after.error)
            return 1e3 * before.seconds ** (1 - share) * after.seconds**share
    return None
