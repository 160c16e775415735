"""What if the parameters are many and the state is small?

An MLP with about 100,000 parameters on a state of two. A continuous adjoint that carries the parameters' cotangent
in its state integrates 100,000 quadratures backward with error control; one that integrates it by quadrature does not.
The time span is short, because a state that is solved backward leaves a limit cycle: on a longer one the gradients of
Backsolve are wrong by more than their size.

    python -m experiments.benchmarks.large_parameters [--quick] [--record]
"""

import functools

import jax
import jax.numpy as jnp

from experiments.benchmarks import ours, rivals
from experiments.benchmarks.contender import Setting, Solve
from experiments.benchmarks.equal_error import add_times_at_equal_error
from experiments.benchmarks.networks import oscillating_mlp, start_states
from experiments.benchmarks.report import Results, Table, main
from experiments.benchmarks.sides import COLUMNS, Case, measure, rows_of

WIDTH = 312
END = 3.0
SETTING = Setting(rtol=1e-4, atol=1e-6, dt0=0.01, max_steps=256)

TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
TARGETS = (1e-1, 5e-2, 2e-2, 1e-3)
"""Relative errors of the gradient at which times are compared."""
ERROR_SIDES = ("node_jax, Checkpointed", "node_jax, Backsolve", "node_jax, Gauss", "diffrax, Backsolve")


def run(quick: bool = False) -> Results:
    """Measure gradients for many parameters."""
    results = Results("large_parameters", "What if the parameters are many and the state is small?", [], is_quick=quick)
    field, y0 = oscillating_mlp("tanh", WIDTH, 300), start_states(16)
    num_parameters = sum(leaf.size for leaf in jax.tree.leaves((field.weights, field.biases)))
    for num_times in (1,) if quick else (1, 10):
        ts = jnp.linspace(0.0, END, max(num_times, 2))
        case = Case(field, y0, ts, SETTING, num_times == 1, is_gradient=True)
        contenders = _contenders(quick)
        torch = {"torchdiffeq odeint": False, "torchdiffeq odeint_adjoint": True}
        measured = measure(
            case,
            contenders,
            torch if rivals.has_torch and num_times > 1 else {},
            rounds=3 if quick else 7,
            repeats=1 if quick else 3,
        )
        saved = "final state only" if num_times == 1 else f"{num_times} saved times"
        caption = f"Gradient for {num_parameters} parameters, batch 16 in the state, {saved}"
        results.tables.append(Table(caption, COLUMNS, rows_of(measured)))
        results.data[saved] = {name: (side.timing.median, side.error) for name, side in measured.items()}
        if num_times == 1 and not quick:
            # At a tolerance at which others are near, a side that solves y backward as well is far from the gradient.
            sides = {name: solve for name, solve in contenders.items() if name in ERROR_SIDES}
            add_times_at_equal_error(results, case, sides, dict.fromkeys(sides, TOLERANCES), TARGETS)
    results.notes.append("The relative error is that of the whole gradient against float64 at rtol 1e-11.")
    return results


def _contenders(quick: bool) -> dict[str, Solve]:
    found: dict[str, Solve] = {
        f"node_jax, {label}": functools.partial(ours.solve, adjoint=adjoint)
        for label, adjoint in ours.reverse_adjoints().items()
        if label in ("Checkpointed", "Gauss", "Backsolve")
    }
    others = rivals.diffrax_contenders(SETTING.max_steps)
    for name in ("diffrax, Recursive (default)", "diffrax, Recursive, all steps", "diffrax, Backsolve"):
        if not quick or name != "diffrax, Recursive, all steps":
            found[name] = others[name]
    return found | {"jax.experimental.ode": rivals.jax_solve}


if __name__ == "__main__":
    main(run)
