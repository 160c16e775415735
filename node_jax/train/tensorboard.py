"""The same rows as `metrics.jsonl` in the form that TensorBoard reads."""

from pathlib import Path
from typing import Any

from node_jax.errors import UsageError


class TensorBoardFile:
    """Writes every number of a row as a scalar.

    Arguments:
        folder: where the event files go.
        last_step: what an earlier process wrote for later steps is hidden: it belongs to work that was lost.

    Raises:
        UsageError: if the package that writes them is missing.
    """

    def __init__(self, folder: Path, last_step: int) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise UsageError(
                "train.tensorboard: expected the package tensorboardX, which is not installed. "
                'Install it with pip install "node_jax[tensorboard]", or choose --train.no-tensorboard.'
            ) from error
        self._writer = SummaryWriter(str(folder), purge_step=last_step + 1)

    def append(self, row: dict[str, Any]) -> None:
        """Write one row."""
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, row["step"])
        self._writer.flush()

    def close(self) -> None:
        """Release the files."""
        self._writer.close()
