"""Several subjects, each with a series of its own."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from node_jax.config.checks import is_positive, require_at_least
from node_jax.config.variants import DataVariant
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class SubjectsData(DataVariant):
    """Concentrations in several people, fetched by `node-jax data get`, with samples and people held out."""

    suits: ClassVar[str] = "Population"

    name: Literal["theophylline", "remifentanil"] = "theophylline"
    """Theoph: 12 people, a dose by mouth, mg/l over h; Remifentanil: 65 people, an infusion each, ng/ml over min."""
    held_out_samples: float = 0.0
    """Share of each person's samples that is not fitted but predicted, in [0, 1)."""
    num_folds: int | None = None
    """Parts into which the people are dealt, one of which is not fitted but validates and is predicted, at least 2;
    None fits all."""
    fold: int = 0
    """Which part is held out, from 0."""
    split_seed: int = 0
    """Seed of what is held out, at least 0; that of the run draws initial parameters."""
    limit: float | None = None
    """Values below it are only known to be below, > 0; None takes all as they are."""

    def __post_init__(self) -> None:
        share = self.held_out_samples
        require(0 <= share < 1, "data.held_out_samples", "a share in [0, 1)", share, "0.2 is usual.")
        folds_are_fine = self.num_folds is None or self.num_folds >= 2
        require(folds_are_fine, "data.num_folds", "at least 2 or None", self.num_folds, "5 is usual.")
        is_fine = 0 <= self.fold < (self.num_folds or 1)
        require(is_fine, "data.fold", f"at least 0 and below {self.num_folds or 1}", self.fold, "Parts count from 0.")
        require_at_least(self.split_seed, 0, "data.split_seed", "Any such number will do.")
        limit_is_fine = self.limit is None or is_positive(self.limit)
        require(limit_is_fine, "data.limit", "a limit > 0 or None", self.limit, "None takes all values as they are.")
