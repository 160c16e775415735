"""How many states does the gradient of a long solve with a large state keep?

A state of 2^20 floats, a thousand constant steps of Tsit5, an elementwise field with two parameters. The programs are
compiled and their temporaries read off, in units of the state; nothing is run unless asked.

    python -m experiments.benchmarks.memory [--quick] [--record] [--execute]
"""

import argparse
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from experiments.benchmarks import ours, rivals
from experiments.benchmarks.contender import Setting, Solve
from experiments.benchmarks.harness import compare, compile_figures
from experiments.benchmarks.report import Results, Table, record, say, show, write
from experiments.benchmarks.sides import Case

SIZE = 2**20
NUM_STEPS = 1000
END = 10.0
SETTING = Setting(max_steps=NUM_STEPS, constant_dt=END / NUM_STEPS)


class Elementwise(eqx.Module):
    """dy/dt = a sin(y) − b y."""

    push: Any
    pull: Any

    def __call__(self, t: Any, y: Any, args: Any) -> Any:
        """dy/dt."""
        del t, args
        return self.push * jnp.sin(y) - self.pull * y


def run(quick: bool = False, execute: bool = False) -> Results:
    """Read off the memory of a gradient."""
    results = Results("memory", "How many states does the gradient of a long solve keep?", [], is_quick=quick)
    field = Elementwise(jnp.array(1.0), jnp.array(0.5))
    state = jax.ShapeDtypeStruct((SIZE,), jnp.float32)
    captions = {1: "final state only"} if quick else {1: "final state only", 100: "100 saved times"}
    rows = []
    for name, solve in _contenders().items():
        row: list[Any] = [name]
        seconds = None
        for num_times, saved in captions.items():
            say(f"{name}, {saved}")
            ts = jnp.linspace(0.0, END, max(num_times, 2))
            case = Case(field, state, ts, SETTING, num_times == 1, is_gradient=True)
            function, arguments = case.program(solve)
            figures, compiled = compile_figures(function, *arguments)
            row.append(figures.temporary_bytes / (4 * SIZE))
            results.data[f"{name}, {num_times}"] = row[-1]
            if execute and num_times == 1:
                seconds = _run_time(compiled, arguments)
        rows.append((*row, seconds))
    columns = ("side", *(f"{saved} [states]" for saved in captions.values()), "run, final state only [s]")
    results.tables.append(Table(f"Temporaries of the gradient, {NUM_STEPS} steps of Tsit5", columns, rows))
    results.notes += [
        "By the compiler's own account of the program (`memory_analysis`); arguments and results are not counted.",
        "The cotangent of 100 saved times is itself 100 states.",
        "The transposed derivative of one step of Tsit5 alone needs about 20 states.",
    ]
    return results


def _contenders() -> dict[str, Solve]:
    found: dict[str, Solve] = {
        f"node_jax, {label}": functools.partial(ours.solve, adjoint=adjoint)
        for label, adjoint in ours.reverse_adjoints().items()
    }
    for label, adjoint in rivals.diffrax_adjoints(NUM_STEPS).items():
        found[f"diffrax, {label}"] = functools.partial(rivals.diffrax_solve, adjoint=adjoint)
    return found


def _run_time(compiled: Any, arguments: tuple[Any, ...]) -> float:
    """Seconds of one gradient of the full size."""
    parameters, state, ts = arguments
    y0 = jnp.linspace(-3.0, 3.0, state.size, dtype=state.dtype)
    return compare({"side": lambda: compiled(parameters, y0, ts)}, rounds=1, inner=1)["side"].median


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=run.__doc__)
    parser.add_argument("--quick", action="store_true", help="the final state only")
    parser.add_argument("--record", action="store_true", help="keep the result in docs/benchmarks")
    parser.add_argument("--execute", action="store_true", help="also run each gradient once: minutes and gigabytes")
    options = parser.parse_args()
    found = run(options.quick, options.execute)
    show(found)
    json_path = write(found)
    if options.record:
        record(json_path)
