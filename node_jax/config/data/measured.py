"""Measured series and readings."""

from dataclasses import dataclass
from typing import ClassVar

from node_jax.config.variants import DataVariant
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class HareLynxData(DataVariant):
    """Pelts of hare and lynx a year, 1845-1935, shipped with the package."""

    suits: ClassVar[str] = "Forecast or Trajectory"

    years: tuple[float, float] = (1845.0, 1935.0)
    """First and last year that are used."""

    def __post_init__(self) -> None:
        first, last = self.years
        is_fine = first >= 1845 and first + 2 <= last <= 1935
        require(is_fine, "data.years", "two years at least 2 apart within 1845 to 1935", self.years, "Leave it out.")


@dataclass(frozen=True, kw_only=True)
class CsvData(DataVariant):
    """A series from a comma-separated file with a header line."""

    suits: ClassVar[str] = "Forecast or Trajectory"

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
class CrashTestData(DataVariant):
    """133 readings of the acceleration of a dummy's head in a simulated motorcycle crash (Silverman 1985), fetched once
    by `node-jax data get mcycle`."""

    suits: ClassVar[str] = "NoisyReadings"
