r"""The gradient for the parameters, for many evaluations of the field at once.

The way back needs ∂f/∂y of each stage before the next; what a stage gives to the parameters can wait:

    θ̄ = Σ_n Σ_i (∂f/∂θ (t_ni, y_ni))ᵀ k̄_ni,

with k̄_ni the whole cotangent of stage derivative i of step n. The walk over a chunk of steps leaves t, y and k̄ of every
stage behind, and one transpose of the field over all of them follows. The field is evaluated once more for it. On a CPU
that costs more than it saves; on a GPU, where small kernels take their launch's time, those for the parameters are two
fifths of a step's, and become a few for a chunk.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from node_jax.stepping.batch import lend
from node_jax.tree import expand_like, tree_add, tree_size
from node_jax.types import BoundField, State, Time

_ELEMENTS_AT_ONCE = 2**15
"""States of evaluations that are transposed together hold so many numbers: more would not be quicker, and take memory
for what the field computes."""
_RECORD_ELEMENTS = 2**24
"""What is left behind of a chunk holds no more numbers than this; else the gradient is not deferred."""

Parameters: TypeAlias = tuple[list[Array], list[Array]]
"""Those that trajectories share, and those that each lane has for itself."""


class Evaluations(NamedTuple):
    """Of the field; leaves have leading axes (lane, call), those of a chunk (step, lane, call)."""

    t: Float[Array, "*step lane call"]
    y: State
    slope_bar: State
    """Cotangents of the derivatives."""


def record_fits(num_evaluations: int, y: State) -> bool:
    """Whether so many evaluations of a chunk, each at a state like `y`, may be kept."""
    return num_evaluations * 2 * tree_size(y) <= _RECORD_ELEMENTS


def probed(field: BoundField, probes: State) -> tuple[BoundField, Callable[[], tuple[Array, State]]]:
    """A field to whose derivatives zeros are added, that their cotangents may be read off as those of the zeros.

    Arguments:
        field: the field of one step.
        probes: zeros, one state for each call.

    Returns:
        The field, and a function that after the step returns the times and states of its calls.
    """
    calls: list[tuple[Time, State]] = []

    def watched(t: Time, y: State) -> State:
        probe = jax.tree.map(lambda leaf: leaf[len(calls)], probes)
        calls.append((t, y))
        return tree_add(field(t, y), probe)

    def seen() -> tuple[Array, State]:
        times, states = zip(*calls, strict=True)
        return jnp.stack(times), jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)

    return watched, seen


def transpose_together(
    slopes: Callable[[Parameters, Array, State], State],
    parameters: Parameters,
    found: Evaluations,
    is_active: Bool[Array, "step lane"],
) -> Parameters:
    """The gradient for the parameters of all evaluations of a chunk.

    Arguments:
        slopes: `slopes(parameters, t, y)`: derivatives at times and states with leading axes (lane, step, call).
        parameters: what it is differentiated for.
        found: the evaluations.
        is_active: which steps count. In the others cotangents are zero, and times and states may be anything.
    """
    is_used = jnp.any(is_active, axis=0)
    first = jnp.argmax(is_active, axis=0)

    def settle(leaf: Array) -> Array:
        """In steps that do not count what the lane has in one that does, or else what another lane has."""
        mine = leaf[first, jnp.arange(leaf.shape[1])]
        return jax.vmap(lambda step: lend(is_used, step))(jnp.where(expand_like(is_active, leaf), leaf, mine))

    t, y = settle(found.t), jax.tree.map(settle, found.y)
    num_steps = len(t)
    step_elements = max(1, tree_size(y) // num_steps)
    at_once = math.gcd(num_steps, 1 << max(0, (_ELEMENTS_AT_ONCE // step_elements).bit_length() - 1))

    def part(leaf: Array) -> Array:
        """Leading axes (part, lane, step, call)."""
        return jnp.swapaxes(leaf.reshape(num_steps // at_once, at_once, *leaf.shape[1:]), 1, 2)

    def transpose(t: Array, y: State, slope_bar: State) -> Parameters:
        _, pull = jax.vjp(lambda parameters: slopes(parameters, t, y), parameters)
        return pull(slope_bar)[0]

    parts = jax.tree.map(part, (t, y, found.slope_bar))
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    return lax.scan(lambda total, part: (tree_add(total, transpose(*part)), None), zeros, parts)[0]
