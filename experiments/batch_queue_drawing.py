"""How do lanes pull trajectories from a queue? One drawing, from the step counts of a real ensemble.

    python -m experiments.batch_queue_drawing

Solves Van der Pol oscillators of mixed stiffness by `nj.odeint_batch`, replays the rule of its queue in Python from the
number of attempted steps of each, holds the replay against what the solve says it executed, and writes
docs/images/batch_queue.svg.
"""

from dataclasses import dataclass, field
from pathlib import Path

import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

import node_jax as nj

_PICTURE = Path(__file__).parents[1] / "docs" / "images" / "batch_queue.svg"
_CHUNK = 16
"""Attempts between two visits to the queue, of a small state."""
_LEAST_TO_NARROW, _NARROWER = 32, 8
_IDLE, _LINE, _TEXT = "#dcdcdc", "#c2410c", "#222222"
_COLORS = LinearSegmentedColormap.from_list("steps", ["#a7d8e8", "#3b8fc2", "#1f3f8f", "#2a1458"])
_MOST_LANES_WITH_NUMBERS = 24


@dataclass
class Bar:
    """A trajectory in its lane."""

    trajectory: int
    lane: int
    start: int
    length: int


@dataclass
class Loop:
    """One loop over chunks: its width in lanes, when it ran, and what lay in its lanes."""

    width: int
    start: int
    end: int = 0
    bars: list[Bar] = field(default_factory=list)
    boundaries: list[int] = field(default_factory=list)


@dataclass
class Panel:
    """One solve: its loops, which trajectories in the order of the queue, attempts of each and of all lanes."""

    title: str
    about: str
    loops: list[Loop]
    order: np.ndarray
    attempts: np.ndarray
    executed: int


def stiffness(num: int) -> np.ndarray:
    """Van der Pol's parameter, from 0.1 to 30, of so many oscillators."""
    return np.exp(np.random.default_rng(3).uniform(np.log(0.1), np.log(30.0), num)).astype(np.float32)


def solve(mu: np.ndarray, lanes: int | None) -> tuple[np.ndarray, int]:
    """The attempts of each of these oscillators, and those that all lanes executed."""

    def oscillator(t: object, y: jnp.ndarray, mu: jnp.ndarray) -> jnp.ndarray:
        del t
        return jnp.stack([y[1], mu * (1 - y[0] ** 2) * y[1] - y[0]])

    y0s = jnp.tile(jnp.array([2.0, 0.0]), (len(mu), 1))
    sol = nj.odeint_batch(oscillator, y0s, [0.0, 5.0], mu, in_axes=(0, None, 0), lanes=lanes)
    stats = nj.check(sol).stats
    return np.asarray(stats.num_accepted + stats.num_rejected), int(stats.num_executed)


