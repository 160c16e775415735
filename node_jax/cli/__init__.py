"""`node-jax`: load a config, override it, build it, run it, and look at what came of it.

Exit codes: 0 success, 1 failure, 2 wrong usage, 3 data that cannot be had, 130 interrupted, 143 asked to end (SIGTERM).
Errors are one message; `--debug` shows the traceback.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from node_jax import __version__
from node_jax.cli.terminal import say
from node_jax.errors import DataError, Preempted, UsageError

_EXAMPLES = """examples:
  node-jax train configs/hare_lynx.py
  node-jax train configs/hare_lynx.py --optimizer.lr 3e-3 controller:constant-step --controller.dt 0.1
  node-jax train configs/hare_lynx.py --help        every field of the config, with its unit
  node-jax train configs/hare_lynx.py --quick       ten steps: does it work?
  node-jax train --resume runs/hare_lynx-20260101-120000
  node-jax evaluate runs/hare_lynx-20260101-120000
  node-jax inspect runs/hare_lynx-20260101-120000   the batch at which training stopped
  node-jax plot runs/hare_lynx-20260101-120000      the course of training
  node-jax compare runs/hare_lynx-*                 several runs, side by side
  node-jax data get Theoph                          a data set that a package carries, into the cache
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The `node-jax` command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    is_debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        return _dispatch(arguments)
    except KeyboardInterrupt:
        say("Interrupted. `node-jax train --resume RUN` goes on from the last checkpoint.")
        return 130
    except Preempted as end:
        say(f"{end} `node-jax train --resume RUN` goes on from it.")
        return 143
    except Exception as error:
        if is_debug:
            raise
        is_expected = isinstance(error, (DataError, UsageError))
        message = str(error) if is_expected else f"{type(error).__name__}: {error}"
        hint = "" if is_expected else "\nRun the same command with --debug for the traceback."
        say(f"error: {message}{hint}")
        return 2 if isinstance(error, UsageError) else 3 if isinstance(error, DataError) else 1


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
    config_help = "a Python file with CONFIG = Run(...), or config.json"
    train = commands.add_parser("train", add_help=False, help="train a config, or go on with a run")
    train.add_argument("config", nargs="?", metavar="CONFIG", help=config_help)
    train.add_argument("--resume", metavar="RUN", help="go on with the run in this folder, from its last checkpoint")
    train.add_argument("--quick", action="store_true", help="ten steps of each stage, to see that the config works")
    train.add_argument("--profile", action="store_true", help="write a JAX trace of one dispatch to RUN/profile")
    for name, what in (
        ("evaluate", "evaluate a trained run and write its report anew"),
        ("inspect", "solve the batch again at which training stopped, and show it"),
        ("plot", "draw the course of training of a run"),
    ):
        commands.add_parser(name, help=what).add_argument("run", metavar="RUN", help="the run's folder")
    compare = commands.add_parser("compare", help="set runs side by side: what differs, curves, a table")
    compare.add_argument("runs", nargs="+", metavar="RUN", help="the runs' folders")
    compare.add_argument("--figure", default="compare.png", metavar="PNG", help="where the curves are drawn")
    data = commands.add_parser("data", help="fetch data sets, and list them").add_subparsers(
        dest="data_command", required=True, metavar="get|list"
    )
    get = data.add_parser("get", help="fetch a data set into the cache, $NODE_JAX_DATA or the user's cache folder")
    get.add_argument("names", nargs="+", metavar="NAME", help="as `node-jax data list` shows it")
    data.add_parser("list", help="the data sets that can be fetched, and those that are in the cache")
    config = commands.add_parser("config", add_help=False, help="print a config as it stands after overrides")
    config.add_argument("config", nargs="?", metavar="CONFIG", help=config_help)
    return parser


def _dispatch(arguments: list[str]) -> int:
    parser = _parser()
    options, overrides = parser.parse_known_args(arguments)
    if options.command in ("evaluate", "inspect", "plot", "compare"):
        if overrides:
            parser.error(f"{options.command} takes no overrides, got {' '.join(overrides)}")
        from node_jax.cli import look

        if options.command == "compare":
            return look.compare([Path(run) for run in options.runs], Path(options.figure))
        looks = {"evaluate": look.evaluate, "inspect": look.inspect, "plot": look.plot}
        return looks[options.command](Path(options.run))
    if options.command == "data":
        if overrides:
            parser.error(f"data takes no overrides, got {' '.join(overrides)}")
        from node_jax.cli import data

        return data.list_all() if options.data_command == "list" else data.get(options.names)
    from node_jax.cli.train import resume, train

    if options.command == "train" and options.resume is not None:
        if options.config is not None or overrides:
            given = [options.config, *overrides] if options.config else overrides
            parser.error(
                f"--resume takes the run's own config and no overrides, got {' '.join(given)}; "
                "to change something, start a new run from its config.json"
            )
        return resume(Path(options.resume), options.profile)
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
    if options.quick:
        from node_jax.config.quick import shorten

        run = shorten(run)
    return train(run, options.profile)


def _print_command_help(parser: argparse.ArgumentParser, command: str) -> None:
    choices: Any = next(action.choices for action in parser._actions if isinstance(action.choices, dict))
    choices[command].print_help()
    sys.stdout.write("\nWith a CONFIG, --help lists every field of it that can be overridden.\n")
