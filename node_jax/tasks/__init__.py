"""Model, loss and metrics for one kind of problem."""

from node_jax.tasks.base import AbstractTask, Evaluation, Inspection, Phase
from node_jax.tasks.forecast import ForecastTask

__all__ = ["AbstractTask", "Evaluation", "ForecastTask", "Inspection", "Phase"]
