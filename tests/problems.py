"""Initial value problems with solutions in closed form."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class ClosedForm:
    """dy/dt = field(t, y, args) with the exact solution `exact(t)` in float64 NumPy."""

    name: str
    field: Callable[[Any, Any, Any], Any]
    y0: tuple[float, ...]
    t1: float
    exact: Callable[[np.ndarray], np.ndarray]


def _exact_oscillator(t):
    return np.stack([np.cos(2 * t), -2 * np.sin(2 * t)], axis=-1)


PROBLEMS = (
    ClosedForm("decay", lambda t, y, args: -y, (1.0,), 2.0, lambda t: np.exp(-t)[..., None]),
    ClosedForm(
        "oscillator",
        lambda t, y, args: jnp.stack([y[1], -4.0 * y[0]]),
        (1.0, 0.0),
        2.0,
        _exact_oscillator,
    ),
    ClosedForm("time only", lambda t, y, args: jnp.cos(t) + 0 * y, (0.0,), 2.0, lambda t: np.sin(t)[..., None]),
    ClosedForm(
        "logistic", lambda t, y, args: y * (1 - y), (0.1,), 3.0, lambda t: (1 / (1 + 9 * np.exp(-t)))[..., None]
    ),
    ClosedForm("time and state", lambda t, y, args: -2.0 * t * y, (1.0,), 1.5, lambda t: np.exp(-(t**2))[..., None]),
)
