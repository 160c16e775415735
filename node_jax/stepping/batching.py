"""Loop conditions that stay scalar under `jax.vmap`.

A `while_loop` whose condition has a batch axis selects over everything that it carries, tapes and outputs included, in
every iteration. A condition that is first reduced over the mapped axis does not: the loop runs until the last lane has
finished, and a finished lane keeps its own few numbers by itself.
"""

from typing import Any

import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool


@custom_vmap
def any_over_batch(condition: Bool[Array, ""]) -> Bool[Array, ""]:
    """`condition` itself; under `jax.vmap`, whether it holds in any lane: a scalar without the mapped axis."""
    return condition


@any_over_batch.def_vmap
def _(axis_size: int, in_batched: list[Any], condition: Bool[Array, " lane"]) -> tuple[Array, bool]:
    del axis_size, in_batched
    return any_over_batch(jnp.any(condition, axis=0)), False
