"""Points with labels, through a flow."""

from dataclasses import dataclass
from typing import Any, Literal

from node_jax.config.checks import is_positive
from node_jax.config.data import Labelled
from node_jax.config.variants import TaskVariant, Transform
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class Classification(TaskVariant):
    """Classify points by a flow and an affine map behind it."""

    batch_size: int | None = 64
    """Points drawn for each training step, at least 1; None takes all."""
    num_augmented: int = 0
    """Components of the state beside the data, which start at zero (Dupont et al. 2019), at least 0."""
    encoder_dim: int | None = None
    """Size of the state that an affine map makes of a point, at least 1; None starts at the point itself."""
    end_time: float = 1.0
    """Length of the flow, > 0."""
    criterion: Literal["cross-entropy", "huber"] = "cross-entropy"
    """cross-entropy; or the Huber loss of outputs that shall be 1 for their class and -1 for others."""
    transform: Literal["standard", "none"] = "none"
    """standard: each component of a point is centred and divided by its standard deviation; none: as they are."""

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("num_augmented", 0), ("encoder_dim", 1)):
            value = getattr(self, name)
            is_fine = value >= least if value is not None else name != "num_augmented"
            require(is_fine, f"task.{name}", f"at least {least}", value, "64, 0 and None are usual.")
        require(is_positive(self.end_time), "task.end_time", "a time > 0", self.end_time, "1 is usual.")

    def check(self, run: Any) -> None:
        """What this task needs of its run."""
        has_labels = isinstance(run.data, Labelled)
        cure = "Choose data:concentric-spheres-data, or another task."
        require(has_labels, "task, data", "points with labels", type(run.data).__name__, cure)

    def units(self) -> tuple[Transform, float]:
        """See `TaskVariant.units`."""
        return self.transform, 1.0

    def batch_sizes(self) -> tuple[int | None, ...]:
        """See `TaskVariant.batch_sizes`."""
        return (self.batch_size,)
