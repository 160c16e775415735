"""What is fitted and measured: tasks, and the stages of a curriculum."""

from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

from node_jax.config.checks import is_positive, require_at_least
from node_jax.config.classification import Classification, LabelledData
from node_jax.config.data import SIMULATED, CrashTestData, CsvData, MechanicalData
from node_jax.config.population import Population, SubjectsData
from node_jax.config.regularize import SOLVE_COSTS
from node_jax.config.structured_fields import SecondOrder
from node_jax.errors import require

Transform: TypeAlias = Literal["log", "standard", "none"]


def _check_time_scale(value: float) -> None:
    require(is_positive(value), "task.time_scale", "a number > 0", value, "About half a period is good.")


def _check_stage(stage: Any) -> None:
    require_at_least(stage.num_steps, 1, "stage.num_steps", "A stage must end; 1000 is a start.")
    patience_is_fine = stage.patience is None or stage.patience >= 1
    require(patience_is_fine, "stage.patience", "at least 1 or None", stage.patience, "5 is usual.")
    batch_is_fine = stage.batch_size is None or stage.batch_size >= 1
    require(batch_is_fine, "stage.batch_size", "at least 1 or None", stage.batch_size, "None takes all.")


def _require_series(run: Any) -> None:
    has_labels = isinstance(run.data, LabelledData)
    require(not has_labels, "task, data", "series in time", type(run.data).__name__, "Choose a task Classification.")
    are_readings = isinstance(run.data, CrashTestData)
    require(not are_readings, "task, data", "series in time", type(run.data).__name__, "Choose a task NoisyReadings.")
    has_subjects = isinstance(run.data, SubjectsData)
    require(not has_subjects, "task, data", "series in time", type(run.data).__name__, "Choose a task Population.")


@dataclass(frozen=True, kw_only=True)
class Forecast:
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
        _check_time_scale(self.time_scale)
        is_before = self.validate_after is None or self.validate_after < self.train_until
        expected = f"a time before task.train_until = {self.train_until:g}, or None"
        cure = "The rows between the two are held out."
        require(is_before, "task.validate_after", expected, self.validate_after, cure)

    def check(self, run: Any) -> None:
        """What this task needs of its run."""
        _require_series(run)
        is_series = not isinstance(run.data, SIMULATED)
        cure = "Choose a task Trajectory for simulated data."
        require(is_series, "task, data", "one measured series to forecast", type(run.data).__name__, cure)
        has_missing = isinstance(run.data, CsvData) and run.data.has_missing
        cure = "Choose a task Trajectory, which masks missing values."
        require(not has_missing, "data.has_missing", "False with a Forecast", True, cure)


@dataclass(frozen=True, kw_only=True)
class Collocation:
    """The field at smoothed states against smoothed slopes; nothing is solved."""

    num_steps: int
    """Optimizer steps at most, a multiple of train.log_every."""
    patience: int | None = None
    """Checkpoints without a lower validation loss after which the stage ends, at least 1; None takes all its steps."""
    batch_size: int | None = None
    """Rows drawn for each step; None takes all."""

    def __post_init__(self) -> None:
        _check_stage(self)


@dataclass(frozen=True, kw_only=True)
class MultipleShooting:
    """Short segments at once, each from a free start, with a penalty on the jumps between them."""

    num_steps: int
    """Optimizer steps at most, a multiple of train.log_every."""
    patience: int | None = None
    """Checkpoints without a lower validation loss after which the stage ends, at least 1; None takes all its steps."""
    segment_steps: int = 10
    """Intervals between rows in one segment, at least 1."""
    continuity: tuple[float, ...] = (1.0, 10.0)
    """Weight of the penalty at the first and at the last step of the stage, > 0; geometric in between."""
    batch_size: int | None = None
    """Segments drawn for each step; None takes all."""

    def __post_init__(self) -> None:
        _check_stage(self)
        require_at_least(self.segment_steps, 1, "stage.segment_steps", "10 is a start.")
        is_fine = len(self.continuity) == 2 and all(map(is_positive, self.continuity))
        require(is_fine, "stage.continuity", "two weights > 0", self.continuity, "1 10 is a start.")


@dataclass(frozen=True, kw_only=True)
class GrowingHorizon:
    """One solve of each trajectory from its start, up to a row that moves to the last one over the stage."""

    num_steps: int
    """Optimizer steps at most, a multiple of train.log_every."""
    patience: int | None = None
    """Checkpoints without a lower validation loss after which the stage ends, at least 1; None takes all its steps."""
    start_steps: int = 10
    """Intervals within the horizon at the first step, at least 1."""
    batch_size: int | None = None
    """Trajectories drawn for each step; None takes all."""

    def __post_init__(self) -> None:
        _check_stage(self)
        require_at_least(self.start_steps, 1, "stage.start_steps", "10 is a start.")


