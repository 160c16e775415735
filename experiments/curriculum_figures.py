"""Figures of `experiments/curriculum.py`: fits, errors and losses of plain fits beside curricula."""

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import node_jax as nj

EXPONENT = 0.906
"""Largest Lyapunov exponent of the Lorenz attractor (Sprott 2003)."""
MOST_ERROR, _LEAST_VALID = 0.1, 4.0
"""What a curriculum is to reach: relative error, and valid time in Lyapunov times."""
_PLAIN, _CURRICULUM = "#D55E00", "#0072B2"


def _new_figure(size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _dress(axes: Axes, across: str, up: str) -> None:
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def draw_predator_and_prey(
    data: nj.data.Trajectories,
    times: np.ndarray,
    truth: np.ndarray,
    curves: dict[str, np.ndarray],
    errors: dict[str, list[float]],
    losses: dict[str, list[np.ndarray]],
    path: Path,
) -> None:
    """Left the fits of the first seed, right the errors of all seeds, below the losses."""
    figure = _new_figure((11, 7.5))
    grid = figure.add_gridspec(3, 2, width_ratios=(2.1, 1))
    for i, name in enumerate(data.names):
        axes = figure.add_subplot(grid[i, 0])
        axes.plot(times, truth[0, :, i], color="#AAAAAA", linewidth=3.5, label="truth")
        axes.plot(data.times[0], data.values[0, :, i], ".", color="black", markersize=4, label="data")
        for fit, colour in (("plain", _PLAIN), ("curriculum", _CURRICULUM)):
            axes.plot(times, curves[fit][0, :, i], color=colour, linewidth=1.6, label=f"{fit} fit")
        axes.set_ylim(0, 1.15 * np.nanmax(data.values[0, :, i]))
        _dress(axes, "time" if i else "", name)
        if i == 0:
            axes.legend(ncols=4, frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axes = figure.add_subplot(grid[:2, 1])
    names = [*errors]
    for i, name in enumerate(names):
        colour = _PLAIN if name.startswith("plain") else _CURRICULUM
        across = i + np.linspace(-0.18, 0.18, len(errors[name]))
        axes.plot(across, errors[name], "o", color=colour, markersize=5)
    axes.axhline(MOST_ERROR, color="black", linewidth=1, linestyle="--")
    axes.text(len(names) - 0.45, MOST_ERROR * 1.04, "target", ha="right", fontsize=8)
    axes.set_yscale("log")
    axes.set_xticks(range(len(names)), [textwrap.fill(name, 12) for name in names], fontsize=7)
    axes.set_xlim(-0.5, len(names) - 0.4)
    _dress(axes, "", "error relative to the truth, a point a seed")
    _draw_losses(figure.add_subplot(grid[2, :]), losses)
    figure.savefig(path, dpi=130)


def _draw_losses(axes: Axes, losses: dict[str, list[np.ndarray]]) -> None:
    """Training losses of all seeds; those of different stages are different measures."""
    for name, colour in (("plain", _PLAIN), ("curriculum", _CURRICULUM)):
        for i, loss in enumerate(losses[name]):
            axes.plot(
                _smooth(loss), color=colour, linewidth=0.9, alpha=0.7, label=None if i else f"{name}, loss of its stage"
            )
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=8)
    _dress(axes, "update", "training loss")


def _smooth(loss: np.ndarray) -> np.ndarray:
    """Means over 10 updates, so that noise of batches does not hide the course."""
    return np.repeat(loss[: len(loss) // 10 * 10].reshape(-1, 10).mean(axis=1), 10)


def draw_lorenz(
    test: nj.data.Trajectories,
    forecasts: dict[str, np.ndarray],
    valid: dict[str, list[np.ndarray]],
    losses: dict[str, list[np.ndarray]],
    path: Path,
) -> None:
    """Above one unseen start, below the valid times of all unseen starts and the losses."""
    figure = _new_figure((11, 7.5))
    grid = figure.add_gridspec(3, 2)
    times = EXPONENT * test.times[0]
    # The start whose forecast lasts as long as most: neither the best nor the worst.
    chosen = int(np.argsort(valid["curriculum"][0])[len(test.times) // 2])
    for row, i in ((0, 0), (1, 2)):
        axes = figure.add_subplot(grid[row, :])
        axes.plot(times, test.truth[chosen, :, i], color="#AAAAAA", linewidth=3.5, label="truth, unseen start")
        for name, colour in (("plain", _PLAIN), ("curriculum", _CURRICULUM)):
            axes.plot(times, forecasts[name][chosen, :, i], color=colour, linewidth=1.4, label=f"{name} fit")
        axes.axvline(valid["curriculum"][0][chosen], color=_CURRICULUM, linewidth=1, linestyle="--")
        low, high = test.truth[..., i].min(), test.truth[..., i].max()
        axes.set_ylim(low - 2, high + 2)
        _dress(axes, "Lyapunov times" if row else "", test.names[i])
        if row == 0:
            axes.legend(ncols=3, frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axes = figure.add_subplot(grid[2, 0])
    num_seeds = len(valid["curriculum"])
    for k, (name, colour) in enumerate((("plain", _PLAIN), ("curriculum", _CURRICULUM))):
        boxes = axes.boxplot(
            valid[name],
            positions=np.arange(num_seeds) + 0.36 * (k - 0.5),
            widths=0.28,
            showfliers=False,
            patch_artist=True,
            medianprops={"color": "black"},
        )
        for box in boxes["boxes"]:
            box.set_facecolor(colour)
    axes.axhline(_LEAST_VALID, color="black", linewidth=1, linestyle="--")
    axes.set_xticks(range(num_seeds), [str(i) for i in range(num_seeds)])
    _dress(axes, "seed", "valid time [Lyapunov times]")
    _draw_losses(figure.add_subplot(grid[2, 1]), losses)
    figure.savefig(path, dpi=130)
