"""`node-jax train`: a new run, or the rest of an old one, to its report."""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from node_jax.cli.terminal import say
from node_jax.errors import UsageError

if TYPE_CHECKING:
    from node_jax.config import Run
    from node_jax.config.build import Experiment
    from node_jax.train import RunDirectory

REFERENCE = "pure neural ODE"
"""How the report calls the reference: the schema admits only networks for it."""


def train(run: "Run", is_profiled: bool) -> int:
    """Train a new run."""
    from node_jax.config.codec import to_json
    from node_jax.train import RunDirectory

    create = partial(RunDirectory.create, Path(run.output), run.name, to_json(run))
    return _fit_and_report(run, create, is_profiled)


def resume(path: Path, is_profiled: bool) -> int:
    """Go on with a run."""
    from node_jax.config.load import load_config
    from node_jax.train import RunDirectory

    directory = RunDirectory.open(path)
    return _fit_and_report(load_config(directory.config), lambda: directory, is_profiled)


def _fit_and_report(run: "Run", open_directory: Callable[[], "RunDirectory"], is_profiled: bool) -> int:
    from node_jax.config.build import build

    if not run.sweep.is_single:
        from node_jax.cli.sweep import train_sweep

        if is_profiled:
            raise UsageError("train: --profile traces one run, got a sweep. Leave --profile or the sweep out.")
        return train_sweep(run, open_directory)
    # Built first: a config that cannot work leaves no folder behind.
    experiment = build(run)
    directory = open_directory()
    say(f"run directory: {directory.path}")
    model, others = _fit_all(run, experiment, directory, is_profiled)
    return report(run, experiment, model, others, directory)


def _fit_all(
    run: "Run", experiment: "Experiment", directory: "RunDirectory", is_profiled: bool
) -> tuple[Any, dict[str, Any]]:
    """The trained model, and the reference trained in the same way."""
    from node_jax.config.codec import to_json
    from node_jax.train import fit
    from node_jax.train.progress import Progress

    profile = directory.path / "profile" if is_profiled else None
    optimizer, settings = experiment.optimizer, experiment.settings
    model = fit(experiment.task, optimizer, settings, directory, partial(Progress, run.name), profile)
    if experiment.reference is None or run.reference is None:
        return model, {}
    reference_run = replace(run, name=f"{run.name}-reference", field=run.reference, reference=None)
    directory.reference.prepare(to_json(reference_run))
    title = partial(Progress, f"{run.name}, {REFERENCE}")
    return model, {REFERENCE: fit(experiment.reference, optimizer, settings, directory.reference, title)}


def report(run: "Run", experiment: "Experiment", model: Any, others: dict[str, Any], directory: "RunDirectory") -> int:
    """Write the report, print its table and where it is."""
    from node_jax.train import write_report

    evaluation = write_report(experiment.task, run.name, model, others, directory, lambda line: say(f"report: {line}"))
    sys.stdout.write(f"{evaluation.table}\n\nreport: {directory.path / 'report.md'}\n")
    sys.stdout.flush()
    return 0
