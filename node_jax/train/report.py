"""`report.md`: what was trained, how it compares, and the figures."""

import json
from collections.abc import Callable
from typing import Any

from node_jax.analysis import draw_loss
from node_jax.errors import UsageError
from node_jax.tasks import AbstractTask, Evaluation
from node_jax.train.metrics import read_metrics
from node_jax.train.run_directory import RunDirectory, write_text_whole


def write_report(
    task: AbstractTask,
    name: str,
    model: Any,
    others: dict[str, Any],
    directory: RunDirectory,
    log: Callable[[str], None],
) -> Evaluation:
    """Evaluate and write `report.md`, `evaluation.json` and the figures into the run directory.

    Arguments:
        task: says what to measure.
        name: title of the report.
        model: the trained model.
        others: trained models to compare with, by name; the first one's run is in `reference/`.
        directory: of the run.
        log: told what is going on.

    Returns:
        The task's `Evaluation`.
    """
    evaluation = task.evaluate(model, others, directory.path, log)
    curves = {"model": read_metrics(directory.metrics)}
    for other in others:
        curves[other] = read_metrics(directory.reference.metrics)
    for label, rows in curves.items():
        if not rows:
            raise UsageError(
                f"{directory.path}: expected metrics of {label!r}, got an empty file. Train the run first."
            )
    draw_loss(curves, directory.path / "loss.png")
    figures = "\n\n".join(f"![{file.removesuffix('.png')}]({file})" for file in (*evaluation.figures, "loss.png"))
    lines = [f"# {name}", evaluation.summary, evaluation.table, _describe_training(curves), figures]
    write_text_whole(directory.path / "evaluation.json", json.dumps(evaluation.metrics, indent=2) + "\n")
    write_text_whole(directory.path / "report.md", "\n\n".join(lines) + "\n")
    return evaluation


def _describe_training(curves: dict[str, list[dict[str, Any]]]) -> str:
    """A table of what training cost and where it ended."""
    lines = [
        "| trained | steps | last loss | evaluations a solve | failed solves | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for name, rows in curves.items():
        last = rows[-1]
        cells = [
            name,
            str(last["step"]),
            f"{last['loss']:.4g}",
            f"{last['num_evals']:.1f}" if "num_evals" in last else "",
            f"{100 * max(row['failed_share'] for row in rows):.1f} % at most" if "failed_share" in last else "",
            f"{sum(row['wall_s'] for row in rows):.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
