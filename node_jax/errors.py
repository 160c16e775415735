"""Errors that tell a user what was expected, what came and the usual cure."""

import contextlib
import inspect
from numbers import Integral


class UsageError(ValueError):
    """The caller asked for something that cannot be: a misspelt name, a wrong type, a path that is not there.

    The command line ends with exit code 2 on it.
    """


def require(condition: bool, where: str, expected: str, came: object, cure: str) -> None:
    """Raise `UsageError` unless the condition holds: what was expected, what came, and the usual cure."""
    if not condition:
        raise UsageError(f"{where}: expected {expected}, got {came!r}. {cure}")


def require_callable(what: str, name: str, function: object) -> None:
    """Raise `TypeError` unless `function`, which `what` says the use of, can be called as `name(t, y, args)`."""
    expected = f"odeint: expected {what} to be callable as {name}(t, y, args), got"
    if not callable(function):
        raise TypeError(f"{expected} {type(function).__name__}.")
    with contextlib.suppress(ValueError):  # of what is written in C
        signature = inspect.signature(function)
        try:
            signature.bind(None, None, None)
        except TypeError as error:
            raise TypeError(
                f"{expected} one with arguments {signature}. Let it take all three, whether it needs them or not."
            ) from error


def require_count(owner: str, name: str, value: object, least: int = 1, cure: str = "") -> None:
    """Raise `ValueError` unless `value` is an integer of at least `least`, NumPy's too; `cure` ends the sentence."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ValueError(f"{owner}: expected {name} to be an integer of at least {least}, got {value!r}{cure}.")


class SolveError(RuntimeError):
    """At least one solve ended with a status that is a failure; raised by `nj.check` on the host only."""


class DataError(RuntimeError):
    """A data set cannot be had: no network, a wrong sha256, or a cache that cannot be written.

    The command line ends with exit code 3 on it.
    """


class Preempted(RuntimeError):
    """The process was asked to end; what was done is saved."""
