"""Does a network as energy keep the energy, and how far can its error be brought down on the same data?

Question: On mass and spring, pendulum and two bodies, with the data of Greydanus, Dzamba & Yosinski (2019), how far do
    solves of a plain network, of a Hamiltonian network as published, and of ours miss the true energy, and what becomes
    of the energy over a hundred times the time, by symplectic and by ordinary methods?
Expected: ours at a third of the published energy MSE of Hamiltonian networks or less; an energy error that stays
    bounded with a symplectic method, and with an ordinary one of the same step grows.
Cost: about a quarter of an hour on 2 CPU cores for all systems, most of it for the published set-up.
Command: python -m experiments.physics.hamiltonian [--only NAME] [--quick] [--record]

Each row of a table trains one config of configs/physics over five seeds, which set data, initial weights and batches.
`NAME_hnn` is the published set-up with its plain network beside it; `NAME` is ours, on the same data.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import node_jax as nj
from experiments.benchmarks.report import Results, Table, say
from experiments.physics.command import finish, options_of, results_folder
from experiments.physics.hamiltonian_figures import draw_long, draw_overview, draw_portraits
from experiments.physics.runs import Trained, load, mean_and_spread, seconds, train_seeds
from node_jax.analysis import Drift, measure_drift
from node_jax.config import MLPField, Run
from node_jax.tasks import DerivativeTask

_LONGER = 100
"""Times the roll-outs of the first table."""
_NUM_LONG = 5
"""Solves over that time."""
_STEP = 0.2
"""Of the methods of constant step, in the system's time."""


@dataclass(frozen=True)
class Published:
    """Energy MSE from the README of the authors' repository: mean and standard error over 15 solves of one fit."""

    plain: str
    hamiltonian: str
    target: float
    """A third of the latter."""


PUBLISHED = {
    "mass_spring": Published("0.171 ± 0.02", "0.000384 ± 7e-05", 1.28e-4),
    "pendulum": Published("0.0415 ± 0.01", "0.0249 ± 0.005", 8.3e-3),
    "two_body": Published("0.0633 ± 0.03", "3.88e-05 ± 5e-06", 1.29e-5),
}
PLAIN, HNN, OUR_PLAIN, OURS = "plain network", "Hamiltonian network", "ours, plain network", "ours"
"""The rows of a table."""


def train_all(name: str, num_seeds: int, is_quick: bool) -> dict[str, list[Trained]]:
    """All rows of one system."""
    published, ours = load(f"{name}_hnn"), load(name)
    runs = {PLAIN: _plain(published), HNN: published, OUR_PLAIN: _plain(ours), OURS: ours}
    return {row: train_seeds(run, num_seeds, is_quick) for row, run in runs.items()}


def _plain(run: Run) -> Run:
    assert isinstance(run.reference, MLPField)
    return replace(run, name=f"{run.name}_plain", field=run.reference, reference=None)


def published_measure(name: str, trained: Trained) -> float:
    """The energy MSE as the authors' notebook of the system computes it.

    For the pendulum that is not the energy: the notebook compares q² + p², the energy of the mass and spring.
    """
    if name != "pendulum":
        return trained.evaluation.metrics["energy_mse"]
    task = _task_of(trained)
    assert task.rollouts is not None
    solved, true = np.asarray(task.roll_out(trained.model).ys, float), task.rollouts.values
    return float(np.mean((np.sum(solved**2, axis=-1) - np.sum(true**2, axis=-1)) ** 2))


