"""How fast is the gradient of a neural ODE, and how far from what the field alone costs?

An MLP 2-64-64-2 that moves like an oscillator, a batch of 128 in the state, about 80 accepted steps of Tsit5; the final
state alone, two and a hundred saved times; forward and gradient, run time and compile time.

    python -m experiments.benchmarks.gradient [--quick] [--record]
"""

import functools
import itertools
from typing import Any

import jax.numpy as jnp

from experiments.benchmarks import ours, rivals
from experiments.benchmarks.bare import NUM_STEPS, bare_solve, least_solve
from experiments.benchmarks.contender import Setting, Solve, by_method
from experiments.benchmarks.equal_error import MOST_STEPS, add_times_at_equal_error
from experiments.benchmarks.harness import (
    LONG_TURN,
    STAGES,
    compare_compile,
    compile_figures,
    field_loop,
    gradient_floor,
    vjp_loop,
)
from experiments.benchmarks.networks import oscillating_mlp, start_states
from experiments.benchmarks.report import Results, Table, main, say
from experiments.benchmarks.sides import COLUMNS, Case, measure, rows_of

END = 12.0
"""Gives about 80 accepted steps at rtol 1e-4."""
SETTING = Setting(rtol=1e-4, atol=1e-6, dt0=0.01, max_steps=128)
TOLERANCES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)
_LOOP = 500
"""Evaluations of the field in a loop that takes turns with the solves, which have about as many."""
TARGETS = {False: (1e-3, 1e-4, 1e-5), True: (1e-2, 1e-3, 1e-4)}
"""Relative errors of the states, and of the gradient, at which times are compared."""


def times(num: int) -> Any:
    """`num` save times; 1 means the final state alone."""
    return jnp.linspace(0.0, END, max(num, 2))


def case_of(activation: str, num_times: int, is_gradient: bool) -> Case:
    """One of the solves that this file measures."""
    return Case(
        oscillating_mlp(activation), start_states(), times(num_times), SETTING, num_times == 1, is_gradient=is_gradient
    )


def run(quick: bool = False) -> Results:
    """Measure the gradient of a neural ODE."""
    results = Results("gradient", "How fast is the gradient of a neural ODE?", [], is_quick=quick)
    activations, numbers = (("tanh",), (100,)) if quick else (("tanh", "softplus"), (1, 2, 100))
    cases = {choice: case_of(*choice) for choice in itertools.product(activations, numbers, (False, True))}
    for activation in activations:
        field, y0 = oscillating_mlp(activation), start_states()
        for is_gradient in (False, True):
            for num_times in numbers:
                case = cases[activation, num_times, is_gradient]
                solved = case.solved(ours.solve)
                accepted, evals = int(solved.num_accepted), int(solved.num_evals)
                what = f"{'gradient' if is_gradient else 'forward'}, {activation}, {_saved(num_times)}"
                say(what)
                loops = {"field": field_loop(field, y0, _LOOP), "vjp": vjp_loop(field, y0, _LOOP)}
                sides = _contenders(is_gradient, quick)
                if num_times == 1:
                    sides[f"a bare loop of {accepted} steps"] = functools.partial(bare_solve, num_steps=accepted)
                measured = measure(
                    case,
                    sides,
                    _torch(is_gradient, quick),
                    loops,
                    rounds=5 if quick else 15,
                    repeats=1 if quick else 3,
                    turn=LONG_TURN,
                )
                per_eval, per_vjp = (measured.pop(name).timing.median / _LOOP for name in loops)
                floor = gradient_floor(evals, accepted if is_gradient else 0, STAGES, per_eval, per_vjp)
                caption = f"{what}; floor {floor * 1e3:.3g} ms for {evals} evaluations, {accepted} steps"
                results.tables.append(Table(caption, COLUMNS, rows_of(measured, floor)))
                results.data[what] = {
                    "floor_s": floor,
                    "field_s": per_eval,
                    "vjp_s": per_vjp,
                    "evals": evals,
                    **{name: side.timing.median for name, side in measured.items()},
                }
    for is_gradient, num_times in ((True, 100),) if quick else itertools.product((False, True), (1, 100)):
        best = _best(is_gradient, quick)
        tolerances = dict.fromkeys(best, TOLERANCES[::2] if quick else TOLERANCES)
        case, what = cases["tanh", num_times, is_gradient], f", tanh, {_saved(num_times)}"
        add_times_at_equal_error(results, case, best, tolerances, TARGETS[is_gradient], what)
    if not quick:
        results.tables += [_compiled_in_turn(), _least_programs()]
    results.notes += [
        "Kernels are the different fused computations of the compiled program, and calls and loops that are compiled "
        "whole; on a CPU each takes 5 to 10 ms to compile, whatever it computes. The least programs are lower "
        "bounds for any solver that unrolls its stages and has all else compiled kernel by kernel.",
        "One evaluation of the field, and one with its transpose, in turn with the sides: "
        + "; ".join(
            f"{name} {data['field_s'] * 1e6:.3g} and {data['vjp_s'] * 1e6:.3g} us"
            for name, data in results.data.items()
            if "field_s" in data
        )
        + ".",
        "The floor uses node_jax's own counts. diffrax never shrinks a step after an accepted one, node_jax does, so "
        "that equal coefficients give different counts: compare the cost of a step as well.",
        "The bare loop has equal steps, as many as node_jax accepts, and neither error estimate nor control nor "
        "outputs before the end, so nothing to reject; its gradient goes back over the states that it kept, and takes "
        "each step again. What a step takes beyond one of these is what all else costs.",
        "Under vmap every row has steps of its own (the count is that of the row that took most) and the loop "
        "runs until the last row is done.",
        "The relative error is that of all states, or of the whole gradient, against float64 at rtol 1e-11.",
        "jax.experimental.ode and torchdiffeq use Dormand and Prince's method and controllers of their own.",
    ]
    return results


