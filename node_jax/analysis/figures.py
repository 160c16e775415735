"""What all figures share: PNG files, drawn by matplotlib's object interface, which needs no display."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe & Ito's palette, which colour-blind readers can tell apart.
DATA, MODEL, OTHERS = "black", "#0072B2", ("#D55E00", "#999999", "#009E73", "#CC79A7")
HELD_OUT = "#FFF3D6"


def palette(number: int) -> list[Any]:
    """So many colours that can be told apart: the palette as far as it goes, else the shades of a colour map."""
    if number <= 1 + len(OTHERS):
        return [MODEL, *OTHERS][:number]
    return list(colormaps["viridis"](np.linspace(0, 0.95, number)))


def new_figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    """A figure of `size` inches and its axes, shape (rows, columns)."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    figure.savefig(path, dpi=130)


def dress(axes: Axes) -> None:
    """A light grid and no box."""
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
