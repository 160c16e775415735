"""What does a batch cost in which every trajectory has its own steps?

Oscillators of van der Pol whose damping differs up to three hundredfold, so that the hardest needs a hundred times the
steps of the easiest; the same with a shared network in the field, and its gradient; a homogeneous batch of a neural
ODE, where steps of one's own gain nothing; and series of different lengths.

    python -m experiments.benchmarks.batches [--quick] [--record]
"""

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

import node_jax as nj
from experiments.benchmarks import ours, rivals
from experiments.benchmarks.batch_sides import (
    Bound,
    Measured,
    Problem,
    SolveBatch,
    measure_batch,
    medians,
    neural,
    oscillator,
    solve_lanes,
    solve_longest_first,
    solve_mapped,
    solve_together,
    table_of,
)
from experiments.benchmarks.contender import Setting, relative_error
from experiments.benchmarks.harness import STAGES, field_time, gradient_floor, vjp_time
from experiments.benchmarks.networks import oscillating_mlp, start_states
from experiments.benchmarks.report import Results, main, say

SPREADS = ((0.1, 30.0), (0.1, 3.0), (1.0, 10.0))
"""Smallest and largest damping, log-uniform between."""
OSCILLATORS = Setting(rtol=1e-5, atol=1e-5, dt0=0.01, max_steps=4096)
NEURAL = Setting(rtol=1e-4, atol=1e-6, dt0=0.01, max_steps=128)
OSCILLATORS_END, GRADIENT_END, HOMOGENEOUS_END = 20.0, 5.0, 6.0
SERIES_STEP = 0.06
"""Between two saved times of a series."""
SHORTEST, LONGEST = 5, 200
"""Saved times of a series."""
SHORT_TAPE = 2048
"""`max_rows` of a user who has seen the counts: the gradient below needs half as many attempts of all lanes."""
NUM_CHECKED = 1024
"""Oscillators whose error is measured, of a forward solve."""
LANES = 64
"""What `nj.odeint_batch` takes for so many trajectories, on a CPU."""


def run(quick: bool = False) -> Results:
    """Measure batches whose trajectories have steps of their own."""
    results = Results(
        "batches", "What does a batch cost in which every trajectory has its own steps?", [], is_quick=quick
    )
    for spread in SPREADS[:1] if quick else SPREADS:
        _oscillators(results, spread, 4096, quick)
    _gradient(results, quick)
    if not quick:
        for width in (64, 256):
            _homogeneous(results, width)
        for is_gradient in (False, True):
            _series(results, is_gradient)
    results.notes += [
        "Efficiency: attempted steps that some trajectory needed, over those that were executed. Under vmap every row "
        "is executed until the last is done.",
        f"A trajectory is unfinished that {OSCILLATORS.max_steps} steps do not bring to its end: the decay of a far "
        "start with a strong damping is stiff. It counts with the steps that it took, and has no error.",
        f"Errors are relative to float64 at rtol 1e-10: of {NUM_CHECKED} trajectories' ends, of all states, or of the "
        "gradient.",
        "Longest first: with the damping as `cost_hint`.",
        "The floor is that of evaluations and transposes for as many rows as there are lanes, divided by their number.",
        "An iteration is one pass of the loop over steps, in which every row attempts one, with its part of everything "
        "else: outputs, and the way back.",
        "Series: a needed step of the ragged batch should cost what one of the uniform batch does, a ratio of 1.",
    ]
    return results


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
        "diffrax, vmap": (problem, functools.partial(solve_mapped, rivals.diffrax_solve)),
    }
    if not quick:
        sides["node_jax, vmap"] = problem, functools.partial(solve_mapped, ours.solve)
    measured = measure_batch(sides, rounds=3 if quick else 7, repeats=1 if quick else 3)
    picked = slice(NUM_CHECKED)
    exact = replace(problem, y0s=y0s[picked], args=(None, dampings[picked]), hint=dampings[picked]).exact()

    def errors(side: Measured) -> np.ndarray:
        differences = np.linalg.norm(side.result[picked] - exact, axis=-1) / np.linalg.norm(exact, axis=-1)
        return differences[side.solved.num_attempted[picked] < OSCILLATORS.max_steps]

    columns: dict[str, Callable[[Measured], Any]] = {
        "unfinished": lambda side: int(np.sum(side.solved.num_attempted >= OSCILLATORS.max_steps)),
        "median error": lambda side: float(np.median(errors(side))),
        "largest error": lambda side: float(np.max(errors(side))),
    }
    results.tables.append(table_of(what, measured, columns))
    results.data[what] = medians(measured)


