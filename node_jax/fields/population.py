"""Predator and prey."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.fields.base import AbstractParametricField
from node_jax.fields.checks import logarithms
from node_jax.fields.states import components

_RATES = ("growth", "predation", "reproduction", "death")
"""Names of the rates, in the order of the leaf."""


class LogLotkaVolterra(AbstractParametricField):
    r"""The Lotka-Volterra equations for the logarithms x = log(prey / scale), z = log(predator / scale):

        dx/dt = α - β exp(z),        dz/dt = δ exp(x) - γ.

    Logarithms keep both populations positive. All four rates are positive by construction: the trainable leaf is
    their logarithm.

    Arguments:
        growth: α, growth rate of the prey without predators, in 1/time.
        predation: β, loss rate of the prey at predator = scale, in 1/time.
        reproduction: δ, growth rate of the predator at prey = scale, in 1/time.
        death: γ, death rate of the predator without prey, in 1/time.

    Reference: Lotka (1925), Elements of Physical Biology; Volterra (1926), Nature 118, 558-560,
    doi:10.1038/118558a0.
    """

    log_rates: Float[Array, "4"]

    def __init__(self, growth: float, predation: float, reproduction: float, death: float) -> None:
        rates = (growth, predation, reproduction, death)
        self.log_rates = logarithms("LogLotkaVolterra", **dict(zip(_RATES, rates, strict=True)))

    @property
    def rates(self) -> Float[Array, "4"]:
        """α, β, δ, γ in 1/time."""
        return jnp.exp(self.log_rates)

    def named_parameters(self) -> dict[str, Float[Array, ""]]:
        """The rates by name, in 1/time."""
        return dict(zip(_RATES, self.rates, strict=True))

    def __call__(self, t: Any, y: Float[Array, "*batch 2"], args: Any = None) -> Float[Array, "*batch 2"]:
        """The derivative of (x, z)."""
        del t, args
        prey, predator = components("LogLotkaVolterra", y, "x", "z")
        growth, predation, reproduction, death = self.rates
        return jnp.stack([growth - predation * jnp.exp(predator), reproduction * jnp.exp(prey) - death], axis=-1)


class LotkaVolterra(AbstractParametricField):
    r"""dx/dt = α x - β x z,  dz/dt = δ x z - γ z, for prey x and predator z.

    The default rates are those of the usual textbook example; from (1, 1) the period is 3.32.

    Arguments:
        growth, predation, reproduction, death: α, β, δ, γ; trainable leaves.

    Reference: Lotka (1925), Elements of Physical Biology; Volterra (1926), Nature 118, 558-560,
    doi:10.1038/118558a0.
    """

    rates: Float[Array, "4"]

    def __init__(
        self, growth: float = 1.5, predation: float = 1.0, reproduction: float = 1.0, death: float = 3.0
    ) -> None:
        self.rates = jnp.asarray([growth, predation, reproduction, death], float)

    def named_parameters(self) -> dict[str, Float[Array, ""]]:
        """The rates by name: growth and death in 1/time, the others in 1/(time state)."""
        return dict(zip(_RATES, self.rates, strict=True))

    def __call__(self, t: Any, y: Float[Array, "*batch 2"], args: Any = None) -> Float[Array, "*batch 2"]:
        """The derivative of (x, z)."""
        del t, args
        prey, predator = components("LotkaVolterra", y, "x", "z")
        growth, predation, reproduction, death = self.rates
        return jnp.stack([prey * (growth - predation * predator), predator * (reproduction * prey - death)], axis=-1)
