"""What is fitted and measured."""

from typing import TypeAlias

from node_jax.config.tasks.classification import Classification
from node_jax.config.tasks.curriculum import Collocation, CurriculumStage, GrowingHorizon, MultipleShooting, RollOut
from node_jax.config.tasks.derivatives import DerivativeMatching
from node_jax.config.tasks.forecast import Forecast
from node_jax.config.tasks.population import Population
from node_jax.config.tasks.readings import NoisyReadings
from node_jax.config.tasks.trajectory import Trajectory

Task: TypeAlias = Forecast | Trajectory | DerivativeMatching | NoisyReadings | Classification | Population

__all__ = [
    "Classification",
    "Collocation",
    "CurriculumStage",
    "DerivativeMatching",
    "Forecast",
    "GrowingHorizon",
    "MultipleShooting",
    "NoisyReadings",
    "Population",
    "RollOut",
    "Task",
    "Trajectory",
]
