"""`node-jax`: load a config, override it, build it, run it.

Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted, 143 asked to end (SIGTERM).
Errors are one message; `--debug` shows the traceback.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from node_jax import __version__
from node_jax.errors import Preempted, UsageError

if TYPE_CHECKING:
    from node_jax.config import Run
    from node_jax.config.build import Experiment
    from node_jax.train import RunDirectory

_REFERENCE = "pure neural ODE"
"""How the report calls the reference: the schema admits only networks for it."""

_EXAMPLES = """examples:
  node-jax train configs/hare_lynx.py
  node-jax train configs/hare_lynx.py --optimizer.lr 3e-3 controller:constant-step --controller.dt 0.1
  node-jax train configs/hare_lynx.py --help        every field of the config, with its unit
  node-jax train --resume runs/hare_lynx-20260101-120000
  node-jax evaluate runs/hare_lynx-20260101-120000
  node-jax inspect runs/hare_lynx-20260101-120000   the batch at which training stopped
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The `node-jax` command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    is_debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        return _dispatch(arguments)
    except KeyboardInterrupt:
        _say("Interrupted. `node-jax train --resume RUN` goes on from the last checkpoint.")
        return 130
    except Preempted as end:
        _say(f"{end} `node-jax train --resume RUN` goes on from it.")
        return 143
    except Exception as error:
        if is_debug:
            raise
        is_expected = isinstance(error, UsageError)
        message = str(error) if is_expected else f"{type(error).__name__}: {error}"
        hint = "" if is_expected else "\nRun the same command with --debug for the traceback."
        _say(f"error: {message}{hint}")
        return 2 if is_expected else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="node-jax",
        description="Train and evaluate neural ordinary differential equations from typed configs.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"node_jax {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train = commands.add_parser("train", add_help=False, help="train a config, or go on with a run")
    train.add_argument(
        "config", nargs="?", metavar="CONFIG", help="a Python file with CONFIG = Run(...), or config.json"
    )
    train.add_argument("--resume", metavar="RUN", help="go on with the run in this folder, from its last checkpoint")
    evaluate = commands.add_parser("evaluate", help="evaluate a trained run and write its report anew")
    evaluate.add_argument("run", metavar="RUN", help="the run's folder")
    inspect = commands.add_parser("inspect", help="solve the batch again at which training stopped, and show it")
    inspect.add_argument("run", metavar="RUN", help="the run's folder")
    config = commands.add_parser("config", add_help=False, help="print a config as it stands after overrides")
    config.add_argument(
        "config", nargs="?", metavar="CONFIG", help="a Python file with CONFIG = Run(...), or config.json"
    )
    return parser


def _dispatch(arguments: list[str]) -> int:
    parser = _parser()
    options, overrides = parser.parse_known_args(arguments)
    if options.command in ("evaluate", "inspect"):
        if overrides:
            parser.error(f"{options.command} takes a run and no overrides, got {' '.join(overrides)}")
        return _evaluate(Path(options.run)) if options.command == "evaluate" else _inspect(Path(options.run))
    if options.command == "train" and options.resume is not None:
        if options.config is not None or overrides:
            given = [options.config, *overrides] if options.config else overrides
            parser.error(
                f"--resume takes the run's own config and no overrides, got {' '.join(given)}; "
                "to change something, start a new run from its config.json"
            )
        return _train(None, Path(options.resume))
    if options.config is None:
        if set(overrides) & {"-h", "--help"}:
            _print_command_help(parser, options.command)
            return 0
        parser.error(f"{options.command} needs a CONFIG" + (" or --resume RUN" if options.command == "train" else ""))

    from node_jax.config.codec import to_json
    from node_jax.config.load import load_config, override

    run = load_config(Path(options.config))
    run = override(run, overrides, f"node-jax {options.command} {options.config}")
    if options.command == "config":
        sys.stdout.write(to_json(run))
        return 0
    return _train(run, None)


def _print_command_help(parser: argparse.ArgumentParser, command: str) -> None:
    choices: Any = next(action.choices for action in parser._actions if isinstance(action.choices, dict))
    choices[command].print_help()
    sys.stdout.write("\nWith a CONFIG, --help lists every field of it that can be overridden.\n")


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)  # noqa: T201