@dataclass(frozen=True, kw_only=True)
class RollOut:
    """One solve of each trajectory from its start over all rows: the plain fit."""

    num_steps: int
    """Optimizer steps at most, a multiple of train.log_every."""
    patience: int | None = None
    """Checkpoints without a lower validation loss after which the stage ends, at least 1; None takes all its steps."""
    batch_size: int | None = None
    """Trajectories drawn for each step; None takes all."""

    def __post_init__(self) -> None:
        _check_stage(self)


CurriculumStage: TypeAlias = Collocation | MultipleShooting | GrowingHorizon | RollOut


@dataclass(frozen=True, kw_only=True)
class Trajectory:
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
        _check_time_scale(self.time_scale)
        steps_are_fine = self.validation_steps is None or self.validation_steps >= 1
        require(steps_are_fine, "task.validation_steps", "at least 1 or None", self.validation_steps, "None is usual.")

    def check(self, run: Any) -> None:
        """What this task needs of its run."""
        _require_series(run)
        is_fine = self.train_until is None or not isinstance(run.data, SIMULATED)
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


@dataclass(frozen=True, kw_only=True)
class DerivativeMatching:
    """Fit measured derivatives at measured states; nothing is solved in training."""

    batch_size: int | None = None
    """Rows drawn for each step; None takes all."""
    validation_share: float = 0.0
    """Share of the fitted series that is not fitted, but chooses the best model and the end of training, in [0, 1)."""
    integrates_derivatives: bool = False
    """Whether states are taken from the integrated derivatives, placed where they fit the measured states best: for
    states with noise and derivatives without."""

    def __post_init__(self) -> None:
        batch_is_fine = self.batch_size is None or self.batch_size >= 1
        require(batch_is_fine, "task.batch_size", "at least 1 or None", self.batch_size, "None takes all.")
        share = self.validation_share
        require(0 <= share < 1, "task.validation_share", "a share in [0, 1)", share, "0.2 is usual.")

    def check(self, run: Any) -> None:
        """What this task needs of its run."""
        is_fine = isinstance(run.data, MechanicalData)
        require(is_fine, "task, data", "MechanicalData", type(run.data).__name__, "Choose data:mechanical-data.")
        costs = [name for name in (*SOLVE_COSTS, "end_time_width") if getattr(run.regularize, name) > 0]
        cure = "Training solves nothing: l1, l2 and spectral are left."
        require(not costs, "task, regularize", "no costs of solves with DerivativeMatching", costs, cure)
        cure = "There is no solve to watch."
        require(not run.train.watch_growth, "train.watch_growth", "False with DerivativeMatching", True, cure)


@dataclass(frozen=True, kw_only=True)
class NoisyReadings:
    """Fit a motion of second order to readings of its position, and the noise of these, which changes in time."""

    time_scale: float = 10.0
    """Unit of the model's time, in the data's time unit, > 0."""
    noise_knots: int = 8
    """Times, evenly spaced, at which the noise is fitted; at least 2."""
    num_folds: int | None = 10
    """Readings are dealt to so many folds at random, and the fold with the number seed mod num_folds is held out; None
    fits all."""

    batch_size: None = None
    """All readings are taken in each step."""

    def __post_init__(self) -> None:
        _check_time_scale(self.time_scale)
        require_at_least(self.noise_knots, 2, "task.noise_knots", "8 is usual.")
        folds_are_fine = self.num_folds is None or self.num_folds >= 2
        require(folds_are_fine, "task.num_folds", "at least 2 or None", self.num_folds, "10 holds a tenth out.")

    def check(self, run: Any) -> None:
        """What this task needs of its run."""
        kind = type(run.data).__name__
        require(
            isinstance(run.data, CrashTestData), "task, data", "CrashTestData", kind, "Choose data:crash-test-data."
        )
        kind = type(run.field).__name__
        require(isinstance(run.field, SecondOrder), "task, field", "SecondOrder", kind, "Choose field:second-order.")
        require(run.reference is None, "task, reference", "None with NoisyReadings", "one", "Leave it out.")
        is_plain = all(getattr(run.regularize, f.name) == f.default for f in fields(run.regularize))
        require(is_plain, "task, regularize", "no regularizer with NoisyReadings", run.regularize, "Leave them out.")


Task: TypeAlias = Classification | Forecast | Trajectory | DerivativeMatching | NoisyReadings | Population
