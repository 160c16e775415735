"""The record of accepted steps from which a backward pass walks the solve in reverse."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from node_jax.types import State, Time


class Tape(eqx.Module):
    """Start time, signed size and start state of every accepted step; rows beyond the last step are unused."""

    t0: Float[Array, " row"]
    dt: Float[Array, " row"]
    y0: State

    @classmethod
    def empty(cls, num_rows: int, t0: Time, y0: State) -> "Tape":
        """A tape of `num_rows` rows for states like `y0`."""
        times = jnp.zeros((num_rows,), t0.dtype)
        states = jax.tree.map(lambda leaf: jnp.zeros((num_rows, *leaf.shape), leaf.dtype), y0)
        return cls(times, times, states)

    def write(self, row: Int[Array, ""], t0: Time, dt: Time, y0: State) -> "Tape":
        """Write a row. A rejected attempt is written too, and overwritten by the next: a `where` over the buffer
        would copy it.
        """

        def put(buffer: Array, value: Array) -> Array:
            return lax.dynamic_update_index_in_dim(buffer, value, row, 0)

        return Tape(put(self.t0, t0), put(self.dt, dt), jax.tree.map(put, self.y0, y0))

    def read(self, row: Int[Array, ""]) -> tuple[Time, Time, State]:
        """`(t0, dt, y0)` of a row."""

        def get(buffer: Array) -> Array:
            return lax.dynamic_index_in_dim(buffer, row, 0, keepdims=False)

        return get(self.t0), get(self.dt), jax.tree.map(get, self.y0)
