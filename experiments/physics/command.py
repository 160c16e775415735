"""The command line that all studies share: options, where results go, and what is kept of them."""

import argparse
from collections.abc import Callable
from pathlib import Path

from experiments.benchmarks.report import Results, record, show, write

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "runs" / "physics"
_RECORDS = ROOT / "docs" / "results" / "physics"


def run_study(name: str, about: str | None, study: Callable[[bool, Path], Results]) -> None:
    """The command line of one study: `study(is_quick, folder)` is called and its results are written.

    Arguments:
        name: of the study; its folder is runs/physics/`name`.
        about: the docstring of the study's file, which `--help` prints.
        study: trains, draws into the folder that it is given, and returns the tables.
    """
    options = options_of(about).parse_args()
    folder = results_folder(name)
    finish(study(options.quick, folder), folder, options.record)


def options_of(about: str | None) -> argparse.ArgumentParser:
    """A parser that knows `--quick` and `--record`."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps of few seeds, to see that it works")
    parser.add_argument("--record", action="store_true", help="keep tables and figures in docs/results/physics")
    return parser


def results_folder(study: str) -> Path:
    """Where a study writes its tables and figures: runs/physics/`study`."""
    folder = RUNS / study
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def finish(results: Results, folder: Path, is_recorded: bool) -> None:
    """Write the results and show them; if `is_recorded`, copy JSON and figures to docs/results/physics, and the tables
    into the page there.
    """
    path = write(results, folder)
    show(results)
    if is_recorded:
        record(path, _RECORDS / "README.md", _RECORDS)
