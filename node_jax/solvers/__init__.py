"""One step of a method, without any loop."""

from node_jax.solvers.base import AbstractSolver, Step
from node_jax.solvers.runge_kutta import (
    RK4,
    Bosh3,
    Dopri5,
    Dopri8,
    Euler,
    ExplicitRungeKutta,
    Heun,
    Midpoint,
    Ralston,
    Tsit5,
)

__all__ = [
    "RK4",
    "AbstractSolver",
    "Bosh3",
    "Dopri5",
    "Dopri8",
    "Euler",
    "ExplicitRungeKutta",
    "Heun",
    "Midpoint",
    "Ralston",
    "Step",
    "Tsit5",
]
