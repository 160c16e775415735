"""Can a neural ODE part concentric spheres, and what do dimensions beside the data change?

Question: In the set-up of Dupont et al. (2019, arXiv:1904.01681; config.json of their repository: a disc of 500 points
    in a ring of 1500, hidden size 32, rate 1e-3, 30 epochs), how do loss, accuracy and evaluations of a solve change
    through training, for a plain neural ODE and for one with five components beside the data?
Expected: the augmented one separates the classes, with evaluations that grow by a quarter (by a half with
    cross-entropy); those of the plain one nearly double, and it leaves some points on the wrong side. Published are
    curves, without a table, in which the evaluations of the augmented one stay about constant.
Cost: five minutes on 2 CPU cores, most of it compilation; two with --quick.
Command: python -m experiments.physics.concentric_spheres [--quick] [--record]

What differs from the published runs: five seeds instead of ten; a solve for each point with steps of its own, instead
of one for a batch; Tsit5 instead of Dopri5, at the same tolerances of 1e-3; other initial weights; points to
validate and to test on, which are drawn anew. The loss is the published one, the Huber loss of outputs that shall be 1
and -1; beside it stands the usual one, cross-entropy.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.report import Results, Table
from experiments.physics.command import run_study
from experiments.physics.figures import draw_seeds, legend_above
from experiments.physics.runs import Trained, load, mean_and_spread, train_seeds
from node_jax.analysis import draw_decision
from node_jax.analysis.figures import MODEL, OTHERS, dress, new_figure, save_figure
from node_jax.config import Classification, Run
from node_jax.tasks import ClassificationTask

_NAME = "concentric_spheres"
_MOST_FLAT, _LEAST_GROWN = 4 / 3, 2.0
"""Evaluations at the end over those at the start: at most so many are flat, at least so many are grown."""


def study(is_quick: bool, folder: Path) -> Results:
    """Train both models with both losses; tables and figures."""
    num_seeds = 2 if is_quick else 5
    runs: dict[str, list[Trained]] = {}
    for name, config in (("neural ODE", "neural"), ("augmented", "augmented")):
        run = load(f"{_NAME}_{config}")
        runs[f"{name}, Huber loss"] = train_seeds(run, num_seeds, is_quick)
        runs[f"{name}, cross-entropy"] = train_seeds(_with_cross_entropy(run), num_seeds, is_quick)
    rows = [_row(name, found) for name, found in sorted(runs.items(), key=lambda item: item[0].split(", ")[1])]
    columns = (
        "model, loss",
        "last loss",
        "test accuracy",
        "separated",
        "evaluations, first epoch",
        "evaluations, last epoch",
        "growth",
        "growth of the most a point took",
    )
    caption = f"Concentric spheres, mean ± standard deviation over {num_seeds} seeds"
    _draw_curves(runs, folder / f"{_NAME}.png")
    flows = {}
    for name in ("neural ODE", "augmented"):
        first = runs[f"{name}, Huber loss"][0]
        assert isinstance(first.task, ClassificationTask)
        flows[name] = first.task.flow(first.model)
    draw_decision(flows, ("inner", "outer"), folder / f"{_NAME}_flow.png")
    return Results(
        _NAME,
        "Can a neural ODE part concentric spheres, and what do dimensions beside the data change?",
        [Table(caption, columns, rows)],
        notes=[
            "separated: seeds with no point on the wrong side, of those that were fitted and of those to test on",
            "growth: evaluations of the last epoch over those of the first",
            "Published (Dupont et al. 2019, figures, no table): the neural ODE's evaluations grow and it does not "
            "separate the classes, the augmented one's stay about constant and it does.",
            f"Claim: the augmented one separates, {_count(runs, 'augmented', _is_separated)}, with growth of at most "
            f"{_MOST_FLAT:.2f}, {_count(runs, 'augmented', _is_flat)}",
            f"Claim: the neural ODE does not separate, {_count(runs, 'neural ODE', _is_torn)}, or has growth of at "
            f"least {_LEAST_GROWN:g}, {_count(runs, 'neural ODE', _is_grown)}",
        ],
        data={name: {"evaluations": _curve(found, "num_evals").tolist()} for name, found in runs.items()},
        is_quick=is_quick,
    )


def _with_cross_entropy(run: Run) -> Run:
    assert isinstance(run.task, Classification)
    return replace(run, name=f"{run.name}_cross_entropy", task=replace(run.task, criterion="cross-entropy"))


def _curve(found: list[Trained], key: str) -> np.ndarray:
    """What was logged, an epoch a column, shape (seed, row)."""
    return np.array([[row[key] for row in one.rows] for one in found])


def _growth(found: list[Trained], key: str) -> np.ndarray:
    curve = _curve(found, key)
    return curve[:, -1] / curve[:, 0]


def _is_separated(found: list[Trained]) -> np.ndarray:
    shares = [min(one.evaluation.metrics["accuracy"], one.evaluation.metrics["train_accuracy"]) for one in found]
    return np.array(shares) == 1


def _is_torn(found: list[Trained]) -> np.ndarray:
    return ~_is_separated(found)


def _is_flat(found: list[Trained]) -> np.ndarray:
    return _growth(found, "num_evals") <= _MOST_FLAT


def _is_grown(found: list[Trained]) -> np.ndarray:
    return _growth(found, "num_evals") >= _LEAST_GROWN


def _row(name: str, found: list[Trained]) -> tuple[Any, ...]:
    evals = _curve(found, "num_evals")
    return (
        name,
        mean_and_spread(_curve(found, "loss")[:, -1].tolist()),
        mean_and_spread([one.evaluation.metrics["accuracy"] for one in found]),
        f"{_is_separated(found).sum()} of {len(found)}",
        mean_and_spread(evals[:, 0].tolist()),
        mean_and_spread(evals[:, -1].tolist()),
        mean_and_spread(_growth(found, "num_evals").tolist()),
        mean_and_spread(_growth(found, "max_evals").tolist()),
    )


def _count(runs: dict[str, list[Trained]], model: str, holds: Callable[[list[Trained]], np.ndarray]) -> str:
    """For how many seeds something holds, with both losses."""
    losses = ("Huber loss", "cross-entropy")
    found = {loss: holds(runs[f"{model}, {loss}"]) for loss in losses}
    return " and ".join(f"{values.sum()} of {len(values)} seeds ({loss})" for loss, values in found.items())


def _draw_curves(runs: dict[str, list[Trained]], path: Path) -> None:
    """Loss and evaluations over epochs, the range over seeds as a band."""
    figure, grid = new_figure(1, 3, (12, 3.9))
    colours = {"neural ODE": OTHERS[0], "augmented": MODEL}
    panels = {"loss": "training loss", "num_evals": "evaluations of a solve, mean", "max_evals": "the most of a batch"}
    for (key, title), axes in zip(panels.items(), grid[0], strict=True):
        for name, found in runs.items():
            model, loss = name.split(", ")
            curve = _curve(found, key)
            epochs = np.arange(1, curve.shape[1] + 1)
            style = "-" if loss == "Huber loss" else "--"
            draw_seeds(axes, epochs, curve, color=colours[model], linestyle=style, label=name)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch")
        dress(axes)
    grid[0, 0].set_yscale("log")
    for axes in grid[0, 1:]:
        axes.set_ylim(bottom=0)
    legend_above(figure, grid[0, 0], 4)
    save_figure(figure, path)


if __name__ == "__main__":
    run_study(_NAME, __doc__, study)
