"""The record of a batched solve, from which a backward pass walks its chunks in reverse."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from node_jax.tree import tree_buffer, tree_bytes, tree_write
from node_jax.types import State

_SMALL_BYTES = 32 * 2**20
"""Below this the states of all attempts are kept, else those at the starts of chunks, as many as fit."""
_LEAST_SLOTS = 8
"""Chunk starts that are kept of states however large."""


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
    """Internal state and slope, if that is recorded, with leading axes (chunk, node, lane): before every attempt; or
    with leading axes (slot, lane) before the first, of every `stride`-th chunk, in the slots of
    `node_jax.stepping.tape`."""
    stride: Int[Array, ""]
    num_chunks: Int[Array, ""]
    is_jump: Bool[Array, "chunk attempt lane"] | None
    """Which attempts were jumps of the state, for problems that have any."""
    keeps_all: bool = eqx.field(static=True)
    num_slots: int = eqx.field(static=True)
    """How many chunks have their states kept; where they are fewer than there may be, with one slot to throw away."""

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
        nodes = tree_buffer(length, states) if keeps_all else states
        num_slots = max_chunks if keeps_all else choose_num_slots(max_chunks, tree_bytes(states))
        return cls(
            index=jnp.full((max_chunks, *t.shape), batch_size, jnp.int32),
            num_attempts=jnp.zeros((max_chunks,), jnp.int32),
            times=jnp.zeros((max_chunks, length + 1, *t.shape), t.dtype),
            states=tree_buffer(num_slots + (num_slots < max_chunks), nodes),
            stride=jnp.ones((), jnp.int32),
            num_chunks=jnp.zeros((), jnp.int32),
            is_jump=jnp.zeros((max_chunks, length, *t.shape), bool) if has_jumps else None,
            keeps_all=keeps_all,
            num_slots=num_slots,
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
        stride, slot = self.stride, self.num_chunks
        if self.is_doubling:
            stride = jnp.where(self.num_chunks >= self.num_slots * stride, 2 * stride, stride)
            slot = jnp.where(self.num_chunks % stride == 0, self.slot(self.num_chunks), self.num_slots)
        return LaneTape(
            index=tree_write(self.index, self.num_chunks, trajectory),
            num_attempts=tree_write(self.num_attempts, self.num_chunks, num_attempts),
            times=tree_write(self.times, self.num_chunks, jnp.where(is_node[:, None], times, t_end)),
            states=tree_write(self.states, slot, states),
            stride=stride,
            num_chunks=self.num_chunks + 1,
            is_jump=tree_write(self.is_jump, self.num_chunks, is_jump),
            keeps_all=self.keeps_all,
            num_slots=self.num_slots,
        )

    @property
    def length(self) -> int:
        """The most attempts of a chunk."""
        return self.times.shape[1] - 1

    @property
    def num_lanes(self) -> int:
        """How many trajectories a chunk steps at once."""
        return self.times.shape[2]

    @property
    def is_doubling(self) -> bool:
        """Whether the states of some chunks are given up when slots run out."""
        return self.num_slots < self.index.shape[0]

    def slot(self, chunk: Int[Array, ""]) -> Int[Array, ""]:
        """Where the states of a kept chunk are."""
        if not self.is_doubling:
            return chunk
        return jnp.where(chunk == 0, 0, 1 + (chunk - 1) % (self.num_slots - 1))

    def kept_before(self, chunk: Int[Array, ""]) -> Int[Array, ""]:
        """The last chunk up to this one whose states are kept."""
        return chunk // self.stride * self.stride


def steps_among(
    times: Float[Array, "node lane"], is_jump: Bool[Array, "attempt lane"] | None
) -> Bool[Array, "attempt lane"]:
    """Which attempts between `times` were steps or jumps: one that was rejected, or of an idle lane, has no length."""
    is_step = times[1:] != times[:-1]
    return is_step if is_jump is None else is_step | is_jump


def choose_num_slots(max_chunks: int, state_bytes: int) -> int:
    """How many chunks have the states of all lanes kept: all, or an even number that fits, at least 8."""
    slots = max(_LEAST_SLOTS, _SMALL_BYTES // max(1, state_bytes) // 2 * 2)
    return min(slots, max_chunks)


def lane_tape_is_small(num_bytes: int) -> bool:
    """Whether so many bytes of states may be kept without a second thought."""
    return num_bytes <= _SMALL_BYTES
