"""Figures of `experiments/physics/control.py`."""

from pathlib import Path
from typing import Any

import numpy as np

from node_jax.analysis.figures import DATA, MODEL, OTHERS, dress, new_figure, save_figure
from node_jax.fields import ControlledPendulum

_COLOURS = {"port-Hamiltonian": MODEL, "network": OTHERS[0], "network, angle wrapped": OTHERS[1]}


def draw_learned(
    far: dict[str, np.ndarray],
    times: np.ndarray,
    parts: list[dict[str, np.ndarray]],
    true: dict[str, np.ndarray],
    path: Path,
) -> None:
    """Errors of predictions over time, and the learned potential, friction and input map of all seeds."""
    figure, axes = new_figure(1, 3, (12, 3.6))
    for name, values in far.items():
        medians = np.median(values, axis=1)
        axes[0, 0].plot(times, medians.mean(axis=0), color=_COLOURS[name], label=name)
        axes[0, 0].fill_between(times, medians.min(0), medians.max(0), color=_COLOURS[name], alpha=0.15, linewidth=0)
    limits = (2e-3, 0.5)
    axes[0, 0].set(yscale="log", ylim=limits, xlabel="time", ylabel="median distance", title="unseen torques")
    axes[0, 0].axvspan(0, 1, color="#FFF3D6", zorder=0, linewidth=0)
    axes[0, 0].text(1.15, 0.3, "← length of the training series", fontsize=8)
    axes[0, 0].legend(frameon=False, fontsize=8, loc="lower right")
    middle, right = axes[0, 1:]
    middle.plot(true["angle"], true["potential"], color=DATA, linewidth=3, alpha=0.35, label="true")
    colours = {"inverse mass": OTHERS[2], "friction": OTHERS[0], "input map": MODEL}
    for i, one in enumerate(parts):
        middle.plot(one["angle"], one["potential"], color=MODEL, linewidth=1, label=None if i else "learned, all seeds")
        for name, colour in colours.items():
            right.plot(one["angle"], one[name], color=colour, linewidth=1, label=None if i else name)
    for name in colours:
        right.plot(
            true["angle"], true[name], color=DATA, linewidth=3, alpha=0.35, label=None if name != "friction" else "true"
        )
    middle.set(xlabel="angle from hanging", ylabel="potential energy", title="V(q)")
    right.set(xlabel="angle from hanging", title="1/M(q), g(q), D(q)", ylim=(-0.1, 4.3))
    for one in (middle, right):
        one.set_xticks([-np.pi, 0, np.pi], ["-π", "0", "π"])
        one.legend(frameon=False, fontsize=8, loc="upper center", ncols=2)
    middle.set_ylim(-0.5, 12.5)
    for one in axes.flat:
        dress(one)
    save_figure(figure, path)


def draw_closed_loop(known: Any, loops: list[Any], pendulum: ControlledPendulum, path: Path) -> None:
    """From hanging: the angle, the energy and the torque, with the true energy and with those of all seeds."""
    figure, axes = new_figure(3, 1, (9, 5.5))
    upright = 2 * float(pendulum.parameters[1])
    for i, (loop, colour, width, label) in enumerate(
        [(known, DATA, 3, "true energy"), *((one, MODEL, 1, "learned energy, all seeds") for one in loops)]
    ):
        times, ys = loop[0]
        style = {"color": colour, "linewidth": width, "alpha": 0.35 if i == 0 else 0.8}
        axes[0, 0].plot(times, ys[0, :, 0] / np.pi, label=label if i < 2 else None, **style)
        axes[1, 0].plot(times, np.asarray(pendulum.energy(ys[0])) / upright, **style)
        axes[2, 0].plot(times, loop[1][0], **style)
    axes[0, 0].set_ylabel("angle / π")
    axes[1, 0].set_ylabel("true energy / upright")
    axes[2, 0].set(ylabel="torque", xlabel="time")
    for one in axes.flat:
        one.set_xlim(0, 9)
    for level in (-1, 1):
        axes[0, 0].axhline(level, color="#999999", linewidth=0.8, linestyle=":")
    axes[1, 0].axhline(1, color="#999999", linewidth=0.8, linestyle=":")
    axes[0, 0].legend(frameon=False, fontsize=8, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    for one in axes.flat:
        dress(one)
    save_figure(figure, path)
