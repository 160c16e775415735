"""Readings of a motion, with a noise that changes."""

from dataclasses import dataclass
from typing import Any

from node_jax.config.checks import require_at_least, require_time_scale
from node_jax.config.data import CrashTestData
from node_jax.config.fields import SecondOrder
from node_jax.config.regularize import Regularize
from node_jax.config.variants import TaskVariant
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class NoisyReadings(TaskVariant):
    """Fit a motion of second order to readings of its position, and the noise of these, which changes in time."""

    time_scale: float = 10.0
    """Unit of the model's time, in the data's time unit, > 0."""
    noise_knots: int = 8
    """Times, evenly spaced, at which the noise is fitted; at least 2."""
    num_folds: int | None = 10
    """Readings are dealt to so many folds at random, and the fold with the number seed mod num_folds is held out; None
    fits all."""

    def __post_init__(self) -> None:
        require_time_scale(self.time_scale)
        require_at_least(self.noise_knots, 2, "task.noise_knots", "8 is usual.")
        folds_are_fine = self.num_folds is None or self.num_folds >= 2
        require(folds_are_fine, "task.num_folds", "at least 2 or None", self.num_folds, "10 holds a tenth out.")

    def check(self, run: Any) -> None:
        """What this task needs of its run."""
        kind = type(run.data).__name__
        are_readings = isinstance(run.data, CrashTestData)
        require(are_readings, "task, data", "CrashTestData", kind, "Choose data:crash-test-data.")
        kind = type(run.field).__name__
        require(isinstance(run.field, SecondOrder), "task, field", "SecondOrder", kind, "Choose field:second-order.")
        require(run.reference is None, "task, reference", "None with NoisyReadings", "one", "Leave it out.")
        is_plain = run.regularize == Regularize()
        require(is_plain, "task, regularize", "no regularizer with NoisyReadings", run.regularize, "Leave them out.")
