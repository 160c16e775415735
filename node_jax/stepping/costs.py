"""Sums along a solve that tell how hard it was, differentiable, so that training can lower them.

Pal, Ma, Shah & Rackauckas (2021), Opening the Blackbox: Accelerating Neural Differential Equations by Regularizing
Internal Solver Heuristics, arXiv:2105.03918.
"""

from jaxtyping import Array, Float

from node_jax.solvers import AbstractSolver, Step
from node_jax.tree import rms_norm, tree_without_integrals
from node_jax.types import State, Time

COSTS = ("error", "stiffness")
"""What can be recorded: Σ |dt| ‖error‖ and Σ S, with the stiffness estimate S of `AbstractSolver.stiffness`."""


def step_cost(name: str, solver: AbstractSolver, dt: Time, z0: State, step: Step) -> Float[Array, ""]:
    """What one accepted step adds to a cost.

    Arguments:
        name: one of `COSTS`.
        solver, dt, z0, step: the step.
    """
    z0, step = tree_without_integrals((z0, step))
    if name == "error":
        assert step.error is not None
        return (abs(dt) * rms_norm(step.error)).astype(dt.dtype)
    return solver.stiffness(dt, z0, step).astype(dt.dtype)
