"""Networks alone, and those in which time is more than an input."""

from dataclasses import dataclass
from typing import Literal

from node_jax.config.checks import Activation, require_network
from node_jax.config.variants import FieldVariant
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class MLPField(FieldVariant):
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
        require_network(self.width, self.depth, self.final_scale)
        require(0 <= self.dropout < 1, "field.dropout", "a share in [0, 1)", self.dropout, "0.1 to 0.5 is usual.")

    @property
    def max_dropout(self) -> float:
        """The largest share that is dropped anywhere in the field."""
        return self.dropout


@dataclass(frozen=True, kw_only=True)
class ConcatSquashField(FieldVariant):
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
        require_network(self.width, self.depth, self.final_scale)


@dataclass(frozen=True, kw_only=True)
class GalerkinMLPField(FieldVariant):
    """A network whose weights are sums of functions of time (Massaroli et al. 2020)."""

    basis: Literal["polynomials", "fourier", "piecewise-constant", "piecewise-linear"] = "polynomials"
    """The functions of time; piecewise-constant makes a field that jumps."""
    num: int = 3
    """Number of functions, and of copies of the weights, at least 1."""
    span: tuple[float, ...] = (0.0, 1.0)
    """First and last time for which the functions are made, in the model's unit of time."""
    width: int = 16
    """Size of each hidden layer, at least 1."""
    depth: int = 2
    """Number of hidden layers, at least 0."""
    activation: Activation = "tanh"
    """Nonlinearity; all but relu are smooth, as an adaptive solver wants."""
    final_scale: float = 0.1
    """Factor of the last layer's initial weights, > 0; small starts near a field of zero."""

    def __post_init__(self) -> None:
        require(self.num >= 1, "field.num", "at least 1", self.num, "3 to 5 is usual.")
        _check_span(self.span)
        require_network(self.width, self.depth, self.final_scale)


@dataclass(frozen=True, kw_only=True)
class HyperMLPField(FieldVariant):
    """A network whose weights come from a second network, of time (Ha et al. 2017)."""

    hyper_width: int = 8
    """Units of each hidden layer of the second network, and copies of the weights, at least 1."""
    hyper_depth: int = 1
    """Hidden layers of the second network, at least 1."""
    span: tuple[float, ...] = (0.0, 1.0)
    """First and last time of interest, in the model's unit of time."""
    width: int = 16
    """Size of each hidden layer, at least 1."""
    depth: int = 2
    """Number of hidden layers, at least 0."""
    activation: Activation = "tanh"
    """Nonlinearity; all but relu are smooth, as an adaptive solver wants."""
    final_scale: float = 0.1
    """Factor of the last layer's initial weights, > 0; small starts near a field of zero."""

    def __post_init__(self) -> None:
        require(self.hyper_width >= 1, "field.hyper_width", "at least 1", self.hyper_width, "8 is a start.")
        require(self.hyper_depth >= 1, "field.hyper_depth", "at least 1", self.hyper_depth, "1 is usual.")
        _check_span(self.span)
        require_network(self.width, self.depth, self.final_scale)


def _check_span(span: tuple[float, ...]) -> None:
    is_fine = len(span) == 2 and span[0] < span[1]
    require(is_fine, "field.span", "two times, the first before the second", span, "0 1 is the flow of a classifier.")
