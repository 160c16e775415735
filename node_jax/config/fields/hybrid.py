"""What is known, plus a network for the rest."""

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

from node_jax.config.fields.mechanisms import LotkaVolterraField, Mechanism, PendulumField
from node_jax.config.fields.networks import MLPField
from node_jax.config.variants import FieldVariant
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class Hybrid(FieldVariant):
    """A mechanism whose parameters are trained, plus a network for what it misses."""

    mechanism: Mechanism = dataclass_field(default_factory=PendulumField)
    """What is known."""
    residual: MLPField = dataclass_field(default_factory=MLPField)
    """The network that is added; regularize.residual keeps it small."""
    acts_on: tuple[int, ...] | None = None
    """Indices of the quantities that the network changes; None is all."""
    sees: tuple[int, ...] | None = None
    """Indices of the quantities that the network depends on; None is all."""

    def __post_init__(self) -> None:
        for name in ("acts_on", "sees"):
            chosen = getattr(self, name)
            is_fine = chosen is None or (all(i >= 0 for i in chosen) and len(set(chosen)) == len(chosen))
            require(is_fine, f"field.{name}", "different indices from 0 on, or None", chosen, "1 is the second alone.")

    def check(self, run: Any) -> None:
        """What this field needs of its run."""
        self.mechanism.check(run)

    @property
    def max_dropout(self) -> float:
        """The largest share that is dropped anywhere in the field."""
        return self.residual.dropout


@dataclass(frozen=True, kw_only=True)
class HybridLotkaVolterra(LotkaVolterraField):
    """Lotka-Volterra in logarithms, its four rates trained, plus a network for what it misses. Needs two series, prey
    then predator."""

    residual: MLPField = dataclass_field(default_factory=MLPField)
    """The network that is added."""

    @property
    def max_dropout(self) -> float:
        """The largest share that is dropped anywhere in the field."""
        return self.residual.dropout
