"""Vector fields dy/dt = f(t, y, args) as Equinox modules, one family a file."""

from node_jax.fields.base import AbstractEnergyField, AbstractField, AbstractParametricField
from node_jax.fields.bounded import BoundedField
from node_jax.fields.chaotic import Lorenz
from node_jax.fields.contractive import ContractiveField
from node_jax.fields.dropout import Dropout, draw_dropout
from node_jax.fields.hybrid import HybridField
from node_jax.fields.mlp import MLP
from node_jax.fields.pendulum import DampedPendulum
from node_jax.fields.population import LogLotkaVolterra, LotkaVolterra
from node_jax.fields.split import SplitField

__all__ = [
    "MLP",
    "AbstractEnergyField",
    "AbstractField",
    "AbstractParametricField",
    "BoundedField",
    "ContractiveField",
    "DampedPendulum",
    "Dropout",
    "HybridField",
    "LogLotkaVolterra",
    "Lorenz",
    "LotkaVolterra",
    "SplitField",
    "draw_dropout",
]
