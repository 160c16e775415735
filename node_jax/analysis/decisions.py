"""What a classifier decides: over a plane, along its flow, and class by class."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgba

from node_jax.analysis.figures import MODEL, OTHERS, dress, new_figure, save_figure

_SHOWN = 60
"""Paths drawn; more hide each other."""


@dataclass(frozen=True, eq=False)
class Flow:
    """A classifier of points in a plane, ready to be drawn.

    Arguments:
        points: shape (point, 2), in the units of the data.
        labels: shape (point,).
        paths: shape (point, time, dim), the states from the points on.
        grid: shape (row, column, 2), points of the plane.
        probabilities: shape (row, column, class), what is decided there.
    """

    points: np.ndarray
    labels: np.ndarray
    paths: np.ndarray
    grid: np.ndarray
    probabilities: np.ndarray


def draw_decision(flows: dict[str, Flow], classes: tuple[str, ...], path: Path) -> None:
    """Three panels for each model: its decision over the plane, paths of points, and where all points end.

    Paths are drawn in the first two components of the state, ends in the two of largest variance.

    Arguments:
        flows: by name of the model, a row each.
        classes: names.
        path: where the PNG goes.
    """
    figure, grid = new_figure(len(flows), 3, (11, 0.6 + 3.3 * len(flows)))
    colours = [MODEL, *OTHERS]
    for (name, flow), row in zip(flows.items(), grid, strict=True):
        _draw_plane(row[0], flow, colours)
        row[0].set_title(f"{name}: decision", fontsize=10)
        for label in range(len(classes)):
            members = np.flatnonzero(flow.labels == label)
            colour = colours[label % len(colours)]
            chosen = members[:: max(1, len(members) * len(classes) // _SHOWN)]
            for i in chosen:
                row[1].plot(*flow.paths[i, :, :2].T, color=colour, linewidth=0.6, alpha=0.6)
            row[1].plot(*flow.paths[chosen, 0, :2].T, ".", color=colour, markersize=3)
            row[2].plot(*_widest(flow.paths[:, -1])[members].T, ".", color=colour, markersize=2, label=classes[label])
        row[1].set_title("paths, first two components", fontsize=10)
        row[2].set_title("ends, two widest directions", fontsize=10)
        for axes in row[1:]:
            dress(axes)
    handles, labels = grid[0, 2].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=len(classes), frameon=False, fontsize=9, markerscale=5
    )
    save_figure(figure, path)


def _draw_plane(axes: Axes, flow: Flow, colours: list[str]) -> None:
    """The most likely class in its colour, as strong as it is likely, and the points."""
    best, share = flow.probabilities.argmax(axis=-1), flow.probabilities.max(axis=-1)
    image = np.array([to_rgba(colour) for colour in colours])[best % len(colours)]
    least = 1 / flow.probabilities.shape[-1]
    image[..., 3] = 0.55 * (share - least) / (1 - least)
    (left, bottom), (right, top) = flow.grid[0, 0], flow.grid[-1, -1]
    axes.imshow(image, extent=(left, right, bottom, top), origin="lower", aspect="auto", interpolation="bilinear")
    cycle = ListedColormap([colours[i % len(colours)] for i in range(flow.probabilities.shape[-1])])
    axes.scatter(*flow.points.T, c=flow.labels, cmap=cycle, s=2, vmin=0, vmax=cycle.N - 1)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def _widest(states: np.ndarray) -> np.ndarray:
    """States in the two directions of largest variance, shape (point, 2)."""
    centred = states - states.mean(axis=0)
    if states.shape[1] == 2:
        return states
    directions = np.linalg.svd(centred, full_matrices=False)[2][:2]
    return centred @ directions.T


def draw_confusion(tables: dict[str, np.ndarray], classes: tuple[str, ...], path: Path) -> None:
    """How often each class is taken for each, one panel a model.

    Arguments:
        tables: counts of shape (true class, decided class), by name of the model.
        classes: names.
        path: where the PNG goes.
    """
    figure, grid = new_figure(1, len(tables), (4.2 * len(tables), 4.2))
    for (name, counts), axes in zip(tables.items(), grid[0], strict=True):
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for i, j in np.argwhere(counts > 0):
            colour = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=8, color=colour)
        axes.set_xticks(range(len(classes)), classes)
        axes.set_yticks(range(len(classes)), classes)
        axes.set_xlabel("decided")
        axes.set_title(name, fontsize=10)
    grid[0, 0].set_ylabel("true")
    save_figure(figure, path)
