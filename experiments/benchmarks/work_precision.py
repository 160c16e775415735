"""How right is a solve for its field evaluations?

DETEST's 25 problems, pendulum, cubic spiral, Lotka-Volterra and Lorenz in float64, by the same explicit methods of
node_jax and of diffrax, at six tolerances; Robertson and HIRES through diffrax's Kvaerno5 by our call and by its own.

    python -m experiments.benchmarks.work_precision [--quick] [--record]
"""

import functools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

import node_jax as nj
from experiments.benchmarks import ours, rivals
from experiments.benchmarks.contender import Setting, Solve, Solved
from experiments.benchmarks.harness import compare
from experiments.benchmarks.problems import DETEST, OTHERS, STIFF, Problem
from experiments.benchmarks.report import Results, Table, main, results_folder, say

SOLVERS = ("Bosh3", "Dopri5", "Tsit5", "Bosh5", "Dopri8")
BESIDE = {"Bosh5": "Tsit5"}
"""diffrax's best method of that order, where it lacks the same."""
TOLERANCES = (1e-3, 1e-5, 1e-7, 1e-8, 1e-9, 1e-11)
STIFF_TOLERANCES = (1e-3, 1e-5, 1e-7)
SIDES = ("node_jax", "diffrax")
_MAX_STEPS = 2**16
_LEAST_ERROR = 3e-12
"""Errors below this are those of the reference."""
_COLOURS: dict[str, str] = dict(zip(SOLVERS, ("#D55E00", "#009E73", "#0072B2", "#E69F00", "#CC79A7"), strict=True))


@dataclass(frozen=True)
class Point:
    """One solve: tolerance, evaluations (steps where nobody counts those), relative errors, attempted steps."""

    rtol: float
    evals: int
    end_error: float
    path_error: float
    steps: int
    end_evals: int | None = None
    """Evaluations of a solve that asks for the end alone, where dense output costs some of its own."""

    def evals_of(self, error: str) -> int:
        """What it takes to get one of the errors."""
        return self.evals if self.end_evals is None or error != "end_error" else self.end_evals

    @property
    def is_usable(self) -> bool:
        """Whether the solve came to its end with an error that the reference can tell."""
        return bool(np.isfinite(self.end_error)) and self.end_error > _LEAST_ERROR


def run(quick: bool = False) -> Results:
    """Measure error against evaluations."""
    results = Results("work_precision", "How right is a solve for its field evaluations?", [], is_quick=quick)
    explicit = DETEST + OTHERS
    if quick:
        explicit = tuple(problem for problem in explicit if problem.name in ("A3", "B1", "C1", "D3", "E2", "Lorenz"))
    solvers = tuple(name for name in (("Tsit5", "Dopri8") if quick else SOLVERS) if ours.has_solver(name))
    curves: dict[tuple[str, str, str], list[Point]] = {}
    with jax.enable_x64(True):
        for problem in explicit:
            say(problem.name)
            for solver in solvers:
                points = _curve(problem, solver, ours.solve, TOLERANCES)
                curves[problem.name, solver, "node_jax"] = [
                    replace(point, end_evals=ours.end_evals(solver, point.steps)) for point in points
                ]
                rival = BESIDE.get(solver, solver)
                theirs = curves.get((problem.name, rival, "diffrax"))
                curves[problem.name, solver, "diffrax"] = theirs or _curve(
                    problem, rival, rivals.diffrax_solve, TOLERANCES
                )
        results.tables += [_merit_table(explicit, solvers, curves), _tolerance_table(explicit, solvers, curves)]
        results.tables.append(_stiff_table(STIFF[:1] if quick else STIFF))
    folder = results_folder()
    folder.mkdir(parents=True, exist_ok=True)
    draw(explicit, solvers, curves, folder / "work_precision.png")
    results.data["curves"] = {
        " / ".join(key): [
            (point.rtol, point.evals, point.evals_of("end_error"), point.end_error, point.path_error)
            for point in points
        ]
        for key, points in curves.items()
    }
    results.notes += [
        "Errors are the largest over components at the end, relative to the largest component of the reference "
        "(DOP853 near rounding); those of saved times are the largest over 41 times, and contain the dense output.",
        "Figure of merit: the mean over the common range of evaluations of log10(error of node_jax / error of diffrax) "
        "at equal evaluations, curves interpolated in logarithms. Below zero node_jax is the more accurate.",
        "Both sides start with the same step. Coefficients of the controllers are equal (0.4, 0.3, 0); their "
        "limits are not: diffrax keeps or grows a step after an accepted one, node_jax may shrink it.",
        "Evaluations for the end are those of a solve that asks for the end alone: Dopri8 of node_jax spends 3 more in "
        "each step that holds a saved time, and takes the same steps. diffrax spends the same in every step.",
        "diffrax has no Bosh5: beside it are the curves of its Tsit5.",
        "Evaluations of diffrax are attempted steps times evaluations a step, plus one.",
    ]
    return results


