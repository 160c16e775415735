"""One step of a method, without any loop."""

from node_jax.solvers.base import AbstractSolver, Step
from node_jax.solvers.reversible import AbstractReversibleSolver, Reversible, ReversibleHeun
from node_jax.solvers.runge_kutta import (
    RK4,
    Bosh3,
    Bosh5,
    CashKarp5,
    Dopri5,
    Dopri8,
    Euler,
    ExplicitRungeKutta,
    Heun,
    Midpoint,
    Ralston,
    Tsit5,
)
from node_jax.solvers.symplectic import LeapfrogMidpoint, SemiImplicitEuler, StormerVerlet

__all__ = [
    "RK4",
    "AbstractReversibleSolver",
    "AbstractSolver",
    "Bosh3",
    "Bosh5",
    "CashKarp5",
    "Dopri5",
    "Dopri8",
    "Euler",
    "ExplicitRungeKutta",
    "Heun",
    "LeapfrogMidpoint",
    "Midpoint",
    "Ralston",
    "Reversible",
    "ReversibleHeun",
    "SemiImplicitEuler",
    "Step",
    "StormerVerlet",
    "Tsit5",
]
