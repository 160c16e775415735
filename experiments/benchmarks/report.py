"""Results as data: JSON, Markdown tables, and the tables of docs/benchmarks.md."""

import argparse
import datetime
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.benchmarks.harness import environment

_ROOT = Path(__file__).parents[2]
_RUNS = _ROOT / "runs" / "benchmarks"
_PAGE = _ROOT / "docs" / "benchmarks.md"
_RECORDS = _ROOT / "docs" / "benchmarks"


@dataclass
class Table:
    """One table: cells are strings or numbers, numbers in the units that the column names."""

    caption: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


@dataclass
class Results:
    """What one benchmark found."""

    name: str
    question: str
    tables: list[Table]
    notes: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    is_quick: bool = False
    environment: dict[str, Any] = field(default_factory=environment)


def write(results: Results, folder: Path | None = None) -> Path:
    """Write `<name>.json` and `<name>.md`; the folder is runs/benchmarks/<date>/ if none is given.

    What was measured elsewhere than on a CPU has the platform behind the name, as in `batches_gpu.json`.

    Returns:
        The path of the JSON file.
    """
    folder = folder or results_folder()
    folder.mkdir(parents=True, exist_ok=True)
    platform = results.environment["platform"]
    suffix = "" if platform == "cpu" else f"_{platform}"
    path = folder / f"{results.name}{suffix}.json"
    path.write_text(json.dumps(asdict(results), indent=1) + "\n")
    path.with_suffix(".md").write_text(f"# {results.question}\n\n{to_markdown(asdict(results))}")
    return path


def results_folder() -> Path:
    """runs/benchmarks/<date>/."""
    return _RUNS / datetime.date.today().isoformat()


def record(path: Path, page: Path = _PAGE, records: Path = _RECORDS) -> None:
    """Keep a result: copy its JSON and figures to docs/benchmarks/, and its tables into docs/benchmarks.md."""
    records.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, records / path.name)
    for picture in path.parent.glob(f"{path.stem}*.png"):
        shutil.copy(picture, records / picture.name)
    page.write_text(_with_tables(page.read_text(), path.stem, json.loads(path.read_text())))


def _with_tables(text: str, name: str, results: dict[str, Any]) -> str:
    """`text` with the tables between the markers of that name replaced."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    if begin not in text or end not in text:
        raise ValueError(f"record: the page has no place for {name!r}: it needs the lines {begin} and {end}.")
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    return pattern.sub(lambda _: f"{begin}\n{to_markdown(results)}{end}", text)


def to_markdown(results: dict[str, Any]) -> str:
    """Tables, notes and the machine."""
    parts = []
    for table in results["tables"]:
        columns, *rows = _without_empty(table["columns"], table["rows"])
        lines = [f"**{table['caption']}**", "", _row(columns), _row(["---"] * len(columns))]
        parts.append("\n".join([*lines, *(_row(row) for row in rows)]))
    if results["notes"]:
        parts.append("\n".join(f"- {note}" for note in results["notes"]))
    parts.append(_describe(results["environment"], results["is_quick"]))
    return "\n\n".join(parts) + "\n"


def _without_empty(columns: Any, rows: Any) -> list[tuple[Any, ...]]:
    """The heading and the rows without columns in which no row has anything."""
    kept = [i for i in range(len(columns)) if any(row[i] is not None for row in rows)]
    return [tuple(row[i] for i in kept) for row in (columns, *rows)]


def _row(cells: Any) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value != value:
        return "failed"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _describe(machine: dict[str, Any], is_quick: bool) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    quick = " A short run (`--quick`): fewer rounds, sides and cases." if is_quick else ""
    return (
        f"*{machine['date']}; {machine['processor']}, {machine['cores']} cores, {machine['device']}; "
        f"Python {machine['python']}, {versions}; EQX_ON_ERROR={machine['settings']['EQX_ON_ERROR']}.{quick}*"
    )


def show(results: Results) -> None:
    """The tables on the console."""
    console = Console(soft_wrap=True)
    console.rule(results.question)
    console.print(to_markdown(asdict(results)), markup=False, highlight=False)


def say(text: str) -> None:
    """One line on how far a benchmark is."""
    Console(stderr=True, soft_wrap=True).print(f"  {text}", markup=False, highlight=False)


def main(run: Callable[[bool], Results]) -> None:
    """The command line of one benchmark file."""
    parser = argparse.ArgumentParser(description=run.__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, sides and cases")
    parser.add_argument("--record", action="store_true", help="keep the result in docs/benchmarks")
    arguments = parser.parse_args()
    results = run(arguments.quick)
    path = write(results)
    show(results)
    if arguments.record:
        record(path)