def energy_table(name: str, rows: dict[str, list[Trained]]) -> Table:
    """Energy MSE and what it cost, beside the published numbers."""
    published = PUBLISHED[name]
    columns = (
        "field",
        "seeds",
        "energy MSE, published",
        "energy MSE, as published",
        "energy MSE",
        "loss of derivatives, test",
        "seconds",
    )
    lines = []
    for row, seeds in rows.items():
        stated = {PLAIN: published.plain, HNN: published.hamiltonian}.get(row, "")
        measured = [published_measure(name, one) for one in seeds]
        metrics = [one.evaluation.metrics for one in seeds]
        line = (row, len(seeds), stated, mean_and_spread(measured), mean_and_spread([m["energy_mse"] for m in metrics]))
        test = mean_and_spread([m["derivative_loss_test"] for m in metrics])
        lines.append((*line, test, float(np.median([seconds(one) for one in seeds]))))
    caption = f"{name.replace('_', ' ')}: mean ± standard deviation over seeds"
    return Table(caption, columns, lines)


def long_drifts(trained: Trained, is_quick: bool) -> dict[str, tuple[Drift, Drift, float]]:
    """What becomes of the field's own energy and of the true one over a long time, and evaluations a solve.

    In float64, so that rounding is not what is seen.
    """
    task = _task_of(trained)
    assert task.rollouts is not None
    assert task.energy is not None
    length = (1 if is_quick else _LONGER) * float(task.rollouts.times[0, -1])
    num_steps = round(length / _STEP)
    with jax.enable_x64(True):
        field = jax.tree.map(lambda x: x.astype(float) if eqx.is_inexact_array(x) else x, trained.model)
        starts = jnp.asarray(task.rollouts.values[:_NUM_LONG, 0], float)
        ts = np.linspace(0.0, length, 401)
        constant, half = nj.ConstantStep(_STEP), starts.shape[1] // 2
        methods: dict[str, tuple[Any, Any]] = {"RK4": (nj.RK4(), constant)}
        if isinstance(field, nj.fields.AbstractEnergyField):
            methods["Tsit5, tolerance 1e-6"] = nj.Tsit5(), nj.PIController(rtol=1e-6, atol=1e-6)
        if isinstance(field, nj.fields.SeparableHamiltonianField):
            methods = {"Störmer-Verlet": (nj.StormerVerlet(), constant), **methods}
        found = {}
        for method, (solver, controller) in methods.items():
            y0s = (starts[:, :half], starts[:, half:]) if method == "Störmer-Verlet" else starts
            options = {"solver": solver, "controller": controller, "max_steps": 20 * num_steps}
            solution = nj.odeint_batch(field, y0s, ts, **options)
            ys = jnp.concatenate(solution.ys, axis=-1) if isinstance(solution.ys, tuple) else solution.ys
            true = measure_drift(task.energy, ts, ys)
            own = measure_drift(field.energy, ts, ys) if isinstance(field, nj.fields.AbstractEnergyField) else true
            found[method] = own, true, float(np.mean(solution.stats.num_evals))
    return found


