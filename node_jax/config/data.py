"""Where the numbers come from."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from node_jax.config.checks import is_positive, require_at_least
from node_jax.config.classification import LabelledData
from node_jax.config.graph import OscillatorNetworkData
from node_jax.config.population import SubjectsData
from node_jax.config.structured_data import ControlledPendulumData, DampedOscillatorData
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class HareLynxData:
    """Pelts of hare and lynx a year, 1845-1935, shipped with the package."""

    years: tuple[float, float] = (1845.0, 1935.0)
    """First and last year that are used."""

    def __post_init__(self) -> None:
        first, last = self.years
        is_fine = first >= 1845 and first + 2 <= last <= 1935
        require(is_fine, "data.years", "two years at least 2 apart within 1845 to 1935", self.years, "Leave it out.")


@dataclass(frozen=True, kw_only=True)
class CsvData:
    """A series from a comma-separated file with a header line."""

    path: str
    """Path of the file."""
    time: str = "time"
    """Name of the column of times, strictly increasing."""
    columns: tuple[str, ...] = ("value",)
    """Names of the columns of values."""
    time_unit: str = "time"
    """Unit of the times, for plots."""
    value_unit: str = "value"
    """Unit of the values, for plots."""
    has_missing: bool = False
    """Whether an empty cell is a missing value, which a Trajectory masks; otherwise it is an error that names it."""

    def __post_init__(self) -> None:
        require(len(self.columns) > 0, "data.columns", "at least one column", self.columns, "Name the value columns.")


@dataclass(frozen=True, kw_only=True)
class SimulatedData:
    """Noisy trajectories of a known system, to study how well a fit finds it; seeds are those of the run."""

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
class CrashTestData:
    """133 readings of the acceleration of a dummy's head in a simulated motorcycle crash (Silverman 1985), fetched once
    by `node-jax data get mcycle`."""


@dataclass(frozen=True, kw_only=True)
class MechanicalData:
    """States with noise and exact derivatives of a known mechanical system, with the set-up of Greydanus, Dzamba &
    Yosinski (2019) where None is given; seeds are those of the run."""

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


Simulated: TypeAlias = (
    SimulatedData | MechanicalData | ControlledPendulumData | DampedOscillatorData | OscillatorNetworkData
)
Data: TypeAlias = HareLynxData | CsvData | CrashTestData | Simulated | LabelledData | SubjectsData
SIMULATED = get_args(Simulated)
"""Those that are simulated: several trajectories, of which some may be held out."""
