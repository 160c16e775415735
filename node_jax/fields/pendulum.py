"""The pendulum."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from node_jax.fields.base import AbstractEnergyField, AbstractParametricField


class DampedPendulum(AbstractParametricField, AbstractEnergyField):
    r"""dq/dt = p,  dp/dt = -ω0² sin q - α p, for the angle q from the rest below and its rate p.

    Without friction the energy p²/2 + ω0² (1 - cos q) is kept; with it, it decreases by α p² in a unit of time. Rest is
    at p = 0 and q a multiple of π: stable below (even multiples), a saddle above.

    Arguments:
        period: 2π / ω0, that of small swings without friction, in units of time, > 0. The trainable leaf is ω0.
        damping: α, in 1/time, a trainable leaf; `None` has no friction, and nothing to train there.

    Reference: Yin et al. (2021), arXiv:2010.04456, with period 6 and damping 0.2.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> field = nj.fields.DampedPendulum(period=6.0, damping=0.2)
        >>> {name: round(float(value), 3) for name, value in field.named_parameters().items()}
        {'omega0': 1.047, 'damping': 0.2}
    """

    omega0: Float[Array, ""]
    damping: Float[Array, ""] | None

    def __init__(self, period: float, damping: float | None = None) -> None:
        if not (np.isfinite(period) and period > 0):
            raise ValueError(f"DampedPendulum: expected a finite period > 0, got {period!r}.")
        self.omega0 = jnp.asarray(2 * np.pi / period, float)
        self.damping = None if damping is None else jnp.asarray(damping, float)

    def __call__(self, t: Any, y: Float[Array, "*batch 2"], args: Any = None) -> Float[Array, "*batch 2"]:
        """The derivative of (q, p)."""
        del t, args
        q, p = _split(y)
        force = -(self.omega0**2) * jnp.sin(q)
        return jnp.stack([p, force if self.damping is None else force - self.damping * p], axis=-1)

    def energy(self, y: Float[Array, "*batch 2"], args: Any = None) -> Float[Array, "*batch"]:
        """p²/2 + ω0² (1 - cos q), for a mass and a length of 1."""
        del args
        q, p = _split(y)
        return p**2 / 2 + self.omega0**2 * (1 - jnp.cos(q))

    def named_parameters(self) -> dict[str, Float[Array, ""]]:
        """omega0 in radians per time, and damping in 1/time if there is any."""
        named = {"omega0": jnp.abs(self.omega0)}
        return named if self.damping is None else {**named, "damping": self.damping}


def _split(y: Any) -> tuple[Array, Array]:
    y = jnp.asarray(y)
    if y.ndim < 1 or y.shape[-1] != 2:
        raise ValueError(f"DampedPendulum: expected a state (q, p) of shape (..., 2), got {y.shape}.")
    return y[..., 0], y[..., 1]
