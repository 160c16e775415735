"""The vector field of a config."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from node_jax.config.fields import (
    ConcatSquashField,
    Field,
    GalerkinMLPField,
    HamiltonianNetwork,
    Hybrid,
    HybridLotkaVolterra,
    HyperMLPField,
    LagrangianNetwork,
    LotkaVolterraField,
    MLPField,
    PendulumField,
    PortHamiltonian,
    SecondOrder,
    StableDynamics,
)
from node_jax.errors import UsageError
from node_jax.fields import (
    MLP,
    AbstractField,
    AccelerationNetwork,
    ConcatSquashMLP,
    DampedPendulum,
    Fourier,
    GalerkinField,
    HamiltonianField,
    HybridField,
    HyperField,
    LagrangianField,
    LogLotkaVolterra,
    NaturalLagrangianField,
    PiecewiseConstant,
    PiecewiseLinear,
    Polynomials,
    SecondOrderField,
    SeparableHamiltonianField,
    StableField,
    mechanical_port_hamiltonian,
)
from node_jax.types import Key

ACTIVATIONS = {"tanh": jnp.tanh, "softplus": jax.nn.softplus, "silu": jax.nn.silu, "relu": jax.nn.relu}
_BASES = {
    "polynomials": Polynomials,
    "fourier": Fourier,
    "piecewise-constant": PiecewiseConstant,
    "piecewise-linear": PiecewiseLinear,
}


def build_field(field: Field, dim: int, key: Key, num_controls: int = 0) -> AbstractField:
    """A fresh field on states of `dim` quantities, that reads `num_controls` control inputs."""
    if isinstance(field, PendulumField):
        return DampedPendulum(field.period, field.damping)
    if isinstance(field, HybridLotkaVolterra):
        residual = build_field(field.residual, dim, key, num_controls)
        return HybridField(_lotka_volterra(field), residual)
    if isinstance(field, LotkaVolterraField):
        return _lotka_volterra(field)
    if isinstance(field, Hybrid):
        parts = [build_field(part, dim, key, num_controls) for part in (field.mechanism, field.residual)]
        return HybridField(*parts, acts_on=field.acts_on, sees=field.sees)
    if isinstance(field, HamiltonianNetwork | LagrangianNetwork):
        make = _mechanics_of(field)
        return make(dim, field.width, field.depth, activation=ACTIVATIONS[field.activation], key=key)
    if isinstance(field, PortHamiltonian | SecondOrder):
        return _build_motion(field, dim, num_controls, key)
    if isinstance(field, StableDynamics):
        return _build_stable(field, dim, num_controls, key)
    if isinstance(field, ConcatSquashField | GalerkinMLPField | HyperMLPField):
        return _build_time_dependent(field, dim, key)
    assert isinstance(field, MLPField)
    return MLP(
        dim,
        field.width,
        field.depth,
        activation=ACTIVATIONS[field.activation],
        is_time_dependent=field.is_time_dependent,
        num_controls=num_controls,
        final_scale=field.final_scale,
        dropout=field.dropout,
        key=key,
    )


def _build_time_dependent(
    field: ConcatSquashField | GalerkinMLPField | HyperMLPField, dim: int, key: Key
) -> AbstractField:
    sizes = (dim, field.width, field.depth)
    settings = {"activation": ACTIVATIONS[field.activation], "final_scale": field.final_scale}
    if isinstance(field, ConcatSquashField):
        return ConcatSquashMLP(*sizes, **settings, key=key)
    first, last = field.span
    if isinstance(field, GalerkinMLPField):
        return GalerkinField(MLP(*sizes, **settings, key=key), _BASES[field.basis](field.num, (first, last)))
    key, key_hyper = jax.random.split(key)
    network = MLP(*sizes, **settings, key=key)
    return HyperField(network, field.hyper_width, field.hyper_depth, span=(first, last), key=key_hyper)


def _mechanics_of(field: HamiltonianNetwork | LagrangianNetwork) -> Callable[..., AbstractField]:
    if isinstance(field, LagrangianNetwork):
        return NaturalLagrangianField.network if field.is_natural else LagrangianField.network
    makers: dict[str, Callable[..., AbstractField]] = {
        "free": HamiltonianField.network,
        "separable": SeparableHamiltonianField.network,
        "natural": SeparableHamiltonianField.natural_network,
    }
    return makers[field.structure]


def _build_motion(field: PortHamiltonian | SecondOrder, dim: int, num_controls: int, key: Key) -> AbstractField:
    activation = ACTIVATIONS[field.activation]
    if dim % 2:
        raise UsageError(
            f"field: {type(field).__name__} needs positions, then as many momenta or velocities, got {dim} quantities."
        )
    if isinstance(field, PortHamiltonian):
        return mechanical_port_hamiltonian(
            dim // 2,
            num_controls,
            field.width,
            field.depth,
            angles=field.angles,
            has_dissipation=field.has_dissipation,
            activation=activation,
            key=key,
        )
    acceleration = AccelerationNetwork(
        dim // 2,
        field.width,
        field.depth,
        reads_velocity=field.reads_velocity,
        is_time_dependent=field.is_time_dependent,
        num_controls=num_controls,
        activation=activation,
        final_scale=field.final_scale,
        key=key,
    )
    return SecondOrderField(acceleration)


def _build_stable(field: StableDynamics, dim: int, num_controls: int, key: Key) -> AbstractField:
    key_nominal, key_lyapunov = jax.random.split(key)
    activation = ACTIVATIONS[field.activation]
    nominal = MLP(dim, field.width, field.depth, activation=activation, num_controls=num_controls, key=key_nominal)
    return StableField(nominal, dim, field.lyapunov_width, field.lyapunov_depth, rate=field.rate, key=key_lyapunov)


def _lotka_volterra(field: LotkaVolterraField) -> LogLotkaVolterra:
    return LogLotkaVolterra(field.growth, field.predation, field.reproduction, field.death)
