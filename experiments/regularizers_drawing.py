"""The figures of `experiments.regularizers`: evaluations and loss over training, densities and trajectories."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import node_jax as nj

COLOURS = {
    "none": "#000000",
    "RNODE": "#0072B2",
    "TayNODE": "#009E73",
    "ERNODE": "#D55E00",
    "SRNODE": "#CC79A7",
    "STEER": "#999999",
    "budget": "#E69F00",
    "tight budget": "#8C510A",
}


def draw_curves(results: dict[str, Any], path: Path) -> None:
    """Evaluations and held-out loss over updates: means over seeds, their range as a band, budgets dotted.

    Of losses only that without a regularizer has its band: those of all would cover each other.
    """
    figure = Figure(figsize=(11.0, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, 2, sharex="col")
    titles = {"digits": "digits, classification", "moons": "moons, density"}
    for column, (problem, found) in enumerate(results["problems"].items()):
        for name, row in found["rows"].items():
            for axes, what in zip(grid[:, column], ("num_evals", "loss"), strict=True):
                values = np.asarray(row["curves"][what])
                steps = np.linspace(0, found["num_steps"], values.shape[1])
                # The first losses, as high as they are, would hide the rest.
                shown = slice(2, None) if what == "loss" else slice(None)
                style = {"linestyle": "--" if row["budget"] else "-", "linewidth": 1.9, "color": COLOURS[name]}
                axes.plot(steps[shown], values.mean(axis=0)[shown], label=name, **style)
                if what == "num_evals" or name == "none":
                    low, high = values.min(axis=0)[shown], values.max(axis=0)[shown]
                    axes.fill_between(steps[shown], low, high, color=COLOURS[name], alpha=0.12, linewidth=0)
            if row["budget"]:
                grid[0, column].axhline(row["budget"], color=COLOURS[name], linewidth=1.2, linestyle=":")
        grid[0, column].set_title(titles.get(problem, problem), fontsize=11)
        grid[0, column].set_ylim(bottom=0)
        grid[1, column].set_xlabel("updates")
        grid[1, column].set_xlim(left=0)
        for axes in grid[:, column]:
            axes.grid(alpha=0.25, linewidth=0.5)
            axes.spines[["top", "right"]].set_visible(False)
    grid[0, 0].set_ylabel("evaluations of a held-out solve")
    grid[1, 0].set_ylabel("held-out cross-entropy")
    grid[1, 1].set_ylabel("held-out negative log-likelihood, nats")
    lines = {line.get_label(): line for axes in grid[0] for line in axes.get_lines()}
    handles = [lines[name] for name in COLOURS if name in lines]
    figure.legend(handles=handles, loc="outside lower center", ncols=8, frameon=False)
    figure.savefig(path, dpi=130)


def draw_moons(flows: dict[str, Any], points: np.ndarray, path: Path, resolution: int = 120) -> None:
    """The densities that flows have learned, and the trajectories of a few held-out points to the normal density."""
    figure = Figure(figsize=(1 + 2.5 * len(flows), 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(flows), squeeze=False, sharex="row", sharey="row")
    x, y = np.linspace(-2.1, 2.1, resolution), np.linspace(-1.5, 1.5, resolution)
    mesh = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(np.float32)
    ts = jnp.linspace(0.0, 1.0, 33)

    @eqx.filter_jit
    def look(flow: Any) -> tuple[Any, Any]:
        ends = nj.odeint_batch(flow.field, flow.start(mesh), ts[jnp.array([0, -1])]).ys[:, -1]
        trajectories = nj.odeint_batch(flow.field, flow.start(points[:24]), ts).ys
        return jnp.exp(-flow.losses(ends, None)), trajectories

    for column, (name, flow) in enumerate(flows.items()):
        density, trajectories = jax.tree.map(np.asarray, look(flow))
        above, below = grid[:, column]
        above.pcolormesh(x, y, density.reshape(resolution, resolution), cmap="Blues", vmin=0, vmax=0.7, rasterized=True)
        above.plot(*points[:200].T, ".", color="#D55E00", markersize=1.5, alpha=0.7)
        above.set_title("no regularizer" if name == "none" else name, fontsize=11)
        for trajectory in trajectories:
            below.plot(trajectory[:, 0], trajectory[:, 1], color=COLOURS[name], linewidth=0.9, alpha=0.8)
        below.plot(*trajectories[:, 0, :2].T, ".", color="#D55E00", markersize=5)
        below.plot(*trajectories[:, -1, :2].T, "o", color="#555555", markersize=3.5, fillstyle="none")
        for axes in (above, below):
            axes.set_aspect("equal")
            axes.tick_params(labelsize=8)
    grid[0, 0].set_ylabel("density, and held-out points")
    grid[1, 0].set_ylabel("trajectories from points (dots)\nto a normal density (circles)")
    figure.savefig(path, dpi=130)
