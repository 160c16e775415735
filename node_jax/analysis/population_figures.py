"""Figures of populations: each subject's measurements and fit, predictions against observations, residuals."""

import math
from pathlib import Path
from statistics import NormalDist
from typing import Protocol

import numpy as np

from node_jax.analysis.figures import DATA, MODEL, OTHERS, dress, new_figure, save_figure

_MOST_SUBJECTS = 12
"""Subjects that are drawn, evenly chosen where there are more."""
_COLUMNS = 4
_LOG_RATIO = 100.0
"""Beyond this ratio of the largest to the least positive value the axis of values is logarithmic."""


class Population(Protocol):
    """What a plot needs of subjects. `node_jax.data.Subjects` is one."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Their names."""
        ...

    @property
    def times(self) -> np.ndarray:
        """Shape (subject, time)."""
        ...

    @property
    def values(self) -> np.ndarray:
        """Shape (subject, time), NaN where nothing was measured."""
        ...

    @property
    def time_unit(self) -> str:
        """For the axis of times."""
        ...

    @property
    def value_unit(self) -> str:
        """For the axis of values."""
        ...


def subjects_shown(num: int) -> np.ndarray:
    """Which of `num` subjects `draw_subjects` shows: their numbers, up to twelve at equal distances."""
    return np.unique(np.linspace(0, num - 1, min(_MOST_SUBJECTS, num)).round().astype(int))


def draw_subjects(
    data: Population,
    times: np.ndarray,
    interval: tuple[np.ndarray, np.ndarray, np.ndarray],
    held_out: np.ndarray | None,
    path: Path,
) -> None:
    """A panel for each of up to twelve subjects: measurements, median and 90 % interval.

    Arguments:
        data: the measurements that were fitted.
        times: of the curves, shape (subject, time).
        interval: median, lower and upper end there, as `times`.
        held_out: measurements that were not fitted, as the values of `data`; `None` for none.
        path: where the PNG goes.
    """
    chosen = subjects_shown(len(data.ids))
    columns = min(_COLUMNS, math.isqrt(len(chosen) - 1) + 1)
    rows = -(-len(chosen) // columns)
    figure, grid = new_figure(rows, columns, (2.5 * columns + 0.5, 1.9 * rows + 0.7))
    is_log = _is_wide(data.values)
    known = data.values if held_out is None else np.concatenate([data.values, held_out])
    low, high = np.nanmin(known[known > 0]), np.nanmax(known)
    for axes in grid.flat[len(chosen) :]:
        axes.set_visible(False)
    for number, (axes, i) in enumerate(zip(grid.flat, chosen, strict=False)):
        middle, bottom, top = (curve[i] for curve in interval)
        axes.fill_between(times[i], bottom, top, color=MODEL, alpha=0.2, linewidth=0, label="90 % interval")
        axes.plot(times[i], middle, color=MODEL, linewidth=1.4, label="median")
        axes.plot(data.times[i], data.values[i], ".", color=DATA, markersize=5, label="fitted samples", zorder=4)
        if held_out is not None:
            axes.plot(
                data.times[i], held_out[i], "o", color=OTHERS[0], markersize=4, label="held-out samples", zorder=5
            )
        if is_log:
            axes.set_yscale("log")
            axes.set_ylim(low / 2, 2 * high)
        else:
            axes.set_ylim(-0.05 * high, 1.15 * high)
        axes.set_title(f"subject {data.ids[i]}", fontsize=9)
        axes.tick_params(labelsize=8)
        dress(axes)
        if number % columns == 0:
            axes.set_ylabel(data.value_unit, fontsize=9)
        if number + columns >= len(chosen):
            axes.set_xlabel(data.time_unit, fontsize=9)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    save_figure(figure, path)


def draw_observed(data: Population, typical: np.ndarray, scale: np.ndarray, path: Path) -> None:
    """Observations against predictions, and residuals in units of their scale over time and as quantiles.

    Arguments:
        data: the measurements.
        typical: what the model predicts, as the values of `data`.
        scale: the standard deviation of an error there.
        path: where the PNG goes.
    """
    inside = np.isfinite(data.values)
    value, found, residual = data.values[inside], typical[inside], ((data.values - typical) / scale)[inside]
    figure, grid = new_figure(1, 3, (10.5, 3.4))
    left, middle, right = grid[0]
    ends = [min(found.min(), value.min()), max(found.max(), value.max())]
    if _is_wide(value):
        left.set_xscale("log")
        left.set_yscale("log")
        ends[0] = min(found[found > 0].min(), value[value > 0].min())
    left.plot(ends, ends, color=OTHERS[1], linewidth=1)
    left.plot(found, value, ".", color=MODEL, markersize=4, alpha=0.6)
    left.set_xlabel(f"predicted [{data.value_unit}]")
    left.set_ylabel(f"observed [{data.value_unit}]")
    for level in (-1.96, 0.0, 1.96):
        middle.axhline(level, color=OTHERS[1], linewidth=1, linestyle="-" if level == 0 else "--")
    middle.plot(data.times[inside], residual, ".", color=MODEL, markersize=4, alpha=0.6)
    middle.set_xlabel(data.time_unit)
    middle.set_ylabel("residual / scale")
    ranks = (np.arange(len(residual)) + 0.5) / len(residual)
    quantiles = _normal_quantiles(ranks)
    right.plot(quantiles, quantiles, color=OTHERS[1], linewidth=1)
    right.plot(quantiles, np.sort(residual), ".", color=MODEL, markersize=4, alpha=0.6)
    right.set_xlabel("quantile of a normal distribution")
    right.set_ylabel("residual / scale")
    for axes in grid[0]:
        dress(axes)
    save_figure(figure, path)


def _is_wide(values: np.ndarray) -> bool:
    positive = values[np.isfinite(values) & (values > 0)]
    return bool(positive.max() > _LOG_RATIO * positive.min())


def _normal_quantiles(ranks: np.ndarray) -> np.ndarray:
    return np.array([NormalDist().inv_cdf(rank) for rank in ranks])