def _curve(problem: Problem, solver: str, solve: Solve, tolerances: tuple[float, ...]) -> list[Point]:
    """One compilation, one solve for each tolerance."""
    # The same first step on both sides, small enough for every problem and method at the tightest tolerance.
    solve_at = _program(problem, solver, solve, atol_ratio=1e-2, dt0_ratio=1e-4, max_steps=_MAX_STEPS)
    return [_point(problem, rtol, jax.device_get(solve_at(jnp.asarray(rtol)))) for rtol in tolerances]


def _program(
    problem: Problem, solver: str, solve: Solve, *, atol_ratio: float, dt0_ratio: float, max_steps: int
) -> Callable[[jax.Array], Solved]:
    """A solve to be called with rtol, compiled once for all; the ratios are of atol to it, of dt0 to the span."""
    y0, ts = jnp.asarray(problem.y0, jnp.float64), jnp.asarray(problem.ts)

    def solve_at(rtol: jax.Array) -> Solved:
        return solve(problem.field, y0, ts, Setting(rtol, rtol * atol_ratio, problem.t1 * dt0_ratio, max_steps, solver))

    return jax.jit(solve_at).lower(jnp.asarray(1.0)).compile()


def _point(problem: Problem, rtol: float, solved: Any) -> Point:
    exact = problem.reference()
    steps = int(solved.num_accepted) + int(solved.num_rejected)
    errors = np.max(np.abs(np.asarray(solved.ys) - exact), axis=1)
    end, path = errors[-1] / np.max(np.abs(exact[-1])), np.max(errors) / np.max(np.abs(exact))
    return Point(rtol, int(solved.num_evals), float(end), float(path), steps)


def merit(mine: list[Point], theirs: list[Point], error: str = "end_error") -> float | None:
    """Mean of log10(my error / their error) at equal evaluations, over the range that both curves cover."""
    curves = []
    for points in (mine, theirs):
        used = sorted((point for point in points if point.is_usable), key=lambda point: point.evals_of(error))
        if len(used) < 2:
            return None
        curves.append((np.log10([p.evals_of(error) for p in used]), np.log10([getattr(p, error) for p in used])))
    low = max(evals[0] for evals, _ in curves)
    high = min(evals[-1] for evals, _ in curves)
    if low >= high:
        return None
    grid = np.linspace(low, high, 50)
    difference = np.interp(grid, *curves[0]) - np.interp(grid, *curves[1])
    return float(np.mean(difference))


def _merit_table(problems: tuple[Problem, ...], solvers: tuple[str, ...], curves: Any) -> Table:
    rows = []
    for solver in solvers:
        for label, error in (("end", "end_error"), ("saved times", "path_error")):
            by_family = defaultdict(list)
            for problem in problems:
                pair = (curves[problem.name, solver, side] for side in SIDES)
                value = merit(*pair, error=error)
                if value is not None:
                    by_family[problem.family].append(value)
            everything = [value for values in by_family.values() for value in values]
            rows.append(
                (
                    solver,
                    label,
                    *(
                        float(np.mean(by_family[family])) if by_family[family] else None
                        for family in _families(problems)
                    ),
                    float(np.mean(everything)) if everything else None,
                    len(everything),
                )
            )
    columns = ("method", "error at", *_families(problems), "mean", "problems")
    return Table("log10 of the error of node_jax over that of diffrax, at equal evaluations", columns, rows)


