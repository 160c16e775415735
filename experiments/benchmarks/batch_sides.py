"""Batches as problems, the ways to solve them, and how these are measured beside each other."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import node_jax as nj
from experiments.benchmarks import ours, rivals
from experiments.benchmarks.contender import Setting, Solve, loss_of
from experiments.benchmarks.harness import LONG_TURN, CompileFigures, Timing, compare, compile_figures
from experiments.benchmarks.report import Table, say


def oscillator(t: Any, y: Any, args: Any) -> Any:
    """Van der Pol's; `args` is a network, a tenth of which is added, or `None`, and the damping."""
    network, damping = args
    x, v = y[..., 0], y[..., 1]
    dy = jnp.stack([v, damping * (1 - x**2) * v - x], -1)
    return dy if network is None else dy + 0.1 * network(t, y, None)


def neural(t: Any, y: Any, args: Any) -> Any:
    """The network that is all of `args`."""
    return args[0](t, y, None)


class Bound(eqx.Module):
    """A field with its arguments, for a solver that passes none."""

    function: Any = eqx.field(static=True)
    args: Any

    def __call__(self, t: Any, y: Any, args: Any) -> Any:
        """dy/dt."""
        del args
        return self.function(t, y, self.args)


class Batched(NamedTuple):
    """What a solve of many returns, trajectories first."""

    ys: Any
    num_accepted: Any
    num_attempted: Any
    num_executed: Any
    """Attempts of all rows or lanes together, those that waited included."""


