"""Typed run configurations: what they may say, how they are stored, and how they become objects.

`from node_jax.config import Run, ...` needs no jax, so that a config file and `--help` answer at once.
"""

from node_jax.config.classification import Classification, ConcentricSpheresData, DigitsData
from node_jax.config.data import CrashTestData, CsvData, HareLynxData, MechanicalData, SimulatedData
from node_jax.config.fields import HamiltonianNetwork, Hybrid, HybridLotkaVolterra, LagrangianNetwork, MLPField
from node_jax.config.graph import GraphMLPField, OscillatorNetworkData
from node_jax.config.mechanisms import LotkaVolterraField, PendulumField
from node_jax.config.optimizers import (
    LBFGS,
    SGD,
    Adam,
    AdamW,
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    Lion,
    StepSchedule,
)
from node_jax.config.population import ClearanceCorrection, Compartments, Population, SubjectsData
from node_jax.config.regularize import Regularize
from node_jax.config.schema import Run
from node_jax.config.solver import RK4, ConstantStep, DiffraxSolver, FixedSteps, PIController, Tsit5
from node_jax.config.structured_data import ControlledPendulumData, DampedOscillatorData
from node_jax.config.structured_fields import PortHamiltonian, SecondOrder, StableDynamics
from node_jax.config.sweep import Sweep
from node_jax.config.tasks import (
    Collocation,
    DerivativeMatching,
    Forecast,
    GrowingHorizon,
    MultipleShooting,
    NoisyReadings,
    RollOut,
    Trajectory,
)
from node_jax.config.time_fields import ConcatSquashField, GalerkinMLPField, HyperMLPField
from node_jax.config.train import Train

__all__ = [
    "LBFGS",
    "RK4",
    "SGD",
    "Adam",
    "AdamW",
    "Classification",
    "ClearanceCorrection",
    "Collocation",
    "Compartments",
    "ConcatSquashField",
    "ConcentricSpheresData",
    "ConstantSchedule",
    "ConstantStep",
    "ControlledPendulumData",
    "CosineSchedule",
    "CrashTestData",
    "CsvData",
    "DampedOscillatorData",
    "DerivativeMatching",
    "DiffraxSolver",
    "DigitsData",
    "ExponentialSchedule",
    "FixedSteps",
    "Forecast",
    "GalerkinMLPField",
    "GraphMLPField",
    "GrowingHorizon",
    "HamiltonianNetwork",
    "HareLynxData",
    "Hybrid",
    "HybridLotkaVolterra",
    "HyperMLPField",
    "LagrangianNetwork",
    "Lion",
    "LotkaVolterraField",
    "MLPField",
    "MechanicalData",
    "MultipleShooting",
    "NoisyReadings",
    "OscillatorNetworkData",
    "PIController",
    "PendulumField",
    "Population",
    "PortHamiltonian",
    "Regularize",
    "RollOut",
    "Run",
    "SecondOrder",
    "SimulatedData",
    "StableDynamics",
    "StepSchedule",
    "SubjectsData",
    "Sweep",
    "Train",
    "Trajectory",
    "Tsit5",
]
