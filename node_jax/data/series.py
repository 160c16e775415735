"""A multivariate time series on the host, and its reader."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from node_jax.errors import UsageError


@dataclass(frozen=True, eq=False)
class TimeSeries:
    """Values of several quantities at increasing times, in the user's units, on the host in float64.

    Arguments:
        times: shape (time,), strictly increasing.
        values: shape (time, dim). NaN is a missing value, if `has_missing`.
        names: one name a quantity.
        time_unit, value_unit: for axes of plots.
        source: where the numbers come from.
        has_missing: whether NaN is meant. Undeclared NaN is refused.

    Raises:
        UsageError: for shapes that do not fit, times that do not increase, infinite values, or missing ones that were
            not declared; the message names the row.
    """

    times: np.ndarray
    values: np.ndarray
    names: tuple[str, ...]
    time_unit: str
    value_unit: str
    source: str
    has_missing: bool = False

    def __post_init__(self) -> None:
        shape = (len(self.times), len(self.names))
        if self.times.ndim != 1 or self.values.shape != shape:
            raise UsageError(
                f"TimeSeries: expected times (time,) and values (time, dim) = {shape}, got {self.times.shape} and "
                f"{self.values.shape}."
            )
        if len(self.times) < 2:
            raise UsageError(f"TimeSeries: expected at least 2 rows, got {len(self.times)} from {self.source}.")
        is_wrong = np.isinf(self.values) if self.has_missing else ~np.isfinite(self.values)
        for row, column in np.argwhere(is_wrong)[:1]:
            raise UsageError(
                f"TimeSeries: expected finite values, got {self.values[row, column]} for {self.names[column]!r} at "
                f"{self.time_unit} {self.times[row]:g} (row {row + 1}) in {self.source}. "
                "Drop that row (times need not be evenly spaced), or declare missing values where a task masks them."
            )
        for row in np.flatnonzero(~np.isfinite(self.times))[:1]:
            raise UsageError(
                f"TimeSeries: expected finite times, got {self.times[row]} (row {row + 1}) in {self.source}. "
                "Drop that row."
            )
        wrong = np.flatnonzero(~(np.diff(self.times) > 0))
        if wrong.size:
            i = int(wrong[0])
            raise UsageError(
                f"TimeSeries: expected strictly increasing times, got {self.times[i]:g} before {self.times[i + 1]:g} "
                f"(rows {i + 1} and {i + 2}) in {self.source}. Sort the rows by time and drop repeats."
            )

    def split(self, last: float) -> tuple["TimeSeries", "TimeSeries"]:
        """The rows up to and including time `last`, and the rows after it."""
        inside = self.times <= last
        if inside.sum() < 2 or (~inside).sum() < 2:
            raise UsageError(
                f"TimeSeries: expected a last training time that leaves at least 2 rows on each side, got {last:g} "
                f"for times {self.times[0]:g} to {self.times[-1]:g}."
            )
        return self._rows(inside), self._rows(~inside)

    def between(self, first: float, last: float) -> "TimeSeries":
        """The rows from time `first` to time `last`, both included."""
        return self._rows((self.times >= first) & (self.times <= last))

    def _rows(self, chosen: np.ndarray) -> "TimeSeries":
        return TimeSeries(
            self.times[chosen],
            self.values[chosen],
            self.names,
            self.time_unit,
            self.value_unit,
            self.source,
            self.has_missing,
        )


def read_csv_series(
    path: str | Path,
    time: str,
    columns: Sequence[str],
    *,
    time_unit: str,
    value_unit: str,
    source: str | None = None,
    has_missing: bool = False,
) -> TimeSeries:
    """Read a comma-separated file with a header line.

    Arguments:
        path: the file.
        time: name of the column of times.
        columns: names of the columns of values.
        time_unit, value_unit, source: kept with the series; the source defaults to the file name.
        has_missing: whether an empty cell is a missing value; otherwise it is refused with its row.

    Returns:
        A `TimeSeries`.

    Raises:
        UsageError: if the file or a column is missing, or a cell is no number.
    """
    path = Path(path)
    try:
        # utf-8-sig also reads the byte order mark that spreadsheets write.
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"Expected a readable CSV file in UTF-8 at {path}, got: {error}.") from error
    header = list(rows[0]) if rows else []
    for name in (time, *columns):
        if name not in header:
            raise UsageError(f"{path.name}: expected a column {name!r}, got columns {header}.")

    def number(row: int, name: str) -> float:
        cell = (rows[row][name] or "").strip()
        try:
            return float(cell) if cell else float("nan")
        except ValueError:
            raise UsageError(
                f"{path.name}: expected a number in column {name!r}, row {row + 1}, got {cell!r}."
            ) from None

    times = np.array([number(i, time) for i in range(len(rows))])
    values = np.array([[number(i, name) for name in columns] for i in range(len(rows))])
    return TimeSeries(times, values, tuple(columns), time_unit, value_unit, source or path.name, has_missing)
