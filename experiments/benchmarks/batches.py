"""What does a batch cost in which every trajectory has its own steps?

Oscillators of van der Pol whose damping differs up to three hundredfold, so that the hardest needs a hundred times the
steps of the easiest; the same with a shared network in the field, and its gradient; a homogeneous batch of a neural
ODE, where steps of one's own gain nothing; and series of different lengths.

    python -m experiments.benchmarks.batches [--quick] [--record]
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import node_jax as nj
from experiments.benchmarks import ours, rivals
from experiments.benchmarks.contender import Setting, Solve, loss_of, relative_error
from experiments.benchmarks.harness import (
    CompileFigures,
    Timing,
    compare,
    compile_figures,
    field_time,
    gradient_floor,
    vjp_time,
)
from experiments.benchmarks.networks import oscillating_mlp, start_states
from experiments.benchmarks.report import Results, Table, main, say
from node_jax.stepping.batch import choose_lanes

SPREADS = ((0.1, 30.0), (0.1, 3.0), (1.0, 10.0))
"""Smallest and largest damping, log-uniform between."""
OSCILLATORS = Setting(rtol=1e-5, atol=1e-5, dt0=0.01, max_steps=4096)
NEURAL = Setting(rtol=1e-4, atol=1e-6, dt0=0.01, max_steps=128)
OSCILLATORS_END, GRADIENT_END, HOMOGENEOUS_END = 20.0, 5.0, 6.0
SERIES_STEP = 0.06
"""Between two saved times of a series."""
SHORTEST, LONGEST = 5, 200
"""Saved times of a series."""
STAGES = 6
"""Of Tsit5, without the one that the next step shares."""


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


def solve_lanes(problem: Problem) -> Batched:
    """`nj.odeint_batch` in the given order with the lanes that it chooses."""
    setting = problem.setting
    solution = nj.odeint_batch(
        problem.field,
        problem.y0s,
        problem.ts,
        problem.args,
        in_axes=problem.in_axes,
        solver=getattr(nj, setting.solver)(),
        controller=nj.PIController(rtol=setting.rtol, atol=setting.atol, dt0=setting.dt0),
        max_steps=setting.max_steps,
    )
    stats = solution.stats
    ys = solution.ys[:, -1:] if problem.final_only else solution.ys
    return Batched(ys, stats.num_accepted, stats.num_accepted + stats.num_rejected, stats.num_executed)


def solve_longest_first(problem: Problem) -> Batched:
    """`solve_lanes` of trajectories in the order of their hints: who takes long does not begin last."""
    sorted_problem, back = _in_order(problem, jnp.argsort(-problem.hint))
    solved = solve_lanes(sorted_problem)
    rows = jax.tree.map(lambda leaf: leaf[back], (solved.ys, solved.num_accepted, solved.num_attempted))
    return Batched(rows[0], rows[1], rows[2], solved.num_executed)


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
    """diffrax under vmap for 64 oscillators at a time, alike ones together: else a tight solve takes minutes."""
    order = jnp.argsort(problem.hint)
    problem, back = _in_order(problem, order)
    network, dampings = problem.args

    def part(rows: tuple[Any, Any]) -> Batched:
        y0s, dampings = rows
        return solve_mapped(rivals.diffrax_solve, replace(problem, y0s=y0s, args=(network, dampings)))

    parts = lax.map(part, (problem.y0s.reshape(-1, 64, 2), dampings.reshape(-1, 64)))
    rows = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[back], parts[:3])
    return Batched(rows[0], rows[1], rows[2], jnp.sum(parts.num_executed))


def _in_order(problem: Problem, order: Any) -> tuple[Problem, Any]:
    """The batch in another order, and the order that undoes it."""

    def take(tree: Any, axis: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[order], tree) if axis == 0 else tree

    _, ts_axis, axes = problem.in_axes
    args = tuple(take(part, axis) for part, axis in zip(problem.args, axes, strict=True))
    return replace(problem, y0s=problem.y0s[order], ts=take(problem.ts, ts_axis), args=args), jnp.argsort(order)


def run(quick: bool = False) -> Results:
    """Measure batches whose trajectories have steps of their own."""
    results = Results(
        "batches", "What does a batch cost in which every trajectory has its own steps?", [], is_quick=quick
    )
    for spread in SPREADS:
        _oscillators(results, spread, 1024 if quick and spread != SPREADS[0] else 4096, quick)
    _gradient(results, quick)
    for width in (64, 256):
        _homogeneous(results, width, quick)
    for is_gradient in (False, True):
        _series(results, is_gradient, quick)
    results.notes += [
        "Efficiency: attempted steps that some trajectory needed, over those that were executed. Under vmap every row "
        "is executed until the last is done.",
        f"A trajectory is unfinished that {OSCILLATORS.max_steps} steps do not bring to its end: the decay of a far "
        "start with a strong damping is stiff. It counts with the steps that it took, and has no error.",
        "Errors are relative to float64 at rtol 1e-10: of each trajectory's end, of all states, or of the gradient.",
        "Longest first: sorted by damping, the sorting within what is timed.",
        "The floor is that of evaluations and transposes for as many rows as there are lanes, divided by their number.",
        "An iteration is one pass of the loop over steps, in which every row attempts one, with its part of everything "
        "else: outputs, and the way back.",
        "Series: a needed step of the ragged batch should cost what one of the uniform batch does, a ratio of 1.",
    ]
    return results


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
    timings = compare(calls, rounds)
    results = jax.device_get(found)
    return {name: Measured(timings[name], figures[name], results[name][1], results[name][0]) for name in sides}


def _table(caption: str, measured: Mapping[str, Measured], columns: Mapping[str, Callable[[Measured], Any]]) -> Table:
    """The columns that all batches have, and some of this one between them."""
    before: dict[str, Callable[[Measured], Any]] = {
        "run [ms]": lambda side: side.timing.median * 1e3,
        "ratio to the first": lambda side: _quartiles(side.timing, 1.0),
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


def _quartiles(timing: Timing, factor: float) -> str:
    values = (timing.ratio, timing.ratio_lower, timing.ratio_upper)
    return "{:.2f} ({:.2f} to {:.2f})".format(*(factor * value for value in values))


def _oscillator_batch(spread: tuple[float, float], size: int) -> tuple[Any, Any]:
    """Starts and dampings."""
    key_start, key_damping = jax.random.split(jax.random.key(0))
    low, high = (math.log(bound) for bound in spread)
    dampings = jnp.exp(jax.random.uniform(key_damping, (size,), minval=low, maxval=high))
    return 2.0 * jax.random.normal(key_start, (size, 2)), dampings


def _oscillators(results: Results, spread: tuple[float, float], size: int, quick: bool) -> None:
    """Forward, final state only."""
    y0s, dampings = _oscillator_batch(spread, size)
    ts, args = jnp.array([0.0, OSCILLATORS_END]), (None, dampings)
    problem = Problem(oscillator, y0s, ts, args, (None, 0), OSCILLATORS, final_only=True, hint=dampings)
    what = f"forward, {size} oscillators, damping {spread[0]:g} to {spread[1]:g}"
    say(what)
    sides: dict[str, tuple[Problem, SolveBatch]] = {
        "node_jax, odeint_batch": (problem, solve_lanes),
        "node_jax, odeint_batch, longest first": (problem, solve_longest_first),
        "node_jax, vmap": (problem, functools.partial(solve_mapped, ours.solve)),
        "diffrax, vmap": (problem, functools.partial(solve_mapped, rivals.diffrax_solve)),
    }
    measured = measure_batch(sides, rounds=3 if quick else 7, repeats=1 if quick else 3)
    exact = problem.exact()

    def errors(side: Measured) -> np.ndarray:
        differences = np.linalg.norm(side.result - exact, axis=-1) / np.linalg.norm(exact, axis=-1)
        return differences[side.solved.num_attempted < OSCILLATORS.max_steps]

    columns: dict[str, Callable[[Measured], Any]] = {
        "unfinished": lambda side: int(np.sum(side.solved.num_attempted >= OSCILLATORS.max_steps)),
        "median error": lambda side: float(np.median(errors(side))),
        "largest error": lambda side: float(np.max(errors(side))),
    }
    results.tables.append(_table(what, measured, columns))
    results.data[what] = _medians(measured)


def _gradient(results: Results, quick: bool) -> None:
    """Oscillators with a shared network, and the gradient of their ends."""
    size = 1024
    y0s, dampings = _oscillator_batch(SPREADS[0], size)
    network = nj.fields.MLP(dim=2, width=32, depth=2, activation=jax.nn.tanh, key=jax.random.key(2))
    ts, args = jnp.array([0.0, GRADIENT_END]), (network, dampings)
    problem = Problem(oscillator, y0s, ts, args, (None, 0), OSCILLATORS, True, is_gradient=True, hint=dampings)
    what = f"gradient, {size} oscillators with a shared network, damping {SPREADS[0][0]:g} to {SPREADS[0][1]:g}"
    say(what)
    first = "node_jax, odeint_batch"
    sides: dict[str, tuple[Problem, SolveBatch]] = {
        first: (problem, solve_lanes),
        "diffrax, vmap": (problem, functools.partial(solve_mapped, rivals.diffrax_solve)),
    }
    measured = measure_batch(sides, rounds=1 if quick else 3, repeats=1 if quick else 3)
    evals, accepted = measured[first].num_needed * STAGES + size, int(measured[first].solved.num_accepted.sum())
    width = choose_lanes(None, size, y0s[0])
    at_width = Bound(lambda t, y, args: oscillator(t, y, (*args, dampings[:width])), (network,))
    per_eval, per_vjp = (time(at_width, y0s[:width]) / width for time in (field_time, vjp_time))
    floor = gradient_floor(evals, accepted, STAGES, per_eval, per_vjp)
    exact = problem.exact()
    columns: dict[str, Callable[[Measured], Any]] = {
        "relative error": lambda side: relative_error(side.result, exact),
        "times the floor": lambda side: side.timing.median / floor,
    }
    caption = f"{what}; floor {floor * 1e3:.3g} ms for {evals} evaluations, {accepted} accepted steps"
    results.tables.append(_table(caption, measured, columns))
    results.data[what] = {"field_s": per_eval, "vjp_s": per_vjp, "floor_s": floor} | _medians(measured)


def _homogeneous(results: Results, width: int, quick: bool) -> None:
    """A neural ODE whose trajectories take nearly the same steps."""
    # Fewer steps of fitting for a wide network, which takes seconds else.
    network, y0s = oscillating_mlp("tanh", width, 600 if width <= 64 else 300), start_states()
    ts = jnp.linspace(0.0, HOMOGENEOUS_END, 100)
    problem = Problem(neural, y0s, ts, (network,), (None,), NEURAL, is_gradient=True)
    what = f"gradient, {len(y0s)} of a neural ODE 2-{width}-{width}-2, {len(ts)} saved times"
    say(what)
    keeps_all = diffrax.RecursiveCheckpointAdjoint(checkpoints=NEURAL.max_steps)
    sides: dict[str, tuple[Problem, SolveBatch]] = {
        "node_jax, odeint_batch": (problem, solve_lanes),
        "node_jax, vmap": (problem, functools.partial(solve_mapped, ours.solve)),
        "diffrax, vmap, all steps": (
            problem,
            functools.partial(solve_mapped, functools.partial(rivals.diffrax_solve, adjoint=keeps_all)),
        ),
        "node_jax, batch in the state": (problem, solve_together),
    }
    rounds = (1 if width > 64 else 3) if quick else 7
    measured = measure_batch(sides, rounds, repeats=1 if quick else 3)
    exact = problem.exact()
    columns: dict[str, Callable[[Measured], Any]] = {
        "iterations": lambda side: int(side.solved.num_executed) // len(y0s),
        "an iteration [us]": lambda side: side.timing.median * 1e6 * len(y0s) / int(side.solved.num_executed),
        "relative error": lambda side: relative_error(side.result, exact),
    }
    results.tables.append(_table(what, measured, columns))
    results.data[what] = _medians(measured)


def _series(results: Results, is_gradient: bool, quick: bool) -> None:
    """Series of different lengths, all times at equal distances, beside as many of the full length."""
    network, y0s = oscillating_mlp("tanh"), start_states(256)
    lengths = jax.random.randint(jax.random.key(3), (len(y0s), 1), SHORTEST, LONGEST + 1)
    index = jnp.arange(LONGEST)
    uniform = Problem(
        neural,
        y0s,
        jnp.broadcast_to(SERIES_STEP * index, (len(y0s), LONGEST)),
        (network,),
        (None,),
        NEURAL,
        is_gradient=is_gradient,
    )
    ragged = replace(uniform, ts=SERIES_STEP * jnp.minimum(index, lengths - 1))
    direction = "gradient" if is_gradient else "forward"
    what = f"{direction}, {len(y0s)} series of a neural ODE 2-64-64-2, at most {LONGEST} saved times"
    say(what)
    mapped = functools.partial(solve_mapped, ours.solve)
    problems = {"uniform": uniform, "ragged": ragged}
    sides: dict[str, tuple[Problem, SolveBatch]] = {
        f"node_jax, odeint_batch, {name}": (problem, solve_lanes) for name, problem in problems.items()
    }
    if not quick:
        sides |= {f"node_jax, vmap, {name}": (problem, mapped) for name, problem in problems.items()}
    measured = measure_batch(sides, rounds=5 if quick else 11, repeats=1 if quick else 3)
    exact = {name: problem.exact() for name, problem in problems.items()}
    first = next(iter(measured.values()))
    name_of = {id(side): name.rsplit(" ", 1)[1] for name, side in measured.items()}
    columns: dict[str, Callable[[Measured], Any]] = {
        "a needed step [us]": lambda side: side.timing.median * 1e6 / side.num_needed,
        "ratio of a needed step": lambda side: _quartiles(side.timing, first.num_needed / side.num_needed),
        "relative error": lambda side: relative_error(side.result, exact[name_of[id(side)]]),
    }
    results.tables.append(_table(what, measured, columns))
    results.data[what] = _medians(measured)


def _medians(measured: Mapping[str, Measured]) -> dict[str, float]:
    return {name: side.timing.median for name, side in measured.items()}


if __name__ == "__main__":
    main(run)
