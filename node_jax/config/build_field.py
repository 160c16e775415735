"""The vector field of a config."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from node_jax.config.fields import Field, HamiltonianNetwork, HybridLotkaVolterra, LagrangianNetwork
from node_jax.fields import (
    MLP,
    AbstractField,
    HamiltonianField,
    HybridField,
    LagrangianField,
    LogLotkaVolterra,
    NaturalLagrangianField,
    SeparableHamiltonianField,
)
from node_jax.types import Key

_ACTIVATIONS = {"tanh": jnp.tanh, "softplus": jax.nn.softplus, "silu": jax.nn.silu}


def build_field(field: Field, dim: int, key: Key) -> AbstractField:
    """A fresh field on states of `dim` quantities."""
    if isinstance(field, HybridLotkaVolterra):
        mechanism = LogLotkaVolterra(field.growth, field.predation, field.reproduction, field.death)
        return HybridField(mechanism, build_field(field.residual, dim, key))
    if isinstance(field, (HamiltonianNetwork, LagrangianNetwork)):
        make = _mechanics_of(field)
        return make(dim, field.width, field.depth, activation=_ACTIVATIONS[field.activation], key=key)
    return MLP(
        dim,
        field.width,
        field.depth,
        activation=_ACTIVATIONS[field.activation],
        is_time_dependent=field.is_time_dependent,
        final_scale=field.final_scale,
        dropout=field.dropout,
        key=key,
    )


def _mechanics_of(field: HamiltonianNetwork | LagrangianNetwork) -> Callable[..., AbstractField]:
    if isinstance(field, LagrangianNetwork):
        return NaturalLagrangianField.network if field.is_natural else LagrangianField.network
    makers: dict[str, Callable[..., AbstractField]] = {
        "free": HamiltonianField.network,
        "separable": SeparableHamiltonianField.network,
        "natural": SeparableHamiltonianField.natural_network,
    }
    return makers[field.structure]
