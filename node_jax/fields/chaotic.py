"""Chaotic systems of few variables."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.fields.base import AbstractParametricField
from node_jax.fields.states import components


class Lorenz(AbstractParametricField):
    r"""dx/dt = σ (y - x),  dy/dt = x (ρ - z) - y,  dz/dt = x y - β z.

    With the standard parameters the largest Lyapunov exponent is 0.906, so that errors grow by e in a time of 1.10.

    Arguments:
        sigma, rho, beta: σ, ρ, β; trainable leaves.

    Reference: Lorenz (1963), doi:10.1175/1520-0469(1963)020<0130:DNF>2.0.CO;2. The exponent: Sprott (2003), Chaos and
    Time-Series Analysis.
    """

    parameters: Float[Array, "3"]

    def __init__(self, sigma: float = 10.0, rho: float = 28.0, beta: float = 8.0 / 3.0) -> None:
        self.parameters = jnp.asarray([sigma, rho, beta], float)

    def named_parameters(self) -> dict[str, Float[Array, ""]]:
        """sigma, rho and beta; time is counted in the system's own unit."""
        return dict(zip(("sigma", "rho", "beta"), self.parameters, strict=True))

    def __call__(self, t: Any, y: Float[Array, "*batch 3"], args: Any = None) -> Float[Array, "*batch 3"]:
        """The derivative of (x, y, z)."""
        del t, args
        a, b, c = components("Lorenz", y, "x", "y", "z")
        sigma, rho, beta = self.parameters
        return jnp.stack([sigma * (b - a), a * (rho - c) - b, a * b - beta * c], axis=-1)