def replay(attempts: np.ndarray, lanes: int) -> list[Loop]:
    """The loops of a batched solve of trajectories that need so many attempts.

    A chunk lasts `_CHUNK` attempts of all lanes. While the queue has more, it ends early, once the idle lanes together
    have idled for half as many attempts as there are lanes. Between chunks idle lanes take the next of the queue. From
    `_LEAST_TO_NARROW` lanes on, the last trajectories go on in a loop of an eighth of the width.
    """
    left = [0] * lanes
    width = lanes // _NARROWER if lanes >= _LEAST_TO_NARROW else 0
    loops = [Loop(lanes, 0)]
    queue = list(range(len(attempts)))
    bars: list[Bar | None] = [None] * lanes
    now = 0

    def run(loop: Loop, least_busy: int) -> None:
        nonlocal now
        while queue or sum(n > 0 for n in left) > least_busy:
            loop.boundaries.append(now)
            for lane, n in enumerate(left):
                if n == 0 and queue:
                    trajectory = queue.pop(0)
                    left[lane] = int(attempts[trajectory])
                    bars[lane] = Bar(trajectory, lane, now, 0)
                    loop.bars.append(bars[lane])
            idle = steps = 0
            while any(left) and steps < _CHUNK and (not queue or idle < max(1, loop.width // 2)):
                for lane, n in enumerate(left):
                    if n:
                        left[lane] = n - 1
                        bars[lane].length += 1
                idle += sum(n == 0 for n in left)
                steps += 1
                now += 1
        loop.end = now

    run(loops[0], width)
    if width:
        busy = [lane for lane, n in enumerate(left) if n]
        left = [left[lane] for lane in busy] + [0] * (width - len(busy))
        bars = [Bar(bars[lane].trajectory, place, now, 0) for place, lane in enumerate(busy)]
        bars += [None] * (width - len(bars))
        loops.append(Loop(width, now, bars=[bar for bar in bars if bar is not None]))
        run(loops[1], 0)
    return loops


def num_executed(loops: list[Loop]) -> int:
    """The attempts of all lanes together, idle ones included."""
    return sum(loop.width * (loop.end - loop.start) for loop in loops)


def draw(path: Path = _PICTURE) -> None:
    """Solve, replay, compare and write the picture."""
    mu, many = stiffness(24), stiffness(128)
    attempts, executed = solve(mu, None)
    in_step = Loop(24, 0, int(attempts.max()), [Bar(i, i, 0, int(n)) for i, n in enumerate(attempts)])
    panels = [Panel("In lockstep", "24 trajectories in 24 lanes", [in_step], np.arange(24), attempts, executed)]
    longest_first = np.argsort(-attempts, kind="stable")
    for title, about, ensemble, order, lanes in (
        ("The queue", "the same 24 trajectories, 4 lanes", mu, np.arange(24), 4),
        ("The queue, longest first", "the same 24 trajectories, 4 lanes", mu, longest_first, 4),
        ("The narrower tail", "128 trajectories, 32 lanes", many, np.arange(128), 32),
    ):
        attempts, executed = solve(ensemble[order], lanes)
        panels.append(Panel(title, about, replay(attempts, lanes), order, attempts, executed))
    for panel in panels:
        if num_executed(panel.loops) != panel.executed:
            raise RuntimeError(
                f"draw: the replay executes {num_executed(panel.loops)} steps, the solve {panel.executed}."
            )

    settings = {"svg.hashsalt": "node_jax", "font.size": 9, "font.family": "DejaVu Sans", "text.color": _TEXT}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(11.5, 8.2), facecolor="white")
        FigureCanvasAgg(figure)
        longest = max(panel.loops[-1].end for panel in panels)
        grid = figure.add_gridspec(
            3,
            2,
            width_ratios=(panels[0].loops[-1].end, longest),
            height_ratios=(1, 1, 2),
            left=0.045,
            right=0.985,
            top=0.935,
            bottom=0.115,
            wspace=0.11,
            hspace=0.5,
        )
        places = (grid[:, 0], grid[0, 1], grid[1, 1], grid[2, 1])
        scale = max(int(panel.attempts.max()) for panel in panels)
        for place, panel in zip(places, panels, strict=True):
            axes = figure.add_subplot(place)
            _tracks(axes, panel, scale)
            axes.set_xlim(-1, (longest if panel is not panels[0] else panel.loops[-1].end) + 1)
        for axes in (figure.axes[0], figure.axes[-1]):
            axes.set_xlabel("attempts of all lanes, one after another")
        figure.legend(
            handles=[
                Patch(color=_COLORS(0.15), label="a trajectory of few steps"),
                Patch(color=_COLORS(0.95), label="of many steps"),
                Patch(color=_IDLE, label="a lane that waits"),
                Line2D([], [], color=_LINE, linewidth=1.1, label="a chunk ends, idle lanes take the next"),
            ],
            loc="lower center",
            ncols=4,
            frameon=False,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130, metadata={"Date": None} if path.suffix == ".svg" else None)


def _tracks(axes: Axes, panel: Panel, scale: int) -> None:
    """Lanes as tracks, trajectories as bars in them, chunk ends as lines."""
    loops, width = panel.loops, panel.loops[0].width
    has_numbers = width <= _MOST_LANES_WITH_NUMBERS
    height = 0.74 if has_numbers else 0.84
    for loop in loops:
        axes.barh(range(loop.width), [loop.end - loop.start] * loop.width, height, left=loop.start, color=_IDLE)
        for boundary in loop.boundaries:
            if boundary > 0:
                axes.plot([boundary] * 2, [-0.75, loop.width - 0.25], color=_LINE, linewidth=0.7, alpha=0.8, zorder=2)
        for bar in loop.bars:
            share = panel.attempts[bar.trajectory] / scale
            color = _COLORS(share)
            axes.barh(bar.lane, bar.length, height, left=bar.start, color=color, edgecolor="white", linewidth=0.6)
            if has_numbers:
                axes.text(
                    bar.start + bar.length / 2,
                    bar.lane,
                    str(panel.order[bar.trajectory] + 1),
                    color="white" if share > 0.25 else _TEXT,
                    fontsize=7.5,
                    ha="center",
                    va="center_baseline",
                    bbox={"facecolor": color, "edgecolor": "none", "pad": 1.0},
                    zorder=3,
                )
    if loops[0].boundaries:
        start = max(bar.start for bar in loops[0].bars)
        axes.text(start, -0.95, "the queue is empty", fontsize=8, color=_LINE, va="bottom")
    if len(loops) > 1:
        note = f"the last {len(loops[1].bars)} go on\nin a loop of {loops[1].width} lanes"
        axes.text(loops[1].end + 3, (loops[1].width - 1) / 2, note, fontsize=8, va="center")
    efficiency = panel.attempts.sum() / panel.executed
    axes.set_ylim(width - 0.2, -0.9)
    for text, lift, weight in ((panel.title, 18, "bold"), (f"{panel.about}, efficiency {efficiency:.2f}", 5, "normal")):
        axes.annotate(text, (0, 1), (0, lift), xycoords="axes fraction", textcoords="offset points", weight=weight)
    axes.set_ylabel("lane")
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="x", length=3)


if __name__ == "__main__":
    draw()