def _recursive() -> dict[str, Solve]:
    """diffrax's default adjoint, with its own number of checkpoints and with all steps."""
    return {name: solve for name, solve in rivals.diffrax_contenders(MOST_STEPS).items() if "Recursive" in name}


def _best(is_gradient: bool, quick: bool) -> dict[str, Solve]:
    """Who is compared at equal error: Tsit5 on both sides, and what else may take fewer evaluations."""
    found: dict[str, Solve] = {"node_jax": ours.solve, "node_jax, Bosh5": by_method(ours.solve, "Bosh5")}
    if quick:
        return found | {name: solve for name, solve in _recursive().items() if "all" in name}
    if is_gradient:
        return found | _recursive()
    # Without a gradient its adjoints are one program.
    return found | {"diffrax": rivals.diffrax_solve, "diffrax, Dopri8": by_method(rivals.diffrax_solve, "Dopri8")}


def _compiled_in_turn() -> Table:
    """What the gradient with 100 saved times takes to trace, lower and compile, all sides in turn."""
    case = case_of("tanh", 100, is_gradient=True)
    sides = {"node_jax": ours.solve} | _recursive()
    timings = compare_compile({name: case.program(solve) for name, solve in sides.items()}, rounds=15)
    rows = [(name, timing.median, timing.ratio_text()) for name, timing in timings.items()]
    caption = "Trace, lower and compile in turn: gradient, tanh, 100 saved times"
    return Table(caption, ("side", "seconds", "ratio to the first"), rows)


def _least_programs() -> Table:
    """Compile figures of the least programs that could be a gradient."""
    end_alone = case_of("tanh", 1, is_gradient=True)
    programs = {
        "constant steps, the end alone": end_alone.program(functools.partial(bare_solve, num_steps=NUM_STEPS)),
        "PI control, 100 saved times": (least_solve, (end_alone.field, end_alone.y0, times(100))),
    }
    rows = []
    for name, (program, arguments) in programs.items():
        found, _ = compile_figures(program, *arguments, repeats=3)
        rows.append((name, found.trace, found.lower, found.compile, found.num_equations, found.num_kernels))
    caption = (
        "The least programs: loops of Tsit5 and their transpose, all steps kept, without stops, failures or bounds"
    )
    return Table(caption, ("program", "trace [s]", "lower [s]", "compile [s]", "equations", "kernels"), rows)


def _saved(num_times: int) -> str:
    return "final state only" if num_times == 1 else f"{num_times} saved times"


def _contenders(is_gradient: bool, quick: bool) -> dict[str, Solve]:
    """A quick run leaves out what is known to be slow, and forward solves do not ask for an adjoint."""
    found = ours.contenders()
    others = rivals.diffrax_contenders(SETTING.max_steps)
    skipped = set()
    if not is_gradient:
        skipped |= {"diffrax, Recursive, all steps", "diffrax, Direct", "diffrax, Backsolve"}
    if quick:
        skipped |= {
            "diffrax, Direct",
            "diffrax, Backsolve",
            "diffrax, vmap",
            "node_jax, vmap",
            "node_jax, odeint_batch",
        }
    found |= others | {"jax.experimental.ode": rivals.jax_solve}
    return {name: solve for name, solve in found.items() if name not in skipped}


def _torch(is_gradient: bool, quick: bool) -> dict[str, bool]:
    if not rivals.has_torch:
        return {}
    sides = {"torchdiffeq odeint": False}
    return sides | {"torchdiffeq odeint_adjoint": True} if is_gradient and not quick else sides


if __name__ == "__main__":
    main(run)
