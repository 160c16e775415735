"""Whole trajectories, by a curriculum."""

from dataclasses import dataclass
from typing import Any

from node_jax.config.checks import require_time_scale
from node_jax.config.data import Series, Simulated
from node_jax.config.tasks.curriculum import CurriculumStage, RollOut
from node_jax.config.variants import TaskVariant, Transform, require_data
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class Trajectory(TaskVariant):
    """Fit whole trajectories by a curriculum of losses."""

    stages: tuple[CurriculumStage, ...] = (RollOut(num_steps=2000),)
    """One after the other, at least one; their steps add up to those of the run, in place of train.num_steps."""
    train_until: float | None = None
    """Of a single series, the last time that is fitted, in the data's time unit; the rest validates. None fits all."""
    validation_steps: int | None = None
    """Intervals of the solves that are validated; None takes whole trajectories. Short beside the Lyapunov time of a
    chaotic system."""
    has_free_starts: bool = True
    """Whether initial states are trained beside the field."""
    time_scale: float = 1.0
    """Unit of the model's time, in the data's time unit, > 0."""
    transform: Transform = "standard"
    """log: centred logarithms, for positive quantities; standard: centred, divided by the standard deviation; none: as
    they are, for fields that are written in the units of the data."""

    def __post_init__(self) -> None:
        require(len(self.stages) > 0, "task.stages", "at least one stage", self.stages, "RollOut is the plain fit.")
        require_time_scale(self.time_scale)
        steps_are_fine = self.validation_steps is None or self.validation_steps >= 1
        require(steps_are_fine, "task.validation_steps", "at least 1 or None", self.validation_steps, "None is usual.")

    def check(self, run: Any) -> None:
        """What this task needs of its run."""
        require_data(run, Series | Simulated, "series in time")
        is_fine = self.train_until is None or isinstance(run.data, Series)
        cure = "Simulated data are held out by whole trajectories: see data.num-held-out."
        require(is_fine, "task.train_until", "None with simulated data", self.train_until, cure)
        log_every = run.train.log_every
        for i, stage in enumerate(self.stages):
            expected = f"a multiple of train.log_every = {log_every}"
            cure = "A resumed run must meet whole dispatches."
            where = f"task.stages[{i}].num_steps"
            require(stage.num_steps % log_every == 0, where, expected, stage.num_steps, cure)
        cure = "Give the last stage a patience."
        require(run.train.patience is None, "train.patience", "None with stages", run.train.patience, cure)

    @property
    def num_steps(self) -> int:
        """Optimizer steps at most, over all stages."""
        return sum(stage.num_steps for stage in self.stages)

    def units(self) -> tuple[Transform, float]:
        """See `TaskVariant.units`."""
        return self.transform, self.time_scale

    def batch_sizes(self) -> tuple[int | None, ...]:
        """See `TaskVariant.batch_sizes`."""
        return tuple(stage.batch_size for stage in self.stages)
