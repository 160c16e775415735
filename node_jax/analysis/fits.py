"""Fits of trajectories, beside the data and the truth."""

from pathlib import Path
from typing import Protocol

import numpy as np

from node_jax.analysis.figures import DATA, MODEL, OTHERS, dress, new_figure, save_figure
from node_jax.analysis.plots import Series

_MOST_SERIES = 3
"""Trajectories that are drawn side by side."""
_MOST_QUANTITIES = 12
"""Quantities of a trajectory that are drawn, the first ones."""


class Trajectories(Series, Protocol):
    """What a plot needs of several series: times and values have an axis of series before the others.
    `node_jax.data.Trajectories` is one.
    """

    @property
    def truth(self) -> np.ndarray | None:
        """As the values, if it is known."""
        ...


def draw_fit(
    data: Trajectories,
    fits: dict[str, tuple[np.ndarray, np.ndarray]],
    is_log: bool,
    path: Path,
) -> None:
    """Measurements, what was behind them where it is known, and fits; a panel for each quantity of a few series.

    Arguments:
        data: the measurements.
        fits: `(times, values)` by name, of shapes (series, time) and (series, time, dim); `"model"` is drawn on top.
        is_log: logarithmic axis of values.
        path: where the PNG goes.
    """
    dim, columns = min(_MOST_QUANTITIES, len(data.names)), min(_MOST_SERIES, len(data.times))
    figure, grid = new_figure(dim, columns, (10 if columns > 1 else 9, 2.3 * dim + 0.9))
    for j in range(columns):
        for i in range(dim):
            axes = grid[i, j]
            measured = data.values[j, :, i]
            axes.plot(data.times[j], measured, ".", color=DATA, markersize=4, label="data", zorder=4)
            if data.truth is not None:
                axes.plot(data.times[j], data.truth[j, :, i], color="#AAAAAA", linewidth=3, label="truth", zorder=2)
            colours = iter(OTHERS * 9)
            for name, (times, values) in fits.items():
                is_model = name == "model"
                colour = MODEL if is_model else next(colours)
                order = 5 if is_model else 3
                axes.plot(times[j], values[j, :, i], color=colour, linewidth=1.6, label=name, zorder=order)
            # A fit may blow up; the axis follows the data.
            low, high = np.nanmin(measured), np.nanmax(measured)
            if is_log:
                axes.set_yscale("log")
                axes.set_ylim(low / 1.5, high * 1.5)
            else:
                axes.set_ylim(low - 0.2 * (high - low), high + 0.2 * (high - low))
            dress(axes)
            if j == 0:
                axes.set_ylabel(f"{data.names[i]} [{data.value_unit}]")
        grid[-1, j].set_xlabel(data.time_unit)
        if len(data.times) > 1:
            grid[0, j].set_title(f"series {j + 1} of {len(data.times)}", fontsize=10)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False, fontsize=9)
    save_figure(figure, path)
