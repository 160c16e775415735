"""The record of a batched solve, from which a backward pass walks its chunks in reverse."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from node_jax.tree import tree_buffer, tree_write
from node_jax.types import State

_SMALL_BYTES = 32 * 2**20
"""Below this the states of all attempts are kept, else those at the starts of chunks."""


class LaneTape(eqx.Module):
    """For each chunk of attempts the trajectories in the lanes and the ends of their steps.

    An attempt that was rejected, or of a lane that was idle, is a step of no length.
    """

    index: Int[Array, "chunk lane"]
    """The trajectory in each lane; one too large where there is none."""
    num_attempts: Int[Array, " chunk"]
    times: Float[Array, "chunk node lane"]
    """Before each attempt of a chunk, and after the last."""
    states: tuple[State, State | None]
    """Internal state and slope, with leading axes (chunk, node, lane): before every attempt, or before the first."""
    num_chunks: Int[Array, ""]
    is_jump: Bool[Array, "chunk attempt lane"] | None
    """Which attempts were jumps of the state, for problems that have any."""
    keeps_all: bool = eqx.field(static=True)

    @classmethod
    def empty(
        cls,
        max_chunks: int,
        length: int,
        batch_size: int,
        t: Float[Array, " lane"],
        states: tuple[State, State | None],
        keeps_all: bool,
        *,
        has_jumps: bool = False,
    ) -> "LaneTape":
        """A tape without a chunk.

        Arguments:
            max_chunks, length: bounds on the chunks, and on the attempts of each.
            batch_size: the number of trajectories.
            t, states: those of all lanes, for their shapes.
            keeps_all: whether to keep the states before every attempt.
            has_jumps: whether an attempt may be a jump.
        """
        nodes = tree_buffer(length, states) if keeps_all else jax.tree.map(lambda leaf: leaf[None], states)
        return cls(
            index=jnp.full((max_chunks, *t.shape), batch_size, jnp.int32),
            num_attempts=jnp.zeros((max_chunks,), jnp.int32),
            times=jnp.zeros((max_chunks, length + 1, *t.shape), t.dtype),
            states=tree_buffer(max_chunks, nodes),
            num_chunks=jnp.zeros((), jnp.int32),
            is_jump=jnp.zeros((max_chunks, length, *t.shape), bool) if has_jumps else None,
            keeps_all=keeps_all,
        )

    def extend(
        self,
        trajectory: Int[Array, " lane"],
        num_attempts: Int[Array, ""],
        times: Float[Array, "node lane"],
        t_end: Float[Array, " lane"],
        states: Any,
        is_jump: Bool[Array, "attempt lane"] | None = None,
    ) -> "LaneTape":
        """The tape with one more chunk.

        Arguments:
            trajectory: which one each lane holds.
            num_attempts: how many of the rows of `times` are used.
            times: before each attempt, and after the last, at `t_end`.
            states: before each attempt if all are kept, else before the first.
            is_jump: which attempts were jumps.
        """
        is_node = jnp.arange(times.shape[0]) <= num_attempts
        if not self.keeps_all:
            states = jax.tree.map(lambda leaf: leaf[None], states)
        return LaneTape(
            index=tree_write(self.index, self.num_chunks, trajectory),
            num_attempts=tree_write(self.num_attempts, self.num_chunks, num_attempts),
            times=tree_write(self.times, self.num_chunks, jnp.where(is_node[:, None], times, t_end)),
            states=tree_write(self.states, self.num_chunks, states),
            num_chunks=self.num_chunks + 1,
            is_jump=tree_write(self.is_jump, self.num_chunks, is_jump),
            keeps_all=self.keeps_all,
        )


def lane_tape_is_small(num_bytes: int) -> bool:
    """Whether so many bytes of states may be kept without a second thought."""
    return num_bytes <= _SMALL_BYTES
