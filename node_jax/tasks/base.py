"""What training and reporting need of a task."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from node_jax.analysis import Prediction
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


@dataclass(frozen=True, eq=False)
class Inspection:
    """One step's batch, solved again to be looked at: one row a solve."""

    times: np.ndarray
    """Requested times, shape (row, time)."""
    targets: np.ndarray
    """What the solves are fitted to, shape (row, time, dim); NaN where nothing was observed."""
    states: np.ndarray
    """What they give, of the same shape; NaN in rows that were not reached."""
    statuses: np.ndarray
    """An `nj.Status` each, shape (row,)."""
    figures: dict[str, np.ndarray]
    """Numbers of each solve by name, such as its evaluations, shape (row,)."""


class Phase(eqx.Module):
    """Where training stands, for losses that change on the way."""

    stage: int = eqx.field(static=True)
    """Number of the stage of the curriculum, from 0; a program is compiled for each."""
    fraction: Float[Array, ""]
    """How much of the stage's steps is done, in [0, 1)."""
    multiplier: Float[Array, ""] = eqx.field(default_factory=lambda: jnp.ones(()))
    """Factor of all regularizers whose strength follows a budget of evaluations; 1 without one."""


class AbstractTask(eqx.Module):
    """A problem to train on. Its data are array leaves, so that a compiled step takes them as inputs."""

    @abc.abstractmethod
    def init(self, key: Key) -> Any:
        """A fresh model."""

    @abc.abstractmethod
    def loss(self, model: Any, key: Key, phase: Phase) -> tuple[Float[Array, ""], dict[str, Array]]:
        """The loss on one step's batch, drawn with `key`, and scalars to log. Compiled and differentiated."""

    @abc.abstractmethod
    def validate(self, model: Any) -> dict[str, Array] | None:
        """Scalars to choose the best model and the end of training by, "loss" first of all; `None` where nothing is
        held out for that. Compiled.
        """

    @abc.abstractmethod
    def monitor(self, model: Any) -> dict[str, Array]:
        """Scalars to log that tell how the model is solved. Compiled, and called once a dispatch."""

    @abc.abstractmethod
    def inspect(self, model: Any, key: Key, phase: Phase) -> Inspection:
        """The batch that `loss` draws with `key`, solved again."""

    @abc.abstractmethod
    def predict(self, model: Any) -> Prediction:
        """What `model` says of the data that no model has seen."""

    @abc.abstractmethod
    def evaluate(self, model: Any, others: dict[str, Any], directory: Path, log: Callable[[str], None]) -> Evaluation:
        """Hold `model` against `others` (trained models by name) and plain baselines; write the figures of `draw`."""

    @abc.abstractmethod
    def draw(self, model: Any, others: dict[str, Any], directory: Path) -> tuple[str, ...]:
        """Write the figures that fit the task; the names of their files."""