def _gradient(results: Results, quick: bool) -> None:
    """Oscillators with a shared network, and the gradient of their ends."""
    size = 512 if quick else 1024
    y0s, dampings = _oscillator_batch(SPREADS[0], size)
    network = nj.fields.MLP(dim=2, width=32, depth=2, activation=jax.nn.tanh, key=jax.random.key(2))
    ts, args = jnp.array([0.0, GRADIENT_END]), (network, dampings)
    problem = Problem(oscillator, y0s, ts, args, (None, 0), OSCILLATORS, True, is_gradient=True, hint=dampings)
    what = f"gradient, {size} oscillators with a shared network, damping {SPREADS[0][0]:g} to {SPREADS[0][1]:g}"
    say(what)
    first, hinted = "node_jax, odeint_batch", "node_jax, odeint_batch, longest first"
    sides: dict[str, tuple[Problem, SolveBatch]] = {
        first: (problem, solve_lanes),
        "diffrax, vmap": (problem, functools.partial(solve_mapped, rivals.diffrax_solve)),
    }
    if not quick:
        shorter = functools.partial(solve_longest_first, max_rows=SHORT_TAPE)
        sides |= {hinted: (problem, solve_longest_first), f"{hinted}, max_rows={SHORT_TAPE}": (problem, shorter)}
    measured = measure_batch(sides, rounds=3, repeats=1 if quick else 3)
    evals, accepted = measured[first].num_needed * STAGES + size, int(measured[first].solved.num_accepted.sum())
    width = LANES if jax.default_backend() == "cpu" else size
    at_width = Bound(lambda t, y, args: oscillator(t, y, (*args, dampings[:width])), (network,))
    per_eval, per_vjp = (time(at_width, y0s[:width]) / width for time in (field_time, vjp_time))
    floor = gradient_floor(evals, accepted, STAGES, per_eval, per_vjp)
    exact = problem.exact()
    columns: dict[str, Callable[[Measured], Any]] = {
        "relative error": lambda side: relative_error(side.result, exact),
        "times the floor": lambda side: side.timing.median / floor,
    }
    caption = f"{what}; floor {floor * 1e3:.3g} ms for {evals} evaluations, {accepted} accepted steps"
    results.tables.append(table_of(caption, measured, columns))
    results.data[what] = {"field_s": per_eval, "vjp_s": per_vjp, "floor_s": floor} | medians(measured)


def _homogeneous(results: Results, width: int) -> None:
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
        "diffrax, vmap, all steps": (
            problem,
            functools.partial(solve_mapped, functools.partial(rivals.diffrax_solve, adjoint=keeps_all)),
        ),
        "node_jax, batch in the state": (problem, solve_together),
        "node_jax, vmap": (problem, functools.partial(solve_mapped, ours.solve)),
    }
    measured = measure_batch(sides, rounds=9, repeats=3)
    exact = problem.exact()
    columns: dict[str, Callable[[Measured], Any]] = {
        "iterations": lambda side: int(side.solved.num_executed) // len(y0s),
        "an iteration [us]": lambda side: side.timing.median * 1e6 * len(y0s) / int(side.solved.num_executed),
        "relative error": lambda side: relative_error(side.result, exact),
    }
    results.tables.append(table_of(what, measured, columns))
    results.data[what] = medians(measured)


def _series(results: Results, is_gradient: bool) -> None:
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
    sides |= {f"node_jax, vmap, {name}": (problem, mapped) for name, problem in problems.items()}
    measured = measure_batch(sides, rounds=11, repeats=3)
    exact = {name: problem.exact() for name, problem in problems.items()}
    first = next(iter(measured.values()))
    name_of = {id(side): name.rsplit(" ", 1)[1] for name, side in measured.items()}
    columns: dict[str, Callable[[Measured], Any]] = {
        "a needed step [us]": lambda side: side.timing.median * 1e6 / side.num_needed,
        "ratio of a needed step": lambda side: side.timing.ratio_text(first.num_needed / side.num_needed),
        "relative error": lambda side: relative_error(side.result, exact[name_of[id(side)]]),
    }
    results.tables.append(table_of(what, measured, columns))
    results.data[what] = medians(measured)


if __name__ == "__main__":
    main(run)
