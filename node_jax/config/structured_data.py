"""Simulated systems for fields with a structure."""

from dataclasses import dataclass

from node_jax.config.checks import is_positive, require_at_least
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class ControlledPendulumData:
    """A pendulum with friction under random torques, held for some rows each: angle and momentum, and the torque.

    Starts are uniform in the angle, over a turn, and in the momentum. Seeds are those of the run. Without friction it
    is that of Zhong et al. (2020), arXiv:1909.12077, who hold the same torque all along a series.
    """

    damping: float = 0.2
    """Torque of the friction at an angular velocity of 1, >= 0."""
    max_torque: float = 2.0
    """Torques are uniform between plus and minus this, >= 0; the largest torque of gravity is 5."""
    hold_rows: int = 5
    """Rows for which a torque is held, at least 1."""
    max_momentum: float = 3.0
    """Momenta of starts are uniform between plus and minus this, > 0; 2.58 from hanging suffices to turn over."""
    duration: float = 1.0
    """From the first row to the last, > 0; a small swing takes 1.62."""
    num_times: int = 21
    """Rows of each series, evenly spaced, at least 3."""
    noise: float = 0.0
    """Standard deviation of the noise, as a share of that of each quantity, >= 0."""
    num_series: int = 64
    """Series that are fitted, at least 1."""
    num_held_out: int = 32
    """Series without noise that validate, at least 0; 0 validates by the fitted ones."""

    def __post_init__(self) -> None:
        require_at_least(self.damping, 0, "data.damping", "0.2 halves the swing in two periods.")
        require_at_least(self.max_torque, 0, "data.max_torque", "2 is less than half of gravity's.")
        require_at_least(self.hold_rows, 1, "data.hold_rows", "5 is usual.")
        require(is_positive(self.max_momentum), "data.max_momentum", "a momentum > 0", self.max_momentum, "3 is usual.")
        require(is_positive(self.duration), "data.duration", "a time > 0", self.duration, "1 is usual.")
        require_at_least(self.num_times, 3, "data.num_times", "Twenty a unit of time are plenty.")
        require_at_least(self.noise, 0, "data.noise", "0.01 is 1 %.")
        require_at_least(self.num_series, 1, "data.num_series", "64 is usual.")
        require_at_least(self.num_held_out, 0, "data.num_held_out", "0 holds none out.")


@dataclass(frozen=True, kw_only=True)
class DampedOscillatorData:
    """x'' = -x - x³ - damping x', which ends at rest in 0 from everywhere: position and velocity, with noise.

    Starts lie evenly on an arc of a circle, turned at random; seeds are those of the run.
    """

    damping: float = 0.5
    """In units of the frequency of small swings, > 0; from 2 on small swings do not return."""
    radius: float = 1.0
    """Of the circle of starts, > 0."""
    arc: float = 1.0
    """Share of the circle on which starts lie, in (0, 1]."""
    duration: float = 6.0
    """From the first row to the last, > 0; a small swing takes 6.5."""
    num_times: int = 41
    """Rows of each series, evenly spaced, at least 3."""
    noise: float = 0.05
    """Standard deviation of the noise, as a share of that of each quantity, >= 0."""
    num_series: int = 4
    """Series that are fitted, at least 1."""
    num_held_out: int = 4
    """Series without noise that validate, from the same arc, at least 0; 0 validates by the fitted ones."""

    def __post_init__(self) -> None:
        for name in ("damping", "radius", "duration"):
            value = getattr(self, name)
            require(is_positive(value), f"data.{name}", "a finite number > 0", value, "The default is a start.")
        require(0 < self.arc <= 1, "data.arc", "a share in (0, 1]", self.arc, "1 is all around.")
        require_at_least(self.num_times, 3, "data.num_times", "Forty are plenty.")
        require_at_least(self.noise, 0, "data.noise", "0.05 is 5 %.")
        require_at_least(self.num_series, 1, "data.num_series", "4 is usual.")
        require_at_least(self.num_held_out, 0, "data.num_held_out", "0 holds none out.")
