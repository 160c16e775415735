"""Growth along solves, drawn."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from node_jax.analysis.figures import DATA, dress, new_figure, palette, save_figure
from node_jax.analysis.growth import Growth


def draw_growth(growths: Mapping[str, Growth], path: Path) -> None:
    """Norms of state, Jacobian and gradient over time, and the logarithmic norm, one panel each.

    Arguments:
        growths: by name, what `measure_growth` found for one trajectory each; in the panel of the gradient those that
            had a loss.
        path: where the PNG goes.
    """
    figure, grid = new_figure(2, 2, (10, 6.4))
    panels = {
        "state_norm": "norm of the state",
        "gradient_norm": "norm of the gradient ∂L/∂y(t)",
        "jacobian_norm": "spectral norm of ∂f/∂y [1/time]",
        "log_norm": "logarithmic norm of ∂f/∂y [1/time]",
    }
    for axes, (name, label) in zip(grid.flat, panels.items(), strict=True):
        for (key, growth), colour in zip(growths.items(), palette(len(growths)), strict=True):
            if getattr(growth, name) is not None:
                axes.plot(growth.ts, getattr(growth, name), color=colour, linewidth=1.6, label=key)
        if name == "log_norm":
            axes.axhline(0.0, color=DATA, linewidth=0.8)
            axes.set_title("above 0 a perturbation can grow", fontsize=9)
        elif axes.lines and min(np.min(line.get_ydata()) for line in axes.lines) > 0:
            axes.set_yscale("log")
        axes.set_ylabel(label)
        axes.set_xlabel("t")
        dress(axes)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    save_figure(figure, path)
