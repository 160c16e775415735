"""Configs trained over several seeds, each in a run directory that a second call goes on with.

A run is found again by its whole config, which names its folder: what has been trained is not trained twice, and what
was interrupted goes on. Remove runs/physics to train with changed code.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.report import say
from experiments.physics.command import ROOT, RUNS
from node_jax.config import Run
from node_jax.config.build import build
from node_jax.config.codec import to_json
from node_jax.config.load import load_config
from node_jax.config.quick import shorten
from node_jax.tasks import AbstractTask, Evaluation
from node_jax.train import Candidate, RunDirectory, fit_several, read_metrics, write_report
from node_jax.train.progress import Progress


@dataclass(frozen=True, eq=False)
class Trained:
    """One run, trained and evaluated."""

    run: Run
    task: AbstractTask
    model: Any
    evaluation: Evaluation
    rows: list[dict[str, Any]]
    """What it logged, by step."""
    directory: Path

    @property
    def field(self) -> Any:
        """The field of a fitted `Forecaster`; the studies have data and model in the same units."""
        return self.model.forecaster.field


def load(name: str) -> Run:
    """The config configs/physics/`name`.py."""
    return load_config(ROOT / "configs" / "physics" / f"{name}.py")


def train_seeds(run: Run, num_seeds: int, is_quick: bool = False) -> list[Trained]:
    """`run` for the seeds run.seed, run.seed + 1, ..., one after the other with the same compiled programs.

    Arguments:
        run: a config; its sweep and reference are left out.
        num_seeds: how many.
        is_quick: ten steps of each stage, to see that it works.

    Raises:
        RuntimeError: if one of them had to stop; `node-jax inspect` tells why.
    """
    return train_all([replace(run, seed=run.seed + i) for i in range(num_seeds)], is_quick)


def train_all(runs: Sequence[Run], is_quick: bool = False) -> list[Trained]:
    """Configs that differ in numbers alone, one after the other with the same compiled programs.

    Arguments:
        runs: configs; their sweeps and references are left out.
        is_quick: ten steps of each stage, to see that it works.

    Raises:
        RuntimeError: if one of them had to stop; `node-jax inspect` tells why.
    """
    runs = [shorten(run) if is_quick else run for run in runs]
    runs = [replace(one, reference=None, sweep=replace(one.sweep, seeds=1, grid=())) for one in runs]
    experiments = [build(one) for one in runs]
    folders = [_folder(one) for one in runs]
    candidates = [
        Candidate(f"{one.name}, seed {one.seed}", made.task, made.optimizer, made.settings, folder)
        for one, made, folder in zip(runs, experiments, folders, strict=True)
    ]
    models = fit_several(candidates, Progress, "in-turn", folders[0].path / "mode.json")
    found = []
    for one, made, folder, model in zip(runs, experiments, folders, models, strict=True):
        if model is None:
            raise RuntimeError(f"Training of {one.name}, seed {one.seed}, stopped: see node-jax inspect {folder.path}.")
        log = partial(_tell, f"{one.name}, seed {one.seed}")
        evaluation = write_report(made.task, f"{one.name}, seed {one.seed}", model, {}, folder, log)
        found.append(Trained(one, made.task, model, evaluation, read_metrics(folder.metrics), folder.path))
    return found


def moments(values: Sequence[float]) -> tuple[float, float]:
    """The mean over seeds and the standard deviation among them, NaN for one seed."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def mean_and_spread(values: Sequence[float]) -> str:
    """The mean over seeds and the standard deviation among them, as text."""
    mean, spread = moments(values)
    return f"{mean:.3g} ± {spread:.1g}"


def seconds(trained: Trained) -> float:
    """Wall time of training, without compilation of later seeds."""
    return sum(row["wall_s"] for row in trained.rows)


def _folder(run: Run) -> RunDirectory:
    text = to_json(run)
    folder = RunDirectory(RUNS / run.name / f"{hashlib.sha256(text.encode()).hexdigest()[:10]}-seed-{run.seed}")
    folder.prepare(text)
    return folder


def _tell(title: str, line: str) -> None:
    say(f"{title}: {line}")
