"""Figures of the study of Hamiltonian networks."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes

from experiments.physics.runs import Trained
from node_jax.analysis import Drift
from node_jax.analysis.figures import DATA, MODEL, OTHERS, dress, new_figure, save_figure
from node_jax.fields import AbstractEnergyField, Pendulum
from node_jax.integrate import odeint
from node_jax.tasks import DerivativeTask

_COLOURS = (OTHERS[0], OTHERS[2], OTHERS[1], MODEL)
"""Of the rows of a table, in their order."""
_MOST_ERROR = 10.0
"""What is above is drawn there, as a triangle: a solve that has left the region of the data."""
_STYLES = {"Störmer-Verlet": "-", "RK4": "--", "Tsit5, tolerance 1e-6": ":"}


def draw_overview(
    trained: dict[str, dict[str, list[Trained]]],
    errors: dict[str, dict[str, list[float]]],
    published: dict[str, dict[str, str]],
    path: Path,
) -> None:
    """The energy along one solve of each field, and the energy MSE of all seeds beside the published one.

    Arguments:
        trained: by system and row.
        errors: energy MSE of each seed, by system and row.
        published: mean ± spread, by system and row.
        path: where the PNG goes.
    """
    figure, grid = new_figure(2, len(trained), (3.6 * len(trained) + 0.6, 6.2))
    for column, (name, rows) in enumerate(trained.items()):
        top, bottom = grid[:, column]
        _draw_energies(top, rows, column == 0)
        top.set_title(name.replace("_", " "))
        for i, (row, values) in enumerate(errors[name].items()):
            colour = _COLOURS[i]
            for value in values:
                is_shown = value < _MOST_ERROR
                bottom.plot(i, min(value, _MOST_ERROR), "o" if is_shown else "^", color=colour, markersize=4, alpha=0.8)
            mean = min(float(np.mean(values)), _MOST_ERROR)
            bottom.plot([i - 0.25, i + 0.25], [mean, mean], color=colour, linewidth=2)
            if row in published[name]:
                mean = float(published[name][row].split(" ")[0])
                label = "published" if i == column == 0 else None
                bottom.plot(i, mean, "*", color=DATA, markersize=9, zorder=5, label=label)
        bottom.set_yscale("log")
        bottom.set_xticks(range(len(rows)), [row.replace(" ", "\n") for row in rows], fontsize=8)
        bottom.set_xlim(-0.5, len(rows) - 0.5)
        dress(bottom)
    grid[0, 0].set_ylabel("true energy along a solve")
    grid[1, 0].set_ylabel("energy MSE, each seed and their mean")
    figure.legend(loc="outside upper center", ncols=6, frameon=False, fontsize=9)
    save_figure(figure, path)


def _draw_energies(axes: Axes, rows: dict[str, list[Trained]], has_labels: bool) -> None:
    task = next(iter(rows.values()))[0].task
    assert isinstance(task, DerivativeTask)
    assert task.rollouts is not None
    assert task.energy is not None
    times, true = task.rollouts.times[0], np.asarray(task.energy(jnp.asarray(task.rollouts.values[0])))
    axes.plot(times, true, color=DATA, linewidth=3, alpha=0.35, label="true system" if has_labels else None)
    for (row, seeds), colour in zip(rows.items(), _COLOURS, strict=True):
        energy = np.asarray(task.energy(task.roll_out(seeds[0].model).ys[0]))
        axes.plot(times, energy, color=colour, linewidth=1.3, label=row if has_labels else None)
    # A fit may leave, or hold its energy to a thousandth: the axis shows half of the true energy to either side.
    middle = float(np.mean(true))
    axes.set_ylim(middle - 0.5 * abs(middle), middle + 0.5 * abs(middle))
    axes.set_xlabel("time")
    dress(axes)


def draw_long(drifts: dict[str, dict[str, dict[str, Drift]]], path: Path) -> None:
    """The root mean square change of the true energy over a long time, by field and method.

    Arguments:
        drifts: by system, row and method.
        path: where the PNG goes.
    """
    figure, grid = new_figure(1, len(drifts), (3.6 * len(drifts) + 0.6, 4.0))
    for axes, (name, rows) in zip(grid[0], drifts.items(), strict=True):
        for (row, methods), colour in zip(rows.items(), (_COLOURS[0], _COLOURS[1], _COLOURS[3]), strict=True):
            for method, drift in methods.items():
                size = np.sqrt(np.mean(drift.changes**2, axis=0))[1:]
                label = f"{row}, {method}" if axes is grid[0, 0] else None
                axes.plot(drift.times[0, 1:], size, _STYLES[method], color=colour, linewidth=1.3, label=label)
        axes.set_yscale("log")
        axes.set_title(name.replace("_", " "))
        axes.set_xlabel("time")
        dress(axes)
    grid[0, 0].set_ylabel("true energy, RMS change")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    save_figure(figure, path)


def draw_portraits(fields: dict[str, Trained], path: Path) -> None:
    """Slopes in the plane of q and p, levels of the energy where the field has one, and a long solve: of the true
    pendulum and of fits.

    Arguments:
        fields: by name, of the pendulum.
        path: where the PNG goes.
    """
    task = next(iter(fields.values())).task
    assert isinstance(task, DerivativeTask)
    assert task.energy is not None
    shown = {"true pendulum": Pendulum(), **{name: one.model for name, one in fields.items()}}
    figure, grid = new_figure(1, len(shown), (3.6 * len(shown), 3.9))
    reach = 2.6
    fine, coarse = np.linspace(-reach, reach, 81), np.linspace(-reach, reach, 15)
    for axes, (name, field) in zip(grid[0], shown.items(), strict=True):
        mesh = jnp.asarray(np.stack(np.meshgrid(coarse, coarse), axis=-1), float)
        slopes = np.asarray(field(0.0, mesh, None))
        axes.quiver(mesh[..., 0], mesh[..., 1], slopes[..., 0], slopes[..., 1], color="#999999", width=3e-3)
        if isinstance(field, AbstractEnergyField):
            mesh = jnp.asarray(np.stack(np.meshgrid(fine, fine), axis=-1), float)
            energy = np.asarray(field.energy(mesh))
            axes.contour(fine, fine, energy - energy[40, 40], [0.25, 1, 2, 3, 4, 5], colors=OTHERS[0], linewidths=0.8)
        ts = np.linspace(0.0, 100.0, 4001)
        for start in ([0.8, 0.0], [2.0, 0.0]):
            ys = odeint(field, jnp.asarray(start, float), ts, max_steps=20_000).ys
            axes.plot(ys[:, 0], ys[:, 1], color=MODEL, linewidth=0.7)
        measured = task.data.states[:6].reshape(-1, 2)
        axes.plot(measured[:, 0], measured[:, 1], ".", color=DATA, markersize=1.5)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("q")
        axes.set_aspect("equal")
        axes.set_xlim(-reach, reach)
        axes.set_ylim(-reach, reach)
        dress(axes)
    grid[0, 0].set_ylabel("p")
    save_figure(figure, path)
