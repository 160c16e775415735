"""Batches that training steps draw."""

from typing import Any

import jax

from node_jax.errors import UsageError
from node_jax.types import Key


def check_batch_size(owner: str, batch_size: int | None, num: int, what: str) -> None:
    """Refuse a batch that is empty, or larger than what it is drawn from; `None` takes all.

    Arguments:
        owner: who asks, for the error.
        batch_size: how many are drawn.
        num, what: how many there are, and of what.

    Raises:
        UsageError: for such a batch.
    """
    if batch_size is not None and not 1 <= batch_size <= num:
        raise UsageError(
            f"{owner}: expected batch_size between 1 and the number of {what}, {num}, got {batch_size}. None takes all."
        )


def draw_batch(key: Key, batch_size: int | None, rows: Any) -> Any:
    """`batch_size` rows of all arrays of a tree, the same of each, drawn without replacement; `None` takes all.

    Arguments:
        key: of the draw.
        batch_size: how many.
        rows: leaves with a leading axis of rows.
    """
    if batch_size is None:
        return rows
    num = jax.tree.leaves(rows)[0].shape[0]
    chosen = jax.random.choice(key, num, (batch_size,), replace=False)
    return jax.tree.map(lambda array: array[chosen], rows)
