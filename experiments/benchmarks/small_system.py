"""What does a solve of one small system cost, where the field costs nothing?

One van der Pol oscillator with a damping of 1, about 45 steps of Tsit5; the final state alone, two and a hundred saved
times; forward and gradient. Everything measured here is overhead: of the loop, of the outputs, of the call. How much of
it is the call shows in 64 solves in turn within one.

    python -m experiments.benchmarks.small_system [--quick] [--record]
"""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.benchmarks import ours, rivals
from experiments.benchmarks.contender import Setting, Solve, Solved
from experiments.benchmarks.harness import compare
from experiments.benchmarks.problems import van_der_pol
from experiments.benchmarks.report import Results, Table, main, say
from experiments.benchmarks.sides import COLUMNS, Case, measure, rows_of

END = 10.0
START = (2.0, 0.0)
SETTING = Setting(rtol=1e-4, atol=1e-6, dt0=0.01, max_steps=128)
NUM_IN_TURN = 64
BEST_OF_DIFFRAX = "diffrax, Recursive, all steps"


class Oscillator(eqx.Module):
    """Van der Pol's oscillator with its damping as the parameter."""

    damping: Any

    def __call__(self, t: Any, y: Any, args: Any) -> Any:
        """dy/dt."""
        del t, args
        return jnp.stack([y[1], self.damping * (1 - y[0] ** 2) * y[1] - y[0]])


def run(quick: bool = False) -> Results:
    """Measure one small system."""
    results = Results("small_system", "What does a solve of one small system cost?", [], is_quick=quick)
    field, y0 = Oscillator(jnp.array(1.0)), jnp.array(START)
    for is_gradient in (False, True):
        for num_times in (100,) if quick else (1, 2, 100):
            ts = jnp.linspace(0.0, END, max(num_times, 2))
            case = Case(field, y0, ts, SETTING, num_times == 1, is_gradient=is_gradient)
            saved = "final state only" if num_times == 1 else f"{num_times} saved times"
            what = f"{'gradient' if is_gradient else 'forward'}, {saved}"
            say(what)
            measured = measure(
                case, _contenders(is_gradient, quick), rounds=9 if quick else 25, repeats=1 if quick else 3, turn=0.01
            )
            results.tables.append(Table(what, COLUMNS, rows_of(measured)))
            results.data[what] = {name: side.timing.median for name, side in measured.items()}
    table, medians = _in_turn(field, quick)
    results.tables.append(table)
    results.data["in turn"] = medians
    results.notes.append(
        f"For scale: an empty call of a compiled function takes {_dispatch_time() * 1e6:.3g} us here, and SciPy's RK45 "
        f"with a NumPy field {_scipy_time() * 1e3:.3g} ms for the forward solve with 100 saved times."
    )
    return results


def _contenders(is_gradient: bool, quick: bool) -> dict[str, Solve]:
    found: dict[str, Solve] = {"node_jax": ours.solve}
    found |= rivals.diffrax_contenders(SETTING.max_steps)
    found["jax.experimental.ode"] = rivals.jax_solve
    skipped = {"diffrax, vmap"}
    if not is_gradient:
        skipped |= {"diffrax, Recursive, all steps", "diffrax, Direct", "diffrax, Backsolve"}
    if quick:
        skipped |= {"diffrax, Direct", "diffrax, Backsolve"}
    return {name: solve for name, solve in found.items() if name not in skipped}


def _in_turn(field: Oscillator, quick: bool) -> tuple[Table, dict[str, dict[str, float]]]:
    """A solve among `NUM_IN_TURN` that one call makes one after the other."""
    starts = jnp.array(START) + 0.1 * jax.random.normal(jax.random.key(0), (NUM_IN_TURN, 2))
    sides = {"node_jax": ours.solve, "diffrax": rivals.diffrax_contenders(SETTING.max_steps)[BEST_OF_DIFFRAX]}
    rows, medians = [], {}
    for is_gradient in (False, True):
        for num_times in (100,) if quick else (1, 100):
            case = Case(field, starts, jnp.linspace(0.0, END, max(num_times, 2)), SETTING, num_times == 1, is_gradient)
            saved = "final state only" if num_times == 1 else f"{num_times} saved times"
            what = f"{'gradient' if is_gradient else 'forward'}, {saved}"
            say(f"{NUM_IN_TURN} in turn, {what}")
            calls = {}
            for name, solve in sides.items():
                function, arguments = case.program(functools.partial(_each, solve))
                calls[name] = functools.partial(jax.jit(function).lower(*arguments).compile(), *arguments)
            timings = compare(calls, rounds=9 if quick else 25)
            medians[what] = {name: timing.median / NUM_IN_TURN for name, timing in timings.items()}
            rows.append((what, *(1e6 * seconds for seconds in medians[what].values()), timings["diffrax"].ratio))
    columns = ("solve", *(f"{name} [us]" for name in sides), "ratio")
    return Table(f"One of {NUM_IN_TURN} solves in turn within one call", columns, rows), medians


def _each(solve: Solve, field: Any, y0: Any, ts: Any, setting: Setting, final_only: bool = False) -> Solved:
    return lax.map(lambda start: solve(field, start, ts, setting, final_only), y0)


def _dispatch_time() -> float:
    y0 = jnp.array(START)
    compiled = jax.jit(lambda y: y + 1).lower(y0).compile()
    return compare({"empty": lambda: compiled(y0)}, rounds=5)["empty"].median


def _scipy_time() -> float:
    ts = np.linspace(0.0, END, 100)

    def solve() -> Any:
        return rivals.scipy_solve(lambda t, y: van_der_pol(np, t, y), np.asarray(START), ts, SETTING)

    return compare({"scipy": solve}, rounds=5)["scipy"].median


if __name__ == "__main__":
    main(run)
