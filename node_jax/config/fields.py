"""The vector field of a run."""

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, Literal, TypeAlias

from node_jax.config.checks import is_positive
from node_jax.config.data import CsvData
from node_jax.config.structured_fields import PortHamiltonian, SecondOrder, StableDynamics
from node_jax.errors import UsageError, require


@dataclass(frozen=True, kw_only=True)
class MLPField:
    """A network alone: the pure neural ODE."""

    width: int = 16
    """Size of each hidden layer, at least 1."""
    depth: int = 2
    """Number of hidden layers, at least 0."""
    activation: Literal["tanh", "softplus", "silu"] = "tanh"
    """Nonlinearity; all are smooth, as an adaptive solver wants."""
    is_time_dependent: bool = False
    """Whether time is an input beside the state."""
    final_scale: float = 0.1
    """Factor of the last layer's initial weights, > 0; small starts near a field of zero."""
    dropout: float = 0.0
    """Share of hidden units that is dropped in training, in [0, 1); the same units all along a solve."""

    def __post_init__(self) -> None:
        require(self.width >= 1, "field.width", "at least 1", self.width, "16 to 64 is usual for few variables.")
        require(self.depth >= 0, "field.depth", "at least 0", self.depth, "2 is usual.")
        scale = self.final_scale
        require(is_positive(scale), "field.final_scale", "a finite number > 0", scale, "0.1 to 1 is usual.")
        require(0 <= self.dropout < 1, "field.dropout", "a share in [0, 1)", self.dropout, "0.1 to 0.5 is usual.")

    def check(self, run: Any) -> None:
        """What this field needs of its run."""

    @property
    def max_dropout(self) -> float:
        """The largest share that is dropped anywhere in the field."""
        return self.dropout


@dataclass(frozen=True, kw_only=True)
class HybridLotkaVolterra:
    """Lotka-Volterra in logarithms, its four rates trained, plus a network for what it misses. Needs two series."""

    growth: float = 3.0
    """Initial growth rate of the prey, in 1 / task.time_scale, > 0."""
    predation: float = 3.0
    """Initial predation rate at the predator's mean, in 1 / task.time_scale, > 0."""
    reproduction: float = 3.0
    """Initial growth rate of the predator at the prey's mean, in 1 / task.time_scale, > 0."""
    death: float = 3.0
    """Initial death rate of the predator, in 1 / task.time_scale, > 0."""
    residual: MLPField = dataclass_field(default_factory=MLPField)
    """The network that is added."""

    def __post_init__(self) -> None:
        for name in ("growth", "predation", "reproduction", "death"):
            value = getattr(self, name)
            require(
                value > 0,
                f"field.{name}",
                "a rate > 0",
                value,
                "Rates are positive; their logarithm is trained.",
            )

    def check(self, run: Any) -> None:
        """What this field needs of its run."""
        if run.task.transform != "log":
            raise UsageError(
                "field, task.transform: HybridLotkaVolterra is written for logarithms. Choose --task.transform log."
            )
        if isinstance(run.data, CsvData) and len(run.data.columns) != 2:
            raise UsageError(
                f"field, data.columns: HybridLotkaVolterra needs two series, prey then predator, "
                f"got {run.data.columns}."
            )

    @property
    def max_dropout(self) -> float:
        """The largest share that is dropped anywhere in the field."""
        return self.residual.dropout


Field: TypeAlias = MLPField | HybridLotkaVolterra | PortHamiltonian | StableDynamics | SecondOrder
