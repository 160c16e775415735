"""What the command tells a user, apart from what it prints."""

import sys


def say(message: str) -> None:
    """A line on the error stream."""
    print(message, file=sys.stderr, flush=True)  # noqa: T201
