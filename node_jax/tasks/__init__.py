"""Model, loss and metrics for one kind of problem."""

from node_jax.tasks.base import AbstractTask, Evaluation, Inspection, Phase
from node_jax.tasks.forecast import ForecastTask
from node_jax.tasks.stages import Collocation, GrowingHorizon, MultipleShooting, RollOut, Stage
from node_jax.tasks.trajectory import TrajectoryModel, TrajectoryTask

__all__ = [
    "AbstractTask",
    "Collocation",
    "Evaluation",
    "ForecastTask",
    "GrowingHorizon",
    "Inspection",
    "MultipleShooting",
    "Phase",
    "RollOut",
    "Stage",
    "TrajectoryModel",
    "TrajectoryTask",
]
