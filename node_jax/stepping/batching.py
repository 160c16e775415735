"""Loops whose conditions cost little: scalar under `jax.vmap`, and none for each pass on a GPU.

A `while_loop` whose condition has a batch axis selects over everything that it carries, tapes and outputs included, in
every iteration. A condition that is first reduced over the mapped axis does not: the loop runs until the last lane has
finished, and a finished lane keeps its own few numbers by itself.

On a GPU the host reads the condition back before each pass, and kernels wait; a loop of known length has none.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool

from node_jax.backend import on_gpu


@custom_vmap
def any_over_batch(condition: Bool[Array, ""]) -> Bool[Array, ""]:
    """`condition` itself; under `jax.vmap`, whether it holds in any lane: a scalar without the mapped axis."""
    return condition


@any_over_batch.def_vmap
def _(axis_size: int, in_batched: list[Any], condition: Bool[Array, " lane"]) -> tuple[Array, bool]:
    del axis_size, in_batched
    return any_over_batch(jnp.any(condition, axis=0)), False


def repeat(goes_on: Callable[[Any], Array], body: Callable[[Any], Any], start: Any, length: int) -> Any:
    """`body` again and again while `goes_on`, which holds at most `length` times.

    On a GPU always `length` times: then `body` must be harmless where nothing is left to do.
    """
    if on_gpu():
        return lax.fori_loop(0, length, lambda _, state: body(state), start)
    return lax.while_loop(lambda state: any_over_batch(goes_on(state)), body, start)
