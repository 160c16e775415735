"""Checks that configs make of their fields; each raises one sentence."""

import math
from typing import Literal, TypeAlias

from node_jax.errors import require

Activation: TypeAlias = Literal["tanh", "softplus", "silu", "relu"]
"""Nonlinearity of a network; all but relu are smooth."""


def is_positive(value: float) -> bool:
    """Whether a number is finite and above 0."""
    return math.isfinite(value) and value > 0


def require_rate(lr: float) -> None:
    """A learning rate above 0."""
    require(is_positive(lr), "optimizer.lr", "a learning rate > 0", lr, "1e-2 to 1e-4 is usual.")


def require_decays(b1: float, b2: float) -> None:
    """Decays in [0, 1)."""
    for name, value in (("b1", b1), ("b2", b2)):
        require(0 <= value < 1, f"optimizer.{name}", "a number in [0, 1)", value, "0.9 and 0.999 are usual.")


def require_at_least(value: float, least: float, where: str, cure: str) -> None:
    """A number no smaller than `least`."""
    require(value >= least, where, f"at least {least:g}", value, cure)


def require_time_scale(value: float) -> None:
    """A unit of time above 0."""
    require(is_positive(value), "task.time_scale", "a number > 0", value, "About half a period is good.")


def require_network(width: int, depth: int, final_scale: float = 1.0) -> None:
    """Sizes and scale of a network."""
    require_at_least(width, 1, "field.width", "16 to 64 is usual for few variables.")
    require_at_least(depth, 0, "field.depth", "2 is usual.")
    require(is_positive(final_scale), "field.final_scale", "a finite number > 0", final_scale, "0.1 to 1 is usual.")
