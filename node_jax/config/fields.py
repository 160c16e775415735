"""The vector field of a run."""

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, Literal, TypeAlias

from node_jax.config.checks import is_positive
from node_jax.config.data import CsvData, OscillatorNetworkData
from node_jax.config.structured_fields import PortHamiltonian, SecondOrder, StableDynamics
from node_jax.errors import UsageError, require

Activation: TypeAlias = Literal["tanh", "softplus", "silu", "relu"]


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


def _check_network(width: int, depth: int, scale: float = 1.0) -> None:
    require(width >= 1, "field.width", "at least 1", width, "16 to 200 is usual.")
    require(depth >= 0, "field.depth", "at least 0", depth, "2 is usual.")
    require(is_positive(scale), "field.final_scale", "a finite number > 0", scale, "0.1 to 1 is usual.")


def _check_is_canonical(run: Any, name: str) -> None:
    """Mechanics holds in the units of the data, not in those of each quantity."""
    transform = getattr(run.task, "transform", "none")
    cure = f"Choose --task.transform none: {name} is written in the units of the data."
    require(transform == "none", "field, task.transform", "none", transform, cure)
    is_even = not isinstance(run.data, CsvData) or len(run.data.columns) % 2 == 0
    cure = "Positions first, then as many momenta or velocities."
    require(is_even, "field, data.columns", f"an even number of columns with {name}", "an odd one", cure)


def _check_span(span: tuple[float, ...]) -> None:
    is_fine = len(span) == 2 and span[0] < span[1]
    require(is_fine, "field.span", "two times, the first before the second", span, "0 1 is the flow of a classifier.")


@dataclass(frozen=True, kw_only=True)
class ConcatSquashField:
    """A network whose every layer has a gate and a shift that follow time (Grathwohl et al. 2019)."""

    width: int = 16
    """Size of each hidden layer, at least 1."""
    depth: int = 2
    """Number of hidden layers, at least 0."""
    activation: Activation = "tanh"
    """Nonlinearity; all but relu are smooth, as an adaptive solver wants."""
    final_scale: float = 0.1
    """Factor of the last layer's initial weights, > 0; small starts near a field of zero."""

    def __post_init__(self) -> None:
        _check_network(self.width, self.depth, self.final_scale)

    def check(self, run: Any) -> None:
        """What this field needs of its run."""

    @property
    def max_dropout(self) -> float:
        """The largest share that is dropped anywhere in the field."""
        return 0.0


@dataclass(frozen=True, kw_only=True)
class GalerkinMLPField:
    """A network whose weights are sums of functions of time (Massaroli et al. 2020)."""

    basis: Literal["polynomials", "fourier", "piecewise-constant", "piecewise-linear"] = "polynomials"
    """The functions of time; piecewise-constant makes a field that jumps."""
    num: int = 3
    """Number of functions, and of copies of the weights, at least 1."""
    span: tuple[float, ...] = (0.0, 1.0)
    """First and last time for which the functions are made, in the model's unit of time."""
    network: MLPField = dataclass_field(default_factory=MLPField)
    """The network whose weights vary."""

    def __post_init__(self) -> None:
        require(self.num >= 1, "field.num", "at least 1", self.num, "3 to 5 is usual.")
        _check_span(self.span)

    def check(self, run: Any) -> None:
        """What this field needs of its run."""

    @property
    def max_dropout(self) -> float:
        """The largest share that is dropped anywhere in the field."""
        return self.network.dropout


@dataclass(frozen=True, kw_only=True)
class GraphMLPField:
    """Networks for messages and nodes of a graph, shared by all of them (Poli et al. 2019). Needs data on a graph."""

    width: int = 32
    """Size of each hidden layer of both networks, at least 1."""
    depth: int = 2
    """Hidden layers of both networks, at least 0."""
    message_dim: int = 16
    """Size of a message, at least 1."""
    activation: Activation = "tanh"
    """Nonlinearity; all but relu are smooth, as an adaptive solver wants."""
    final_scale: float = 0.1
    """Factor of the initial weights of the nodes' last layer, > 0; small starts near a field of zero."""
    edges: Literal["graph", "none", "mean-field"] = "graph"
    """graph: the sum over neighbours; none: every node alone; mean-field: the mean over all nodes of a component."""

    def __post_init__(self) -> None:
        _check_network(self.width, self.depth, self.final_scale)
        require(self.message_dim >= 1, "field.message_dim", "at least 1", self.message_dim, "16 is a start.")

    def check(self, run: Any) -> None:
        """What this field needs of its run."""
        has_graph = isinstance(run.data, OscillatorNetworkData)
        cure = "Choose data:oscillator-network-data, or another field."
        require(has_graph, "field, data", "data on a graph", type(run.data).__name__, cure)
        transform, cure = run.task.transform, "Each node is to have the same units: choose --task.transform none."
        require(transform == "none", "field, task.transform", "none", transform, cure)

    @property
    def max_dropout(self) -> float:
        """The largest share that is dropped anywhere in the field."""
        return 0.0


@dataclass(frozen=True, kw_only=True)
class HyperMLPField:
    """A network whose weights come from a second network, of time (Ha et al. 2017)."""

    hyper_width: int = 8
    """Units of each hidden layer of the second network, and copies of the weights, at least 1."""
    hyper_depth: int = 1
    """Hidden layers of the second network, at least 1."""
    span: tuple[float, ...] = (0.0, 1.0)
    """First and last time of interest, in the model's unit of time."""
    network: MLPField = dataclass_field(default_factory=MLPField)
    """The network whose weights vary."""

    def __post_init__(self) -> None:
        require(self.hyper_width >= 1, "field.hyper_width", "at least 1", self.hyper_width, "8 is a start.")
        require(self.hyper_depth >= 1, "field.hyper_depth", "at least 1", self.hyper_depth, "1 is usual.")
        _check_span(self.span)

    def check(self, run: Any) -> None:
        """What this field needs of its run."""

    @property
    def max_dropout(self) -> float:
        """The largest share that is dropped anywhere in the field."""
        return self.network.dropout


Field: TypeAlias = (
    MLPField
    | HybridLotkaVolterra
    | ConcatSquashField
    | GalerkinMLPField
    | HyperMLPField
    | GraphMLPField
    | HamiltonianNetwork
    | LagrangianNetwork
    | PortHamiltonian
    | StableDynamics
    | SecondOrder
)
