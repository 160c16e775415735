"""One series: many short solves of its first part, one forecast of the rest."""

from dataclasses import dataclass
from typing import Any

from node_jax.config.checks import require_at_least, require_time_scale
from node_jax.config.data import CsvData, Series
from node_jax.config.variants import TaskVariant, Transform, require_data
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class Forecast(TaskVariant):
    """Fit to the first part of a series by many short solves, forecast the rest."""

    train_until: float
    """Last time of the training rows, in the data's time unit."""
    validate_after: float | None = None
    """Training rows after this time are not fitted, but forecast to choose the best model and the end of training, in
    the data's time unit; None fits all."""
    segment_steps: int = 10
    """Intervals between rows in one short solve, at least 1."""
    batch_size: int | None = None
    """Segments drawn for each training step; None takes all."""
    time_scale: float = 5.0
    """Unit of the model's time, in the data's time unit, > 0."""
    transform: Transform = "log"
    """log: centred logarithms, for positive quantities; standard: centred, divided by the standard deviation; none: as
    they are, for fields that are written in the units of the data."""

    def __post_init__(self) -> None:
        require_at_least(self.segment_steps, 1, "task.segment_steps", "10 is a start.")
        require_time_scale(self.time_scale)
        is_before = self.validate_after is None or self.validate_after < self.train_until
        expected = f"a time before task.train_until = {self.train_until:g}, or None"
        cure = "The rows between the two are held out."
        require(is_before, "task.validate_after", expected, self.validate_after, cure)

    def check(self, run: Any) -> None:
        """What this task needs of its run."""
        require_data(run, Series, "one measured series to forecast")
        has_missing = isinstance(run.data, CsvData) and run.data.has_missing
        cure = "Choose a task Trajectory, which masks missing values."
        require(not has_missing, "data.has_missing", "False with a Forecast", True, cure)

    def units(self) -> tuple[Transform, float]:
        """See `TaskVariant.units`."""
        return self.transform, self.time_scale

    def batch_sizes(self) -> tuple[int | None, ...]:
        """See `TaskVariant.batch_sizes`."""
        return (self.batch_size,)
