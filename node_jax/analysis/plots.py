"""Figures as PNG files, drawn with matplotlib's object interface, so that no display and no global state is needed."""

from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# Okabe & Ito's palette, which colour-blind readers can tell apart.
_DATA, _MODEL, _OTHERS = "black", "#0072B2", ("#D55E00", "#999999", "#009E73", "#CC79A7")
_HELD_OUT = "#FFF3D6"
_MOST_SERIES = 3
"""Trajectories that are drawn side by side."""


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


class Trajectories(Protocol):
    """What a plot needs of several; `node_jax.data.Trajectories` is one."""

    @property
    def times(self) -> np.ndarray:
        """Shape (series, time)."""
        ...

    @property
    def values(self) -> np.ndarray:
        """Shape (series, time, dim)."""
        ...

    @property
    def truth(self) -> np.ndarray | None:
        """As the values, if it is known."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """One name a quantity."""
        ...

    @property
    def time_unit(self) -> str:
        """Unit of the times."""
        ...

    @property
    def value_unit(self) -> str:
        """Unit of the values."""
        ...


def _new_figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=130)


def _dress(axes: Axes) -> None:
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)


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
    figure, grid = _new_figure(dim, 1, (10, 2.9 * dim + 0.5))
    # A forecast may blow up; the axis follows the data.
    for i, axes in enumerate(grid[:, 0]):
        axes.axvspan(train.times[-1], test.times[-1], color=_HELD_OUT, zorder=0, label="held out")
        both = [np.concatenate([train.times, test.times]), np.concatenate([train.values, test.values])[:, i]]
        axes.plot(*both, ".", color=_DATA, markersize=5, label="data", zorder=5)
        for j, (times, values) in enumerate(fits):
            label = "model, short solves from data" if j == 0 else None
            axes.plot(times, values[:, i], color=_MODEL, alpha=0.5, linewidth=1.2, label=label)
        colours = iter(_OTHERS * 9)
        for name, (times, values) in forecasts.items():
            is_model = name == "model"
            colour = _MODEL if is_model else next(colours)
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
        _dress(axes)
    grid[-1, 0].set_xlabel(train.time_unit)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    _save(figure, path)


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
    figure, grid = _new_figure(1, 2, (10, 4.6))
    titles = (
        f"training data, {train.time_unit} {train.times[0]:g} to {train.times[-1]:g}",
        f"held-out data, {test.time_unit} {test.times[0]:g} to {test.times[-1]:g}",
    )
    values = np.concatenate([train.values, test.values])
    for axes, series, title in zip(grid[0], (train, test), titles, strict=True):
        x, y = series.values[:, 0], series.values[:, min(1, dim - 1)]
        axes.plot(x, y, color=_DATA, alpha=0.35, linewidth=0.8)
        axes.plot(x, y, ".", color=_DATA, markersize=5)
        axes.plot(forecast[:, 0], forecast[:, min(1, dim - 1)], color=_MODEL, linewidth=1.8)
        axes.plot(start[0], start[min(1, dim - 1)], "o", color=_MODEL, markersize=7)
        axes.set_title(title, fontsize=10)
        if is_log:
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xlim(values[:, 0].min() / 2, values[:, 0].max() * 2)
            axes.set_ylim(values[:, min(1, dim - 1)].min() / 2, values[:, min(1, dim - 1)].max() * 2)
        axes.set_xlabel(f"{train.names[0]} [{train.value_unit}]")
        axes.set_ylabel(f"{train.names[min(1, dim - 1)]} [{train.value_unit}]")
        _dress(axes)
    handles = [
        Line2D([], [], color=_DATA, marker=".", linewidth=0.8, label="data, in order of time"),
        Line2D([], [], color=_MODEL, linewidth=1.8, label="model, one forecast over the held-out times"),
        Line2D([], [], color=_MODEL, marker="o", linewidth=0, label="its start, the last training row"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    _save(figure, path)


def draw_loss(curves: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Loss and solver evaluations over training steps.

    Arguments:
        curves: rows of `metrics.jsonl` by the name of the model.
        path: where the PNG goes.
    """
    figure, grid = _new_figure(1, 2, (10, 3.8))
    for name, colour in zip(curves, (_MODEL, *_OTHERS * 9), strict=False):
        rows = curves[name]
        steps = [row["step"] for row in rows]
        for axes, key in zip(grid[0], ("loss", "num_evals"), strict=True):
            if rows and key in rows[0]:
                marker = "." if len(rows) < 10 else None
                axes.plot(steps, [row[key] for row in rows], color=colour, linewidth=1.4, marker=marker, label=name)
    for axes, label in zip(grid[0], ("training loss", "field evaluations a solve"), strict=True):
        axes.set_xlabel("training step")
        axes.set_ylabel(label)
        _dress(axes)
    losses = [row["loss"] for rows in curves.values() for row in rows]
    if losses and min(losses) > 0 and max(losses) > 10 * min(losses):
        grid[0, 0].set_yscale("log")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    _save(figure, path)


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
    dim, columns = len(data.names), min(_MOST_SERIES, len(data.times))
    figure, grid = _new_figure(dim, columns, (10 if columns > 1 else 9, 2.3 * dim + 0.9))
    for j in range(columns):
        for i in range(dim):
            axes = grid[i, j]
            measured = data.values[j, :, i]
            axes.plot(data.times[j], measured, ".", color=_DATA, markersize=4, label="data", zorder=4)
            if data.truth is not None:
                axes.plot(data.times[j], data.truth[j, :, i], color="#AAAAAA", linewidth=3, label="truth", zorder=2)
            colours = iter(_OTHERS * 9)
            for name, (times, values) in fits.items():
                is_model = name == "model"
                colour = _MODEL if is_model else next(colours)
                order = 5 if is_model else 3
                axes.plot(times[j], values[j, :, i], color=colour, linewidth=1.6, label=name, zorder=order)
            # A fit may blow up; the axis follows the data.
            low, high = np.nanmin(measured), np.nanmax(measured)
            if is_log:
                axes.set_yscale("log")
                axes.set_ylim(low / 1.5, high * 1.5)
            else:
                axes.set_ylim(low - 0.2 * (high - low), high + 0.2 * (high - low))
            _dress(axes)
            if j == 0:
                axes.set_ylabel(f"{data.names[i]} [{data.value_unit}]")
        grid[-1, j].set_xlabel(data.time_unit)
        if len(data.times) > 1:
            grid[0, j].set_title(f"series {j + 1} of {len(data.times)}", fontsize=10)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False, fontsize=9)
    _save(figure, path)
