"""How large the next step is, and whether the last one is accepted."""

from node_jax.controllers.base import (
    AbstractController,
    Decision,
    accept_what_is_finite,
    direction_of,
    judge_times,
    require_scalar,
)
from node_jax.controllers.constant import ConstantStep
from node_jax.controllers.fixed import FixedSteps
from node_jax.controllers.pid import PIController

__all__ = [
    "AbstractController",
    "ConstantStep",
    "Decision",
    "FixedSteps",
    "PIController",
    "accept_what_is_finite",
    "direction_of",
    "judge_times",
    "require_scalar",
]
