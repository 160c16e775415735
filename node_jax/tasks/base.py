"""What training and reporting need of a task."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from node_jax.types import Key


@dataclass(frozen=True)
class Evaluation:
    """What a trained model is worth, ready for a report."""

    metrics: dict[str, float]
    """Scalars of the model under test, by name."""
    table: str
    """A Markdown table that sets the model beside the others."""
    figures: tuple[str, ...]
    """File names of the figures written."""
    summary: str
    """One paragraph that says what was compared, on which data, in which unit."""


class Phase(eqx.Module):
    """Where training stands, for losses that change on the way."""

    stage: int = eqx.field(static=True)
    """Number of the stage of the curriculum, from 0; a program is compiled for each."""
    fraction: Float[Array, ""]
    """How much of the stage's steps is done, in [0, 1)."""


class AbstractTask(eqx.Module):
    """A problem to train on. Its data are array leaves, so that a compiled step takes them as inputs."""

    @abc.abstractmethod
    def init(self, key: Key) -> Any:
        """A fresh model."""

    @abc.abstractmethod
    def loss(self, model: Any, key: Key, phase: Phase) -> tuple[Float[Array, ""], dict[str, Array]]:
        """The loss on one step's batch, drawn with `key`, and scalars to log. Compiled and differentiated."""

    @abc.abstractmethod
    def evaluate(self, model: Any, others: dict[str, Any], directory: Path, log: Callable[[str], None]) -> Evaluation:
        """Hold `model` against `others` (trained models by name) and plain baselines; write figures."""
