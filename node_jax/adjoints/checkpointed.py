r"""The discrete adjoint: exact gradients of the steps that were taken.

The forward loop records (t_n, dt_n, y_n) of every accepted step. The backward pass walks them from the last to the
first, recomputes the stages of each step and applies the transpose of its derivative:

    ȳ_n = (∂y_{n+1}/∂y_n)ᵀ ȳ_{n+1} + contributions of the outputs read inside step n,
    θ̄ += (∂y_{n+1}/∂θ)ᵀ ȳ_{n+1}.

Step sizes are constants of the gradient: no controller, no error estimate and no rejected step is differentiated.
The rule is made of plain loops, so that forward mode over it (`jax.hessian`) works.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Bool, Float, Int

from node_jax.adjoints.base import AbstractAdjoint
from node_jax.solvers import Step
from node_jax.stepping import LoopResult, Problem, Tape, integrate_single
from node_jax.stepping.outputs import RowCotangents, only_ends, transpose_interpolate
from node_jax.tree import expand_like, tree_add, tree_vdot
from node_jax.types import State, Time


class CheckpointedAdjoint(AbstractAdjoint):
    """The default: exact reverse-mode gradients from the recorded steps, one state of memory a step.

    Gradients flow to y0, to every floating-point array that the field or `args` holds or closes over, and to `ts`.
    "Exact" means exact for the recorded step sizes. First order by `jax.grad`, second order by forward over reverse
    (`jax.hessian`). `jax.jvp` of the solve itself is not available.
    """

    def solve(self, problem: Problem) -> LoopResult:
        """See `AbstractAdjoint.solve`."""
        inputs = (problem.field, problem.y0, problem.ts)
        active, passive = eqx.partition(inputs, eqx.is_inexact_array)
        rest = (passive, problem.solver, problem.controller)
        arrays, static = eqx.partition(rest, eqx.is_array)

        def rebuild(active: Any, arrays: Any) -> Problem:
            passive, solver, controller = eqx.combine(arrays, static)
            field, y0, ts = eqx.combine(active, passive)
            return Problem(field, y0, ts, solver, lax.stop_gradient(controller), problem.max_steps)

        @jax.custom_vjp
        def solve(active: Any, arrays: Any) -> LoopResult:
            return integrate_single(rebuild(active, arrays), tape_rows=None)[0]

        def forward(active: Any, arrays: Any) -> tuple[LoopResult, "_Residuals"]:
            is_perturbed = tuple(primal.perturbed for primal in jax.tree.leaves(active))
            active, arrays = jax.tree.map(lambda primal: primal.value, (active, arrays))
            result, tape = integrate_single(rebuild(active, arrays), tape_rows=problem.max_steps)
            assert tape is not None
            y_end = jax.tree.map(lambda leaf: leaf[-1], result.ys)
            counts = (result.stats.num_accepted, result.num_saved)
            return result, _Residuals(active, arrays, tape, y_end, *counts, is_perturbed)

        def backward(residuals: "_Residuals", cotangent: LoopResult) -> tuple[Any, None]:
            rows = jax.tree.map(_instantiate, cotangent.ys, is_leaf=lambda x: isinstance(x, SymbolicZero))
            return _walk_back(residuals, rebuild, rows), None

        solve.defvjp(forward, backward, symbolic_zeros=True)
        return solve(active, arrays)


class _Residuals(eqx.Module):
    """What the backward pass needs."""

    active: Any
    arrays: Any
    tape: Tape
    y_end: State
    num_steps: Int[Array, ""]
    num_saved: Int[Array, ""]
    is_perturbed: tuple[bool, ...] = eqx.field(static=True)


def _instantiate(cotangent: Any) -> Array:
    """A symbolic zero as an array of zeros."""
    if not isinstance(cotangent, SymbolicZero):
        return cotangent
    aval: Any = cotangent.aval
    return jnp.zeros(aval.shape, aval.dtype)


class _Cotangents(NamedTuple):
    """What flows back through one step: of its end, its stages and its start, and of the requested times."""

    y1: State
    stages: tuple[State, ...]
    y0: State
    times: Float[Array, " padded_time"]


def _walk_back(residuals: _Residuals, rebuild: Callable[[Any, Any], Problem], rows: State) -> Any:
    """The cotangents of `residuals.active`, given those of the output rows; `None` where nothing asked for one."""
    problem = rebuild(residuals.active, residuals.arrays)
    leaves, treedef = jax.tree.flatten(residuals.active)
    num_field_leaves = len(jax.tree.leaves(residuals.active[0]))
    wanted = [i for i in range(num_field_leaves) if residuals.is_perturbed[i]]
    wants_times = residuals.is_perturbed[-1]

    def field_with(parameters: list[Array]) -> Callable[[Time, State], State]:
        replaced = dict(zip(wanted, parameters, strict=True))
        active = jax.tree.unflatten(treedef, [replaced.get(i, leaf) for i, leaf in enumerate(leaves)])
        return rebuild(active, residuals.arrays).field

    is_saved = jnp.arange(problem.ts.shape[0]) < residuals.num_saved
    rows = jax.tree.map(lambda leaf: jnp.where(expand_like(is_saved, leaf), leaf, 0), rows)
    parameters = [leaves[i] for i in wanted]
    y0_bar, parameters_bar, t_bar, ts_bar = _reverse_steps(
        problem, residuals, rows, field_with, parameters, wants_times
    )

    # Rows at the start time are y0 itself; with two rows, the second is the end of the solve and is walked back.
    is_start = (problem.ts == problem.ts[0]) & is_saved
    if only_ends(problem):
        is_start = is_start & (jnp.arange(problem.ts.shape[0]) == 0)
    y0_bar = jax.tree.map(
        lambda bar, leaf: bar + jnp.sum(jnp.where(expand_like(is_start, leaf), leaf, 0), axis=0), y0_bar, rows
    )
    if wants_times:
        f_start = _without_nan(problem.field(problem.ts[0], problem.y0))
        slopes = jax.vmap(lambda row: tree_vdot(row, f_start))(rows).astype(ts_bar.dtype)
        ts_bar = ts_bar + jnp.where(is_start, slopes, 0).at[0].set(0)
        # Moving the start moves all steps: stage times by t_bar, every output to an earlier place in its step.
        ts_bar = ts_bar.at[0].add(t_bar - jnp.sum(ts_bar))

    bars: list[Any] = [None] * len(leaves)
    for i, bar in zip(wanted, parameters_bar, strict=True):
        bars[i] = bar
    bars[num_field_leaves:] = [*jax.tree.leaves(y0_bar), ts_bar]
    return jax.tree.unflatten(treedef, bars)


def _reverse_steps(
    problem: Problem,
    residuals: _Residuals,
    rows: State,
    field_with: Callable[[list[Array]], Callable[[Time, State], State]],
    parameters: list[Array],
    wants_times: bool,
) -> tuple[State, list[Array], Time, Float[Array, " time"]]:
    """The loop over the tape.

    Returns:
        The cotangents of the first state, of the parameters, of a shift of all stage times, and of `ts`.
    """
    outputs = None if only_ends(problem) else RowCotangents(problem, rows)
    window = 0 if outputs is None else outputs.window
    y_bar, times_bar = _end_cotangents(problem, residuals, rows, wants_times)
    times_bar = jnp.concatenate([jnp.zeros((window,), times_bar.dtype), times_bar])

    def step_back(carry: Any) -> Any:
        n, row, y_bar, parameters_bar, t_bar, times_bar = carry
        t0, dt, y0 = residuals.tape.read(n)

        def take(parameters: list[Array], t0: Time, y0: State) -> tuple[State, tuple[State, ...]]:
            step = problem.solver.step(field_with(parameters), t0, dt, y0, None)
            return step.z1, step.stages

        (y1, stages), pull = jax.vjp(take, parameters, t0, y0)
        stages_bar, y0_bar = jax.tree.map(jnp.zeros_like, (stages, y0))
        bars = _Cotangents(y_bar, stages_bar, y0_bar, times_bar)
        if outputs is not None:
            step = Step(y1, None, stages, None)
            row, bars = outputs.accumulate(row, t0, bars, _fold_outputs(problem, t0, dt, y0, step, wants_times))
        more_parameters_bar, more_t_bar, y_bar = pull((bars.y1, bars.stages))
        t_bar = t_bar + more_t_bar if wants_times else t_bar
        return n - 1, row, tree_add(y_bar, bars.y0), tree_add(parameters_bar, more_parameters_bar), t_bar, bars.times

    zeros = jax.tree.map(jnp.zeros_like, parameters)
    start = (residuals.num_steps - 1, residuals.num_saved, y_bar, zeros, jnp.zeros((), times_bar.dtype), times_bar)
    end = lax.while_loop(lambda carry: carry[0] >= 0, step_back, start)
    return end[2], end[3], end[4], end[5][window:]


def _end_cotangents(
    problem: Problem, residuals: _Residuals, rows: State, wants_times: bool
) -> tuple[State, Float[Array, " time"]]:
    """The cotangents of the last state and of the times before any step is walked back."""
    ts_bar = jnp.zeros_like(problem.ts)
    if not (only_ends(problem) and problem.ts.shape[0] == 2):
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), rows), ts_bar
    y_bar = jax.tree.map(lambda leaf: leaf[-1], rows)
    if wants_times:
        f_end = _without_nan(problem.field(problem.ts[-1], residuals.y_end))
        ts_bar = ts_bar.at[-1].set(tree_vdot(y_bar, f_end).astype(ts_bar.dtype))
    return y_bar, ts_bar


def _fold_outputs(
    problem: Problem, t0: Time, dt: Time, y0: State, step: Step, wants_times: bool
) -> Callable[[_Cotangents, Array, Array, State, Array], _Cotangents]:
    """A function that adds the cotangents of one window of output rows to those of the step they lie in."""

    def add(
        bars: _Cotangents,
        here: Float[Array, " window"],
        mask: Bool[Array, " window"],
        rows: State,
        first: Int[Array, ""],
    ) -> _Cotangents:
        theta = jnp.where(mask, (here - t0) / dt, 1.0)
        rows = jax.tree.map(lambda leaf: jnp.where(expand_like(mask, leaf), leaf, 0), rows)
        more = transpose_interpolate(problem.solver, theta, dt, y0, step, rows)
        y1_bar, stages_bar, y0_bar = tree_add((bars.y1, bars.stages, bars.y0), more)
        times_bar = bars.times
        if wants_times:
            slopes = jax.vmap(lambda x: problem.solver.interpolate_derivative(x, dt, y0, step))(theta)
            products = jax.vmap(tree_vdot)(rows, slopes).astype(times_bar.dtype)
            window = theta.shape[0]
            old = lax.dynamic_slice_in_dim(times_bar, first + window, window)
            times_bar = lax.dynamic_update_slice_in_dim(times_bar, old + products, first + window, 0)
        return _Cotangents(y1_bar, stages_bar, y0_bar, times_bar)

    return add


def _without_nan(x: State) -> State:
    """Zeros in place of NaN: the derivative at an end that was never reached."""
    return jax.tree.map(lambda leaf: jnp.where(jnp.isnan(leaf), 0, leaf), x)
