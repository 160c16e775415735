"""A config from a Python file, a saved run, and the command line."""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from node_jax.config.codec import check_types, from_json
from node_jax.config.schema import Run
from node_jax.errors import UsageError


def load_config(path: Path) -> Run:
    """The `CONFIG` of a Python file, or a saved `config.json`.

    Raises:
        UsageError: if the file is missing or broken, or holds no `CONFIG = Run(...)`.
    """
    if not path.is_file():
        nearby = sorted(str(file) for file in path.parent.glob("*.py")) if path.parent.is_dir() else []
        hint = f" There are: {', '.join(nearby)}." if nearby else " Configs are in configs/."
        raise UsageError(f"Expected a config file, got {path}, which does not exist.{hint}")
    if path.suffix == ".json":
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"Expected a readable config at {path}, got: {error}.") from error
        return from_json(text, Run, path.name)
    spec = importlib.util.spec_from_file_location(f"node_jax_config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"Expected a config file that ends in .py or .json, got {path}.")
    module = importlib.util.module_from_spec(spec)
    writes_bytecode = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        spec.loader.exec_module(module)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    except Exception as error:
        raise UsageError(
            f"{path}: expected a config that can be read, got {type(error).__name__}: {error}. "
            "Fields and their types are in docs/configs.md."
        ) from error
    finally:
        sys.dont_write_bytecode = writes_bytecode
    config = getattr(module, "CONFIG", None)
    if not isinstance(config, Run):
        raise UsageError(f"{path}: expected a line CONFIG = Run(...), got {type(config).__name__}.")
    return check_types(config, path.name)


def override(config: Run, arguments: Sequence[str], program: str) -> Run:
    """`config` with command-line overrides: leaves (`--optimizer.lr 3e-4`) and variants (`optimizer:sgd`).

    Ends the process with code 2 and a message for an unknown or ill-typed override, as argparse does.
    """
    return tyro.cli(
        Run,
        prog=program,
        default=config,
        args=list(arguments),
        config=(tyro.conf.CascadeSubcommandArgs,),
    )
