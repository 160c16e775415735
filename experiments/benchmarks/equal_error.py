"""Times at equal error: a side that is quick and wrong must not look good beside one that is not."""

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from experiments.benchmarks.contender import Solve, relative_error
from experiments.benchmarks.harness import LONG_TURN, compare
from experiments.benchmarks.report import Results, Table, say
from experiments.benchmarks.sides import Case

MOST_STEPS = 512
"""Of every solve here: more than any of them takes."""
NOTE = (
    "Times at equal error are interpolated (log-log) over a sweep of rtol with atol = rtol / 100; in parentheses their "
    "ratio to the first side's. The error of a tolerance counts as the largest from there to the tightest, so "
    "that a lucky one is no merit. Empty: the sweep does not enclose that error."
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
    what: str = "",
) -> None:
    """Add a table of times at the `targets`, from a sweep of each side over its `tolerances`.

    All sides at all tolerances take turns. `what` says of which case, where there are several tables.
    """
    exact = case.exact
    calls = {
        name: _calls(case, solve, tolerances[name], is_traced=name != "jax.experimental.ode")
        for name, solve in contenders.items()
    }
    say(f"equal error{what}")
    labels = {(name, rtol): f"{name} at {rtol:g}" for name, mine in calls.items() for rtol in mine}
    rounds = 5 if results.is_quick else 9
    timings = compare({label: calls[name][rtol] for (name, rtol), label in labels.items()}, rounds, turn=LONG_TURN)
    sweeps = {
        name: [
            Point(rtol, relative_error(call(), exact), timings[labels[name, rtol]].median)
            for rtol, call in mine.items()
        ]
        for name, mine in calls.items()
    }
    sweeps = {name: [point for point in points if math.isfinite(point.error)] for name, points in sweeps.items()}
    of_what = "gradient" if case.is_gradient else "states"
    results.data[f"sweeps, {of_what}{what}"] = {
        name: [(point.rtol, point.error, point.seconds) for point in points] for name, points in sweeps.items()
    }
    times = {name: [_time_at(points, target) for target in targets] for name, points in sweeps.items()}
    reference = next(iter(times.values()))
    rows = [
        (
            name,
            *(_beside(time, first) for time, first in zip(mine, reference, strict=True)),
            min((point.error for point in sweeps[name]), default=None),
        )
        for name, mine in times.items()
    ]
    columns = ("side", *(f"time [ms] at error {target:g}" for target in targets), "smallest error seen")
    results.tables.append(Table(f"Time at equal relative error of the {of_what}{what}", columns, rows))
    if NOTE not in results.notes:
        results.notes.append(NOTE)


def _beside(time: float | None, first: float | None) -> str | float | None:
    """Milliseconds, with their ratio to the first side's."""
    return time if time is None or first is None else f"{time:.3g} ({time / first:.2f})"


def _calls(case: Case, solve: Solve, tolerances: Sequence[float], is_traced: bool) -> dict[float, Callable[[], Any]]:
    """The states or the gradient at each tolerance; one compilation where tolerances can be traced."""
    _, arguments = case.program(solve)

    def run(arguments: Any, rtol: Any) -> Any:
        setting = replace(case.setting, rtol=rtol, atol=rtol * 1e-2, max_steps=MOST_STEPS)
        function, _ = replace(case, setting=setting).program(solve)
        return function(*arguments)

    if is_traced:
        traced = jax.jit(run).lower(arguments, jnp.asarray(tolerances[0])).compile()
        return {rtol: functools.partial(traced, arguments, jnp.asarray(rtol)) for rtol in tolerances}

    def compiled(rtol: float) -> Callable[[], Any]:
        return functools.partial(jax.jit(functools.partial(run, rtol=rtol)).lower(arguments).compile(), arguments)

    return {rtol: compiled(rtol) for rtol in tolerances}


def _time_at(points: list[Point], target: float) -> float | None:
    """Milliseconds at an error, interpolated in logarithms between the points that enclose it.

    The error of a tolerance counts as the largest from there to the tightest: a lucky one is no merit.
    """
    worst = [max(point.error for point in points[i:]) for i in range(len(points))]
    for i, (before, after) in enumerate(itertools.pairwise(worst)):
        if before > target >= after:
            share = math.log(before / target) / math.log(before / after)
            return 1e3 * points[i].seconds ** (1 - share) * points[i + 1].seconds ** share
    return None
