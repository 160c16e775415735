"""`node-jax train` for a config with a sweep: all its runs, a table of them, and ensembles of seeds."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from node_jax.cli.terminal import say
from node_jax.errors import UsageError

if TYPE_CHECKING:
    from node_jax.config import Run
    from node_jax.config.sweep import Member
    from node_jax.train import RunDirectory


def train_sweep(run: "Run", open_directory: Callable[[], "RunDirectory"]) -> int:
    """Train what is left of a sweep, and write its report.

    Its folder is opened or made once every run of it has been built.
    """
    from node_jax.config.codec import to_json
    from node_jax.config.sweep import expand, program_of
    from node_jax.train import Candidate, RunDirectory, fit_several
    from node_jax.train.progress import Progress

    members = expand(run, run.sweep)
    experiments = [_build(member) for member in members]
    directory = open_directory()
    say(f"run directory: {directory.path}")
    folders = [RunDirectory(directory.path / f"run-{i:03d}") for i in range(len(members))]
    groups: dict[Any, list[int]] = {}
    for i, member in enumerate(members):
        folders[i].prepare(to_json(member.run))
        groups.setdefault(program_of(member.run), []).append(i)
    models: dict[int, Any] = {}
    for number, group in enumerate(groups.values()):
        candidates = [
            Candidate(_title(members[i]), e.task, e.optimizer, e.settings, folders[i])
            for i, e in ((i, experiments[i]) for i in group)
        ]
        choice = directory.path / f"mode-{number}.json"
        found = fit_several(candidates, Progress, run.sweep.mode, choice)
        models |= dict(zip(group, found, strict=True))
    return _report(run, members, experiments, folders, models, directory)


def _build(member: "Member") -> Any:
    from node_jax.config.build import build

    try:
        return build(member.run)
    except UsageError as error:
        raise UsageError(f"sweep, {_title(member)}: {error}") from error


def _title(member: "Member") -> str:
    values = [f"{path}={value:g}" for path, value in member.values.items()]
    return ", ".join([*values, f"seed={member.run.seed}"])


def _report(
    run: "Run",
    members: list["Member"],
    experiments: list[Any],
    folders: list["RunDirectory"],
    models: dict[int, Any],
    directory: "RunDirectory",
) -> int:
    from node_jax.analysis import draw_training
    from node_jax.train import read_metrics, write_report
    from node_jax.train.sweep_report import describe_ensembles, describe_runs, write_sweep_report

    rows = {}
    for i, member in enumerate(members):
        if models[i] is not None:
            log = lambda line, i=i: say(f"report of run {i}: {line}")  # noqa: E731
            result = write_report(experiments[i].task, _title(member), models[i], {}, folders[i], log)
            rows[i] = result.metrics
    titles = [_title(member) for member in members]
    table = describe_runs(titles, folders, rows)
    points: dict[tuple[Any, ...], list[Any]] = {}
    for i, member in enumerate(members):
        if models[i] is not None:
            point = tuple(member.values.items())
            points.setdefault(point, []).append(experiments[i].task.predict(models[i]))
    ensembles, figures = describe_ensembles(points, directory.path)
    curves = {title: read_metrics(folder.metrics) for title, folder in zip(titles, folders, strict=True)}
    if any(curves.values()):
        draw_training(curves, directory.path / "training.png")
        figures = ["training.png", *figures]
    file = write_sweep_report(directory, run.name, [table, *ensembles], figures)
    sys.stdout.write("\n\n".join([table, *ensembles]) + f"\n\nreport: {file}\n")
    sys.stdout.flush()
    return 0 if rows else 1
