"""What the studies of populations share: folds of people, predictions pooled over them, differences with intervals."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.report import Table
from experiments.physics.runs import Trained, train_all
from node_jax.analysis.figures import MODEL, OTHERS, dress, new_figure, save_figure
from node_jax.config import Run
from node_jax.models import combine_trainable, partition_trainable
from node_jax.tasks import Phase, PopulationModel, PopulationTask, each_sample

_NUM_BOOTSTRAP = 4000
CHECKPOINTS = (
    "Each run has two checkpoints, half-way and at the end; the one under which its new people are likelier is used, "
    "for both models alike."
)
"""A note of every study."""
_STEP = 1e-2
"""Of the difference quotients behind standard errors, in logarithms of parameters."""

Samples = dict[str, np.ndarray]
"""What `each_sample` finds, of several folds, with the names of the people for `subject`."""


def train_folds(run: Run, num_folds: int, is_quick: bool) -> list[Trained]:
    """`run` with each of its parts of people held out in turn, each with a seed of its own."""
    return train_all([replace(run, data=replace(run.data, fold=i), seed=i) for i in range(num_folds)], is_quick)


def pooled(folds: Sequence[Trained]) -> dict[str, Samples]:
    """By "held-out samples" and "new people", what is found at each sample of all folds."""
    found: dict[str, list[Samples]] = {"held-out samples": [], "new people": []}
    for fold in folds:
        looks = fold.task.looks(fold.model)
        for ours, theirs in (("held-out samples", "held-out samples"), ("new people", "new subjects")):
            predictive, truth = looks[theirs]
            each = each_sample(predictive, truth)
            found[ours].append(each | {"subject": np.array(truth.ids)[each["subject"]]})
    return {name: {key: np.concatenate([e[key] for e in each]) for key in each[0]} for name, each in found.items()}


def named_parameters(trained: Trained) -> dict[str, float]:
    """What the report of a population lists, by name."""
    return {name: float(value) for name, value in trained.model.named().items()}


def comparison(plain: Sequence[Trained], hybrid: Sequence[Trained], unit: str) -> list[Table]:
    """The predictions of both models over all folds, and what they differ by."""
    sides = {"plain": pooled(plain), "hybrid": pooled(hybrid)}
    return [prediction_table(sides, unit), difference_table(sides["plain"], sides["hybrid"], unit)]


def prediction_table(sides: dict[str, dict[str, Samples]], unit: str) -> Table:
    """Errors and coverages of each model, by what is predicted."""
    rows = []
    for data in ("held-out samples", "new people"):
        for name, found in sides.items():
            each = found[data]
            distance = np.abs(each["rank"] - 0.5)
            relative = 100 * (each["value"] - each["median"]) / np.maximum(each["median"], 1e-6)
            positive = each["median"] > 0.05
            rows.append(
                (
                    data,
                    name,
                    len(distance),
                    float(np.sqrt(np.mean((each["value"] - each["median"]) ** 2))),
                    float(np.median(relative[positive])),
                    float(np.median(np.abs(relative[positive]))),
                    float(np.mean(each["log_density"])),
                    f"{np.mean(distance <= 0.25):.0%}",
                    f"{np.mean(distance <= 0.45):.0%}",
                )
            )
    columns = (
        "predicted",
        "model",
        "samples",
        f"RMSE [{unit}]",
        "median error [%]",
        "median absolute error [%]",
        "mean log density",
        "held by 50 %",
        "held by 90 %",
    )
    return Table("Predictions, pooled over the folds", columns, rows)


def difference_table(plain: dict[str, Samples], hybrid: dict[str, Samples], unit: str) -> Table:
    """Hybrid minus plain, with 90 % intervals over resampled people."""
    rows = []
    for data in ("held-out samples", "new people"):
        one, other = plain[data], hybrid[data]
        gains = {
            "mean log density": other["log_density"] - one["log_density"],
            f"mean squared error [({unit})²]": (other["value"] - other["median"]) ** 2
            - (one["value"] - one["median"]) ** 2,
            "mean absolute log error": _log_error(other) - _log_error(one),
        }
        for name, gain in gains.items():
            low, high = bootstrap(gain, one["subject"])
            verdict = "no difference that these people show"
            if low > 0 or high < 0:
                verdict = "hybrid better" if (low > 0) == (name == "mean log density") else "hybrid worse"
            rows.append((data, name, float(np.mean(gain)), f"{low:.3g} to {high:.3g}", verdict))
    return Table(
        "Hybrid minus plain, 90 % bootstrap interval over people",
        ("predicted", "figure", "difference", "90 % interval", "verdict"),
        rows,
    )


def _log_error(each: Samples) -> np.ndarray:
    """|log(value / median)|, 0 where a value is zero, as before a dose."""
    inside = (each["value"] > 0) & (each["median"] > 0)
    ratio = np.where(inside, each["value"], 1.0) / np.where(inside, each["median"], 1.0)
    return np.abs(np.log(ratio))


def bootstrap(values: np.ndarray, subjects: np.ndarray) -> tuple[float, float]:
    """The 90 % interval of the mean of `values` over resampled subjects, whose samples stay together."""
    names, place = np.unique(subjects, return_inverse=True)
    sums, counts = np.bincount(place, values), np.bincount(place)
    chosen = np.random.default_rng(0).integers(len(names), size=(_NUM_BOOTSTRAP, len(names)))
    means = sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1)
    low, high = np.quantile(means, [0.05, 0.95])
    return float(low), float(high)


def standard_errors(task: PopulationTask, model: PopulationModel) -> dict[str, float]:
    """Of the fixed effects, by the inverse of the observed information of all trained numbers.

    In float64: in float32 rounding moves a difference of gradients by a tenth.
    """
    with jax.enable_x64(True):
        return _standard_errors(*jax.tree.map(_doubled, (task, model)))


def _doubled(leaf: Any) -> Any:
    return jnp.asarray(leaf, jnp.float64) if eqx.is_inexact_array(leaf) else leaf


def _standard_errors(task: PopulationTask, model: PopulationModel) -> dict[str, float]:
    parameters, rest = partition_trainable(model)
    flat, structure = jax.flatten_util.ravel_pytree(parameters)
    number = float(jnp.sum(task.records.mask))

    @jax.jit
    def gradient(flat: Any) -> Any:
        def value(flat: Any) -> Any:
            found = task.loss(combine_trainable(structure(flat), rest), jax.random.key(0), Phase(0, jnp.zeros(())))
            return number * found[0]

        return jax.grad(value)(flat)

    steps = _STEP * np.eye(len(flat), dtype=flat.dtype)
    information = np.array([(gradient(flat + e) - gradient(flat - e)) / (2 * _STEP) for e in steps], float)
    # What is held at zero has no information.
    used = np.abs(information).sum(axis=0) > 0
    covariance = np.zeros_like(information)
    covariance[np.ix_(used, used)] = np.linalg.inv((information + information.T)[np.ix_(used, used)] / 2)
    variances = structure(jnp.asarray(np.diagonal(covariance), flat.dtype)).fixed_effects
    return {name: float(np.sqrt(v)) for name, v in zip(model.individual.names, variances, strict=True)}


def draw_clearance(folds: Sequence[Trained], levels: np.ndarray, labels: dict[str, np.ndarray], path: Path) -> None:
    """The factor of the clearance over the concentration, a line a fold, a panel for each of some covariates.

    Arguments:
        folds: hybrid models.
        levels: concentrations.
        labels: covariates of a person, by the title of the panel.
        path: where the PNG goes.
    """
    unit = folds[0].task.data.value_unit
    figure, grid = new_figure(1, len(labels), (3.3 * len(labels) + 0.6, 3.2))
    for axes, (title, covariates) in zip(grid[0], labels.items(), strict=True):
        for number, fold in enumerate(folds):
            correction = fold.model.individual.correction
            found = eqx.filter_vmap(correction, in_axes=(0, None))(jnp.asarray(levels), jnp.asarray(covariates))
            label = "folds" if number == 0 else None
            axes.plot(levels, np.exp(np.asarray(found)), color=MODEL, linewidth=1.2, alpha=0.7, label=label)
        axes.axhline(1.0, color=OTHERS[1], linewidth=1, label="no correction")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(f"concentration [{unit}]")
        axes.set_xscale("log")
        axes.set_ylim(0.5, 2.0)
        dress(axes)
    grid[0, 0].set_ylabel("factor of the clearance")
    grid[0, 0].legend(frameon=False, fontsize=9)
    save_figure(figure, path)
