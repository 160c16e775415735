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
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

import node_jax as nj

_PICTURE = Path(__file__).parents[1] / "docs" / "images" / "batch_queue.svg"
_CHUNK = 16
"""Attempts between two visits to the queue, of a small state."""
_LEAST_TO_NARROW, _NARROWER = 32, 8
_IDLE, _LINE, _TEXT = "#dcdcdc", "#c2410c", "#222222"
_NUMBER_FROM = 27
"""Bars as long as this have room for the number of their trajectory."""


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


def solve(num: int, lanes: int | None) -> tuple[np.ndarray, int]:
    """Van der Pol oscillators with a parameter from 0.1 to 30: the attempts of each, and those that were executed."""

    def oscillator(t: object, y: jnp.ndarray, mu: jnp.ndarray) -> jnp.ndarray:
        del t
        return jnp.stack([y[1], mu * (1 - y[0] ** 2) * y[1] - y[0]])

    mu = np.exp(np.random.default_rng(3).uniform(np.log(0.1), np.log(30.0), num)).astype(np.float32)
    y0s = jnp.tile(jnp.array([2.0, 0.0]), (num, 1))
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
    attempts, executed_in_step = solve(24, None)
    queued, executed = solve(24, 4)
    many, executed_of_many = solve(128, 32)
    in_step = [Loop(24, 0, int(attempts.max()), [Bar(i, i, 0, int(n)) for i, n in enumerate(attempts)], [0])]
    queue, tail = replay(queued, 4), replay(many, 32)
    for loops, expected in ((in_step, executed_in_step), (queue, executed), (tail, executed_of_many)):
        if num_executed(loops) != expected:
            raise RuntimeError(f"draw: the replay executes {num_executed(loops)} steps, the solve {expected}.")

    colors = LinearSegmentedColormap.from_list("steps", ["#a7d8e8", "#3b8fc2", "#1f3f8f", "#2a1458"])
    scale = max(int(n.max()) for n in (attempts, queued, many))
    settings = {"svg.hashsalt": "node_jax", "font.size": 9, "font.family": "DejaVu Sans", "text.color": _TEXT}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(11.5, 6.6))
        FigureCanvasAgg(figure)
        length = max(queue[-1].end, tail[-1].end)
        grid = figure.add_gridspec(
            2,
            2,
            width_ratios=(in_step[-1].end, length),
            height_ratios=(1, 1.75),
            left=0.045,
            right=0.985,
            top=0.93,
            bottom=0.135,
            wspace=0.11,
            hspace=0.42,
        )
        left = figure.add_subplot(grid[:, 0])
        top, bottom = figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 1])
        for axes, loops, counts, title in (
            (left, in_step, attempts, "In lockstep: 24 trajectories, 24 lanes"),
            (top, queue, queued, "The queue: the same 24 trajectories, 4 lanes"),
            (bottom, tail, many, "The narrower tail: 128 trajectories, 32 lanes"),
        ):
            _tracks(axes, loops, colors, scale)
            share = counts.sum() / num_executed(loops)
            axes.set_title(f"{title} · efficiency {share:.2f}", loc="left", fontsize=10, fontweight="bold")
        for axes in (top, bottom):
            axes.set_xlim(-1, length + 1)
        left.set_xlim(-1, in_step[-1].end + 1)
        _notes(bottom, tail)
        left.set_xlabel("attempts of all lanes, one after another")
        bottom.set_xlabel("attempts of all lanes, one after another")
        figure.legend(
            handles=[
                Patch(color=colors(0.1), label="a trajectory of few steps"),
                Patch(color=colors(0.95), label="of many steps"),
                Patch(color=_IDLE, label="a lane that waits"),
                matplotlib.lines.Line2D([], [], color=_LINE, linewidth=1.1, label="a chunk ends, idle lanes refill"),
            ],
            loc="lower center",
            ncols=4,
            frameon=False,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=130, metadata=metadata)


def _tracks(axes: Axes, loops: list[Loop], colors: Colormap, scale: int) -> None:
    """Lanes as tracks, trajectories as bars in them, chunk ends as lines."""
    is_wide = loops[0].width > 8
    height = 0.84 if is_wide else 0.72
    for loop in loops:
        span = loop.end - loop.start
        axes.barh(range(loop.width), [span] * loop.width, height, left=loop.start, color=_IDLE)
        for bar in loop.bars:
            whole = sum(b.length for each in loops for b in each.bars if b.trajectory == bar.trajectory)
            color = colors(whole / scale)
            axes.barh(bar.lane, bar.length, height, left=bar.start, color=color, edgecolor="white", linewidth=0.6)
            if not is_wide:
                ink = "white" if whole > 0.3 * scale else _TEXT
                place = (bar.start + bar.length / 2, bar.lane)
                axes.text(*place, str(bar.trajectory + 1), color=ink, fontsize=7.5, ha="center", va="center")
        if len(loops) > 1 or not is_wide:
            for boundary in loop.boundaries[1:]:
                axes.plot([boundary] * 2, [-0.7, loop.width - 0.3], color=_LINE, linewidth=0.7, alpha=0.75)
    axes.set_ylim(loops[0].width - 0.2, -0.9)
    axes.set_ylabel("lane")
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="x", length=3)


def _notes(axes: Axes, loops: list[Loop]) -> None:
    """Say where the queue is empty and where the loop gets narrower."""
    narrow = loops[1]
    axes.annotate(
        f"the last {len(narrow.bars)} go on\nin a loop of {narrow.width} lanes",
        ((narrow.start + narrow.end) / 2, narrow.width - 0.2),
        xytext=((narrow.start + narrow.end) / 2, narrow.width + 7.5),
        ha="center",
        va="top",
        arrowprops={"arrowstyle": "-", "color": _TEXT, "linewidth": 0.8},
    )


if __name__ == "__main__":
    draw()
