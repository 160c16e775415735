"""Several trajectories of one system on the host, with what is missing in them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from node_jax.data.controls import Controls
from node_jax.data.ragged import ragged
from node_jax.data.series import TimeSeries
from node_jax.errors import UsageError


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Trajectories of one system, each at times of its own, in the user's units, on the host in float64.

    Arguments:
        times: shape (series, time), each row strictly increasing; a row with fewer times repeats its last one.
        values: shape (series, time, dim). NaN is a missing value, if `has_missing`; padding is always NaN.
        names: one name a quantity.
        time_unit, value_unit, source: for plots and reports.
        has_missing: whether NaN is meant. Undeclared NaN is refused.
        truth: what was measured with noise, as `values`, where it is known; no loss reads it.
        controls: control inputs of each series, at its times or constant, which a field gets as `args`; see `Controls`.

    Raises:
        UsageError: for shapes that do not fit, times that are not sorted, NaN that was not declared, or a quantity that
            was never measured.
    """

    times: np.ndarray
    values: np.ndarray
    names: tuple[str, ...]
    time_unit: str = "time"
    value_unit: str = "value"
    source: str = "arrays"
    has_missing: bool = False
    truth: np.ndarray | None = None
    controls: Controls | None = None

    def __post_init__(self) -> None:
        shape = (*self.times.shape, len(self.names))
        if self.times.ndim != 2 or self.values.shape != shape or 0 in shape:
            raise UsageError(
                "Trajectories: expected times (series, time) and values (series, time, dim) with a name for each of "
                f"dim, got {self.times.shape}, {self.values.shape} and {len(self.names)} names. A single series is "
                "times[None], values[None]."
            )
        if self.truth is not None and self.truth.shape != shape:
            raise UsageError(f"Trajectories: expected truth of shape {shape}, as values, got {self.truth.shape}.")
        fits = {shape[:1], shape[:2]}
        if self.controls is not None and self.controls.values.shape[:-1] not in fits:
            raise UsageError(
                f"Trajectories: expected controls for {shape[0]} series of {shape[1]} rows, or a constant for each, "
                f"got the shape {self.controls.values.shape}."
            )
        for i, row in enumerate(self.times):
            inside = row[: self.lengths[i]]
            if not np.isfinite(row).all() or not (np.diff(inside) > 0).all() or len(inside) < 2:
                raise UsageError(
                    f"Trajectories: expected at least two finite, strictly increasing times in series {i}, got {row}. "
                    "Sort the rows by time and drop repeats."
                )
        is_padding = np.arange(shape[1]) >= self.lengths[:, None]
        if np.isinf(self.values).any() or (np.isnan(self.values).any(-1) & ~is_padding).any() > self.has_missing:
            i, row, column = np.argwhere(~np.isfinite(self.values) & ~is_padding[..., None])[0]
            raise UsageError(
                f"Trajectories: expected finite values, got {self.values[i, row, column]} for {self.names[column]!r} "
                f"in series {i}, row {row + 1}. Pass has_missing=True if NaN is a missing value."
            )
        if self.values[is_padding].size and not np.isnan(self.values[is_padding]).all():
            raise UsageError("Trajectories: expected NaN in the rows that only repeat the last time of a series.")
        if np.isnan(self.values).all(axis=(0, 1)).any():
            raise UsageError("Trajectories: expected every quantity to be measured somewhere, got one that is all NaN.")

    @property
    def lengths(self) -> np.ndarray:
        """Rows of each series before its padding, shape (series,)."""
        repeats = (self.times == self.times[:, -1:]).sum(axis=1)
        return self.times.shape[1] - repeats + 1

    @property
    def mask(self) -> np.ndarray:
        """Whether a value was measured, as `values`."""
        return np.isfinite(self.values)


def as_trajectories(data: "TimeSeries | Trajectories | Sequence[TimeSeries]") -> Trajectories:
    """One or several series as `Trajectories`.

    Arguments:
        data: a `TimeSeries`, several of the same quantities, or `Trajectories`, which stay as they are.

    Raises:
        UsageError: if the quantities differ.
    """
    if isinstance(data, Trajectories):
        return data
    series = [data] if isinstance(data, TimeSeries) else list(data)
    if not series or any(one.names != series[0].names for one in series):
        raise UsageError(
            f"as_trajectories: expected series of the same quantities, got {[one.names for one in series]}."
        )
    batch = ragged([one.times for one in series], [one.values for one in series])
    first = series[0]
    values = np.where(batch.mask, batch.values, np.nan)
    has_missing = any(one.has_missing for one in series)
    return Trajectories(batch.times, values, first.names, first.time_unit, first.value_unit, first.source, has_missing)
