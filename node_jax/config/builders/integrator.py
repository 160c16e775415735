"""The integrator of a config."""

from typing import Any

from node_jax.adjoints import CheckpointedAdjoint
from node_jax.config import solver as schema
from node_jax.controllers import AbstractController, ConstantStep, FixedSteps, PIController
from node_jax.integrate import Integrator
from node_jax.integrate.diffrax_backend import DIFFRAX_SOLVERS
from node_jax.solvers import RK4, Bosh5, Tsit5

_NATIVE = {schema.Tsit5: Tsit5, schema.Bosh5: Bosh5, schema.RK4: RK4}


def build_integrator(solver: schema.Solver, controller: schema.Controller, max_steps: int) -> Integrator:
    """How the run solves, with the gradient of the steps taken."""
    return Integrator(_build_solver(solver), _build_controller(controller), CheckpointedAdjoint(), max_steps)


def _build_solver(solver: schema.Solver) -> Any:
    if isinstance(solver, schema.DiffraxSolver):
        return DIFFRAX_SOLVERS[solver.method]()
    return _NATIVE[type(solver)]()


def _build_controller(controller: schema.Controller) -> AbstractController:
    if isinstance(controller, schema.ConstantStep):
        return ConstantStep(controller.dt)
    if isinstance(controller, schema.FixedSteps):
        return FixedSteps(controller.n)
    return PIController(rtol=controller.rtol, atol=controller.atol, dt0=controller.dt0)
