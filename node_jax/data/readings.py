"""Readings of one quantity, of which several may share a time."""

from dataclasses import dataclass

import numpy as np

from node_jax.errors import UsageError


@dataclass(frozen=True, eq=False)
class Readings:
    """Readings of one quantity at times that may repeat, in the user's units, on the host in float64.

    Arguments:
        times: shape (reading,), non-decreasing, at least two different ones.
        values: shape (reading,).
        name, time_unit, value_unit, source: for plots and reports.

    Raises:
        UsageError: for shapes that do not fit, values that are not finite, or times that are not sorted.

    Example:
        >>> import numpy as np, node_jax as nj
        >>> nj.data.Readings(np.array([0.0, 1.0, 1.0]), np.array([1.0, 2.0, 2.5]), "level").times.shape
        (3,)
    """

    times: np.ndarray
    values: np.ndarray
    name: str
    time_unit: str = "time"
    value_unit: str = "value"
    source: str = "arrays"

    def __post_init__(self) -> None:
        if self.times.ndim != 1 or self.times.shape != self.values.shape:
            raise UsageError(
                f"Readings: expected times and values of one shape (reading,), got {self.times.shape} and "
                f"{self.values.shape}."
            )
        if not (np.isfinite(self.times).all() and np.isfinite(self.values).all()):
            raise UsageError("Readings: expected finite times and values, got NaN or infinity. Drop such readings.")
        if not (np.diff(self.times) >= 0).all() or len(np.unique(self.times)) < 2:
            raise UsageError("Readings: expected sorted times, at least two different ones. Sort values with them.")

    def at(self, chosen: np.ndarray) -> "Readings":
        """Some of them.

        Arguments:
            chosen: a mask of shape (reading,).
        """
        units = (self.name, self.time_unit, self.value_unit, self.source)
        return Readings(self.times[chosen], self.values[chosen], *units)


def folds(num_readings: int, num_folds: int) -> np.ndarray:
    """Which fold each reading belongs to, drawn at random once and for all: shape (reading,), from 0.

    Folds differ in size by one at most. Arguments: how many readings and folds.
    """
    order = np.random.default_rng(0).permutation(num_readings)
    numbers = np.empty(num_readings, int)
    numbers[order] = np.arange(num_readings) % num_folds
    return numbers
