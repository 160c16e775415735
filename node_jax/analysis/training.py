"""The course of training: losses, what the solver did, and a batch that went wrong."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from node_jax.analysis.figures import DATA, MODEL, OTHERS, dress, new_figure, palette, save_figure

_PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("loss", ("loss", "validation_loss")),
    ("field evaluations a solve", ("num_evals",)),
    ("steps a solve", ("num_accepted", "num_rejected")),
    ("size of steps", ("dt_min", "dt_max")),
    ("gradient norm", ("gradient_norm",)),
    ("multiplier of the regularizers", ("multiplier",)),
    ("largest norm of the state", ("max_state_norm",)),
    ("largest norms of the Jacobian", ("max_jacobian_norm", "max_log_norm")),
    ("gradient at the start over that at the end", ("gradient_ratio",)),
    ("share that failed or was skipped", ("failed_share", "skipped_share")),
)
"""What is drawn, where it was logged: the title of each panel, and the columns in it."""
_STYLES = ("-", "--")


def draw_loss(curves: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Loss and solver evaluations over training steps.

    Arguments:
        curves: rows of `metrics.jsonl` by the name of the model.
        path: where the PNG goes.
    """
    figure, grid = new_figure(1, 2, (10, 3.8))
    for name, colour in zip(curves, palette(len(curves)), strict=True):
        for axes, key in zip(grid[0], ("loss", "num_evals"), strict=True):
            # Solvers of diffrax do not count evaluations, stages that solve nothing know that they take none.
            rows = [row for row in curves[name] if key in row]
            if rows:
                marker = "." if len(rows) < 10 else None
                axes.plot(
                    [row["step"] for row in rows],
                    [row[key] for row in rows],
                    color=colour,
                    linewidth=1.4,
                    marker=marker,
                    label=name,
                )
    for axes, label in zip(grid[0], ("training loss", "field evaluations a solve"), strict=True):
        axes.set_xlabel("training step")
        axes.set_ylabel(label)
        dress(axes)
    losses = [row["loss"] for rows in curves.values() for row in rows]
    if losses and min(losses) > 0 and max(losses) > 10 * min(losses):
        grid[0, 0].set_yscale("log")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    save_figure(figure, path)


def draw_training(curves: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """All that runs logged over their steps: one panel for each kind of number, one colour for each run.

    Arguments:
        curves: rows of `metrics.jsonl` by the name of the run.
        path: where the PNG goes.
    """
    logged = {name for rows in curves.values() for row in rows for name in row}
    panels = [(title, [name for name in names if name in logged]) for title, names in _PANELS]
    panels = [(title, names) for title, names in panels if names]
    columns = min(3, len(panels))
    num_rows = -(-len(panels) // columns)
    figure, grid = new_figure(num_rows, columns, (4.2 * columns, 0.8 + 2.8 * num_rows))
    for axes, (title, names) in zip(grid.flat, panels, strict=False):
        drawn = []
        for rows, colour in zip(curves.values(), palette(len(curves)), strict=True):
            for name, style in zip(names, _STYLES, strict=False):
                points = [(row["step"], row[name]) for row in rows if name in row]
                if not points:
                    continue
                marker = "." if len(points) < 10 else None
                axes.plot(*zip(*points, strict=True), style, color=colour, linewidth=1.2, marker=marker)
                drawn += [value for _, value in points]
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("training step")
        if drawn and min(drawn) > 0 and max(drawn) > 10 * min(drawn):
            axes.set_yscale("log")
        if len(names) > 1:
            lines = [Line2D([], [], color="black", linestyle=style) for style in _STYLES[: len(names)]]
            axes.legend(lines, [name.replace("_", " ") for name in names], frameon=False, fontsize=8)
        dress(axes)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    colours = palette(len(curves))
    handles = [Line2D([], [], color=colour, label=name) for name, colour in zip(curves, colours, strict=True)]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    save_figure(figure, path)


def draw_inspection(times: np.ndarray, targets: np.ndarray, states: np.ndarray, path: Path, most: int = 24) -> None:
    """Solves of a batch over time, with what they are fitted to; a cross marks where one ended early.

    Arguments:
        times: shape (row, time).
        targets, states: shape (row, time, dim); a row of `states` is NaN from where its solve ended.
        path: where the PNG goes.
        most: rows drawn, those that ended early first.
    """
    is_whole = np.asarray(np.isfinite(states).all(axis=(1, 2)))
    shown = np.argsort(is_whole, kind="stable")[:most]
    num_panels = min(states.shape[-1], 4)
    figure, grid = new_figure(num_panels, 1, (8, 1.2 + 2.2 * num_panels))
    for component, axes in enumerate(grid[:, 0]):
        for row in shown:
            colour = MODEL if is_whole[row] else OTHERS[0]
            axes.plot(times[row], targets[row, :, component], ".", color=DATA, markersize=3, alpha=0.5)
            axes.plot(times[row], states[row, :, component], color=colour, linewidth=1.0, alpha=0.8)
            reached = np.flatnonzero(np.isfinite(states[row, :, component]))
            if not is_whole[row] and reached.size:
                axes.plot(times[row, reached[-1]], states[row, reached[-1], component], "x", color=colour)
        axes.set_ylabel(f"component {component}")
        dress(axes)
    grid[-1, 0].set_xlabel("time, in the model's unit")
    handles = [
        Line2D([], [], marker=".", linestyle="", color=DATA, label="observed"),
        Line2D([], [], color=MODEL, label="solve"),
        Line2D([], [], color=OTHERS[0], marker="x", label="solve that failed"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    save_figure(figure, path)
