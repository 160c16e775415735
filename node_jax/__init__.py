"""node_jax: a JAX-native, functional toolkit for neural ordinary differential equations.

Names load when they are first used (PEP 562), so that the command line and config files start without jax.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from node_jax import analysis, data, fields, interpolate, losses, models, tasks, train
    from node_jax.adjoints import (
        AbstractAdjoint,
        BacksolveAdjoint,
        CheckpointedAdjoint,
        DirectAdjoint,
        ForwardMode,
        GaussAdjoint,
        ReversibleAdjoint,
    )
    from node_jax.controllers import AbstractController, ConstantStep, FixedSteps, PIController
    from node_jax.errors import DataError, SolveError, UsageError
    from node_jax.events import Event, Jump
    from node_jax.integrate import Integrator, odeint, odeint_batch
    from node_jax.solution import Solution, Stats, Steps
    from node_jax.solvers import (
        RK4,
        AbstractReversibleSolver,
        AbstractSolver,
        Bosh3,
        Bosh5,
        CashKarp5,
        Dopri5,
        Dopri8,
        Euler,
        ExplicitRungeKutta,
        Heun,
        LeapfrogMidpoint,
        Midpoint,
        Ralston,
        Reversible,
        ReversibleHeun,
        SemiImplicitEuler,
        StormerVerlet,
        Tsit5,
    )
    from node_jax.status import Status, check

__version__ = "0.1.0"

_HOMES = {
    "Steps": "solution",
    "FixedSteps": "controllers",
    "ReversibleAdjoint": "adjoints",
    "GaussAdjoint": "adjoints",
    "ForwardMode": "adjoints",
    "DirectAdjoint": "adjoints",
    "BacksolveAdjoint": "adjoints",
    "AbstractAdjoint": "adjoints",
    "AbstractController": "controllers",
    "AbstractReversibleSolver": "solvers",
    "AbstractSolver": "solvers",
    "CheckpointedAdjoint": "adjoints",
    "ConstantStep": "controllers",
    "DataError": "errors",
    "ExplicitRungeKutta": "solvers",
    "Euler": "solvers",
    "Event": "events",
    "Jump": "events",
    "Midpoint": "solvers",
    "Heun": "solvers",
    "Ralston": "solvers",
    "Bosh3": "solvers",
    "Bosh5": "solvers",
    "CashKarp5": "solvers",
    "Dopri5": "solvers",
    "Dopri8": "solvers",
    "LeapfrogMidpoint": "solvers",
    "Reversible": "solvers",
    "ReversibleHeun": "solvers",
    "SemiImplicitEuler": "solvers",
    "StormerVerlet": "solvers",
    "Integrator": "integrate",
    "PIController": "controllers",
    "RK4": "solvers",
    "Solution": "solution",
    "SolveError": "errors",
    "Stats": "solution",
    "Status": "status",
    "Tsit5": "solvers",
    "UsageError": "errors",
    "check": "status",
    "odeint": "integrate",
    "odeint_batch": "integrate",
}
_SUBPACKAGES = ("analysis", "data", "fields", "interpolate", "losses", "models", "tasks", "train")

__all__ = [
    "RK4",
    "AbstractAdjoint",
    "AbstractController",
    "AbstractReversibleSolver",
    "AbstractSolver",
    "BacksolveAdjoint",
    "Bosh3",
    "Bosh5",
    "CashKarp5",
    "CheckpointedAdjoint",
    "ConstantStep",
    "DataError",
    "DirectAdjoint",
    "Dopri5",
    "Dopri8",
    "Euler",
    "Event",
    "ExplicitRungeKutta",
    "FixedSteps",
    "ForwardMode",
    "GaussAdjoint",
    "Heun",
    "Integrator",
    "Jump",
    "LeapfrogMidpoint",
    "Midpoint",
    "PIController",
    "Ralston",
    "Reversible",
    "ReversibleAdjoint",
    "ReversibleHeun",
    "SemiImplicitEuler",
    "Solution",
    "SolveError",
    "Stats",
    "Status",
    "Steps",
    "StormerVerlet",
    "Tsit5",
    "UsageError",
    "analysis",
    "check",
    "data",
    "fields",
    "interpolate",
    "losses",
    "models",
    "odeint",
    "odeint_batch",
    "tasks",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"node_jax.{_HOMES[name]}"), name)
    if name in _SUBPACKAGES:
        return importlib.import_module(f"node_jax.{name}")
    raise AttributeError(f"module 'node_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
