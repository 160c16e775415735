"""How well solves keep what they should: measured, and drawn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from node_jax.analysis.figures import DATA, dress, new_figure, palette, save_figure


@dataclass(frozen=True, eq=False)
class Drift:
    """A quantity along solves, less what it was at their start.

    Arguments:
        times: shape (batch, time).
        changes: Q(y(t)) - Q(y(t₀)), of the same shape; NaN in rows that were not reached.
    """

    times: np.ndarray
    changes: np.ndarray

    @property
    def mean_square(self) -> float:
        """The mean of the squared change over all solves and times."""
        return float(np.mean(self.changes**2))

    @property
    def largest(self) -> float:
        """The largest absolute change."""
        return float(np.max(np.abs(self.changes)))

    @property
    def rate(self) -> float:
        """The slope of the root mean square change over time, by least squares: 0 for an error that stays bounded."""
        size = np.sqrt(np.mean(self.changes**2, axis=0))
        time = np.mean(self.times - self.times[:, :1], axis=0)
        return float(np.polyfit(time, size, 1)[0])


def measure_drift(quantity: Callable[[Any], Any], times: Any, states: Any) -> Drift:
    """How far a quantity moves along solves, such as an energy that should be conserved.

    Arguments:
        quantity: of states, with a value for each: `field.energy`, or a function whose batch axes stay.
        times: shape (time,), or (batch, time).
        states: a tree of arrays of shape (time, ...), or (batch, time, ...), as `Solution.ys`.

    Raises:
        ValueError: if the quantity has not one value for each time.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> from node_jax.analysis import measure_drift
        >>> pendulum, ts = nj.fields.Pendulum(), jnp.linspace(0.0, 20.0, 50)
        >>> ys = nj.odeint(pendulum, jnp.array([1.0, 0.0]), ts).ys
        >>> bool(measure_drift(pendulum.energy, ts, ys).largest < 1e-2)
        True
    """
    values, times = np.asarray(quantity(states), float), np.asarray(times, float)
    if values.ndim not in (1, 2) or values.shape[-1:] != times.shape[-1:] or times.ndim > values.ndim:
        raise ValueError(
            f"measure_drift: expected one value for each time, (time,) or (batch, time), got {values.shape} for times "
            f"of shape {times.shape}. A quantity keeps the axes of batch and time and sums over the last one."
        )
    values = np.atleast_2d(values)
    return Drift(np.broadcast_to(times, values.shape), values - values[:, :1])


def draw_drift(drifts: Mapping[str, Drift], path: Path, *, quantity: str = "energy") -> None:
    """The root mean square change over time, of several fields or solvers, and below it all solves of each.

    Arguments:
        drifts: by name.
        path: where the PNG goes.
        quantity: what it is, for the axis.
    """
    figure, grid = new_figure(1, 2, (10, 3.8))
    mean_axes, each_axes = grid[0]
    for (name, drift), colour in zip(drifts.items(), palette(len(drifts)), strict=True):
        times, size = drift.times.mean(axis=0), np.sqrt(np.mean(drift.changes**2, axis=0))
        # At the start nothing has changed, which a logarithm cannot show.
        mean_axes.plot(times[1:], size[1:], color=colour, linewidth=1.6, label=name)
        for row, changes in zip(drift.times, drift.changes, strict=True):
            each_axes.plot(row, changes, color=colour, linewidth=0.6, alpha=0.6)
    if all(np.min(line.get_ydata()) > 0 for line in mean_axes.lines):
        mean_axes.set_yscale("log")
    mean_axes.set_ylabel(f"root mean square change of the {quantity}")
    each_axes.set_ylabel(f"change of the {quantity}, each solve")
    each_axes.axhline(0.0, color=DATA, linewidth=0.8)
    spread = np.nanpercentile(np.concatenate([np.abs(drift.changes).ravel() for drift in drifts.values()]), 98)
    if spread > 0:
        each_axes.set_ylim(-1.3 * spread, 1.3 * spread)
    for axes in grid[0]:
        axes.set_xlabel("time")
        dress(axes)
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    save_figure(figure, path)
