"""Stages of a curriculum: losses that lead to a fit, one after the other."""

from dataclasses import dataclass
from typing import Any, TypeAlias

from node_jax.config.checks import is_positive, require_at_least
from node_jax.errors import require


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


def _check_stage(stage: Any) -> None:
    require_at_least(stage.num_steps, 1, "stage.num_steps", "A stage must end; 1000 is a start.")
    patience_is_fine = stage.patience is None or stage.patience >= 1
    require(patience_is_fine, "stage.patience", "at least 1 or None", stage.patience, "5 is usual.")
    batch_is_fine = stage.batch_size is None or stage.batch_size >= 1
    require(batch_is_fine, "stage.batch_size", "at least 1 or None", stage.batch_size, "None takes all.")
