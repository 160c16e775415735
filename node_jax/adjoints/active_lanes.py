"""Which lanes have a step, and what the others compute meanwhile."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from node_jax.stepping.batch import lend
from node_jax.tree import tree_where_rows


class ActiveLanes(NamedTuple):
    """Which lanes have a step in an attempt; with another axis in front, in each of a window."""

    lanes: Bool[Array, "*attempt lane"]
    lender: Int[Array, "*attempt"]
    """The first of them, or any if there is none."""
    is_any: Bool[Array, "*attempt"]

    @classmethod
    def of(cls, lanes: Bool[Array, "*attempt lane"]) -> "ActiveLanes":
        """From the mask alone."""
        return cls(lanes, jnp.argmax(lanes, axis=-1), jnp.any(lanes, axis=-1))

    def lend(self, x: Any) -> Any:
        """See `node_jax.stepping.batch.lend`."""
        return lend(self.lanes, x, self.lender)

    def or_zero(self, x: Any) -> Any:
        """`x` in the active lanes, 0 in the others."""
        return tree_where_rows(self.lanes, x, 0)
