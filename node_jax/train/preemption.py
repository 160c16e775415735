"""SIGTERM as a wish, so that a machine that is taken away leaves a checkpoint."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Preemption:
    """While entered, SIGTERM sets `is_asked` instead of ending the process. Outside the main thread it does nothing."""

    def __init__(self) -> None:
        self.is_asked = False
        self._before: Any = None

    def __enter__(self) -> "Preemption":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.is_asked = True
