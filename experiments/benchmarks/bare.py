"""The least program that could be the gradient of a solve: what compile figures are compared with."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

import node_jax as nj

NUM_STEPS, DT = 128, 0.05


def bare_gradient(field: Callable[..., Any], y0: jax.Array) -> tuple[Any, jax.Array]:
    """Tsit5 with constant steps in one loop that keeps all states, and its transpose in another.

    Returns:
        The gradient of the mean of squares at the end, for the field's arrays and for y0.
    """
    parameters, static = eqx.partition(field, eqx.is_inexact_array)
    solver, dt = nj.Tsit5(), jnp.float32(DT)

    def step(parameters: Any, y: jax.Array, f0: jax.Array | None, n: jax.Array, with_slope: bool) -> Any:
        def bound(t: Any, y: jax.Array) -> jax.Array:
            return eqx.combine(parameters, static)(t, y, None)

        return solver.step(bound, n * dt, dt, y, f0, dense=False, with_slope=with_slope)

    def forward(state: Any) -> Any:
        n, y, f0, kept = state
        kept = lax.dynamic_update_index_in_dim(kept, y, n, 0)
        taken = step(parameters, y, f0, n, with_slope=True)
        return n + 1, taken.z1, taken.f1, kept

    def backward(state: Any) -> Any:
        n, y_bar, total = state[0] - 1, state[1], state[2]
        y = lax.dynamic_index_in_dim(kept, n, 0, keepdims=False)
        _, pull = jax.vjp(lambda p, y: step(p, y, None, n, with_slope=False).z1, parameters, y)
        more, y_bar = pull(y_bar)
        return n, y_bar, jax.tree.map(jnp.add, total, more)

    zero = jnp.zeros((), jnp.int32)
    start = (zero, y0, field(0.0, y0, None), jnp.zeros((NUM_STEPS, *y0.shape), y0.dtype))
    n, end, _, kept = lax.while_loop(lambda state: state[0] < NUM_STEPS, forward, start)
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    _, y0_bar, total = lax.while_loop(lambda state: state[0] > 0, backward, (n, 2 * end / end.size, zeros))
    return total, y0_bar
