"""What a person sees while it trains: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Reporter(Protocol):
    """What a run under way tells while it trains."""

    def warn(self, message: str) -> None:
        """Something went wrong that training survives."""
        ...

    def advance(self, step: int, row: dict[str, Any]) -> None:
        """`step` steps are done; `row` is the row of metrics."""
        ...


class Progress:
    """Shows loss, solver evaluations a solve, steps per second and time left.

    Arguments:
        title: what is trained.
        num_steps: steps in all.
        done: steps already done.
    """

    def __init__(self, title: str, num_steps: int, done: int) -> None:
        self._title = title
        self._num_steps = num_steps
        self._bar: RichProgress | None = None
        self._last_line = 0.0
        console = Console(file=sys.stderr)
        if console.is_terminal:
            self._bar = bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                TimeRemainingColumn(),
                console=console,
            )
            self._task = bar.add_task(title, total=num_steps, completed=done, figures="compiling")
        else:
            print(f"{title}: step {done} of {num_steps}, compiling", file=sys.stderr, flush=True)  # noqa: T201

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def warn(self, message: str) -> None:
        """Say what went wrong, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(f"warning: {message}", markup=False)
        else:
            print(f"warning: {message}", file=sys.stderr, flush=True)  # noqa: T201

    def advance(self, step: int, row: dict[str, Any]) -> None:
        """Show the state after `step` steps; `row` is the row of metrics."""
        figures = f"loss {row['loss']:.4g}  {row['steps_per_s']:.3g} steps/s"
        if "num_evals" in row:
            figures = f"loss {row['loss']:.4g}  {row['num_evals']:.4g} evals/solve  {row['steps_per_s']:.3g} steps/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, figures=figures)
            return
        # Plain lines at most twice a second, so that a log file stays readable, and always the last.
        now = time.monotonic()
        if step == self._num_steps or now - self._last_line > 0.5:
            self._last_line = now
            left = (self._num_steps - step) / row["steps_per_s"]
            print(  # noqa: T201
                f"{self._title}: step {step} of {self._num_steps}  {figures}  {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )
