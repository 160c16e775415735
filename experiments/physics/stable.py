"""A field that cannot diverge: what does it say where it was never fitted?

Question: Fitted to four noisy series of a damped oscillator, x'' = -x - x³ - 2.5 x', that start side by side and end at
    rest, as motions that a hand has shown, where do solves end that start all around, up to four times as far out: of a
    network, and of the same network kept below a Lyapunov function that is learned with it (Kolter & Manek 2019,
    arXiv:2001.06116)?
Expected: all stable fields arrive from everywhere. So do networks with tanh, which is bounded, and with smaller errors:
    they are freer. Of networks with silu, which grows, two of five run away for some of the farthest starts.
Cost: about four minutes on 2 CPU cores; two minutes with --quick.
Command: python -m experiments.physics.stable [--quick] [--record]

Seeds set the starts, the noise and the initial weights. Kolter & Manek show no such figures for this system. A first
version of this study had starts all around and a damping of 0.5, whose series wind through all of the neighbourhood:
there no network, with tanh or silu, ran away or stopped elsewhere, and the problem was changed for that reason.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

import node_jax as nj
from experiments.benchmarks.report import Results, Table
from experiments.physics.command import run_study
from experiments.physics.runs import Trained, load, mean_and_spread, train_seeds
from node_jax.analysis.figures import DATA, MODEL, OTHERS, dress, new_figure, save_figure
from node_jax.config.builders.systems import damped_oscillator
from node_jax.status import is_success

_RADII, _NUM_ANGLES = (0.5, 1.0, 2.0, 4.0), 24
"""Of the starts, in units of the radius of the training starts."""
_LONG = 60.0
"""After which the true oscillator is at rest to 1e-6."""
_TIMES = np.concatenate([np.linspace(0.0, 6.0, 241), [_LONG]])
_AWAY, _AT_REST = 20.0, 0.2
"""Distance at which a solve has run away, and within which it is at rest."""
_SOLVE = nj.Integrator(controller=nj.PIController(rtol=1e-5, atol=1e-6), max_steps=20_000)


def starts_at(radius: float) -> np.ndarray:
    """Evenly around a circle."""
    angles = 2 * np.pi * np.arange(_NUM_ANGLES) / _NUM_ANGLES
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


@eqx.filter_jit
def _solve(field: Any, starts: Any, times: Any) -> Any:
    sol = _SOLVE.batch(field, starts, times)
    return sol.ys, is_success(sol.status)


def solve(field: Any, radius: float) -> np.ndarray:
    """Solves from a circle of starts; infinite where one failed, which happens where it runs away."""
    ys, is_good = _solve(field, jnp.asarray(starts_at(radius), float), jnp.asarray(_TIMES, float))
    return np.where(np.asarray(is_good)[:, None, None], np.asarray(ys, float), np.inf)


def judge(found: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """The root mean square error over the length of the data as a share of the start's radius, the share of solves that
    run away or fail, and the share that ends neither at rest nor away.
    """
    error = np.linalg.norm(found[:, :-1] - truth[:, :-1], axis=-1)
    size = np.linalg.norm(truth[:, 0], axis=-1).mean()
    ends = np.linalg.norm(found[:, -1], axis=-1)
    is_away = ~(ends < _AWAY)
    relative = np.sqrt(np.mean(np.minimum(error, _AWAY) ** 2)) / size
    return float(relative), float(np.mean(is_away)), float(np.mean(~is_away & ~(ends < _AT_REST)))


def study(is_quick: bool, folder: Path) -> Results:
    """Train, solve from near and far, draw."""
    num_seeds = 2 if is_quick else 5
    config = load("stable_dynamics")
    assert config.reference is not None
    network = replace(config, name="stable_dynamics_network", field=config.reference)
    growing = replace(network, name="stable_dynamics_silu", field=replace(network.field, activation="silu"))
    fits = {
        "stable, tanh": train_seeds(config, num_seeds, is_quick),
        "network, tanh": train_seeds(network, num_seeds, is_quick),
        "network, silu": train_seeds(growing, num_seeds, is_quick),
    }
    truth = {radius: solve(damped_oscillator(config.data.damping), radius) for radius in _RADII}
    rows, worst = [], {}
    for name, runs in fits.items():
        fields = [one.field for one in runs]
        for radius in _RADII:
            judged = np.array([judge(solve(field, radius), truth[radius]) for field in fields])
            rows.append(
                (
                    name,
                    f"{radius:g}",
                    mean_and_spread(judged[:, 0]),
                    f"{100 * judged[:, 1].mean():.0f} %",
                    f"{100 * judged[:, 2].mean():.0f} %",
                    f"{int((judged[:, 1] + judged[:, 2] > 0).sum())} of {num_seeds}",
                )
            )
            if radius == _RADII[-1]:
                worst[name] = int(np.argmax(judged[:, 1] + judged[:, 2] + 1e-6 * judged[:, 0]))
    draw(fits, worst, folder / "stable.png")
    columns = (
        "field",
        "start radius / data's",
        "error up to 6",
        "run away",
        "end elsewhere",
        "seeds with either",
    )
    caption = (
        f"{_NUM_ANGLES} starts a circle, {num_seeds} seeds: error as a share of the start's radius; after {_LONG:g} "
        f"time units farther than {_AWAY:g} from 0, or failed, is away, within {_AT_REST:g} is at rest"
    )
    rises = [_most_rise(one) for one in fits["stable, tanh"]]
    return Results(
        "stable",
        "What does a field that cannot diverge say where it was never fitted?",
        [Table(caption, columns, rows)],
        notes=[
            f"Along all solves of the stable fields V rose between two rows by at most {max(rises):.1g} of its value "
            "at the start, which is the tolerance of the solves in float32.",
            "Kolter & Manek (2019) report no figures for this system.",
        ],
        is_quick=is_quick,
    )


def _most_rise(trained: Trained) -> float:
    field = trained.field
    energies = np.concatenate([np.asarray(field.energy(jnp.asarray(solve(field, r), float))) for r in _RADII])
    return float(np.max(np.diff(energies[:, :-1], axis=1) / energies[:, :1]).clip(0))


def draw(fits: dict[str, list[Trained]], worst: dict[str, int], path: Path) -> None:
    """Phase portraits of the truth, the stable field over the levels of its V, and the networks, each of the seed that
    does worst from the farthest starts.
    """
    config = fits["stable, tanh"][0].run
    figure, axes = new_figure(1, 4, (15, 4.2))
    fields = {"true": damped_oscillator(config.data.damping)}
    fields |= {f"{name}, seed {worst[name]}": runs[worst[name]].field for name, runs in fits.items()}
    reach = 4.6
    grid = np.linspace(-reach, reach, 121)
    states = jnp.asarray(np.stack(np.meshgrid(grid, 2 * grid), axis=-1), float)
    for i, (one, (title, field)) in enumerate(zip(axes.flat, fields.items(), strict=True)):
        if i == 1:
            energy = np.sqrt(np.asarray(field.energy(states)))
            one.contourf(grid, 2 * grid, energy, levels=14, cmap="Blues", alpha=0.6)
        colour = (DATA, MODEL, OTHERS[0], OTHERS[2])[i]
        for track in solve(field, _RADII[-1])[::2, :-1]:
            shown = track[np.abs(track).max(axis=1) < 3 * reach]
            one.plot(shown[:, 0], shown[:, 1], color=colour, linewidth=0.9)
        data = fits["stable, tanh"][worst["stable, tanh"]].task.data
        one.plot(*data.values.reshape(-1, 2).T, ".", color="#444444", markersize=2, label="data of a run")
        one.set(title=title, xlabel="x", xlim=(-reach, reach), ylim=(-2 * reach, 2 * reach))
        dress(one)
    axes[0, 0].set_ylabel("dx/dt")
    axes[0, 0].legend(frameon=False, fontsize=8, loc="upper right")
    save_figure(figure, path)


if __name__ == "__main__":
    run_study("stable", __doc__, study)