def _train(run: "Run | None", resumed: Path | None) -> int:
    """Train a new run, or go on with an old one."""
    from node_jax.config.build import build
    from node_jax.config.codec import to_json
    from node_jax.config.load import load_config
    from node_jax.train import RunDirectory

    if run is None:
        assert resumed is not None
        directory = RunDirectory.open(resumed)
        run = load_config(directory.config)
        experiment = build(run)
    else:
        # Built first: a config that cannot work leaves no folder behind.
        experiment = build(run)
        directory = RunDirectory.create(Path(run.output), run.name, to_json(run))
    _say(f"run directory: {directory.path}")
    model, others = _fit_all(run, experiment, directory)
    return _report(run, experiment, model, others, directory)


def _fit_all(run: "Run", experiment: "Experiment", directory: "RunDirectory") -> tuple[Any, dict[str, Any]]:
    """The trained model, and the reference trained in the same way."""
    from dataclasses import replace
    from functools import partial

    from node_jax.config.codec import to_json
    from node_jax.train import fit
    from node_jax.train.progress import Progress

    model = fit(experiment.task, experiment.optimizer, experiment.settings, directory, partial(Progress, run.name))
    if experiment.reference is None or run.reference is None:
        return model, {}
    reference_run = replace(run, name=f"{run.name}-reference", field=run.reference, reference=None)
    directory.reference.prepare(to_json(reference_run))
    title = partial(Progress, f"{run.name}, {_REFERENCE}")
    reference = fit(experiment.reference, experiment.optimizer, experiment.settings, directory.reference, title)
    return model, {_REFERENCE: reference}


def _evaluate(path: Path) -> int:
    """Evaluate the best checkpoint of a run and write its report."""
    from node_jax.config.build import build
    from node_jax.config.load import load_config
    from node_jax.train import RunDirectory, load_best

    directory = RunDirectory.open(path)
    run = load_config(directory.config)
    experiment = build(run)
    model = load_best(experiment.task, experiment.optimizer, experiment.settings, directory)
    others: dict[str, Any] = {}
    if experiment.reference is not None:
        reference = load_best(experiment.reference, experiment.optimizer, experiment.settings, directory.reference)
        others[_REFERENCE] = reference
    return _report(run, experiment, model, others, directory)


def _inspect(path: Path) -> int:
    """Solve the batch again at which training stopped; print its solves and draw them."""
    from node_jax.analysis import draw_inspection
    from node_jax.config.build import build
    from node_jax.config.load import load_config
    from node_jax.train import RunDirectory, describe, inspect_run

    directory = RunDirectory.open(path)
    experiment = build(load_config(directory.config))
    failure, seen = inspect_run(experiment.task, experiment.optimizer, experiment.settings, directory)
    picture = directory.path / "inspection.png"
    draw_inspection(seen.times, seen.targets, seen.states, picture)
    sys.stdout.write(
        f"step {failure.step}: {failure.reason}\ngradient norm {failure.gradient_norm:.4g}\n\n"
        f"{describe(seen)}\n\nfigure: {picture}\n"
    )
    sys.stdout.flush()
    return 0


def _report(run: "Run", experiment: "Experiment", model: Any, others: dict[str, Any], directory: "RunDirectory") -> int:
    """Write the report, print its table and where it is."""
    from node_jax.train import write_report

    evaluation = write_report(experiment.task, run.name, model, others, directory, lambda line: _say(f"report: {line}"))
    sys.stdout.write(f"{evaluation.table}\n\nreport: {directory.path / 'report.md'}\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