def _tolerance_table(problems: tuple[Problem, ...], solvers: tuple[str, ...], curves: Any) -> Table:
    """Geometric means over problems at each tolerance: how honest is rtol, and what does it cost?"""
    rows = []
    for solver in solvers:
        for index, rtol in enumerate(TOLERANCES):
            row: list[Any] = [solver, f"{rtol:g}"]
            for side in SIDES:
                points = [curves[problem.name, solver, side][index] for problem in problems]
                done = [point for point in points if point.is_usable]
                row += [
                    _geometric_mean([p.evals_of("end_error") for p in done]),
                    _geometric_mean([p.end_error for p in done]),
                    len(done),
                ]
            rows.append(tuple(row))
    columns = ["method", "rtol"]
    for side in SIDES:
        columns += [f"evaluations, {side}", f"error, {side}", f"usable, {side}"]
    return Table("Geometric means over the problems, by tolerance", tuple(columns), rows)


def _geometric_mean(values: list[float]) -> float | None:
    return float(np.exp(np.mean(np.log(values)))) if values else None


def _stiff_table(problems: tuple[Problem, ...]) -> Table:
    rows = []
    for problem in problems:
        say(problem.name)
        programs = {
            side: _program(problem, "Kvaerno5", solve, atol_ratio=1e-5, dt0_ratio=1e-7, max_steps=4096)
            for side, solve in {"node_jax": _through_ours, "diffrax": rivals.diffrax_solve}.items()
        }
        for rtol in STIFF_TOLERANCES:
            calls = {side: functools.partial(program, jnp.asarray(rtol)) for side, program in programs.items()}
            for side, timing in compare(calls, rounds=5).items():
                point = _point(problem, rtol, jax.device_get(calls[side]()))
                rows.append((problem.name, f"{rtol:g}", side, point.steps, point.end_error, timing.median * 1e3))
    columns = ("problem", "rtol", "call", "attempted steps", "error", "run [ms]")
    return Table("Stiff problems by diffrax's Kvaerno5, through our call and its own", columns, rows)


def _through_ours(field: Any, y0: Any, ts: Any, setting: Setting, final_only: bool = False) -> Any:
    """Kvaerno5 by `nj.odeint`."""
    import diffrax

    return ours.solve(field, y0, ts, setting, final_only, solver=diffrax.Kvaerno5())


def _families(problems: tuple[Problem, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(problem.family for problem in problems))


def draw(problems: tuple[Problem, ...], solvers: tuple[str, ...], curves: Any, path: Path) -> None:
    """One panel a family: geometric means over its problems of evaluations and error, a point a tolerance."""
    families = _families(problems)
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, (len(families) + 1) // 2, squeeze=False)
    for axes in grid.flat[len(families) :]:
        axes.set_visible(False)
    for axes, family in zip(grid.flat, families, strict=False):
        members = [problem.name for problem in problems if problem.family == family]
        for solver in solvers:
            for side in SIDES:
                if side == "diffrax" and solver in BESIDE:
                    continue
                points = [_family_point(curves, members, solver, side, index) for index in range(len(TOLERANCES))]
                evals, errors = zip(*(point for point in points if point is not None), strict=True)
                style = {"linestyle": "-", "marker": "o"} if side == "node_jax" else {"linestyle": "--", "marker": "x"}
                axes.plot(evals, errors, color=_COLOURS[solver], markersize=4, linewidth=1.3, **style)
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_yscale("log")
        axes.set_title(f"{family} ({len(members)} problem{'s' * (len(members) > 1)})", fontsize=10)
        axes.set_xlabel("field evaluations")
        axes.set_ylabel("relative error at the end")
        axes.grid(alpha=0.25, linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    handles = [Line2D([], [], color=_COLOURS[solver], label=solver) for solver in solvers]
    handles.append(Line2D([], [], color="black", marker="o", label=f"node_jax {nj.__version__}"))
    handles.append(Line2D([], [], color="black", marker="x", linestyle="--", label="diffrax"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    figure.savefig(path, dpi=110)


def _family_point(
    curves: Any, members: list[str], solver: str, side: str, index: int
) -> tuple[float | None, float | None] | None:
    """Geometric means of evaluations and error at one tolerance, if every problem of the family was solved."""
    points = [curves[name, solver, side][index] for name in members]
    if not all(np.isfinite(point.end_error) for point in points):
        return None
    errors = [max(point.end_error, _LEAST_ERROR / 100) for point in points]
    return _geometric_mean([point.evals_of("end_error") for point in points]), _geometric_mean(errors)


if __name__ == "__main__":
    main(run)
