"""Measurements of several subjects on the host, with what each was given."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from node_jax.errors import UsageError


@dataclass(frozen=True, eq=False)
class Subjects:
    """Measurements of several subjects, each at times of its own, in the user's units, on the host in float64.

    Arguments:
        ids: a name each.
        times: shape (subject, time), each row strictly increasing from the time before which nothing was given; a row
            with fewer times repeats its last one.
        values: shape (subject, time). NaN where nothing was measured, as in the padding.
        dose_times: shape (subject, dose); infinity is padding.
        dose_amounts: shape (subject, dose); 0 where there is padding.
        rate_times, rates: shape (subject, knot), the rate of an infusion from each knot on; a row with fewer knots
            repeats its last. `None` for both where nothing was infused.
        covariates: shape (subject, covariate).
        covariate_names: one a covariate.
        is_censored: shape (subject, time), where a value is only known to lie below the number in `values`, the limit
            of quantification; `None` for nowhere.
        time_unit, value_unit, source: for plots and reports.

    Raises:
        UsageError: for shapes that do not fit, times that are not sorted, or a subject without a measurement.
    """

    ids: tuple[str, ...]
    times: np.ndarray
    values: np.ndarray
    dose_times: np.ndarray
    dose_amounts: np.ndarray
    covariates: np.ndarray
    covariate_names: tuple[str, ...] = ()
    rate_times: np.ndarray | None = None
    rates: np.ndarray | None = None
    is_censored: np.ndarray | None = None
    time_unit: str = "time"
    value_unit: str = "value"
    source: str = "arrays"

    def __post_init__(self) -> None:
        num, shape = len(self.ids), self.times.shape
        if len(shape) != 2 or shape[0] != num or self.values.shape != shape or 0 in shape:
            raise UsageError(
                f"Subjects: expected times and values of one shape (subject, time) for {num} subjects, got {shape} and "
                f"{self.values.shape}. Pad short rows: repeat the last time, with NaN for a value."
            )
        if self.is_censored is not None and self.is_censored.shape != shape:
            raise UsageError(f"Subjects: expected is_censored of shape {shape}, got {self.is_censored.shape}.")
        for name, one, other in (
            ("dose_times and dose_amounts", self.dose_times, self.dose_amounts),
            ("rate_times and rates", self.rate_times, self.rates),
        ):
            if (one is None) != (other is None):
                raise UsageError(f"Subjects: expected both {name}, or neither, got one.")
            if one is not None and other is not None and (one.ndim != 2 or one.shape != other.shape or len(one) != num):
                raise UsageError(
                    f"Subjects: expected {name} of one shape with {num} rows, got {one.shape}, {other.shape}."
                )
        if self.covariates.shape != (num, len(self.covariate_names)):
            raise UsageError(
                f"Subjects: expected covariates of shape {(num, len(self.covariate_names))}, got "
                f"{self.covariates.shape}."
            )
        if not np.isfinite(self.covariates).all() or np.isinf(self.values).any():
            raise UsageError("Subjects: expected finite covariates and values; NaN is a value that was not measured.")
        for i, row in enumerate(self.times):
            inside = np.diff(row)[: np.count_nonzero(row != row[-1])]
            if not np.isfinite(row).all() or not (inside > 0).all():
                raise UsageError(
                    f"Subjects: expected finite, strictly increasing times of subject {self.ids[i]}, got {row}."
                )
            if not np.isfinite(self.values[i]).any():
                raise UsageError(f"Subjects: expected at least one measurement of subject {self.ids[i]}, got none.")
            repeats = np.flatnonzero(row == row[-1])[1:]
            if np.isfinite(self.values[i, repeats]).any():
                raise UsageError(f"Subjects: expected NaN where the last time of subject {self.ids[i]} is repeated.")

    @property
    def mask(self) -> np.ndarray:
        """Whether something was measured, shape (subject, time)."""
        return np.isfinite(self.values)

    def take(self, chosen: Sequence[int] | np.ndarray) -> "Subjects":
        """Some of the subjects, by their numbers from 0 or a mask."""
        rows = np.arange(len(self.ids))[np.asarray(chosen)]

        def of(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else array[rows]

        return replace(
            self,
            ids=tuple(self.ids[i] for i in rows),
            times=self.times[rows],
            values=self.values[rows],
            dose_times=self.dose_times[rows],
            dose_amounts=self.dose_amounts[rows],
            covariates=self.covariates[rows],
            rate_times=of(self.rate_times),
            rates=of(self.rates),
            is_censored=of(self.is_censored),
        )

    def hide(self, hidden: np.ndarray) -> "Subjects":
        """The same without the values at `hidden`, a mask as `values`; their times stay."""
        return replace(self, values=np.where(hidden, np.nan, self.values))

    def hold_out(self, share: float, seed: int) -> np.ndarray:
        """A random mask of so large a share of each subject's measurements, at least one and never all of them.

        Arguments:
            share: in (0, 1).
            seed: of the draw.
        """
        if not 0 < share < 1:
            raise UsageError(f"Subjects.hold_out: expected a share in (0, 1), got {share}. A fifth is usual.")
        draw = np.random.default_rng(seed)
        hidden = np.zeros(self.values.shape, bool)
        for i, row in enumerate(self.mask):
            places = np.flatnonzero(row)
            if len(places) > 1:
                number = min(max(1, round(share * len(places))), len(places) - 1)
                hidden[i, draw.choice(places, number, replace=False)] = True
        return hidden

    def censor(self, limit: float) -> "Subjects":
        """The same with every value below `limit` replaced by the knowledge that it is below it."""
        below = self.mask & (self.values < limit)
        known = below if self.is_censored is None else below | self.is_censored
        return replace(self, values=np.where(below, limit, self.values), is_censored=known)
