"""`metrics.jsonl`: one JSON object a line, one line a logged step."""

import errno
import json
import os
from pathlib import Path
from typing import Any

from node_jax.errors import UsageError


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file. A last line that a killed process left unfinished is dropped.

    Raises:
        UsageError: if there is no file, or a line other than the last is broken.
    """
    try:
        lines = path.read_text().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Expected a readable metrics file at {path}, got: {error}.") from error
    rows = []
    # A complete file ends with a newline, so the last element is empty; a torn one ends with half a line.
    for number, line in enumerate(lines[:-1], start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise UsageError(f"{path}: expected one JSON object with a step a line, line {number} is {line[:60]!r}.")
        rows.append(row)
    return rows


class MetricsFile:
    """Appends rows, each one flushed to the disk before `append` returns.

    Arguments:
        path: the file.
        last_step: rows of later steps are cut off first: they belong to work that a killed run lost.
    """

    def __init__(self, path: Path, last_step: int) -> None:
        self._path = path
        kept = [row for row in read_metrics(path) if row["step"] <= last_step] if path.exists() else []
        whole = "".join(json.dumps(row) + "\n" for row in kept)
        partial = path.with_suffix(".partial")
        partial.write_text(whole)
        partial.replace(path)
        self._waiting = ""

    def append(self, row: dict[str, Any]) -> None:
        """Write one row, after those that could not be written before.

        Raises:
            OSError: if it cannot be written. The file stays as it was, and the row waits for the next call.
        """
        self._waiting += json.dumps(row) + "\n"
        self.flush()

    def flush(self) -> None:
        """Write the rows that wait, if there are any.

        Raises:
            OSError: as for `append`.
        """
        if not self._waiting:
            return
        with self._path.open("ab", buffering=0) as file:
            size = file.tell()
            try:
                # A full disk may take half of it.
                if file.write(self._waiting.encode()) < len(self._waiting):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise
        self._waiting = ""
