"""The vector field of a run, one family a file, as in `node_jax.fields`."""

from typing import TypeAlias

from node_jax.config.fields.compartments import ClearanceCorrection, Compartments
from node_jax.config.fields.graph import GraphMLPField
from node_jax.config.fields.hybrid import Hybrid, HybridLotkaVolterra
from node_jax.config.fields.mechanics import HamiltonianNetwork, LagrangianNetwork, PortHamiltonian, SecondOrder
from node_jax.config.fields.mechanisms import LotkaVolterraField, Mechanism, PendulumField
from node_jax.config.fields.networks import ConcatSquashField, GalerkinMLPField, HyperMLPField, MLPField
from node_jax.config.fields.stable import StableDynamics

Field: TypeAlias = (
    MLPField
    | ConcatSquashField
    | GalerkinMLPField
    | HyperMLPField
    | PendulumField
    | LotkaVolterraField
    | Hybrid
    | HybridLotkaVolterra
    | HamiltonianNetwork
    | LagrangianNetwork
    | PortHamiltonian
    | SecondOrder
    | StableDynamics
    | GraphMLPField
    | Compartments
)

__all__ = [
    "ClearanceCorrection",
    "Compartments",
    "ConcatSquashField",
    "Field",
    "GalerkinMLPField",
    "GraphMLPField",
    "HamiltonianNetwork",
    "Hybrid",
    "HybridLotkaVolterra",
    "HyperMLPField",
    "LagrangianNetwork",
    "LotkaVolterraField",
    "MLPField",
    "Mechanism",
    "PendulumField",
    "PortHamiltonian",
    "SecondOrder",
    "StableDynamics",
]
