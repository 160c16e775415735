"""Points with labels."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from node_jax.config.checks import require_at_least
from node_jax.config.variants import DataVariant
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class ConcentricSpheresData(DataVariant):
    """Points of a ball and of a shell around it, each a class (Dupont et al. 2019); seeds are those of the run."""

    suits: ClassVar[str] = "Classification"

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
class DigitsData(DataVariant):
    """Handwritten digits of 8 by 8 pixels, ten classes, 1797 images; shipped with scikit-learn, which it needs."""

    suits: ClassVar[str] = "Classification"

    validation_share: float = 0.1
    """Share of the images that chooses the best model, in [0, 0.5]; 0 chooses by the loss."""
    test_share: float = 0.25
    """Share of the images to test on, in (0, 0.5]."""

    def __post_init__(self) -> None:
        share = self.validation_share
        require(0 <= share <= 0.5, "data.validation_share", "a share in [0, 0.5]", share, "0.1 is usual.")
        share = self.test_share
        require(0 < share <= 0.5, "data.test_share", "a share in (0, 0.5]", share, "0.25 is usual.")
