"""`report.md` of several runs: a table of them, and of the ensembles that their seeds make."""

import json
from pathlib import Path
from typing import Any

from node_jax.analysis import Ensemble, Prediction, draw_ensemble
from node_jax.train.metrics import read_metrics
from node_jax.train.run_directory import RunDirectory, write_text_whole


def describe_runs(titles: list[str], folders: list[RunDirectory], results: dict[int, dict[str, float]]) -> str:
    """A Markdown table with a line for each run.

    Arguments:
        titles, folders: of the runs.
        results: what evaluation gave, by the number of the run; a run that is missing had to stop.
    """
    names = list(dict.fromkeys(name for found in results.values() for name in found)) or ["result"]
    lines = [f"| run | steps | loss | {' | '.join([*names, 'seconds'])} |", f"|{'---|' * (len(names) + 4)}"]
    for i, (title, folder) in enumerate(zip(titles, folders, strict=True)):
        rows = read_metrics(folder.metrics)
        loss = f"{rows[-1]['loss']:.4g}" if rows else ""
        steps, seconds = (str(rows[-1]["step"]), sum(row["wall_s"] for row in rows)) if rows else ("0", 0.0)
        cells = [f"{results[i][name]:.4g}" for name in names] if i in results else ["stopped", *[""] * (len(names) - 1)]
        lines.append(f"| {i:03d}: {title} | {steps} | {loss} | {' | '.join([*cells, f'{seconds:.1f}'])} |")
    return "\n".join(lines)


def describe_ensembles(
    points: dict[tuple[tuple[str, float], ...], list[Prediction]], folder: Path
) -> tuple[list[str], list[str]]:
    """Tables of the ensembles that the seeds of each point make, and the figures drawn.

    `ensembles.json` holds the same numbers. Members that were asked for different data, as seeds of simulated data may
    give them, make no ensemble.

    Arguments:
        points: predictions of the runs at each point of the grid.
        folder: where figures and numbers go.
    """
    several = {point: Ensemble(tuple(members)) for point, members in points.items() if len(members) > 1}
    found = {point: ensemble for point, ensemble in several.items() if ensemble.is_of_same_truth}
    if not found:
        note = "Runs that differ in the seed alone forecast data of their own here, and make no ensemble."
        return [note] if several else [], []
    facts, figures = [], []
    metrics = [ensemble.metrics() for ensemble in found.values()]
    names = list(metrics[0])
    lines = [f"| ensemble | members | {' | '.join(name.replace('_', ' ') for name in names)} |"]
    lines += [f"|{'---|' * (len(names) + 2)}"]
    for number, ((point, ensemble), values) in enumerate(zip(found.items(), metrics, strict=True)):
        figures.append(f"ensemble-{number}.png")
        draw_ensemble(ensemble, folder / figures[-1])
        title = ", ".join(f"{path}={value:g}" for path, value in point) or "seeds"
        cells = [f"{values[name]:.3f}" for name in names]
        lines.append(f"| {title} | {len(ensemble.members)} | {' | '.join(cells)} |")
        facts.append({"point": dict(point), "members": len(ensemble.members), **values})
    write_text_whole(folder / "ensembles.json", json.dumps(facts, indent=2) + "\n")
    note = (
        "An ensemble forecasts the mean of its members. Its intervals are those of a normal distribution whose "
        "variance is the members' spread plus the noise that they leave in the data they were fitted to; "
        '"without noise" counts the spread alone. Of the truth, 50 and 90 % should lie inside.'
    )
    return ["\n".join(lines), note], figures


def write_sweep_report(directory: RunDirectory, name: str, parts: list[str], figures: list[str]) -> Path:
    """Write `report.md` of a sweep, and return its path."""
    pictures = "\n\n".join(f"![{file.removesuffix('.png')}]({file})" for file in figures)
    file = directory.path / "report.md"
    modes: dict[str, Any] = {
        path.name: json.loads(path.read_text()) for path in sorted(directory.path.glob("mode-*.json"))
    }
    chosen = [
        f"Runs that share a program were trained {facts['mode']}: a dispatch of all took "
        f"{facts['seconds_of_a_dispatch']['in-turn']:g} s in turn and "
        f"{facts['seconds_of_a_dispatch']['together']:g} s together."
        for facts in modes.values()
    ]
    write_text_whole(file, "\n\n".join([f"# {name}", *parts, *chosen, pictures]) + "\n")
    return file
