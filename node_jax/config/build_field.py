"""The vector field of a config."""

import jax
import jax.numpy as jnp

from node_jax.config.fields import (
    ConcatSquashField,
    Field,
    GalerkinMLPField,
    HybridLotkaVolterra,
    HyperMLPField,
    MLPField,
)
from node_jax.fields import (
    MLP,
    AbstractField,
    ConcatSquashMLP,
    Fourier,
    GalerkinField,
    HybridField,
    HyperField,
    LogLotkaVolterra,
    PiecewiseConstant,
    PiecewiseLinear,
    Polynomials,
)
from node_jax.types import Key

ACTIVATIONS = {"tanh": jnp.tanh, "softplus": jax.nn.softplus, "silu": jax.nn.silu, "relu": jax.nn.relu}
_BASES = {
    "polynomials": Polynomials,
    "fourier": Fourier,
    "piecewise-constant": PiecewiseConstant,
    "piecewise-linear": PiecewiseLinear,
}


def build_field(field: Field, dim: int, key: Key) -> AbstractField:
    """A fresh field on states of `dim` quantities."""
    if isinstance(field, HybridLotkaVolterra):
        mechanism = LogLotkaVolterra(field.growth, field.predation, field.reproduction, field.death)
        return HybridField(mechanism, build_field(field.residual, dim, key))
    if isinstance(field, ConcatSquashField):
        activation = ACTIVATIONS[field.activation]
        return ConcatSquashMLP(
            dim, field.width, field.depth, activation=activation, final_scale=field.final_scale, key=key
        )
    if isinstance(field, GalerkinMLPField):
        first, last = field.span
        return GalerkinField(build_field(field.network, dim, key), _BASES[field.basis](field.num, (first, last)))
    if isinstance(field, HyperMLPField):
        key, key_hyper = jax.random.split(key)
        first, last = field.span
        network = build_field(field.network, dim, key)
        return HyperField(network, field.hyper_width, field.hyper_depth, span=(first, last), key=key_hyper)
    assert isinstance(field, MLPField)
    return MLP(
        dim,
        field.width,
        field.depth,
        activation=ACTIVATIONS[field.activation],
        is_time_dependent=field.is_time_dependent,
        final_scale=field.final_scale,
        dropout=field.dropout,
        key=key,
    )