@dataclass(frozen=True)
class Problem:
    """A batch, and what is asked of it."""

    field: Any
    y0s: Any
    ts: Any
    """Shape (time,), or (batch, time) where a short series repeats its last time."""
    args: Any
    """A shared network first."""
    axes: Any
    """Axes of `args` as in `jax.vmap`."""
    setting: Setting
    final_only: bool = False
    is_gradient: bool = False
    hint: Any = None
    """What grows with the cost of a trajectory."""

    @property
    def in_axes(self) -> tuple[Any, Any, Any]:
        """Of starts, times and arguments."""
        return 0, 0 if jnp.ndim(self.ts) == 2 else None, self.axes

    def loss(self, ys: Any) -> Any:
        """The mean square of all that was saved; what pads a short series does not count."""
        if jnp.ndim(self.ts) == 1:
            return loss_of(ys)
        is_output = _is_output(self.ts)
        return jnp.sum(jnp.where(is_output[..., None], ys**2, 0)) / (jnp.sum(is_output) * ys.shape[-1])

    def program(self, solve: "SolveBatch") -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The function to compile, and its arguments.

        It returns the states, or the gradient for network and starts; and the solve without its states.
        """

        def forward(network: Any, y0s: Any, ts: Any, others: Any) -> tuple[Any, Batched]:
            solved = solve(replace(self, y0s=y0s, ts=ts, args=(network, *others)))
            return solved.ys, solved._replace(ys=None)

        def loss(network: Any, y0s: Any, ts: Any, others: Any) -> tuple[Any, Batched]:
            ys, counts = forward(network, y0s, ts, others)
            return self.loss(ys), counts

        function = jax.grad(loss, argnums=(0, 1), has_aux=True) if self.is_gradient else forward
        return function, (self.args[0], self.y0s, self.ts, self.args[1:])

    def exact(self) -> Any:
        """States or gradient in float64 by Dopri8 of diffrax with tight tolerances, on the host."""
        with jax.enable_x64(True):
            y0s, ts, args = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (self.y0s, self.ts, self.args))
            setting = replace(self.setting, rtol=1e-10, atol=1e-11, max_steps=2**14, solver="Dopri8")
            tight = replace(self, y0s=y0s, ts=ts, args=args, setting=setting)
            function, arguments = tight.program(solve_together_tightly if self.hint is None else solve_in_parts)
            return jax.device_get(jax.jit(function)(*arguments))[0]


SolveBatch = Callable[[Problem], Batched]


def _is_output(ts: Any) -> Any:
    """Which times are not repetitions of the one before, with which a short series goes on."""
    return jnp.diff(ts, axis=1, prepend=-jnp.inf) > 0


def solve_lanes(problem: Problem, cost_hint: Any = None, max_rows: int | None = None) -> Batched:
    """`nj.odeint_batch` with the lanes that it chooses, and in the given order where there is no hint."""
    setting = problem.setting
    solution = nj.odeint_batch(
        problem.field,
        problem.y0s,
        problem.ts,
        problem.args,
        in_axes=problem.in_axes,
        cost_hint=cost_hint,
        max_rows=max_rows,
        solver=getattr(nj, setting.solver)(),
        controller=ours.controller_of(setting),
        max_steps=setting.max_steps,
    )
    stats = solution.stats
    ys = solution.ys[:, -1:] if problem.final_only else solution.ys
    return Batched(ys, stats.num_accepted, stats.num_accepted + stats.num_rejected, stats.num_executed)


def solve_longest_first(problem: Problem, max_rows: int | None = None) -> Batched:
    """`solve_lanes` with its hints: who takes long does not begin last."""
    return solve_lanes(problem, problem.hint, max_rows)


def solve_mapped(one: Solve, problem: Problem) -> Batched:
    """A solve of one under `jax.vmap`: the loop runs until the last row is done."""

    def row(y0: Any, ts: Any, args: Any) -> Any:
        return one(Bound(problem.field, args), y0, ts, problem.setting, problem.final_only)

    solved = jax.vmap(row, in_axes=problem.in_axes)(problem.y0s, problem.ts, problem.args)
    attempted = solved.num_accepted + solved.num_rejected
    return Batched(solved.ys, solved.num_accepted, attempted, attempted.size * jnp.max(attempted))


def solve_together(problem: Problem) -> Batched:
    """The batch in the state: one step size for all."""
    field = Bound(problem.field, problem.args)
    solved = ours.solve(field, problem.y0s, problem.ts, problem.setting, problem.final_only)
    size = len(problem.y0s)
    accepted, rejected = (jnp.broadcast_to(count, (size,)) for count in (solved.num_accepted, solved.num_rejected))
    attempted = accepted + rejected
    return Batched(jnp.swapaxes(solved.ys, 0, 1), accepted, attempted, jnp.sum(attempted))


def solve_together_tightly(problem: Problem) -> Batched:
    """diffrax with the batch in the state; times may differ by where they end."""
    ts = problem.ts if problem.ts.ndim == 1 else jnp.max(problem.ts, axis=0)
    solved = rivals.diffrax_solve(Bound(problem.field, problem.args), problem.y0s, ts, problem.setting)
    ys = jnp.swapaxes(solved.ys, 0, 1)
    if problem.ts.ndim == 2:
        last = jnp.sum(_is_output(problem.ts), axis=1, keepdims=True) - 1
        index = jnp.minimum(jnp.arange(len(ts)), last)
        ys = jnp.take_along_axis(ys, index[..., None], axis=1)
    return Batched(ys, solved.num_accepted, solved.num_accepted + solved.num_rejected, -1)


def solve_in_parts(problem: Problem) -> Batched:
    """diffrax under vmap for alike oscillators, 64 at a time: else a tight solve takes minutes, but on a GPU."""
    at_once = 64 if jax.default_backend() == "cpu" else len(problem.y0s)
    order = jnp.argsort(problem.hint)
    problem, back = _in_order(problem, order)
    network, dampings = problem.args

    def part(rows: tuple[Any, Any]) -> Batched:
        y0s, dampings = rows
        return solve_mapped(rivals.diffrax_solve, replace(problem, y0s=y0s, args=(network, dampings)))

    parts = lax.map(part, (problem.y0s.reshape(-1, at_once, 2), dampings.reshape(-1, at_once)))
    rows = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[back], parts[:3])
    return Batched(rows[0], rows[1], rows[2], jnp.sum(parts.num_executed))


def _in_order(problem: Problem, order: Any) -> tuple[Problem, Any]:
    """The batch in another order, and the order that undoes it."""

    def take(tree: Any, axis: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[order], tree) if axis == 0 else tree

    _, ts_axis, axes = problem.in_axes
    args = tuple(take(part, axis) for part, axis in zip(problem.args, axes, strict=True))
    return replace(problem, y0s=problem.y0s[order], ts=take(problem.ts, ts_axis), args=args), jnp.argsort(order)


@dataclass(frozen=True)
class Measured:
    """What one side needed for a batch."""

    timing: Timing
    figures: CompileFigures
    solved: Batched
    result: Any
    """States, or a gradient."""

    @property
    def num_needed(self) -> int:
        """Attempted steps of all trajectories."""
        return int(np.sum(self.solved.num_attempted))

    @property
    def efficiency(self) -> float:
        """The share of executed steps that some trajectory needed."""
        return self.num_needed / int(self.solved.num_executed)


def measure_batch(sides: Mapping[str, tuple[Problem, SolveBatch]], rounds: int, repeats: int) -> dict[str, Measured]:
    """Compile all sides, run them in turn; the first is the reference of ratios."""
    calls: dict[str, Callable[[], Any]] = {}
    figures: dict[str, CompileFigures] = {}
    found: dict[str, tuple[Any, Batched]] = {}

    def keep(name: str, compiled: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        # What a call returns is the result: some sides take seconds, and must not be called for it once more.
        found[name] = compiled(*arguments)
        return found[name]

    for name, (problem, solve) in sides.items():
        say(name)
        function, arguments = problem.program(solve)
        figures[name], compiled = compile_figures(function, *arguments, repeats=repeats)
        calls[name] = functools.partial(keep, name, compiled, arguments)
    timings = compare(calls, rounds, turn=LONG_TURN)
    results = jax.device_get(found)
    return {name: Measured(timings[name], figures[name], results[name][1], results[name][0]) for name in sides}


def table_of(caption: str, measured: Mapping[str, Measured], columns: Mapping[str, Callable[[Measured], Any]]) -> Table:
    """The columns that all batches have, and some of this one between them."""
    before: dict[str, Callable[[Measured], Any]] = {
        "run [ms]": lambda side: side.timing.median * 1e3,
        "ratio to the first": lambda side: side.timing.ratio_text(),
        "efficiency": lambda side: side.efficiency,
        "needed steps": lambda side: side.num_needed,
    }
    after: dict[str, Callable[[Measured], Any]] = {
        "trace [s]": lambda side: side.figures.trace,
        "lower [s]": lambda side: side.figures.lower,
        "compile [s]": lambda side: side.figures.compile,
        "equations": lambda side: side.figures.num_equations,
        "temporaries [KiB]": lambda side: side.figures.temporary_bytes / 1024,
    }
    cells = before | dict(columns) | after
    rows = [(name, *(cell(side) for cell in cells.values())) for name, side in measured.items()]
    return Table(caption, ("side", *cells), rows)


def medians(measured: Mapping[str, Measured]) -> dict[str, float]:
    """Seconds of each side."""
    return {name: side.timing.median for name, side in measured.items()}
