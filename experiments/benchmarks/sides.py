"""One problem, many contenders: compile each, run them in turn, and put what came out into rows."""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.contender import Setting, Solve, Solved, gradient_of, relative_error
from experiments.benchmarks.harness import CompileFigures, Timing, compare, compile_figures
from experiments.benchmarks.report import say
from experiments.benchmarks.rivals import TorchProblem, diffrax_solve


@dataclass(frozen=True)
class Case:
    """A field, its starts, the times to save, the setting of the solvers, and whether the gradient is asked for."""

    field: Any
    y0: Any
    ts: Any
    setting: Setting
    final_only: bool = False
    is_gradient: bool = False

    def program(self, solve: Solve) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The function to compile, and its arguments: weights and starts are inputs, not constants."""
        parameters, static = eqx.partition(self.field, eqx.is_inexact_array)
        setting, final_only = self.setting, self.final_only

        def forward(parameters: Any, y0: Any, ts: Any) -> Any:
            return solve(eqx.combine(parameters, static), y0, ts, setting, final_only).ys

        def gradient(parameters: Any, y0: Any, ts: Any) -> Any:
            return gradient_of(solve, eqx.combine(parameters, static), y0, ts, setting, final_only)

        return gradient if self.is_gradient else forward, (parameters, self.y0, self.ts)

    def solved(self, solve: Solve) -> Solved:
        """The forward solve, on the host."""
        run = jax.jit(lambda y0: solve(self.field, y0, self.ts, self.setting, self.final_only))
        return jax.device_get(run(self.y0))

    @functools.cached_property
    def exact(self) -> Any:
        """The states or the gradient in float64 by Dopri8 of diffrax with tight tolerances, on the host."""
        with jax.enable_x64(True):
            field, y0, ts = jax.tree.map(
                lambda leaf: jnp.asarray(leaf, jnp.float64) if eqx.is_inexact_array(leaf) else leaf,
                (self.field, self.y0, self.ts),
            )
            setting = replace(self.setting, rtol=1e-11, atol=1e-12, max_steps=4096, solver="Dopri8")
            function, arguments = replace(self, field=field, y0=y0, ts=ts, setting=setting).program(diffrax_solve)
            return jax.device_get(jax.jit(function)(*arguments))


@dataclass(frozen=True)
class Measured:
    """What one contender needed for a case; compile figures only for jax."""

    timing: Timing
    figures: CompileFigures | None
    num_accepted: int
    error: float


COLUMNS = (
    "side",
    "run [ms]",
    "quartiles [ms]",
    "ratio to the first",
    "steps",
    "run a step [us]",
    "relative error",
    "times the floor",
    "trace [s]",
    "lower [s]",
    "compile [s]",
    "equations",
    "kernels",
    "temporaries [KiB]",
    "callback",
)


def measure(
    case: Case,
    contenders: Mapping[str, Solve],
    torch: Mapping[str, bool] | None = None,
    loops: Mapping[str, Callable[[], Any]] | None = None,
    rounds: int = 15,
    repeats: int = 1,
    turn: float = 0.02,
) -> dict[str, Measured]:
    """Compile all contenders, run them in turn.

    Arguments:
        case: what to solve.
        contenders: those in jax, by name; the first is the reference of ratios.
        torch: those of torchdiffeq, by name: whether to use its continuous adjoint.
        loops: what else takes turns, by name; only its time is known.
        rounds, turn: as in `compare`.
        repeats: how often to compile each.
    """
    calls: dict[str, Callable[[], Any]] = {}
    figures: dict[str, CompileFigures | None] = {}
    solved = {name: case.solved(solve) for name, solve in contenders.items()}
    # Of rows with steps of their own, the one that took most.
    steps = {name: int(np.max(side.num_accepted)) for name, side in solved.items()}
    for name, solve in contenders.items():
        say(name)
        function, arguments = case.program(solve)
        figures[name], compiled = compile_figures(function, *arguments, repeats=repeats)
        calls[name] = _bind(compiled, arguments)
    for name, use_adjoint in (torch or {}).items():
        problem = TorchProblem(case.field, case.y0, case.ts, case.setting, use_adjoint=use_adjoint)
        calls[name] = problem.gradient if case.is_gradient else problem.forward
        figures[name], steps[name] = None, -1
    others = dict(loops or {})
    timings = compare(calls | others, rounds, turn=turn)
    exact = case.exact
    errors = {name: relative_error(call(), exact) for name, call in calls.items()}
    # A gradient of what a failed solve reached is finite, and no result.
    errors |= {name: math.nan for name, side in solved.items() if not _is_finite(side.ys)}
    measured = {name: Measured(timings[name], figures[name], steps[name], errors[name]) for name in calls}
    return measured | {name: Measured(timings[name], None, -1, math.nan) for name in others}


def _is_finite(ys: Any) -> bool:
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(ys))


def _bind(compiled: Callable[..., Any], arguments: tuple[Any, ...]) -> Callable[[], Any]:
    return lambda: compiled(*arguments)


def rows_of(measured: Mapping[str, Measured], floor: float | None = None) -> list[tuple[Any, ...]]:
    """Rows for `COLUMNS`; with `floor` in seconds, how far each side is from it."""
    rows = []
    for name, side in measured.items():
        timing, figures = side.timing, side.figures
        rows.append(
            (
                name,
                timing.median * 1e3,
                f"{timing.lower * 1e3:.3g} to {timing.upper * 1e3:.3g}",
                timing.ratio_text(),
                side.num_accepted if side.num_accepted >= 0 else None,
                timing.median * 1e6 / side.num_accepted if side.num_accepted > 0 else None,
                side.error,
                timing.median / floor if floor else None,
                *(
                    (None,) * 7
                    if figures is None
                    else (
                        figures.trace,
                        figures.lower,
                        figures.compile,
                        figures.num_equations,
                        figures.num_kernels,
                        figures.temporary_bytes / 1024,
                        figures.has_callback,
                    )
                ),
            )
        )
    return rows
