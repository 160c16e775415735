"""Measured derivatives."""

from dataclasses import dataclass
from typing import Any

from node_jax.config.data import MechanicalData
from node_jax.config.regularize import SOLVE_COSTS
from node_jax.config.variants import TaskVariant
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class DerivativeMatching(TaskVariant):
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

    def batch_sizes(self) -> tuple[int | None, ...]:
        """See `TaskVariant.batch_sizes`."""
        return (self.batch_size,)
