"""Forecasts of a time series, over time and in the phase plane."""

from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.lines import Line2D

from node_jax.analysis.figures import DATA, HELD_OUT, MODEL, OTHERS, dress, new_figure, save_figure


class Series(Protocol):
    """What a plot needs of a time series; `node_jax.data.TimeSeries` is one."""

    @property
    def times(self) -> np.ndarray:
        """Shape (time,)."""
        ...

    @property
    def values(self) -> np.ndarray:
        """Shape (time, dim)."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """One name a column."""
        ...

    @property
    def time_unit(self) -> str:
        """Unit of the times."""
        ...

    @property
    def value_unit(self) -> str:
        """Unit of the values."""
        ...


def draw_forecast(
    train: Series,
    test: Series,
    forecasts: dict[str, tuple[np.ndarray, np.ndarray]],
    fits: list[tuple[np.ndarray, np.ndarray]],
    is_log: bool,
    path: Path,
) -> None:
    """Data, fits and forecasts over time, one panel a quantity, the held-out rows shaded.

    Arguments:
        train, test: the data.
        forecasts: `(times, values)` by name, of shapes (time,) and (time, dim); `"model"` is drawn on top.
        fits: `(times, values)` of the model's short solves on the training rows.
        is_log: logarithmic axis of values.
        path: where the PNG goes.
    """
    dim = len(train.names)
    figure, grid = new_figure(dim, 1, (10, 2.9 * dim + 0.5))
    # A forecast may blow up; the axis follows the data.
    for i, axes in enumerate(grid[:, 0]):
        axes.axvspan(train.times[-1], test.times[-1], color=HELD_OUT, zorder=0, label="held out")
        both = [np.concatenate([train.times, test.times]), np.concatenate([train.values, test.values])[:, i]]
        axes.plot(*both, ".", color=DATA, markersize=5, label="data", zorder=5)
        for j, (times, values) in enumerate(fits):
            label = "model, short solves from data" if j == 0 else None
            axes.plot(times, values[:, i], color=MODEL, alpha=0.5, linewidth=1.2, label=label)
        colours = iter(OTHERS * 9)
        for name, (times, values) in forecasts.items():
            is_model = name == "model"
            colour = MODEL if is_model else next(colours)
            width = 2.0 if is_model else 1.2
            label = "model, one forecast" if is_model else name
            axes.plot(times, values[:, i], color=colour, linewidth=width, zorder=4 if is_model else 3, label=label)
        low, high = both[1].min(), both[1].max()
        if is_log:
            axes.set_yscale("log")
            axes.set_ylim(low / 2.5, high * 2.5)
        else:
            axes.set_ylim(low - 0.3 * (high - low), high + 0.3 * (high - low))
        axes.set_xlim(train.times[0] - 1e-9, test.times[-1])
        axes.set_ylabel(f"{train.names[i]} [{train.value_unit}]")
        dress(axes)
    grid[-1, 0].set_xlabel(train.time_unit)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    save_figure(figure, path)


def draw_phase(train: Series, test: Series, forecast: np.ndarray, start: np.ndarray, is_log: bool, path: Path) -> None:
    """The first two quantities against each other: training data, held-out data and the model's forecast.

    Arguments:
        train, test: the data.
        forecast: shape (time, dim), the model's path.
        start: shape (dim,), where it starts.
        is_log: logarithmic axes.
        path: where the PNG goes.
    """
    dim = len(train.names)
    figure, grid = new_figure(1, 2, (10, 4.6))
    titles = (
        f"training data, {train.time_unit} {train.times[0]:g} to {train.times[-1]:g}",
        f"held-out data, {test.time_unit} {test.times[0]:g} to {test.times[-1]:g}",
    )
    values = np.concatenate([train.values, test.values])
    for axes, series, title in zip(grid[0], (train, test), titles, strict=True):
        x, y = series.values[:, 0], series.values[:, min(1, dim - 1)]
        axes.plot(x, y, color=DATA, alpha=0.35, linewidth=0.8)
        axes.plot(x, y, ".", color=DATA, markersize=5)
        axes.plot(forecast[:, 0], forecast[:, min(1, dim - 1)], color=MODEL, linewidth=1.8)
        axes.plot(start[0], start[min(1, dim - 1)], "o", color=MODEL, markersize=7)
        axes.set_title(title, fontsize=10)
        if is_log:
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xlim(values[:, 0].min() / 2, values[:, 0].max() * 2)
            axes.set_ylim(values[:, min(1, dim - 1)].min() / 2, values[:, min(1, dim - 1)].max() * 2)
        axes.set_xlabel(f"{train.names[0]} [{train.value_unit}]")
        axes.set_ylabel(f"{train.names[min(1, dim - 1)]} [{train.value_unit}]")
        dress(axes)
    handles = [
        Line2D([], [], color=DATA, marker=".", linewidth=0.8, label="data, in order of time"),
        Line2D([], [], color=MODEL, linewidth=1.8, label="model, one forecast over the held-out times"),
        Line2D([], [], color=MODEL, marker="o", linewidth=0, label="its start, the last training row"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    save_figure(figure, path)
