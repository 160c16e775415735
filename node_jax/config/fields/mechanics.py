"""Motions: from an energy, from a Lagrangian, or from an acceleration."""

from dataclasses import dataclass
from typing import Any, Literal

from node_jax.config.checks import Activation, require_network
from node_jax.config.data import CsvData
from node_jax.config.variants import FieldVariant, require_units
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class HamiltonianNetwork(FieldVariant):
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
        require_network(self.width, self.depth)

    def check(self, run: Any) -> None:
        """What this field needs of its run."""
        _check_is_canonical(run, "HamiltonianNetwork")


@dataclass(frozen=True, kw_only=True)
class LagrangianNetwork(FieldVariant):
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
        require_network(self.width, self.depth)

    def check(self, run: Any) -> None:
        """What this field needs of its run."""
        _check_is_canonical(run, "LagrangianNetwork")


@dataclass(frozen=True, kw_only=True)
class PortHamiltonian(FieldVariant):
    """A mechanical system of which nothing else is known: networks for its energy, its friction, and where its controls
    act. Quantities are positions, then momenta."""

    width: int = 32
    """Size of each hidden layer of each network, at least 1."""
    depth: int = 1
    """Number of hidden layers, at least 0."""
    activation: Activation = "tanh"
    """Nonlinearity; the energy is differentiated twice."""
    angles: tuple[int, ...] = ()
    """Which positions are angles in radians, counted from 0; they enter by cosine and sine."""
    has_dissipation: bool = True
    """Whether there is friction."""

    def __post_init__(self) -> None:
        require_network(self.width, self.depth)
        require(all(i >= 0 for i in self.angles), "field.angles", "indices from 0", self.angles, "() is none.")

    def check(self, run: Any) -> None:
        """What this field needs of its run."""
        if self.angles:
            require_units(run, "none", "angles", "Cosine and sine are those of radians")


@dataclass(frozen=True, kw_only=True)
class SecondOrder(FieldVariant):
    """A network for the acceleration of positions; quantities are positions, then their velocities."""

    width: int = 32
    """Size of each hidden layer, at least 1."""
    depth: int = 2
    """Number of hidden layers, at least 0."""
    activation: Activation = "tanh"
    """Nonlinearity."""
    reads_velocity: bool = True
    """Whether the velocity is an input beside the position."""
    is_time_dependent: bool = False
    """Whether time is."""
    final_scale: float = 0.1
    """Factor of the last layer's initial weights, > 0; small starts near uniform motion."""

    def __post_init__(self) -> None:
        require_network(self.width, self.depth, self.final_scale)

    def check(self, run: Any) -> None:
        """What this field needs of its run."""
        require_units(run, "none", "SecondOrder", "Velocities are slopes of positions")
        _, scale = run.task.units()
        cure = "Velocities are slopes of positions: choose --task.time-scale 1."
        require(scale == 1, "task.time_scale", "1 with SecondOrder", scale, cure)


def _check_is_canonical(run: Any, name: str) -> None:
    """Mechanics holds in the units of the data, not in those of each quantity."""
    require_units(run, "none", name, "It is written in the units of the data")
    is_even = not isinstance(run.data, CsvData) or len(run.data.columns) % 2 == 0
    cure = "Positions first, then as many momenta or velocities."
    require(is_even, "field, data.columns", f"an even number of columns with {name}", "an odd one", cure)
