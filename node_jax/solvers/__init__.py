"""One step of a method, without any loop."""

from node_jax.solvers.base import AbstractSolver, Step
from node_jax.solvers.runge_kutta import RK4, ExplicitRungeKutta, Tsit5

__all__ = ["RK4", "AbstractSolver", "ExplicitRungeKutta", "Step", "Tsit5"]
