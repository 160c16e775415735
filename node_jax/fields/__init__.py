"""Vector fields dy/dt = f(t, y, args) as Equinox modules, one family a file."""

from node_jax.fields.augmented import AugmentedField
from node_jax.fields.base import AbstractEnergyField, AbstractField, AbstractParametricField
from node_jax.fields.bounded import BoundedField
from node_jax.fields.chaotic import Lorenz
from node_jax.fields.compartment import ClearanceNetwork, CompartmentField
from node_jax.fields.contractive import ContractiveField
from node_jax.fields.dosing import Regimen
from node_jax.fields.dropout import Dropout, draw_dropout
from node_jax.fields.gradient_flow import GradientFlowField
from node_jax.fields.graph import Graph
from node_jax.fields.graph_field import FlatGraphField, GraphField
from node_jax.fields.hamiltonian import HamiltonianField, SeparableHamiltonianField
from node_jax.fields.hybrid import HybridField
from node_jax.fields.lagrangian import LagrangianField, NaturalLagrangianField
from node_jax.fields.linear import LinearField
from node_jax.fields.mechanical import MassSpring, TwoBody
from node_jax.fields.mlp import MLP
from node_jax.fields.network import Network
from node_jax.fields.oscillators import OscillatorNetwork
from node_jax.fields.pendulum import ControlledPendulum, DampedPendulum, Pendulum
from node_jax.fields.population import LogLotkaVolterra, LotkaVolterra
from node_jax.fields.port_hamiltonian import PortHamiltonianField
from node_jax.fields.port_networks import MechanicalEnergy, mechanical_port_hamiltonian
from node_jax.fields.second_order import AccelerationNetwork, SecondOrderField
from node_jax.fields.split import SplitField
from node_jax.fields.stable import ConvexNetwork, StableField
from node_jax.fields.time_bases import AbstractTimeBasis, Fourier, PiecewiseConstant, PiecewiseLinear, Polynomials
from node_jax.fields.time_dependent import ConcatSquashMLP, GalerkinField, HyperField

__all__ = [
    "MLP",
    "AbstractEnergyField",
    "AbstractField",
    "AbstractParametricField",
    "AbstractTimeBasis",
    "AccelerationNetwork",
    "AugmentedField",
    "BoundedField",
    "ClearanceNetwork",
    "CompartmentField",
    "ConcatSquashMLP",
    "ContractiveField",
    "ControlledPendulum",
    "ConvexNetwork",
    "DampedPendulum",
    "Dropout",
    "FlatGraphField",
    "Fourier",
    "GalerkinField",
    "GradientFlowField",
    "Graph",
    "GraphField",
    "HamiltonianField",
    "HybridField",
    "HyperField",
    "LagrangianField",
    "LinearField",
    "LogLotkaVolterra",
    "Lorenz",
    "LotkaVolterra",
    "MassSpring",
    "MechanicalEnergy",
    "NaturalLagrangianField",
    "Network",
    "OscillatorNetwork",
    "Pendulum",
    "PiecewiseConstant",
    "PiecewiseLinear",
    "Polynomials",
    "PortHamiltonianField",
    "Regimen",
    "SecondOrderField",
    "SeparableHamiltonianField",
    "SplitField",
    "StableField",
    "TwoBody",
    "draw_dropout",
    "mechanical_port_hamiltonian",
]
