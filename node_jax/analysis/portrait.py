"""Fields of two variables, drawn: phase portraits, and what a network adds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from node_jax.analysis.equilibria import Equilibrium, find_equilibria
from node_jax.analysis.figures import DATA, MODEL, OTHERS, dress, new_figure, save_figure
from node_jax.errors import UsageError
from node_jax.types import VectorField

_NUM_GRID = 40
_MARKS = {
    "stable node": ("o", MODEL),
    "stable focus": ("o", MODEL),
    "unstable node": ("o", "white"),
    "unstable focus": ("o", "white"),
    "saddle": ("X", OTHERS[0]),
    "centre": ("D", "white"),
    "degenerate": ("s", "#999999"),
}


def draw_phase_portrait(
    fields: Mapping[str, VectorField],
    box: tuple[Any, Any],
    path: Path,
    *,
    names: Sequence[str] = ("y1", "y2"),
    trajectories: Sequence[np.ndarray] = (),
) -> dict[str, list[Equilibrium]]:
    """Streamlines of fields of two variables side by side, with their equilibria and trajectories over them.

    Arguments:
        fields: by name, one a panel: a learned field beside the true one. They depend on no time.
        box: `(low, high)`, the corners, of shape (2,).
        path: where the PNG goes.
        names: of the axes.
        trajectories: each of shape (time, 2): where data are, drawn in every panel.

    Returns:
        The equilibria of each field; see `find_equilibria`.
    """
    low, high = (np.asarray(corner, float) for corner in box)
    figure, grid = new_figure(1, len(fields), (1.0 + 4.6 * len(fields), 4.9))
    found = {}
    for axes, (name, field) in zip(grid[0], fields.items(), strict=True):
        x, y, slopes = _on_grid(field, low, high)
        speed = np.linalg.norm(slopes / (high - low), axis=-1)
        width = 0.4 + 1.2 * np.sqrt(speed / max(float(speed.max()), 1e-12))
        axes.streamplot(
            x, y, slopes[..., 0], slopes[..., 1], color="#9AA5B1", linewidth=width, density=1.1, arrowsize=0.8
        )
        for trajectory in trajectories:
            axes.plot(trajectory[:, 0], trajectory[:, 1], color=DATA, linewidth=0.7, alpha=0.55)
        found[name] = find_equilibria(field, low, high)
        for equilibrium in found[name]:
            marker, colour = _MARKS[equilibrium.kind]
            axes.plot(
                *equilibrium.state, marker, color=colour, markeredgecolor=DATA, markersize=9, zorder=6, clip_on=False
            )
        _frame(axes, low, high, names)
        axes.set_title(name, fontsize=10)
    kinds = sorted({equilibrium.kind for some in found.values() for equilibrium in some})
    handles = [
        Line2D([], [], marker=_MARKS[k][0], color=_MARKS[k][1], markeredgecolor=DATA, linewidth=0, label=k)
        for k in kinds
    ]
    if trajectories:
        handles.append(Line2D([], [], color=DATA, linewidth=0.8, label="trajectories of the data"))
    if handles:
        figure.legend(handles=handles, loc="outside upper center", ncols=5, frameon=False, fontsize=9)
    save_figure(figure, path)
    return found


def draw_correction(
    learned: VectorField,
    known: VectorField,
    box: tuple[Any, Any],
    path: Path,
    *,
    names: Sequence[str] = ("y1", "y2"),
    trajectories: Sequence[np.ndarray] = (),
) -> None:
    """What a network adds to a mechanism of two variables beside the term that is truly missing, and their difference.

    Arguments:
        learned: what is added to dy/dt, such as `HybridField.correction`.
        known: the true missing term, in the same way.
        box, path, names, trajectories: as in `draw_phase_portrait`. Where no trajectory came, nothing was learned.
    """
    low, high = (np.asarray(corner, float) for corner in box)
    x, y, found = _on_grid(learned, low, high)
    true = _on_grid(known, low, high)[2]
    figure, grid = new_figure(2, 3, (11, 6.6))
    for i in range(2):
        difference = found[..., i] - true[..., i]
        size = max(float(np.abs(true[..., i]).max()), float(np.abs(true).max()) / 2, 1e-12)
        panels = {"learned": (found[..., i], size), "missing term": (true[..., i], size)}
        panels["learned - missing"] = difference, max(float(np.abs(difference).max()), 1e-12)
        for axes, (title, (values, limit)) in zip(grid[i], panels.items(), strict=True):
            style = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, "shading": "auto", "rasterized": True}
            image = axes.pcolormesh(x, y, values, **style)
            for trajectory in trajectories:
                axes.plot(trajectory[:, 0], trajectory[:, 1], color=DATA, linewidth=0.4, alpha=0.4)
            _frame(axes, low, high, names)
            axes.set_title(f"{title}, in d({names[i]})/dt", fontsize=10)
            figure.colorbar(image, ax=axes, shrink=0.9)
    save_figure(figure, path)


def _on_grid(field: VectorField, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if low.shape != (2,) or high.shape != (2,):
        raise UsageError(f"A phase portrait is of two variables: expected corners of shape (2,), got {low}, {high}.")
    x, y = (np.linspace(low[i], high[i], _NUM_GRID) for i in range(2))
    states = jnp.asarray(np.stack(np.meshgrid(x, y), axis=-1), float)
    slopes = jax.jit(jax.vmap(jax.vmap(lambda state: jnp.asarray(field(0.0, state, None)))))(states)
    return x, y, np.asarray(slopes, float)


def _frame(axes: Axes, low: np.ndarray, high: np.ndarray, names: Sequence[str]) -> None:
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    dress(axes)
