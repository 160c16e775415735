"""Solvers of diffrax behind the same call: implicit methods and whatever else it has.

Kidger (2021), On Neural Differential Equations, arXiv:2202.02435.
"""

import math
from collections.abc import Callable
from typing import Any, get_origin

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from node_jax.adjoints import AbstractAdjoint, CheckpointedAdjoint, DirectAdjoint, ForwardMode
from node_jax.controllers import AbstractController, ConstantStep, PIController, direction_of, judge_times
from node_jax.fields import SplitField
from node_jax.integrate.arrays import products_in_full_precision
from node_jax.integrate.validate import as_derivative
from node_jax.solution import Solution, Stats
from node_jax.status import Status
from node_jax.stepping.controls import knots_of_holds
from node_jax.tree import tree_put_states, tree_where_rows, tree_without_integrals
from node_jax.types import Args, State, VectorField

DIFFRAX_SOLVERS = {
    "dopri5": diffrax.Dopri5,
    "dopri8": diffrax.Dopri8,
    "kvaerno3": diffrax.Kvaerno3,
    "kvaerno4": diffrax.Kvaerno4,
    "kvaerno5": diffrax.Kvaerno5,
}
"""Those that a config can name; in a script, pass any diffrax solver."""


def check_with_diffrax(
    solver: Any, controller: AbstractController, adjoint: AbstractAdjoint, has_holds: bool = False
) -> None:
    """Raise `ValueError` for parts that diffrax cannot serve; called before anything is traced.

    Arguments:
        solver, controller, adjoint: the parts.
        has_holds: whether the field or its arguments hold a zero-order hold.
    """
    _convert_adjoint(adjoint)
    if isinstance(controller, PIController):
        if not isinstance(solver, diffrax.AbstractAdaptiveSolver):
            raise ValueError(
                f"odeint: PIController needs an error estimate, which diffrax's {type(solver).__name__} does not have. "
                "Use another solver, or controller=nj.ConstantStep(dt)."
            )
        if any(isinstance(tolerance, (dict, tuple, list)) for tolerance in (controller.rtol, controller.atol)):
            raise ValueError(
                "odeint: a diffrax solver takes one rtol and one atol for the whole state, got a tree. Use numbers, or "
                "a native solver such as nj.Tsit5()."
            )
    elif not isinstance(controller, ConstantStep):
        raise ValueError(
            f"odeint: {type(controller).__name__} cannot steer a diffrax solver; use nj.PIController or "
            "nj.ConstantStep."
        )
    elif has_holds:
        raise ValueError(
            "odeint: steps of one size do not end at the knots of a zero-order hold with a diffrax solver. Use "
            "nj.PIController, or a native solver such as nj.RK4()."
        )


def solve_with_diffrax(
    field: VectorField,
    y0: State,
    ts: jax.Array,
    args: Args,
    solver: diffrax.AbstractSolver,
    controller: AbstractController,
    adjoint: AbstractAdjoint,
    max_steps: int,
) -> Solution:
    """`nj.odeint` by `diffrax.diffeqsolve`, with the same meaning of every argument.

    `Stats.num_evals` is -1: diffrax does not count evaluations. Rows that were not reached are NaN.
    """

    derivative = _derivative_of(field)
    asked, is_valid = ts, judge_times(ts, direction_of(ts))[0]
    # diffrax raises at times that are not sorted, also in compiled code: it gets an interval of no length instead.
    ts = jnp.where(is_valid, ts, 0)
    t0, t1 = ts[0], ts[-1]
    jax.eval_shape(derivative, t0, y0, args)
    terms = _terms(field, derivative, solver)
    holds = knots_of_holds((field, args))
    dt0, step_control = _convert_controller(controller, derivative, ts, y0, args, solver, terms, holds)
    solution = diffrax.diffeqsolve(
        terms,
        solver,
        t0,
        t1,
        dt0,
        y0,
        args,
        saveat=diffrax.SaveAt(ts=ts),
        stepsize_controller=step_control,
        adjoint=_convert_adjoint(adjoint),
        max_steps=max_steps,
        throw=False,
    )
    status = jnp.where(is_valid, _convert_result(solution.result), Status.invalid_input).astype(jnp.int32)
    # diffrax leaves inf in rows that it did not reach.
    is_reached = is_valid & jnp.isfinite(jnp.asarray(solution.ts))
    stats = Stats(
        num_evals=jnp.asarray(-1, jnp.int32),
        num_accepted=jnp.asarray(solution.stats["num_accepted_steps"], jnp.int32),
        num_rejected=jnp.asarray(solution.stats["num_rejected_steps"], jnp.int32),
    )
    return Solution(asked, tree_where_rows(is_reached, solution.ys, math.nan), status, stats)


