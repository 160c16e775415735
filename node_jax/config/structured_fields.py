"""Vector fields with a structure."""

from dataclasses import dataclass
from typing import Any, Literal

from node_jax.config.checks import is_positive, require_at_least
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class PortHamiltonian:
    """A mechanical system of which nothing else is known: networks for its energy, its friction, and where its controls
    act. Quantities are positions, then momenta."""

    width: int = 32
    """Size of each hidden layer of each network, at least 1."""
    depth: int = 1
    """Number of hidden layers, at least 0."""
    activation: Literal["tanh", "softplus", "silu"] = "tanh"
    """Nonlinearity; the energy is differentiated twice."""
    angles: tuple[int, ...] = ()
    """Which positions are angles in radians, counted from 0; they enter by cosine and sine."""
    has_dissipation: bool = True
    """Whether there is friction."""

    def __post_init__(self) -> None:
        require_at_least(self.width, 1, "field.width", "32 is usual.")
        require_at_least(self.depth, 0, "field.depth", "1 is usual.")
        require(all(i >= 0 for i in self.angles), "field.angles", "indices from 0", self.angles, "() is none.")

    def check(self, run: Any) -> None:
        """What this field needs of its run."""
        cure = "Cosine and sine are those of radians: choose --task.transform none."
        is_fine = not self.angles or run.task.transform == "none"
        require(is_fine, "field.angles, task.transform", "none with angles", run.task.transform, cure)

    @property
    def max_dropout(self) -> float:
        """No dropout."""
        return 0.0


@dataclass(frozen=True, kw_only=True)
class StableDynamics:
    """A network that is kept from climbing a learned Lyapunov function, so that it ends at one equilibrium."""

    width: int = 32
    """Size of each hidden layer of the network of directions, at least 1."""
    depth: int = 2
    """Number of its hidden layers, at least 0."""
    activation: Literal["tanh", "softplus", "silu"] = "tanh"
    """Its nonlinearity."""
    lyapunov_width: int = 32
    """Size of each hidden layer of the convex network, at least 1."""
    lyapunov_depth: int = 2
    """Number of its hidden layers, at least 1."""
    rate: float = 0.01
    """At which the Lyapunov function decreases at least, in 1 / task.time_scale, >= 0."""

    def __post_init__(self) -> None:
        require_at_least(self.width, 1, "field.width", "32 is usual.")
        require_at_least(self.depth, 0, "field.depth", "2 is usual.")
        require_at_least(self.lyapunov_width, 1, "field.lyapunov_width", "32 is usual.")
        require_at_least(self.lyapunov_depth, 1, "field.lyapunov_depth", "2 is usual.")
        require_at_least(self.rate, 0, "field.rate", "Below the rates of the system; 0.01 is usual.")

    def check(self, run: Any) -> None:
        """What this field needs of its run."""

    @property
    def max_dropout(self) -> float:
        """No dropout."""
        return 0.0


@dataclass(frozen=True, kw_only=True)
class SecondOrder:
    """A network for the acceleration of positions; quantities are positions, then their velocities."""

    width: int = 32
    """Size of each hidden layer, at least 1."""
    depth: int = 2
    """Number of hidden layers, at least 0."""
    activation: Literal["tanh", "softplus", "silu"] = "tanh"
    """Nonlinearity."""
    reads_velocity: bool = True
    """Whether the velocity is an input beside the position."""
    is_time_dependent: bool = False
    """Whether time is."""
    final_scale: float = 0.1
    """Factor of the last layer's initial weights, > 0; small starts near uniform motion."""

    def __post_init__(self) -> None:
        require_at_least(self.width, 1, "field.width", "32 is usual.")
        require_at_least(self.depth, 0, "field.depth", "2 is usual.")
        scale = self.final_scale
        require(is_positive(scale), "field.final_scale", "a finite number > 0", scale, "0.1 to 1 is usual.")

    def check(self, run: Any) -> None:
        """What this field needs of its run."""
        # A task without a transform scales position and time itself, and takes the velocity along.
        transform, scale = getattr(run.task, "transform", "none"), run.task.time_scale
        cure = "Velocities are slopes of positions: choose --task.transform none and --task.time-scale 1."
        require(transform == "none", "task.transform", "none with SecondOrder", transform, cure)
        is_fine = scale == 1 or not hasattr(run.task, "transform")
        require(is_fine, "task.time_scale", "1 with SecondOrder", scale, cure)

    @property
    def max_dropout(self) -> float:
        """No dropout."""
        return 0.0
