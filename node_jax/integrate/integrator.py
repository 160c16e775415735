"""The solver settings as one value that a model can hold."""

from collections.abc import Callable
from typing import Any

import equinox as eqx

from node_jax.adjoints import AbstractAdjoint
from node_jax.controllers import AbstractController
from node_jax.integrate.batch import odeint_batch
from node_jax.integrate.defaults import DEFAULT_ADJOINT, DEFAULT_CONTROLLER, DEFAULT_MAX_STEPS, DEFAULT_SOLVER
from node_jax.integrate.ode import odeint
from node_jax.solution import Solution
from node_jax.types import Args, State, VectorField


class Integrator(eqx.Module):
    """`nj.odeint` with its solver, controller, adjoint and `max_steps` chosen.

    Arguments:
        solver, controller, adjoint, max_steps: as in `nj.odeint`.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> integrator = nj.Integrator(solver=nj.RK4(), controller=nj.ConstantStep(0.1))
        >>> integrator(lambda t, y, args: -y, jnp.array([1.0]), jnp.array([0.0, 1.0])).ys.shape
        (2, 1)
    """

    solver: Any = DEFAULT_SOLVER
    controller: AbstractController = DEFAULT_CONTROLLER
    adjoint: AbstractAdjoint = DEFAULT_ADJOINT
    max_steps: int = eqx.field(static=True, default=DEFAULT_MAX_STEPS)

    def __call__(
        self,
        field: VectorField,
        y0: State,
        ts: Any,
        args: Args = None,
        *,
        events: Any = (),
        save: Callable[[Any, Any, Any], Any] | None = None,
        record: tuple[str, ...] = (),
        dense: bool = False,
        steps: bool = False,
    ) -> Solution:
        """`nj.odeint(field, y0, ts, args, ...)` with these settings."""
        return odeint(
            field,
            y0,
            ts,
            args,
            solver=self.solver,
            controller=self.controller,
            adjoint=self.adjoint,
            events=events,
            save=save,
            record=record,
            dense=dense,
            steps=steps,
            max_steps=self.max_steps,
        )

    def batch(
        self,
        field: VectorField,
        y0s: State,
        ts: Any,
        args: Args = None,
        *,
        in_axes: Any = (0, None, None),
        lanes: int | None = None,
        max_rows: int | None = None,
        mesh: Any = None,
        batch_axis: str = "data",
        cost_hint: Any = None,
        events: Any = (),
        save: Callable[[Any, Any, Any], Any] | None = None,
        record: tuple[str, ...] = (),
    ) -> Solution:
        """`nj.odeint_batch(field, y0s, ts, args, ...)` with these settings."""
        return odeint_batch(
            field,
            y0s,
            ts,
            args,
            in_axes=in_axes,
            lanes=lanes,
            max_rows=max_rows,
            mesh=mesh,
            batch_axis=batch_axis,
            cost_hint=cost_hint,
            solver=self.solver,
            controller=self.controller,
            adjoint=self.adjoint,
            events=events,
            save=save,
            record=record,
            max_steps=self.max_steps,
        )
