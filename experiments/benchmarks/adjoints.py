"""What does each adjoint cost, in time, memory and accuracy of the gradient?

The oscillating MLP 2-64-64-2 with a batch of 128 in the state and 100 saved times. First every adjoint at one
tolerance; then a sweep of tolerances, from which the time at equal gradient error is read: a continuous adjoint that is
quick and wrong must not look good beside a discrete one.

    python -m experiments.benchmarks.adjoints [--quick] [--record]
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import ours, rivals
from experiments.benchmarks.contender import Setting, Solve, loss_of
from experiments.benchmarks.equal_error import add_times_at_equal_error
from experiments.benchmarks.gradient import times
from experiments.benchmarks.harness import compare
from experiments.benchmarks.networks import oscillating_mlp, start_states
from experiments.benchmarks.report import Results, Table, main
from experiments.benchmarks.sides import COLUMNS, Case, measure, rows_of

SETTING = Setting(rtol=1e-4, atol=1e-6, dt0=0.01, max_steps=256)
TARGETS = (1e-2, 1e-3, 1e-4, 3e-5)
"""Relative errors of the gradient at which times are compared."""


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

    # A short run has at equal error the adjoint that solves backward, and the best of both libraries.
    short = ("node_jax, Checkpointed", "node_jax, Backsolve", "diffrax, Recursive, all steps")
    swept = {name: solve for name, solve in contenders.items() if not quick or name in short}
    tolerances = {name: _tolerances(name, quick) for name in swept}
    add_times_at_equal_error(results, case, swept, tolerances, TARGETS)
    results.notes += [
        "The gradient is for all weights and y0; its error is relative to float64 at rtol 1e-11, so it holds the "
        "error of the solve as well as that of the adjoint.",
        "Backsolve-like sides solve backward at the tolerance of the forward solve.",
    ]
    return results


def _contenders(quick: bool) -> dict[str, Solve]:
    adjoints = ours.reverse_adjoints() | ({} if quick else ours.backward_methods())
    found: dict[str, Solve] = {
        f"node_jax, {label}": functools.partial(ours.solve, adjoint=adjoint) for label, adjoint in adjoints.items()
    }
    found |= rivals.diffrax_contenders(SETTING.max_steps)
    found["jax.experimental.ode"] = rivals.jax_solve
    skipped = {"diffrax, vmap"}
    if quick:
        skipped |= {"diffrax, Direct", "diffrax, Recursive (default)", "diffrax, Backsolve"}
    return {name: solve for name, solve in found.items() if name not in skipped}


def _tolerances(name: str, quick: bool) -> tuple[float, ...]:
    """Relative tolerances of a side's sweep; what takes seconds at the tightest is spared it."""
    if quick:
        return (1e-2, 1e-3, 1e-4)
    if name == "diffrax, Direct":
        return (1e-2, 1e-3, 1e-4, 1e-5)
    return (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


def _directional(case: Case, adjoint: Any) -> tuple[Any, ...]:
    """One derivative of the loss by forward mode, along its own gradient for y0: what a direction costs."""
    exact = case.exact[1]
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
