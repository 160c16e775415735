"""The vector field of a config."""

import jax
import jax.numpy as jnp

from node_jax.config.fields import Field, HybridLotkaVolterra
from node_jax.fields import MLP, AbstractField, HybridField, LogLotkaVolterra
from node_jax.types import Key

_ACTIVATIONS = {"tanh": jnp.tanh, "softplus": jax.nn.softplus, "silu": jax.nn.silu}


def build_field(field: Field, dim: int, key: Key) -> AbstractField:
    """A fresh field on states of `dim` quantities."""
    if isinstance(field, HybridLotkaVolterra):
        mechanism = LogLotkaVolterra(field.growth, field.predation, field.reproduction, field.death)
        return HybridField(mechanism, build_field(field.residual, dim, key))
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
