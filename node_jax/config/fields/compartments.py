"""Compartments of a body, and what corrects them."""

from dataclasses import dataclass
from typing import Any

from node_jax.config.checks import is_positive, require_at_least
from node_jax.config.data import SubjectsData
from node_jax.config.variants import FieldVariant
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class ClearanceCorrection:
    """A network that multiplies the clearance, of concentration and covariates; it starts near 1."""

    width: int = 8
    """Size of each hidden layer, at least 1."""
    depth: int = 1
    """Number of hidden layers, at least 0."""
    scale: float = 5.0
    """A usual concentration, in the data's unit, > 0."""
    bound: float = 1.0
    """Largest logarithm of the factor, > 0."""
    weight_penalty: float = 0.0
    """Factor of the sum of squared weights, which is added to -log p of all data, >= 0: a normal prior."""

    def __post_init__(self) -> None:
        require_at_least(self.width, 1, "field.correction.width", "8 is plenty.")
        require_at_least(self.depth, 0, "field.correction.depth", "1 is usual.")
        require(is_positive(self.scale), "field.correction.scale", "a number > 0", self.scale, "The mean of the data.")
        require(is_positive(self.bound), "field.correction.bound", "a number > 0", self.bound, "1 is a factor of e.")
        require_at_least(self.weight_penalty, 0, "field.correction.weight_penalty", "1 is a start.")


@dataclass(frozen=True, kw_only=True)
class Compartments(FieldVariant):
    """Compartments with first-order exchange; the numbers are initial values, whose logarithms are trained."""

    clearance: float = 1.0
    """In volume/time, > 0."""
    volume: float | None = None
    """Of the central compartment, > 0; give this or the elimination."""
    elimination: float | None = None
    """clearance / volume, in 1/time, > 0."""
    absorption: float | None = None
    """In 1/time, > 0; None gives doses into the blood."""
    flows: tuple[float, ...] = ()
    """To each peripheral compartment, in volume/time, > 0."""
    volumes: tuple[float, ...] = ()
    """Of each peripheral compartment, > 0."""
    correction: ClearanceCorrection | None = None
    """A network that corrects the clearance; None for none."""

    def __post_init__(self) -> None:
        one = (self.volume is None) != (self.elimination is None)
        require(one, "field.volume, field.elimination", "one of the two", (self.volume, self.elimination), "Leave one.")
        cure = "Their logarithms are trained."
        for name, value in self.start.items():
            require(is_positive(value), f"field, {name}", "a number > 0", value, cure)
        fits = len(self.flows) == len(self.volumes)
        require(fits, "field.flows", f"as many as volumes, {len(self.volumes)}", self.flows, "One a compartment.")

    @property
    def start(self) -> dict[str, float]:
        """Initial values by the names that `CompartmentIndividual` knows."""
        found = {name: getattr(self, name) for name in ("absorption", "clearance", "elimination", "volume")}
        for j, (flow, volume) in enumerate(zip(self.flows, self.volumes, strict=False), 1):
            found |= {f"flow_{j}": flow, f"volume_{j}": volume}
        return {name: value for name, value in found.items() if value is not None}

    def check(self, run: Any) -> None:
        """What this field needs of its run."""
        has_subjects = isinstance(run.data, SubjectsData)
        cure = "Choose data:subjects-data, or another field."
        require(has_subjects, "field, data", "SubjectsData with Compartments", type(run.data).__name__, cure)
