"""The folder of one run and the names in it."""

import importlib.metadata
import json
import os
import platform
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from node_jax.errors import UsageError

_RECORDED_PACKAGES = ("node_jax", "jax", "jaxlib", "equinox", "optax", "diffrax", "orbax-checkpoint", "numpy")


@dataclass(frozen=True)
class RunDirectory:
    """`config.json`, `versions.json`, `metrics.jsonl`, `checkpoints/`, `report.md`, figures; `reference/` holds a
    second run of the same form.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """One row a logged step."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The last and the best."""
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """Metrics for TensorBoard, if they were asked for."""
        return self.path / "tensorboard"

    @property
    def failure(self) -> Path:
        """The batch at which training stopped, if it did."""
        return self.path / "failure"

    @property
    def reference(self) -> "RunDirectory":
        """The run of the model to compare with."""
        return RunDirectory(self.path / "reference")

    @classmethod
    def create(cls, root: Path, name: str, config: str) -> "RunDirectory":
        """A new folder `root/name-time` with `config.json` and `versions.json` in it.

        Raises:
            UsageError: if it cannot be written.
        """
        stamp = time.strftime("%Y%m%d-%H%M%S")
        path = root / f"{name}-{stamp}"
        number = 1
        try:
            while True:
                try:
                    path.mkdir(parents=True)
                    break
                except FileExistsError:
                    if root.exists() and not root.is_dir():
                        raise
                    number += 1
                    path = root / f"{name}-{stamp}-{number}"
            directory = cls(path)
            directory.prepare(config)
        except OSError as error:
            raise UsageError(
                f"Expected to create a run directory in {root}, got: {error.strerror}. "
                "Choose a writable place with --output."
            ) from error
        return directory

    def prepare(self, config: str) -> None:
        """Make the folder and write `versions.json` and, last, `config.json`: with it, a folder is a run."""
        self.path.mkdir(parents=True, exist_ok=True)
        versions = {name: importlib.metadata.version(name) for name in _RECORDED_PACKAGES}
        versions |= {"python": platform.python_version(), "platform": platform.platform()}
        write_text_whole(self.path / "versions.json", json.dumps(versions, indent=2) + "\n")
        write_text_whole(self.config, config)

    @classmethod
    def open(cls, path: Path, *, is_written: bool = True) -> "RunDirectory":
        """An existing run.

        Arguments:
            path: its folder.
            is_written: whether anything is to be written into it.

        Raises:
            UsageError: if there is no run, or it cannot be written.
        """
        if not (path / "config.json").is_file():
            what = "no such folder" if not path.exists() else "a folder without config.json"
            raise UsageError(
                f"Expected a run directory made by `node-jax train`, got {path}: {what}. Runs are in runs/ by default."
            )
        if is_written and not os.access(path, os.W_OK):
            raise UsageError(f"Expected a writable run directory, got {path}. Copy it, or change its permissions.")
        return cls(path)


def write_text_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all: into a temporary file beside it, which then takes its name."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
