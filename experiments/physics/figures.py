"""What figures of several studies are made of."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def draw_seeds(axes: Axes, xs: np.ndarray, curves: np.ndarray, **style: Any) -> None:
    """The median over seeds as a line, their range as a band.

    Arguments:
        axes: where.
        xs: shape (time,).
        curves: shape (seed, time).
        style: of the line, with `color` and `label`.
    """
    low, middle, high = np.percentile(curves, (0, 50, 100), axis=0)
    axes.plot(xs, middle, linewidth=1.6, **style)
    axes.fill_between(xs, low, high, color=style["color"], alpha=0.13, linewidth=0)


def legend_above(figure: Figure, axes: Axes, num_columns: int) -> None:
    """One legend for all panels, of what is labelled in `axes`."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=num_columns, frameon=False, fontsize=9)
