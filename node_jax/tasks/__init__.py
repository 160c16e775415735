"""Model, loss and metrics for one kind of problem."""

from node_jax.tasks.base import AbstractTask, Evaluation, Inspection, Phase
from node_jax.tasks.classification import ClassificationTask
from node_jax.tasks.derivatives import DerivativeTask
from node_jax.tasks.forecast import ForecastTask
from node_jax.tasks.population import PopulationTask
from node_jax.tasks.population_model import PopulationModel, SubjectConditional, records_of
from node_jax.tasks.predictive import Predictive, each_sample, score
from node_jax.tasks.readings import ReadingsModel, ReadingsTask
from node_jax.tasks.stages import Collocation, CurriculumStage, GrowingHorizon, MultipleShooting, RollOut
from node_jax.tasks.trajectory import TrajectoryModel, TrajectoryTask

__all__ = [
    "AbstractTask",
    "ClassificationTask",
    "Collocation",
    "CurriculumStage",
    "DerivativeTask",
    "Evaluation",
    "ForecastTask",
    "GrowingHorizon",
    "Inspection",
    "MultipleShooting",
    "Phase",
    "PopulationModel",
    "PopulationTask",
    "Predictive",
    "ReadingsModel",
    "ReadingsTask",
    "RollOut",
    "SubjectConditional",
    "TrajectoryModel",
    "TrajectoryTask",
    "each_sample",
    "records_of",
    "score",
]
