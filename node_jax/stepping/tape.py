"""The record of accepted steps from which a backward pass walks the solve in reverse.

Times of all steps are kept, states in a limited number of slots. With K slots (K even) the states of rows 0, s, 2s, ...
are kept, where the stride s starts at 1 and doubles whenever row K s is reached. The rows that a doubling gives up are
just those whose slots the following rows need, if row r > 0 lives in slot

    1 + (r - 1) mod (K - 1)

and row 0 in slot 0: K - 1 is odd, so multiples j s of a power of two, 0 < j < K, fall into K - 1 different slots.
Nothing is moved, and no table is kept.
"""

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from node_jax.tree import tree_buffer, tree_bytes, tree_read, tree_write, tree_write_slice
from node_jax.types import State, Time

_SMALL_BYTES = 4 * 2**20
"""A tape of this size costs about as much as ten evaluations of a small network; below it every state is kept."""
_LEAST_SLOTS = 64
"""Slots for states however large: with `WINDOW` more a solve of a thousand steps is replayed just once."""
WINDOW = 16
"""States replayed at a time. A stretch between two slots that is longer is replayed once for each window in it."""


class Tape(eqx.Module):
    """Node r is the start of step r and the end of step r - 1; nodes beyond the last step are unused."""

    times: Float[Array, " node"]
    """Where unused infinite in the direction of the solve, or its end, after nodes that were written at once."""
    states: State | None
    """Internal states of the solver in slots, and one slot more for states that are not kept; of a tape that keeps all,
    as many more as are written at once."""
    stride: Int[Array, ""]
    """Every how many nodes a state is kept."""
    is_jump: Bool[Array, " node"] | None
    """Whether the step from each node is a jump of the state, for problems that have any."""
    num_slots: int = eqx.field(static=True)
    keeps_all: bool = eqx.field(static=True)
    """Whether every state is kept."""
    is_doubling: bool = eqx.field(static=True)

    @classmethod
    def empty(
        cls,
        max_steps: int,
        t0: Time,
        direction: Time,
        z0: State,
        num_slots: int,
        stride: int | None = None,
        *,
        has_jumps: bool = False,
        num_at_once: int = 1,
    ) -> "Tape":
        """A tape with its first node.

        Arguments:
            max_steps: bound on the number of steps.
            t0, z0: the first node.
            direction: +1 or -1; nodes that are not used are infinite in it at first.
            num_slots: how many states to keep; 0 for times only, more than `max_steps` for all.
            stride: keep every so many nodes; `None` lets the stride double when slots run out.
            has_jumps: whether a step may be a jump.
            num_at_once: most nodes that `extend` will write.
        """
        keeps_all = num_slots > max_steps
        times = jnp.full((max_steps + num_at_once,), jnp.inf, t0.dtype) * direction
        times = tree_write(times, jnp.int32(0), t0)
        states = None
        if num_slots:
            num_rows = max_steps + num_at_once if keeps_all else num_slots + 1
            states = tree_write(tree_buffer(num_rows, z0), jnp.int32(0), z0)
        is_doubling = stride is None and not keeps_all
        is_jump = jnp.zeros((max_steps + 1,), bool) if has_jumps else None
        return cls(times, states, jnp.asarray(stride or 1, jnp.int32), is_jump, num_slots, keeps_all, is_doubling)

    def slot(self, node: Int[Array, ""]) -> Int[Array, ""]:
        """Where the state of a kept node is."""
        if self.keeps_all:
            return node
        if not self.is_doubling:
            return node // self.stride
        return jnp.where(node == 0, 0, 1 + (node - 1) % (self.num_slots - 1))

    def is_kept(self, node: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether the state of a node is in a slot."""
        return node % self.stride == 0

    def write(self, node: Int[Array, ""], t: Time, z: State, is_jump: Bool[Array, ""] | None = None) -> "Tape":
        """Write a node, or write it again: a rejected attempt leaves the node as it was.

        Arguments:
            node: which one.
            t, z: the node.
            is_jump: whether the step to it is a jump.
        """
        times = tree_write(self.times, node, t)
        jumps = self.is_jump if is_jump is None else tree_write(self.is_jump, node - 1, is_jump)
        if self.states is None:
            return replace(self, times=times, is_jump=jumps)
        stride = self.stride
        if self.is_doubling:
            stride = jnp.where(node >= self.num_slots * stride, 2 * stride, stride)
        slot = node
        if not self.keeps_all:
            slot = jnp.where(node % stride == 0, self.slot(node), self.num_slots)
        return replace(self, times=times, states=tree_write(self.states, slot, z), stride=stride, is_jump=jumps)

    def extend(self, node: Int[Array, ""], times: Float[Array, " node"], states: State) -> "Tape":
        """Write nodes from `node` on, of a tape that keeps all: at once, which the loop over steps then need not.

        Arguments:
            node: the first.
            times: of the nodes; the end of the solve where there is none.
            states: of the nodes.
        """
        times, states = tree_write_slice((self.times, self.states), node, (times, states))
        return replace(self, times=times, states=states)

    def state(self, node: Int[Array, ""]) -> State:
        """The state of a kept node."""
        return tree_read(self.states, self.slot(node))


def tape_is_small(max_steps: int, z0: Any, states_a_step: int = 1) -> bool:
    """Whether so many states for each possible step may be kept without a second thought."""
    return max_steps * states_a_step * tree_bytes(z0) <= _SMALL_BYTES


def choose_num_slots(checkpoints: int | None, max_steps: int, z0: Any) -> int:
    """How many states to keep.

    Arguments:
        checkpoints: what the user asked for; `None` keeps all states where they are small, else what fits in a few
            megabytes, but at least 64.
        max_steps: bound on the number of steps.
        z0: a state.

    Returns:
        `max_steps + 1` for all, else an even number of at least 4.
    """
    if checkpoints is None:
        affordable = _SMALL_BYTES // max(1, tree_bytes(z0))
        checkpoints = max(_LEAST_SLOTS, affordable)
    if checkpoints > max_steps:
        return max_steps + 1
    return max(4, checkpoints // 2 * 2)