def _convert_controller(
    controller: AbstractController,
    derivative: VectorField,
    ts: jax.Array,
    y0: State,
    args: Args,
    solver: diffrax.AbstractSolver,
    terms: diffrax.AbstractTerm,
    holds: list[jax.Array],
) -> tuple[Any, diffrax.AbstractStepSizeController]:
    """diffrax's first step and controller for ours."""
    if isinstance(controller, ConstantStep):
        return direction_of(ts) * controller.dt, diffrax.ConstantStepSize()
    assert isinstance(controller, PIController)
    order = solver.order(terms) or 1
    state, f0 = tree_without_integrals((y0, derivative(ts[0], y0, args)))

    def field(t: Any, y: State) -> State:
        return tree_without_integrals(derivative(t, tree_put_states(y0, y), args))

    dt0, _ = controller.first_step(field, ts, state, f0, order)
    adaptive = diffrax.PIDController(
        rtol=controller.rtol,
        atol=controller.atol,
        pcoeff=controller.pcoeff,
        icoeff=controller.icoeff,
        dcoeff=0.0 if controller.dcoeff is None else controller.dcoeff,
        dtmin=controller.dtmin,
        force_dtmin=False,
        dtmax=controller.dtmax,
        norm=_NormOfState(controller.norm),
        safety=controller.safety,
        factormin=controller.factor_min,
        factormax=controller.factor_max,
    )
    jumps = [*holds, controller.jump_ts] if controller.has_jumps else holds
    if jumps:
        jump_ts = jnp.sort(jnp.concatenate([jnp.asarray(times, ts.dtype).reshape(-1) for times in jumps]))
        adaptive = diffrax.ClipStepSizeController(adaptive, jump_ts=lax.stop_gradient(jump_ts))
    return lax.stop_gradient(dt0), adaptive


class _NormOfState(eqx.Module):
    """A norm of the state without integrals; hashable, so that two solves with one norm compile once."""

    norm: Callable[[Any], jax.Array] = eqx.field(static=True)

    def __call__(self, x: Any) -> jax.Array:
        return self.norm(tree_without_integrals(x))


def _convert_adjoint(adjoint: AbstractAdjoint) -> diffrax.AbstractAdjoint:
    """diffrax's adjoint for ours."""
    if isinstance(adjoint, CheckpointedAdjoint):
        return diffrax.RecursiveCheckpointAdjoint(checkpoints=adjoint.checkpoints)
    if isinstance(adjoint, DirectAdjoint):
        return diffrax.DirectAdjoint()
    if isinstance(adjoint, ForwardMode):
        return diffrax.ForwardMode()
    raise ValueError(
        f"odeint: {type(adjoint).__name__} is not available with a diffrax solver; use nj.CheckpointedAdjoint(), "
        "nj.DirectAdjoint() or nj.ForwardMode()."
    )


def _terms(field: VectorField, derivative: VectorField, solver: Any) -> diffrax.AbstractTerm:
    """One term, or two for a method that treats them differently."""
    if not issubclass(get_origin(solver.term_structure) or solver.term_structure, diffrax.MultiTerm):
        return diffrax.ODETerm(derivative)
    if not isinstance(field, SplitField):
        raise ValueError(
            f"odeint: {type(solver).__name__} treats a part of the field implicitly and the rest explicitly. Pass "
            "nj.fields.SplitField(explicit, implicit) as the field."
        )

    parts = (diffrax.ODETerm(_derivative_of(part)) for part in (field.explicit, field.implicit))
    return diffrax.MultiTerm(*parts)


def _derivative_of(field: VectorField) -> VectorField:
    """The field as diffrax should call it."""

    def derivative(t: Any, y: State, args: Args) -> State:
        with products_in_full_precision():
            return as_derivative(field(t, y, args), y)

    return derivative


def _convert_result(result: Any) -> jax.Array:
    """Our status for diffrax's result."""
    results = diffrax.RESULTS
    status = jnp.where(result == results.successful, Status.success, Status.non_finite)
    status = jnp.where(result == results.event_occurred, Status.event, status)
    status = jnp.where(result == results.max_steps_reached, Status.max_steps, status)
    return jnp.where(result == results.dt_min_reached, Status.dt_underflow, status)
