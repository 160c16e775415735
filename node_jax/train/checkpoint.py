"""Checkpoints by Orbax: the last and the best of a run, each written whole or not at all."""

import logging
import sys
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from node_jax.train.state import TrainState

_ABANDONED = "Event loop is closed"


class CheckpointError(RuntimeError):
    """A checkpoint is missing, unreadable, or of another model."""


class Checkpoints:
    """The checkpoints in one folder: `last/` for resuming and `best/` for using.

    Arguments:
        folder: where they are.
        like: a state with the structure, shapes and dtypes to expect.
        constants: the untrained arrays of the model, saved beside the state and compared when it is read back.
    """

    def __init__(self, folder: Path, like: TrainState, constants: list[np.ndarray]) -> None:
        # Orbax announces every save on the root logger.
        logging.getLogger("absl").setLevel(logging.ERROR)
        # Its reader leaves tasks behind when a file is damaged; their tracebacks would bury our one message.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        self._like = like
        self._constants = constants
        options = ocp.CheckpointManagerOptions(
            max_to_keep=1, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        self._managers = {
            name: ocp.CheckpointManager((folder / name).absolute(), options=options) for name in ("last", "best")
        }

    def save(self, which: str, state: TrainState, best_loss: float) -> None:
        """Write `state` as the `"last"` or the `"best"` checkpoint, in place of the one before."""
        manager = self._managers[which]
        step = int(state.step)
        if manager.latest_step() == step:
            return
        tree = {"state": _as_tree(state), "constants": self._constants, "best_loss": np.float64(best_loss)}
        tree["checksum"] = _checksum(tree)
        manager.save(step, args=ocp.args.StandardSave(tree))
        manager.wait_until_finished()

    def has(self, which: str) -> bool:
        """Whether there is a finished checkpoint."""
        return self._managers[which].latest_step() is not None

    def restore(self, which: str) -> tuple[TrainState, float]:
        """The state and the best loss so far.

        Raises:
            CheckpointError: if it is missing, unreadable, or of another model.
        """
        manager = self._managers[which]
        step = manager.latest_step()
        where = manager.directory
        if step is None:
            raise CheckpointError(f"Expected a checkpoint in {where}, found none. Train the run first.")
        like = {"state": _as_tree(self._like), "constants": self._constants, "best_loss": np.float64(0)}
        like["checksum"] = np.float64(0)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        _silence_abandoned_reads()
        try:
            tree = dict(manager.restore(step, args=ocp.args.StandardRestore(abstract)))
            if int(tree.pop("checksum")) != int(_checksum(tree)):
                raise ValueError("the values differ from those that were saved")
        except Exception as error:
            reason = str(error).strip().splitlines()
            raise CheckpointError(
                f"Expected a readable checkpoint of this model in {where / str(step)}, got "
                f"{type(error).__name__}: {reason[0][:200] if reason else ''}. It is damaged or of another model: "
                f"restore it from a copy, or delete {where.parent} and resume, which trains from the beginning."
            ) from error
        for saved, expected in zip(tree["constants"], self._constants, strict=True):
            if not np.array_equal(np.asarray(saved), expected):
                raise CheckpointError(
                    f"The checkpoint in {where / str(step)} was made with other scaling constants than the data now "
                    f"give ({np.asarray(saved)} saved, {expected} now). The data have changed; start a new run."
                )
        leaves = jax.tree.leaves(tree["state"])
        state = jax.tree.unflatten(jax.tree.structure(self._like), [jax.numpy.asarray(leaf) for leaf in leaves])
        return state, float(tree["best_loss"])

    def close(self) -> None:
        """Release the files."""
        for manager in self._managers.values():
            manager.close()


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


def _checksum(tree: Any) -> np.float64:
    """CRC-32 over all values: a flipped bit on the disk must not become a parameter."""
    crc = 0
    for leaf in jax.tree.leaves(tree):
        crc = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), crc)
    return np.float64(crc)  # exact: 32 bits fit into its 53


def _as_tree(state: TrainState) -> dict[str, Any]:
    """The leaves under the names of their paths, which is what an Orbax folder shows."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    # Zero-padded numbers keep the order of the leaves under a sort by name.
    return {f"{i:04d}{jax.tree_util.keystr(path)}": leaf for i, (path, leaf) in enumerate(leaves)}
