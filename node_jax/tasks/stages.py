"""The stages of a curriculum: which loss a fit of trajectories goes by, one after the other."""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

from node_jax.errors import UsageError


def _require(condition: bool, where: str, expected: str, came: object) -> None:
    if not condition:
        raise UsageError(f"{where}: expected {expected}, got {came!r}.")


def _check_batch_size(where: str, batch_size: int | None) -> None:
    _require(batch_size is None or batch_size >= 1, f"{where}.batch_size", "at least 1, or None for all", batch_size)


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
        """The weight of the penalty when `fraction` of the stage is done."""
        first, last = self.continuity
        return first * (last / first) ** fraction

    def __post_init__(self) -> None:
        _require(self.segment_steps >= 1, "MultipleShooting.segment_steps", "at least 1", self.segment_steps)
        is_fine = len(self.continuity) == 2 and all(math.isfinite(w) and w > 0 for w in self.continuity)
        _require(is_fine, "MultipleShooting.continuity", "two finite weights > 0", self.continuity)
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
        _require(self.start_steps >= 1, "GrowingHorizon.start_steps", "at least 1", self.start_steps)
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


Stage: TypeAlias = Collocation | MultipleShooting | GrowingHorizon | RollOut
