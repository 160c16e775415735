"""Checkpoints by Orbax: the last and the best of a run, each written whole or not at all."""

import contextlib
import json
import logging
import sys
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from node_jax.train.state import Standing, TrainState

_ABANDONED = "Event loop is closed"


class CheckpointError(RuntimeError):
    """A checkpoint is missing, unreadable, of another model or config, or could not be written."""


class Checkpoints:
    """The checkpoints in one folder: `last/` for resuming and `best/` for using.

    Arguments:
        folder: where they are.
        like: a state with the structure, shapes and dtypes to expect.
        constants: the untrained arrays of the model, saved beside the state and compared when it is read back.
        config: the run's config as JSON values, saved beside the state and compared when it is read back.

    Raises:
        CheckpointError: if the folder cannot be made or looked into.
    """

    def __init__(self, folder: Path, like: TrainState, constants: list[np.ndarray], config: Any = None) -> None:
        # Orbax announces every save on the root logger.
        logging.getLogger("absl").setLevel(logging.ERROR)
        # Its reader leaves tasks behind when a file is damaged; their tracebacks would bury our one message.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        self._like = like
        self._constants = constants
        self._config = config
        self._folder = folder
        try:
            self._managers = {name: self._open(name) for name in ("last", "best")}
        except OSError as error:
            raise CheckpointError(
                f"Expected a folder of checkpoints at {folder}, got {_first_line(error)}. Move away what is in its "
                "place, or make the folder around it writable."
            ) from error

    def _open(self, which: str) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=1, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        return ocp.CheckpointManager((self._folder / which).absolute(), options=options)

    def save(self, which: str, state: TrainState, standing: Standing) -> None:
        """Write `state` as the `"last"` or the `"best"` checkpoint, in place of the one before.

        Raises:
            CheckpointError: if it cannot be written; the one before is kept.
        """
        manager = self._managers[which]
        step = int(state.step)
        if manager.latest_step() == step:
            return
        arrays = {"state": _as_tree(state), "constants": self._constants}
        facts = {"standing": vars(standing), "config": self._config, "checksum": _checksum(arrays)}
        content = ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), facts=ocp.args.JsonSave(facts))
        try:
            for later in [saved for saved in manager.all_steps() if saved > step]:
                # Of work that was lost with the last checkpoint. Orbax would quietly write nothing beside it.
                manager.delete(later)
            manager.save(step, args=content)
            manager.wait_until_finished()
        except Exception as error:
            with contextlib.suppress(Exception):
                self._managers[which] = self._open(which)
            raise CheckpointError(
                f"Expected to write a checkpoint of step {step} in {manager.directory}, got {_first_line(error)}. "
                "The one before is kept. Make room on the disk, or make the folder writable."
            ) from error

    def step(self, which: str) -> int | None:
        """The step of the finished checkpoint, if there is one."""
        return self._managers[which].latest_step()

    def has(self, which: str) -> bool:
        """Whether there is a finished checkpoint."""
        return self.step(which) is not None

    def restore(self, which: str) -> tuple[TrainState, Standing]:
        """The state, and what the loop knew.

        Raises:
            CheckpointError: if it is missing, unreadable, or of another model or config.
        """
        manager = self._managers[which]
        step = manager.latest_step()
        if step is None:
            raise CheckpointError(f"Expected a checkpoint in {manager.directory}, found none. Train the run first.")
        where = Path(manager.directory) / str(step)
        _silence_abandoned_reads()
        facts = self._read(manager, step, "facts", ocp.args.JsonRestore())
        self._refuse_another_config(where, facts["config"])
        like = {"state": _as_tree(self._like), "constants": self._constants}
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        arrays = self._read(manager, step, "arrays", ocp.args.StandardRestore(abstract))
        if facts["checksum"] != _checksum(arrays):
            raise self._unreadable(where, "values that differ from those that were saved")
        for saved, expected in zip(arrays["constants"], self._constants, strict=True):
            if not np.array_equal(np.asarray(saved), expected):
                raise CheckpointError(
                    f"The checkpoint in {where} was made with other constants than the data now give "
                    f"({np.asarray(saved)} saved, {expected} now). The data have changed; start a new run."
                )
        leaves = jax.tree.leaves(arrays["state"])
        state = jax.tree.unflatten(jax.tree.structure(self._like), [jax.numpy.asarray(leaf) for leaf in leaves])
        return state, Standing(**facts["standing"])

    def _read(self, manager: ocp.CheckpointManager, step: int, item: str, how: Any) -> Any:
        try:
            return manager.restore(step, args=ocp.args.Composite(**{item: how}))[item]
        except Exception as error:
            raise self._unreadable(Path(manager.directory) / str(step), _first_line(error)) from error

    def _unreadable(self, where: Path, what: str) -> CheckpointError:
        return CheckpointError(
            f"Expected a readable checkpoint of this model in {where}, got {what}. It is damaged or of another model: "
            f"restore it from a copy, or delete {where.parent.parent} and resume, which trains from the beginning."
        )

    def _refuse_another_config(self, where: Path, saved: Any) -> None:
        lines = [
            f"config.{path}: {json.dumps(before)} in the checkpoint, {json.dumps(now)} now"
            for path, before, now in differences(saved, self._config)
        ]
        if lines:
            raise CheckpointError(
                f"The checkpoint in {where} was made with another config than the run's config.json now holds:\n  "
                + "\n  ".join(lines)
                + "\nPut config.json back as it was, or start a new run from the changed one."
            )

    def close(self) -> None:
        """Release the files."""
        for manager in self._managers.values():
            manager.close()


def differences(first: Any, second: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON values differ: the path with dots, and the value in each."""
    if isinstance(first, dict) and isinstance(second, dict):
        for key in [*first, *(key for key in second if key not in first)]:
            yield from differences(first.get(key), second.get(key), f"{path}.{key}" if path else key)
    elif first != second:
        yield path, first, second


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else ''}"


@cache
def _silence_abandoned_reads() -> None:
    """When one array cannot be read, the reads of the others end after their event loop has closed, in threads that are
    not Python's; a traceback would be printed for each, beside our own message or long after it.
    """
    show_unraisable, show = sys.unraisablehook, sys.excepthook

    def unraisable_hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != _ABANDONED:
            show_unraisable(unraisable)

    def hook(kind: Any, value: Any, traceback: Any) -> None:
        if str(value) != _ABANDONED:
            show(kind, value, traceback)

    sys.unraisablehook, sys.excepthook = unraisable_hook, hook


def _checksum(tree: Any) -> int:
    """CRC-32 over all values: a flipped bit on the disk must not become a parameter."""
    crc = 0
    for leaf in jax.tree.leaves(tree):
        crc = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), crc)
    return crc


def _as_tree(state: TrainState) -> dict[str, Any]:
    """The leaves under the names of their paths, which is what an Orbax folder shows."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    # Zero-padded numbers keep the order of the leaves under a sort by name.
    return {f"{i:04d}{jax.tree_util.keystr(path)}": leaf for i, (path, leaf) in enumerate(leaves)}
