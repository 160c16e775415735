"""Classification: points with labels, and what is fitted to them."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

from node_jax.config.checks import is_positive, require_at_least
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class ConcentricSpheresData:
    """Points of a ball and of a shell around it, each a class (Dupont et al. 2019); seeds are those of the run."""

    dim: int = 2
    """Dimensions of the space, at least 1."""
    num_inner: int = 500
    """Points of the ball that are fitted, at least 1."""
    num_outer: int = 1500
    """Points of the shell that are fitted, at least 1."""
    inner_radius: float = 0.5
    """Radius of the ball, > 0."""
    outer_radii: tuple[float, ...] = (1.0, 1.5)
    """Radii of the shell, inside and outside, beyond the ball."""
    num_validation: int = 500
    """Points that choose the best model, at least 0, in the same proportion; 0 chooses by the loss."""
    num_test: int = 2000
    """Points to test on, at least 4, in the same proportion."""

    def __post_init__(self) -> None:
        for name, least in (("dim", 1), ("num_inner", 1), ("num_outer", 1), ("num_validation", 0), ("num_test", 4)):
            require_at_least(getattr(self, name), least, f"data.{name}", "The defaults are those of the paper.")
        radii = (0.0, self.inner_radius, *self.outer_radii)
        is_fine = len(radii) == 4 and all(low < high for low, high in pairwise(radii))
        cure = "0.5 and 1 1.5 are those of the paper."
        require(is_fine, "data.inner_radius, data.outer_radii", "three radii > 0 that grow", radii[1:], cure)


@dataclass(frozen=True, kw_only=True)
class DigitsData:
    """Handwritten digits of 8 by 8 pixels, ten classes, 1797 images; shipped with scikit-learn, which it needs."""

    validation_share: float = 0.1
    """Share of the images that chooses the best model, in [0, 0.5]; 0 chooses by the loss."""
    test_share: float = 0.25
    """Share of the images to test on, in (0, 0.5]."""

    def __post_init__(self) -> None:
        share = self.validation_share
        require(0 <= share <= 0.5, "data.validation_share", "a share in [0, 0.5]", share, "0.1 is usual.")
        share = self.test_share
        require(0 < share <= 0.5, "data.test_share", "a share in (0, 0.5]", share, "0.25 is usual.")


LabelledData: TypeAlias = ConcentricSpheresData | DigitsData
"""Points with labels, for a Classification."""


@dataclass(frozen=True, kw_only=True)
class Classification:
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
        has_labels = isinstance(run.data, LabelledData)
        cure = "Choose data:concentric-spheres-data, or another task."
        require(has_labels, "task, data", "points with labels", type(run.data).__name__, cure)
