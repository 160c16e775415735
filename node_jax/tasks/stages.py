"""The stages of a curriculum: which loss a fit of trajectories goes by, one after the other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from node_jax.data import Trajectories
from node_jax.errors import UsageError, require


def _check_batch_size(where: str, batch_size: int | None) -> None:
    is_fine = batch_size is None or batch_size >= 1
    require(is_fine, f"{where}.batch_size", "at least 1 or None", batch_size, "None takes all.")


@dataclass(frozen=True, kw_only=True)
class Collocation:
    """The field at smoothed states against smoothed slopes; nothing is solved.

    Arguments:
        batch_size: rows drawn for a step; `None` takes all.
    """

    batch_size: int | None = None

    def __post_init__(self) -> None:
        _check_batch_size("Collocation", self.batch_size)


@dataclass(frozen=True, kw_only=True)
class MultipleShooting:
    """Short segments at once, each from a free start, with a penalty on the jumps between them.

    Arguments:
        segment_steps: intervals between rows in one segment.
        continuity: weight of the penalty at the first and at the last step of the stage, > 0; geometric in between.
        batch_size: segments drawn for a step; `None` takes all.
    """

    segment_steps: int
    continuity: tuple[float, float] = (1.0, 100.0)
    batch_size: int | None = None

    def weight(self, fraction: Any) -> Any:
        """The weight of the penalty when `fraction`, a number in [0, 1], of the stage is done."""
        first, last = self.continuity
        return first * (last / first) ** fraction

    def __post_init__(self) -> None:
        steps = self.segment_steps
        require(steps >= 1, "MultipleShooting.segment_steps", "at least 1", steps, "10 is a start.")
        is_fine = len(self.continuity) == 2 and all(math.isfinite(w) and w > 0 for w in self.continuity)
        require(
            is_fine, "MultipleShooting.continuity", "two finite weights > 0", self.continuity, "(1.0, 10.0) is a start."
        )
        _check_batch_size("MultipleShooting", self.batch_size)


@dataclass(frozen=True, kw_only=True)
class GrowingHorizon:
    """One solve of each trajectory from its start, up to a row that moves to the last one over the stage.

    Arguments:
        start_steps: intervals within the horizon at the first step.
        batch_size: trajectories drawn for a step; `None` takes all.
    """

    start_steps: int
    batch_size: int | None = None

    def __post_init__(self) -> None:
        require(self.start_steps >= 1, "GrowingHorizon.start_steps", "at least 1", self.start_steps, "10 is a start.")
        _check_batch_size("GrowingHorizon", self.batch_size)


@dataclass(frozen=True, kw_only=True)
class RollOut:
    """One solve of each trajectory from its start over all rows: the plain fit.

    Arguments:
        batch_size: trajectories drawn for a step; `None` takes all.
    """

    batch_size: int | None = None

    def __post_init__(self) -> None:
        _check_batch_size("RollOut", self.batch_size)


CurriculumStage: TypeAlias = Collocation | MultipleShooting | GrowingHorizon | RollOut


def check_stages(stages: Sequence[CurriculumStage], data: Trajectories) -> None:
    """Whether stages fit the data.

    Raises:
        UsageError: without a stage, and for more steps or larger batches than the data have.
    """
    series, length, _ = data.values.shape
    if not stages:
        raise UsageError("TrajectoryTask: expected at least one stage, got none. RollOut() is the plain fit.")
    for i, stage in enumerate(stages):
        match stage:
            case Collocation():
                most_steps, steps, most = 1, 1, series * length
            case MultipleShooting():
                steps, most_steps = stage.segment_steps, length - 1
                most = series * -(-(length - 1) // steps)
            case GrowingHorizon():
                most_steps, steps, most = length - 1, stage.start_steps, series
            case RollOut():
                most_steps, steps, most = 1, 1, series
        if steps > most_steps:
            raise UsageError(
                f"TrajectoryTask: expected at most {most_steps} steps, the intervals of the longest trajectory, in "
                f"stage {i}, got {stage}. Take fewer steps."
            )
        if stage.batch_size is not None and stage.batch_size > most:
            raise UsageError(
                f"TrajectoryTask: expected a batch_size of at most {most} in stage {i}, got {stage}. None takes all."
            )
