"""States and slopes behind noisy measurements, by a smoothing spline."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from node_jax.data.trajectories import Trajectories
from node_jax.errors import UsageError

_LEAST_ROWS = 5
"""A cubic smoothing spline needs so many measurements."""


@dataclass(frozen=True, eq=False)
class Smoothed:
    """What a smoothing spline makes of one or several series.

    Arguments:
        states: as the values, the spline at all times, also where a value is missing.
        slopes: as the values, its derivative there.
        noise: shape (dim,), or (series, dim) for several: the estimated standard deviation of the noise.
    """

    states: np.ndarray
    slopes: np.ndarray
    noise: np.ndarray


def smooth(times: Any, values: Any, *, penalty: float | None = None) -> Smoothed:
    r"""Smoothed states and slopes: for each series and quantity the cubic spline s that minimizes

        Σ_i (values_i - s(times_i))² + λ ∫ s''(t)² dt.

    λ is chosen by generalized cross-validation unless given. The noise is estimated from the distance e_i of each
    measurement to the cubic through its four neighbours, σ² = mean_i e_i² / (1 + Σ_k w_ik²), where w_ik are the
    neighbours' weights in that cubic: no smoothing enters, and where measurements are so far apart that the state is no
    cubic between them, it is an upper bound.

    Arguments:
        times: shape (time,), or (series, time); strictly increasing. A row with fewer times repeats its last one.
        values: shape (time, dim), or (series, time, dim). NaN is a missing value.
        penalty: λ, ≥ 0, in units of time³; `None` chooses it for each series and quantity.

    Returns:
        A `Smoothed`. At times before the first or after the last measurement of a quantity the spline goes on; slopes
        are least certain near both ends.

    Raises:
        UsageError: for shapes that do not fit, times that do not increase, or fewer than five measurements of a
            quantity.

    References: Craven & Wahba (1979), doi:10.1007/BF01404567. The noise, with a line in place of the cubic: Gasser,
    Sroka & Jennen-Steinmetz (1986), doi:10.1093/biomet/73.3.625.

    Example:
        >>> import numpy as np, node_jax as nj
        >>> times = np.linspace(0.0, 6.0, 61)
        >>> smoothed = nj.data.smooth(times, np.sin(times)[:, None])
        >>> bool(np.abs(smoothed.slopes[:, 0] - np.cos(times)).max() < 0.01)
        True
    """
    times, values = np.asarray(times, float), np.asarray(values, float)
    is_single = times.ndim == 1
    if is_single:
        times, values = times[None], values[None]
    if times.ndim != 2 or values.ndim != 3 or values.shape[:2] != times.shape:
        raise UsageError(
            "smooth: expected times (time,) with values (time, dim), or times (series, time) with values "
            f"(series, time, dim), got {times.shape} and {values.shape}. A single quantity is values[:, None]."
        )
    if penalty is not None and not penalty >= 0:
        raise UsageError(f"smooth: expected a penalty of at least 0, or None to choose it, got {penalty}.")
    data = Trajectories(times, values, tuple(f"quantity {i + 1}" for i in range(values.shape[2])), has_missing=True)
    states, slopes = np.empty_like(values), np.empty_like(values)
    noise = np.empty((values.shape[0], values.shape[2]))
    for i, j in np.ndindex(*noise.shape):
        length = data.lengths[i]
        chosen = data.mask[i, :length, j]
        if chosen.sum() < _LEAST_ROWS:
            raise UsageError(
                f"smooth: expected at least {_LEAST_ROWS} measurements of each quantity in each series, got "
                f"{chosen.sum()} of {data.names[j]} in series {i}."
            )
        measured = times[i, :length][chosen], values[i, :length, j][chosen]
        states[i, :, j], slopes[i, :, j] = _spline(*measured, times[i], penalty)
        noise[i, j] = _noise(*measured)
    return Smoothed(states[0], slopes[0], noise[0]) if is_single else Smoothed(states, slopes, noise)


def _spline(
    times: np.ndarray, values: np.ndarray, everywhere: np.ndarray, penalty: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """The spline through measurements and its derivative, at the times `everywhere`."""
    # SciPy takes a second to import, and no one needs it before.
    from scipy.interpolate import make_smoothing_spline

    # In units of the mean interval: the search for λ is not invariant to the unit of time.
    unit = (times[-1] - times[0]) / (len(times) - 1)
    spline = make_smoothing_spline(times / unit, values, lam=None if penalty is None else penalty / unit**3)
    return spline(everywhere / unit), spline.derivative()(everywhere / unit) / unit


def _noise(times: np.ndarray, values: np.ndarray) -> float:
    """The noise's standard deviation, from two neighbours on each side."""
    windows = np.lib.stride_tricks.sliding_window_view(times, 5)
    middle, others = windows[:, 2], windows[:, [0, 1, 3, 4]]
    weights = np.ones_like(others)
    for k in range(4):
        for m in range(4):
            if m != k:
                weights[:, k] *= (middle - others[:, m]) / (others[:, k] - others[:, m])
    neighbours = np.lib.stride_tricks.sliding_window_view(values, 5)
    distances = neighbours[:, 2] - (weights * neighbours[:, [0, 1, 3, 4]]).sum(axis=1)
    return float(np.sqrt(np.mean(distances**2 / (1 + (weights**2).sum(axis=1)))))
