"""The vector field of a run."""

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, Literal, TypeAlias

from node_jax.config.checks import Activation, is_positive
from node_jax.config.data import CsvData
from node_jax.config.graph import GraphMLPField
from node_jax.config.mechanisms import LotkaVolterraField, Mechanism, PendulumField
from node_jax.config.population import Compartments
from node_jax.config.structured_fields import PortHamiltonian, SecondOrder, StableDynamics
from node_jax.config.time_fields import ConcatSquashField, GalerkinMLPField, HyperMLPField
from node_jax.errors import UsageError, require


@dataclass(frozen=True, kw_only=True)
class MLPField:
    """A network alone: the pure neural ODE."""

    width: int = 16
    """Size of each hidden layer, at least 1."""
    depth: int = 2
    """Number of hidden layers, at least 0."""
    activation: Activation = "tanh"
    """Nonlinearity; all but relu are smooth, as an adaptive solver wants."""
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


@dataclass(frozen=True, kw_only=True)
class Hybrid:
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
class HamiltonianNetwork:
    """Hamilton's equations of a network as energy (Greydanus et al. 2019), for positions and momenta in their units."""

    width: int = 64
    """Size of each hidden layer, at least 1."""
    depth: int = 2
    """Number of hidden layers, at least 0."""
    activation: Activation = "tanh"
    """Nonlinearity; the field is its slope, and must be smooth itself."""
    structure: Literal["free", "separable", "natural"] = "free"
    """free: one network of positions and momenta; separable: one of each, added; natural: a network of the positions
    plus a quadratic form of the momenta, as masses that do not depend on the positions have it."""

    def __post_init__(self) -> None:
        _check_network(self.width, self.depth)

    def check(self, run: Any) -> None:
        """What this field needs of its run."""
        _check_is_canonical(run, "HamiltonianNetwork")

    @property
    def max_dropout(self) -> float:
        """The largest share that is dropped anywhere in the field."""
        return 0.0


@dataclass(frozen=True, kw_only=True)
class LagrangianNetwork:
    """The Euler-Lagrange equation of a network (Cranmer et al. 2020): for positions and velocities, in their units."""

    width: int = 64
    """Size of each hidden layer, at least 1."""
    depth: int = 2
    """Number of hidden layers, at least 0."""
    activation: Activation = "softplus"
    """Nonlinearity; the field is made of its second derivatives, and must be smooth itself."""
    is_natural: bool = True
    """Whether the Lagrangian is v M(q) v / 2 - V(q) with a positive definite mass matrix; otherwise it is free."""

    def __post_init__(self) -> None:
        _check_network(self.width, self.depth)

    def check(self, run: Any) -> None:
        """What this field needs of its run."""
        _check_is_canonical(run, "LagrangianNetwork")

    @property
    def max_dropout(self) -> float:
        """The largest share that is dropped anywhere in the field."""
        return 0.0


def _check_network(width: int, depth: int) -> None:
    require(width >= 1, "field.width", "at least 1", width, "16 to 200 is usual.")
    require(depth >= 0, "field.depth", "at least 0", depth, "2 is usual.")


def _check_is_canonical(run: Any, name: str) -> None:
    """Mechanics holds in the units of the data, not in those of each quantity."""
    transform = getattr(run.task, "transform", "none")
    cure = f"Choose --task.transform none: {name} is written in the units of the data."
    require(transform == "none", "field, task.transform", "none", transform, cure)
    is_even = not isinstance(run.data, CsvData) or len(run.data.columns) % 2 == 0
    cure = "Positions first, then as many momenta or velocities."
    require(is_even, "field, data.columns", f"an even number of columns with {name}", "an odd one", cure)


Field: TypeAlias = (
    MLPField
    | Compartments
    | Hybrid
    | HybridLotkaVolterra
    | PendulumField
    | LotkaVolterraField
    | HamiltonianNetwork
    | LagrangianNetwork
    | PortHamiltonian
    | StableDynamics
    | SecondOrder
    | ConcatSquashField
    | GalerkinMLPField
    | HyperMLPField
    | GraphMLPField
)
