"""Solvers of diffrax behind the same call: implicit methods and whatever else it has.

Kidger (2021), On Neural Differential Equations, arXiv:2202.02435.
"""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp

from node_jax.adjoints import AbstractAdjoint, CheckpointedAdjoint
from node_jax.controllers import AbstractController, ConstantStep, PIController
from node_jax.integrate.validate import as_derivative
from node_jax.solution import Solution, Stats
from node_jax.status import Status
from node_jax.tree import expand_like
from node_jax.types import Args, State, VectorField

DIFFRAX_SOLVERS = {
    "dopri5": diffrax.Dopri5,
    "dopri8": diffrax.Dopri8,
    "kvaerno3": diffrax.Kvaerno3,
    "kvaerno5": diffrax.Kvaerno5,
}
"""Those that a config can name; in a script, pass any diffrax solver."""


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

    def derivative(t: Any, y: State, args: Args) -> State:
        return as_derivative(field(t, y, args), y)

    t0, t1 = ts[0], ts[-1]
    jax.eval_shape(derivative, t0, y0, args)
    dt0, step_control = _convert_controller(controller, derivative, t0, t1, y0, args, solver)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(derivative),
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
    is_sorted = jnp.all(jnp.isfinite(ts)) & jnp.all((ts[1:] - ts[:-1]) * jnp.where(t1 < t0, -1, 1) >= 0)
    status = jnp.where(is_sorted, _convert_result(solution.result), Status.invalid_input).astype(jnp.int32)
    # diffrax leaves inf in rows that it did not reach.
    is_reached = jnp.isfinite(jnp.asarray(solution.ts))

    def mask(leaf: jax.Array) -> jax.Array:
        return jnp.where(expand_like(is_reached, leaf), leaf, jnp.nan)

    stats = Stats(
        num_evals=jnp.asarray(-1, jnp.int32),
        num_accepted=jnp.asarray(solution.stats["num_accepted_steps"], jnp.int32),
        num_rejected=jnp.asarray(solution.stats["num_rejected_steps"], jnp.int32),
    )
    return Solution(ts, jax.tree.map(mask, solution.ys), status, stats)


def _convert_controller(
    controller: AbstractController,
    derivative: VectorField,
    t0: jax.Array,
    t1: jax.Array,
    y0: State,
    args: Args,
    solver: diffrax.AbstractSolver,
) -> tuple[Any, diffrax.AbstractStepSizeController]:
    """diffrax's first step and controller for ours."""
    if isinstance(controller, ConstantStep):
        return jnp.where(t1 < t0, -1, 1) * controller.dt, diffrax.ConstantStepSize()
    if isinstance(controller, PIController):
        if not isinstance(solver, diffrax.AbstractAdaptiveSolver):
            raise ValueError(
                f"odeint: PIController needs an error estimate, which diffrax's {type(solver).__name__} does not have. "
                "Use another solver, or controller=nj.ConstantStep(dt)."
            )
        order = solver.order(diffrax.ODETerm(derivative)) or 1
        f0 = derivative(t0, y0, args)
        dt0, _ = controller.first_step(lambda t, y: derivative(t, y, args), jnp.stack([t0, t1]), y0, f0, order)
        return jax.lax.stop_gradient(dt0), diffrax.PIDController(
            rtol=controller.rtol,
            atol=controller.atol,
            pcoeff=controller.pcoeff,
            icoeff=controller.icoeff,
            dcoeff=controller.dcoeff,
            dtmin=controller.dtmin,
            dtmax=controller.dtmax,
            norm=controller.norm,
            safety=controller.safety,
            factormin=controller.factor_min,
            factormax=controller.factor_max,
        )
    raise ValueError(
        f"odeint: {type(controller).__name__} cannot steer a diffrax solver; use nj.PIController or nj.ConstantStep."
    )


def _convert_adjoint(adjoint: AbstractAdjoint) -> diffrax.AbstractAdjoint:
    """diffrax's adjoint for ours."""
    if isinstance(adjoint, CheckpointedAdjoint):
        return diffrax.RecursiveCheckpointAdjoint()
    raise ValueError(
        f"odeint: {type(adjoint).__name__} is not available with a diffrax solver; use nj.CheckpointedAdjoint()."
    )


def _convert_result(result: Any) -> jax.Array:
    """Our status for diffrax's result."""
    results = diffrax.RESULTS
    status = jnp.where(result == results.successful, Status.success, Status.non_finite)
    status = jnp.where(result == results.event_occurred, Status.event, status)
    status = jnp.where(result == results.max_steps_reached, Status.max_steps, status)
    return jnp.where(result == results.dt_min_reached, Status.dt_underflow, status)
