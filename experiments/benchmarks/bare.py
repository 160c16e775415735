"""The least programs that could be a solve or its gradient: what run times and compile figures are compared with."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

import node_jax as nj
from experiments.benchmarks.contender import Setting, Solved
from experiments.benchmarks.harness import STAGES
from node_jax.adjoints.products import with_fast_products
from node_jax.interpolate.dense import DensePath

NUM_STEPS, DT = 128, 0.05
RTOL, ATOL = 1e-4, 1e-6


def bare_solve(
    field: Callable[..., Any],
    y0: jax.Array,
    ts: jax.Array,
    setting: Setting,
    final_only: bool = True,
    *,
    num_steps: int,
) -> Solved:
    """Tsit5 with `num_steps` equal steps from `ts[0]` to `ts[-1]`: no error estimate, no control, the end alone.

    Its gradient is a loop back over the states that the first one kept, which takes each step again and transposes it.
    What is left are the stages alone, and their matrix products, as node_jax has them. See `contender.Solve`.
    """
    del setting
    assert final_only, "a bare loop has no outputs before its end"
    parameters, static = eqx.partition(field, eqx.is_inexact_array)
    solver, dt = nj.Tsit5(), (ts[-1] - ts[0]) / num_steps

    def step(parameters: Any, n: jax.Array, y: jax.Array, f0: jax.Array | None, with_slope: bool) -> Any:
        def bound(t: Any, y: jax.Array) -> jax.Array:
            return eqx.combine(parameters, static)(t, y, None)

        return solver.step(bound, ts[0] + n * dt, dt, y, f0, dense=False, with_slope=with_slope)

    def loop(parameters: Any, y0: jax.Array, kept: jax.Array | None) -> tuple[jax.Array, jax.Array | None]:
        def forward(n: jax.Array, state: Any) -> Any:
            y, f0, kept = state
            if kept is not None:
                kept = lax.dynamic_update_index_in_dim(kept, y, n, 0)
            taken = step(parameters, n, y, f0, with_slope=True)
            return taken.z1, taken.f1, kept

        start = (y0, eqx.combine(parameters, static)(ts[0], y0, None), kept)
        end, _, kept = lax.fori_loop(0, num_steps, forward, start)
        return end, kept

    def keep(parameters: Any, y0: jax.Array) -> tuple[jax.Array, Any]:
        kept = jnp.zeros((num_steps, *y0.shape), y0.dtype)
        end, kept = with_fast_products(lambda: loop(parameters, y0, kept))
        return end, (parameters, kept)

    def pull_back(kept: Any, end_bar: jax.Array) -> tuple[Any, jax.Array]:
        parameters, states = kept

        def backward(i: jax.Array, state: Any) -> Any:
            y_bar, total = state
            n = num_steps - 1 - i
            y = lax.dynamic_index_in_dim(states, n, 0, keepdims=False)
            _, pull = jax.vjp(lambda p, y: step(p, n, y, None, with_slope=False).z1, parameters, y)
            more, y_bar = pull(y_bar)
            return y_bar, jax.tree.map(jnp.add, total, more)

        start = (end_bar, jax.tree.map(jnp.zeros_like, parameters))
        y0_bar, total = with_fast_products(lambda: lax.fori_loop(0, num_steps, backward, start), is_transpose=True)
        return total, y0_bar

    solve = jax.custom_vjp(lambda parameters, y0: loop(parameters, y0, None)[0])
    solve.defvjp(keep, pull_back)
    end, count = solve(parameters, y0), jnp.asarray(num_steps, jnp.int32)
    return Solved(end[None], count, jnp.zeros_like(count), 1 + STAGES * count)


def least_solve(field: Callable[..., Any], y0: jax.Array, ts: jax.Array) -> tuple[Any, jax.Array]:
    """The least adaptive solve with outputs: PI control and dense output, every step of it kept, and its transpose.

    It knows no failure, no bound on memory and no gradient for times, and takes the seventh stage again on the way
    back.

    Returns:
        The gradient of the mean of squares of the outputs, for the field's arrays and for y0.
    """
    parameters, static = eqx.partition(field, eqx.is_inexact_array)
    solver = nj.Tsit5()
    num_coefficients = solver.num_coefficients

    @jax.jit
    def evaluate(parameters: Any, t: Any, y: jax.Array) -> jax.Array:
        return eqx.combine(parameters, static)(t, y, None)

    def step(parameters: Any, t: jax.Array, dt: jax.Array, y: jax.Array, f0: jax.Array | None) -> Any:
        taken = solver.step(lambda t, y: evaluate(parameters, t, y), t, dt, y, f0)
        return taken, jnp.stack([taken.z1, *solver.coefficients(dt, taken.stages)])

    def forward(state: Any) -> Any:
        n, t, dt, y, f0, size_before, times, nodes = state
        taken, node = step(parameters, t, dt, y, f0)
        scale = ATOL + RTOL * jnp.maximum(abs(y), abs(taken.z1))
        size = jnp.maximum(jnp.sqrt(jnp.mean((taken.error / scale) ** 2)), 1e-4)
        accept = size <= 1
        t = jnp.where(accept, t + dt, t)
        times = lax.dynamic_update_index_in_dim(times, t, n + 1, 0)
        nodes = lax.dynamic_update_index_in_dim(nodes, node, n + 1, 0)
        dt = jnp.minimum(dt * jnp.clip(0.9 * size**-0.14 * size_before**0.08, 0.2, 10.0), ts[-1] - t)
        y, f0 = jnp.where(accept, taken.z1, y), jnp.where(accept, taken.f1, f0)
        return n + accept, t, dt, y, f0, jnp.where(accept, size, size_before), times, nodes

    zero, one = jnp.zeros((), jnp.int32), jnp.ones(())
    times = jnp.full((NUM_STEPS + 1,), jnp.inf).at[0].set(ts[0])
    nodes = jnp.zeros((NUM_STEPS + 1, 1 + num_coefficients, *y0.shape)).at[0, 0].set(y0)
    start = (zero, ts[0], jnp.asarray(DT), y0, evaluate(parameters, ts[0], y0), one, times, nodes)
    n, *_, times, nodes = lax.while_loop(lambda state: (state[1] < ts[-1]) & (state[0] < NUM_STEPS), forward, start)

    steps = jnp.clip(jnp.searchsorted(times, ts, method="compare_all") - 1, 0, NUM_STEPS - 1)
    theta = (ts - times[steps]) / (times[steps + 1] - times[steps])
    weights = jnp.stack(DensePath(times, nodes, num_coefficients).weights(theta), axis=1)
    parts = jnp.concatenate([nodes[steps, :1], nodes[steps + 1]], axis=1)
    ys_bar = 2 * jnp.einsum("rp,rp...->r...", weights, parts) / (ts.size * y0.size)
    parts_bar = jnp.zeros((NUM_STEPS, 2 + num_coefficients, *y0.shape))
    parts_bar = parts_bar.at[steps].add(jnp.einsum("rp,r...->rp...", weights, ys_bar))

    def backward(state: Any) -> Any:
        n, y_bar, total = state[0] - 1, state[1], state[2]
        y, mine = lax.dynamic_index_in_dim(nodes, n, 0, keepdims=False)[0], parts_bar[n]

        def take(parameters: Any, y: jax.Array) -> jax.Array:
            return step(parameters, times[n], times[n + 1] - times[n], y, None)[1]

        _, pull = jax.vjp(take, parameters, y)
        more, y_bar = pull(mine[1:].at[0].add(y_bar))
        return n, y_bar + mine[0], jax.tree.map(jnp.add, total, more)

    zeros = jax.tree.map(jnp.zeros_like, parameters)
    _, y0_bar, total = lax.while_loop(lambda state: state[0] > 0, backward, (n, jnp.zeros_like(y0), zeros))
    return total, y0_bar
