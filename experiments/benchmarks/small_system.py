"""What does a solve of one small system cost, where the field costs nothing?

One van der Pol oscillator with a damping of 1, about 45 steps of Tsit5; the final state alone, two and a hundred saved
times; forward and gradient. Everything measured here is overhead: of the loop, of the outputs, of the call.

    python -m experiments.benchmarks.small_system [--quick] [--record]
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import ours, rivals
from experiments.benchmarks.contender import Setting, Solve
from experiments.benchmarks.harness import compare
from experiments.benchmarks.problems import van_der_pol
from experiments.benchmarks.report import Results, Table, main, say
from experiments.benchmarks.sides import COLUMNS, Case, measure, rows_of

END = 10.0
START = (2.0, 0.0)
SETTING = Setting(rtol=1e-4, atol=1e-6, dt0=0.01, max_steps=128)


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
        for num_times in (1, 2, 100):
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
