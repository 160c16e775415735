"""`node-jax evaluate | inspect | plot | compare`: what came of runs."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from node_jax.cli.train import REFERENCE, report
from node_jax.errors import UsageError

if TYPE_CHECKING:
    from node_jax.config import Run
    from node_jax.config.build import Experiment
    from node_jax.train import RunDirectory


def _open(path: Path) -> "tuple[Run, Experiment, RunDirectory]":
    from node_jax.config.build import build
    from node_jax.config.load import load_config

    directory = _open_single(path)
    run = load_config(directory.config)
    return run, build(run), directory


def _open_single(path: Path, *, is_written: bool = True) -> "RunDirectory":
    """The folder of one run, not that of a sweep, which trains nothing itself."""
    from node_jax.train import RunDirectory

    directory = RunDirectory.open(path, is_written=is_written)
    if (path / "run-000").is_dir():
        raise UsageError(
            f"Expected the folder of one run, got that of a sweep, {path}. Name one of its runs, such as "
            f"{path / 'run-000'}, or all of them for `node-jax compare {path}/run-*`; "
            f"`node-jax train --resume {path}` writes the report of the sweep anew."
        )
    return directory


def _rows_of(directory: "RunDirectory") -> list[dict[str, Any]]:
    from node_jax.train import read_metrics

    rows = read_metrics(directory.metrics)
    if not rows:
        raise UsageError(
            f"Expected rows of metrics in {directory.metrics}, got none: the run ended within its first dispatch. "
            f"Go on with `node-jax train --resume {directory.path}`, or see `node-jax inspect {directory.path}`."
        )
    if not all({"loss", "wall_s"} <= row.keys() for row in rows):
        raise UsageError(
            f"Expected rows with a loss and wall_s in {directory.metrics}, got {sorted(rows[0])} in the first. Name a "
            "folder that `node-jax train` made."
        )
    return rows


def evaluate(path: Path) -> int:
    """Evaluate the best checkpoint of a run and write its report."""
    run, experiment, directory = _open(path)
    return report(run, experiment, *_load_models(experiment, directory), directory)


def _load_models(experiment: "Experiment", directory: "RunDirectory") -> tuple[Any, dict[str, Any]]:
    """The best model of a run, and that of its reference."""
    from node_jax.train import load_best

    optimizer, settings = experiment.optimizer, experiment.settings
    model = load_best(experiment.task, optimizer, settings, directory)
    if experiment.reference is None:
        return model, {}
    return model, {REFERENCE: load_best(experiment.reference, optimizer, settings, directory.reference)}


def inspect(path: Path) -> int:
    """Solve the batch again at which training stopped; print its solves and draw them."""
    from node_jax.analysis import draw_inspection
    from node_jax.train import describe, inspect_run

    _, experiment, directory = _open(path)
    failure, seen = inspect_run(experiment.task, experiment.optimizer, experiment.settings, directory)
    figure = directory.path / "inspection.png"
    draw_inspection(seen.times, seen.targets, seen.states, figure)
    _print(f"step {failure.step}: {failure.reason}\ngradient norm {failure.gradient_norm:.4g}\n\n{describe(seen)}")
    _print(f"\nfigure: {figure}")
    return 0


def plot(path: Path) -> int:
    """Draw all that a run logged over its steps; of one that has its report, also what fits its task."""
    from node_jax.analysis import draw_training

    directory = _open_single(path)
    figure = directory.path / "training.png"
    draw_training({directory.path.name: _rows_of(directory)}, figure)
    _print(f"figure: {figure}")
    # Before that it may be training, and whoever opens its checkpoints might disturb one that is being written.
    if (directory.path / "evaluation.json").is_file():
        _, experiment, _ = _open(path)
        for name in experiment.task.draw(*_load_models(experiment, directory), directory.path):
            _print(f"figure: {directory.path / name}")
    return 0


def compare(paths: list[Path], figure: Path) -> int:
    """What differs between the configs of runs, where each ended, and their curves."""
    from node_jax.analysis import draw_training
    from node_jax.train import differences

    directories = [_open_single(path, is_written=False) for path in paths]
    names = _names_of(paths)
    rows = {name: _rows_of(found) for name, found in zip(names, directories, strict=True)}
    configs = [_config_of(directory) for directory in directories]
    changed: dict[str, None] = {}
    for config in configs[1:]:
        changed |= dict.fromkeys(path for path, *_ in differences(configs[0], config))
    changed = {path: None for path in changed if path not in ("output", "name")}
    measured = ["step", "loss", "validation_loss", "num_evals", "failed_share", "skipped_share"]
    measured = [name for name in measured if any(name in row for found in rows.values() for row in found)]
    evaluations = [_evaluation_of(directory) for directory in directories]
    results = list(dict.fromkeys(name for found in evaluations for name in found))
    head = ["run", *changed, *(f"last {name}" for name in measured), "seconds", *results]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name, config, result in zip(names, configs, evaluations, strict=True):
        cells = [name, *(_at(config, path) for path in changed)]
        cells += [_number(_last(rows[name], key)) for key in measured]
        cells += [_number(sum(row["wall_s"] for row in rows[name])), *(_number(result.get(key)) for key in results)]
        lines.append(f"| {' | '.join(cells)} |")
    _print("\n".join(lines))
    try:
        draw_training(rows, figure)
    except OSError as error:
        raise UsageError(
            f"Expected to write a figure to {figure}, got: {error.strerror}. Choose another place with --figure."
        ) from error
    _print(f"\nfigure: {figure}")
    return 0


def _names_of(paths: list[Path]) -> list[str]:
    """The names of folders, or their paths where two have the same name, as the runs of two sweeps have."""
    names = [path.resolve().name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"compare: expected different runs, got {twice} twice. Name each once.")
    return names


def _config_of(directory: "RunDirectory") -> Any:
    try:
        return json.loads(directory.config.read_text())
    except ValueError as error:
        raise UsageError(f"{directory.config}: expected JSON, got an error: {error}. Put it back as it was.") from error


def _evaluation_of(directory: "RunDirectory") -> dict[str, float]:
    file = directory.path / "evaluation.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def _at(config: Any, path: str) -> str:
    for key in path.split("."):
        config = config.get(key) if isinstance(config, dict) else None
    return json.dumps(config)


def _last(rows: list[dict[str, Any]], key: str) -> float | None:
    found = [row[key] for row in rows if key in row]
    return found[-1] if found else None


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
