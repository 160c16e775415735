"""What does each adjoint cost, in time, memory and accuracy of the gradient?

The oscillating MLP 2-64-64-2 with a batch of 128 in the state and 100 saved times. First every adjoint at one
tolerance; then a sweep of tolerances, from which the time at equal gradient error is read: a continuous adjoint that is
quick and wrong must not look good beside a discrete one.

    python -m experiments.benchmarks.adjoints [--quick] [--record]
"""

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import ours, rivals
from experiments.benchmarks.contender import Setting, Solve, gradient_of, loss_of, relative_error
from experiments.benchmarks.gradient import times
from experiments.benchmarks.harness import compare
from experiments.benchmarks.networks import oscillating_mlp, start_states
from experiments.benchmarks.report import Results, Table, main, say
from experiments.benchmarks.sides import COLUMNS, Case, measure, rows_of

SETTING = Setting(rtol=1e-4, atol=1e-6, dt0=0.01, max_steps=256)
TARGETS = (1e-2, 1e-3, 1e-4, 3e-5)
"""Relative errors of the gradient at which times are compared."""


@dataclass(frozen=True)
class Point:
    """One tolerance of a sweep."""

    rtol: float
    error: float
    seconds: float


def run(quick: bool = False) -> Results:
    """Measure all adjoints."""
    results = Results("adjoints", "What does each adjoint cost, and how right is its gradient?", [], is_quick=quick)
    case = Case(oscillating_mlp("tanh"), start_states(), times(100), SETTING, is_gradient=True)
    contenders = _contenders(quick)
    measured = measure(case, contenders, rounds=5 if quick else 11, repeats=1 if quick else 3)
    rows = rows_of(measured)
    forward = ours.forward_mode()
    if forward is not None:
        rows.append(_directional(case, forward))
    results.tables.append(Table("Gradient at rtol 1e-4, 100 saved times", COLUMNS, rows))

    exact = case.exact()
    sweeps = {}
    for name, solve in contenders.items():
        say(f"sweep: {name}")
        sweeps[name] = _sweep(case, solve, exact, _tolerances(name, quick), is_traced=name != "jax.experimental.ode")
    results.data["sweeps"] = {
        name: [(point.rtol, point.error, point.seconds) for point in points] for name, points in sweeps.items()
    }
    columns = ("side", *(f"time [ms] at error {target:g}" for target in TARGETS), "smallest error seen")
    rows = [
        (name, *(_time_at(points, target) for target in TARGETS), min(point.error for point in points))
        for name, points in sweeps.items()
    ]
    results.tables.append(Table("Time at equal relative error of the gradient", columns, rows))
    results.notes += [
        "The gradient is for all weights and y0; its error is relative to float64 at rtol 1e-11, so it holds the "
        "error of the solve as well as that of the adjoint.",
        "Times at equal error are interpolated (log-log) over a sweep of rtol with atol = rtol / 100. Empty: the sweep "
        "did not come that near. A side that is nearer than asked at its loosest tolerance shows that time.",
        "Backsolve-like sides solve backward at the tolerance of the forward solve.",
    ]
    return results


def _contenders(quick: bool) -> dict[str, Solve]:
    found: dict[str, Solve] = {
        f"node_jax, {label}": functools.partial(ours.solve, adjoint=adjoint)
        for label, adjoint in ours.reverse_adjoints().items()
    }
    found |= rivals.diffrax_contenders(SETTING.max_steps)
    found["jax.experimental.ode"] = rivals.jax_solve
    skipped = {"diffrax, vmap"}
    if quick:
        skipped |= {"diffrax, Direct"}
    return {name: solve for name, solve in found.items() if name not in skipped}


def _tolerances(name: str, quick: bool) -> tuple[float, ...]:
    """Backsolve in diffrax starts anew at every saved time, and takes seconds at a tight tolerance."""
    if quick or name == "diffrax, Direct":
        return (1e-2, 1e-3, 1e-4, 1e-5)
    return (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


def _sweep(case: Case, solve: Solve, exact: Any, tolerances: tuple[float, ...], is_traced: bool) -> list[Point]:
    """Error and time of the gradient at each tolerance; one compilation where tolerances can be traced."""
    parameters, static = eqx.partition(case.field, eqx.is_inexact_array)

    def gradient(parameters: Any, y0: Any, rtol: Any) -> Any:
        setting = replace(case.setting, rtol=rtol, atol=rtol * 1e-2, max_steps=512)
        return gradient_of(solve, eqx.combine(parameters, static), y0, case.ts, setting)

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


def _directional(case: Case, adjoint: Any) -> tuple[Any, ...]:
    """One derivative of the loss by forward mode, along its own gradient for y0: what a direction costs."""
    exact = case.exact()[1]
    direction = jnp.asarray(exact / np.linalg.norm(exact), case.y0.dtype)

    def loss(y0: Any) -> Any:
        return loss_of(ours.solve(case.field, y0, case.ts, case.setting, adjoint=adjoint).ys)

    compiled = jax.jit(lambda y0: jax.jvp(loss, (y0,), (direction,))[1]).lower(case.y0).compile()
    timing = compare({"jvp": lambda: compiled(case.y0)}, rounds=5)["jvp"]
    error = abs(float(compiled(case.y0)) / np.linalg.norm(exact) - 1)
    row: list[Any] = [None] * len(COLUMNS)
    row[0], row[1] = "node_jax, ForwardMode, one direction", timing.median * 1e3
    row[COLUMNS.index("relative error")] = error
    row[COLUMNS.index("temporaries [KiB]")] = compiled.memory_analysis().temp_size_in_bytes / 1024
    return tuple(row)


if __name__ == "__main__":
    main(run)
