"""Trajectories of known systems, to study how well a fit finds them."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from node_jax.config.checks import is_positive, require_at_least
from node_jax.config.variants import DataVariant
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class SimulatedData(DataVariant):
    """Noisy trajectories of a known system, to study how well a fit finds it; seeds are those of the run."""

    suits: ClassVar[str] = "Trajectory for simulated data"

    system: Literal["lotka-volterra", "lorenz", "damped-pendulum"] = "lotka-volterra"
    """Whose trajectories: predator and prey from (1, 1); the attractor of Lorenz from random places on it; a pendulum
    of period 6 and friction 0.2, from angles and rates of a length between 1.3 and 2.3 (Yin et al. 2021)."""
    duration: float = 16.6
    """From the first row to the last, in the system's time, > 0; a period of predator and prey is 3.32."""
    num_times: int = 101
    """Rows of each trajectory, evenly spaced, at least 3."""
    noise: float = 0.05
    """Standard deviation of the noise, as a share of that of each quantity, >= 0."""
    num_series: int = 1
    """Trajectories that are fitted, at least 1."""
    num_held_out: int = 0
    """Trajectories without noise that validate, at least 0; 0 validates by the fitted ones."""

    def __post_init__(self) -> None:
        require(is_positive(self.duration), "data.duration", "a time > 0", self.duration, "A few periods are usual.")
        require_at_least(self.num_times, 3, "data.num_times", "Twenty a period are plenty.")
        require_at_least(self.noise, 0, "data.noise", "0.05 is 5 %.")
        require_at_least(self.num_series, 1, "data.num_series", "One is enough for a cycle.")
        require_at_least(self.num_held_out, 0, "data.num_held_out", "0 holds none out.")
        is_one = self.system != "lotka-volterra" or (self.num_series == 1 and self.num_held_out == 0)
        cure = "All start at (1, 1): choose data.num-series 1 and data.num-held-out 0, or lorenz."
        require(is_one, "data.num_series, data.num_held_out", "one trajectory of lotka-volterra", self, cure)


@dataclass(frozen=True, kw_only=True)
class MechanicalData(DataVariant):
    """States with noise and exact derivatives of a known mechanical system, with the set-up of Greydanus, Dzamba &
    Yosinski (2019) where None is given; seeds are those of the run."""

    suits: ClassVar[str] = "Trajectory or DerivativeMatching"

    system: Literal["mass-spring", "pendulum", "two-body"] = "mass-spring"
    """Whose states: positions and momenta."""
    num_series: int | None = None
    """Trajectories that are fitted, at least 1."""
    num_times: int | None = None
    """Rows of each trajectory, evenly spaced, at least 2."""
    duration: float | None = None
    """From the first row to the last, in the system's time, > 0."""
    noise: float | None = None
    """Standard deviation of the noise of the states, in their units, >= 0."""
    num_rollouts: int = 15
    """Solves of the true system whose energy is compared, at least 1."""

    def __post_init__(self) -> None:
        for name, least in (("num_series", 1), ("num_times", 2), ("noise", 0)):
            value = getattr(self, name)
            if value is not None:
                require_at_least(value, least, f"data.{name}", "None is as published.")
        is_fine = self.duration is None or is_positive(self.duration)
        require(is_fine, "data.duration", "a time > 0 or None", self.duration, "None is as published.")
        require_at_least(self.num_rollouts, 1, "data.num_rollouts", "15 is as published.")


@dataclass(frozen=True, kw_only=True)
class ControlledPendulumData(DataVariant):
    """A pendulum with friction under random torques, held for some rows each: angle and momentum, and the torque.

    Starts are uniform in the angle, over a turn, and in the momentum. Seeds are those of the run. Without friction it
    is that of Zhong et al. (2020), arXiv:1909.12077, who hold the same torque all along a series.
    """

    suits: ClassVar[str] = "Trajectory for simulated data"

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
class DampedOscillatorData(DataVariant):
    """x'' = -x - x³ - damping x', which ends at rest in 0 from everywhere: position and velocity, with noise.

    Starts lie evenly on an arc of a circle, turned at random; seeds are those of the run.
    """

    suits: ClassVar[str] = "Trajectory for simulated data"

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


@dataclass(frozen=True, kw_only=True)
class OscillatorNetworkData(DataVariant):
    """Noisy trajectories of oscillators with springs between neighbours on random graphs, which make one graph of
    several components; graphs, starts and noise follow the seed of the run.
    """

    suits: ClassVar[str] = "Trajectory for simulated data"

    num_graphs: int = 3
    """Components, at least 1."""
    num_nodes: int = 5
    """Oscillators of each, at least 2."""
    mean_degree: float = 2.5
    """Mean number of neighbours, in [0, num_nodes - 1]."""
    duration: float = 10.0
    """From the first row to the last, > 0; an oscillator alone has the period 2 pi."""
    num_times: int = 101
    """Rows of each trajectory, evenly spaced, at least 3."""
    noise: float = 0.01
    """Standard deviation of the noise, as a share of that of each quantity, >= 0."""
    num_series: int = 4
    """Trajectories that are fitted, from different starts, at least 1."""
    num_held_out: int = 2
    """Trajectories without noise that validate, at least 0; 0 validates by the fitted ones."""

    def __post_init__(self) -> None:
        require(is_positive(self.duration), "data.duration", "a time > 0", self.duration, "Two periods are a start.")
        for name, least in (
            ("num_graphs", 1),
            ("num_nodes", 2),
            ("num_times", 3),
            ("noise", 0),
            ("num_series", 1),
            ("num_held_out", 0),
        ):
            require_at_least(getattr(self, name), least, f"data.{name}", "The defaults are a start.")
        is_fine = 0 <= self.mean_degree <= self.num_nodes - 1
        expected = f"a number in [0, {self.num_nodes - 1}]"
        require(is_fine, "data.mean_degree", expected, self.mean_degree, "2 to 3 is usual.")