def drift_table(name: str, drifts: dict[str, dict[str, tuple[Drift, Drift, float]]]) -> Table:
    """The long solves."""
    columns = (
        "field",
        "method",
        "true energy, RMS change in the first 1 %",
        "RMS change over all",
        "field's energy, largest change in the first half",
        "largest change over all",
        "evaluations",
    )
    lines = []
    for row, methods in drifts.items():
        for method, (own, true, evals) in methods.items():
            early, middle = true.changes[:, 1:5], own.changes[:, : own.changes.shape[1] // 2]
            is_own = row not in (PLAIN, OUR_PLAIN)
            sizes = (float(np.abs(middle).max()), own.largest) if is_own else (None, None)
            start = float(np.sqrt(np.mean(early**2)))
            lines.append((row, method, start, float(np.sqrt(true.mean_square)), *sizes, evals))
    true = next(iter(next(iter(drifts.values())).values()))[1]
    length, num = true.times[0, -1], len(true.times)
    return Table(f"{name.replace('_', ' ')}: energy over {length:g} time units, {num} solves of seed 0", columns, lines)


def _task_of(trained: Trained) -> DerivativeTask:
    assert isinstance(trained.task, DerivativeTask)
    return trained.task


def study(names: list[str], is_quick: bool, folder: Path) -> Results:
    """Train, measure and draw."""
    num_seeds = 2 if is_quick else 5
    tables, data, notes = [], {}, []
    trained, drifts = {}, {}
    for name in names:
        trained[name] = train_all(name, num_seeds, is_quick)
        tables.append(energy_table(name, trained[name]))
        say(f"{name}: long solves")
        chosen = {row: trained[name][row][0] for row in (PLAIN, HNN, OURS)}
        drifts[name] = {row: long_drifts(one, is_quick) for row, one in chosen.items()}
        tables.append(drift_table(name, drifts[name]))
        data[name] = {
            row: [one.evaluation.metrics | {"as_published": published_measure(name, one)} for one in seeds]
            for row, seeds in trained[name].items()
        }
        reached = float(np.mean([row["as_published"] for row in data[name][OURS]]))
        word = "reached" if reached <= PUBLISHED[name].target else "missed"
        notes.append(
            f"{name.replace('_', ' ')}: {reached:.3g} against the aim of {PUBLISHED[name].target:.3g}, a third of the "
            f"published one: {word}."
        )
    errors = {
        name: {row: [one["as_published"] for one in seeds] for row, seeds in rows.items()}
        for name, rows in data.items()
    }
    stated = {name: {PLAIN: one.plain, HNN: one.hamiltonian} for name, one in PUBLISHED.items()}
    draw_overview(trained, errors, stated, folder / "hamiltonian.png")
    lasting = {
        name: {row: {method: found[1] for method, found in methods.items()} for row, methods in rows.items()}
        for name, rows in drifts.items()
    }
    draw_long(lasting, folder / "hamiltonian_drift.png")
    if "pendulum" in trained:
        shown = {row: trained["pendulum"][row][0] for row in (PLAIN, OURS)}
        draw_portraits(shown, folder / "hamiltonian_portrait.png")
    notes += _NOTES
    question = "Does a network as energy keep the energy, and how far can its error be brought down on the same data?"
    return Results("hamiltonian", question, tables, notes, data, is_quick)


_NOTES = [
    "Energy MSE: mean over 50 solves and 100 times of (H(true solve) - H(solve of the fit))², H the true energy. The "
    "solves start as in the authors' notebooks and last 20 (two bodies 25) time units. The notebooks take 15 solves of "
    "one fit; that of the mass and spring stretches its horizon from solve to solve, up to 79 time units, which the "
    "energy of a Hamiltonian network does not notice and that of a plain network does.",
    "As published: the notebook of the pendulum computes q² + p² in place of the energy, so that it sees errors of "
    "phase as well. That column does the same, and is what the published number is to be compared with; the next has "
    "the energy.",
    "Rows of the published set-up: 200 tanh units twice, Adam at 1e-3, 2000 steps with the whole data and weight decay "
    "1e-4 (two bodies 10000 steps of 200 rows, without decay). Different are the initial weights (Glorot in place of "
    "orthogonal), and solves by Tsit5 with tolerances of 1e-6.",
    "Two bodies over the long time: a network keeps its own energy, but not the sum of the momenta, which it does not "
    "know of. The bodies drift out of the region of the data, where its energy means nothing; the true one tells so.",
    "Ours: the same data. States are the derivatives integrated, placed where they fit the measured states best (the "
    "derivatives of this data have no noise, its states have), 64 SiLU units twice, Adam from 3e-3 (two bodies 5e-3) "
    "down a cosine; the kinetic energy is a quadratic form of the momenta. Chosen by seeds from 100 on, reported for "
    "seeds 0 to 4.",
]


if __name__ == "__main__":
    parser = options_of(__doc__)
    parser.add_argument("--only", choices=list(PUBLISHED), help="one of the systems")
    options, target = parser.parse_args(), results_folder("hamiltonian")
    chosen_names = [options.only] if options.only else list(PUBLISHED)
    finish(study(chosen_names, options.quick, target), target, options.record)
