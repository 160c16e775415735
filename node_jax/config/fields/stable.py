"""Fields whose solutions end at one place."""

from dataclasses import dataclass

from node_jax.config.checks import Activation, require_at_least, require_network
from node_jax.config.variants import FieldVariant


@dataclass(frozen=True, kw_only=True)
class StableDynamics(FieldVariant):
    """A network that is kept from climbing a learned Lyapunov function, so that it ends at one equilibrium."""

    width: int = 32
    """Size of each hidden layer of the network of directions, at least 1."""
    depth: int = 2
    """Number of its hidden layers, at least 0."""
    activation: Activation = "tanh"
    """Its nonlinearity."""
    lyapunov_width: int = 32
    """Size of each hidden layer of the convex network, at least 1."""
    lyapunov_depth: int = 2
    """Number of its hidden layers, at least 1."""
    rate: float = 0.01
    """At which the Lyapunov function decreases at least, in 1 / task.time_scale, >= 0."""

    def __post_init__(self) -> None:
        require_network(self.width, self.depth)
        require_at_least(self.lyapunov_width, 1, "field.lyapunov_width", "32 is usual.")
        require_at_least(self.lyapunov_depth, 1, "field.lyapunov_depth", "2 is usual.")
        require_at_least(self.rate, 0, "field.rate", "Below the rates of the system; 0.01 is usual.")
