"""The stages of an explicit Runge-Kutta method, written out or in one loop.

Written out, every stage is its own copy of the field in the compiled program and zero coefficients cost nothing. In
the loop the program holds one copy, at the price of sums over all stages: the choice for methods with many stages or
with a field that compiles slowly.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from node_jax.advance import tree_advance
from node_jax.tree import tree_axpy
from node_jax.types import State, Time

Row = tuple[float, ...]


def unrolled_stages(
    field: Callable[[Time, State], State],
    t0: Time,
    dt: Time,
    y0: State,
    known: Sequence[State],
    nodes: Sequence[float],
    rows: Sequence[Row],
    wanted: int,
) -> tuple[State, tuple[State, ...]]:
    """The stages k_i = f(t0 + c_i dt, Y_i) with Y_i = y0 + dt Σ_j a_ij k_j, one after the other.

    Arguments:
        field: dy/dt = field(t, y).
        t0: time at the start of the step.
        dt: signed step size.
        y0: state at `t0`.
        known: the first stages, where they are there already.
        nodes: the c_i of all stages, those of `known` included.
        rows: the a_ij of all stages, row i of length i.
        wanted: the stage whose argument Y_i is returned: one that is not in `known`, or the first, with y0.

    Returns:
        Y_wanted and all stages, `known` included.
    """
    stages = list(known)
    point = y0
    for i in range(len(known), len(rows)):
        argument = tree_advance(y0, dt, rows[i], stages)
        # Zeros and ones of the tableau cost no operation.
        after = dt if nodes[i] == 1.0 else nodes[i] * dt
        stages.append(field(t0 + after if nodes[i] else t0, argument))
        point = argument if i == wanted else point
    return point, tuple(stages)


def scanned_stages(
    field: Callable[[Time, State], State],
    t0: Time,
    dt: Time,
    y0: State,
    known: Sequence[State],
    nodes: Sequence[float],
    rows: Sequence[Row],
    wanted: int,
) -> tuple[State, tuple[State, ...]]:
    """The same stages as `unrolled_stages`, from one loop over a buffer of all of them."""
    num_known, num_stages = len(known), len(rows)
    a = np.zeros((num_stages, num_stages))
    for i, row in enumerate(rows):
        a[i, : len(row)] = row

    def empty(leaf: Array) -> Array:
        return jnp.stack([jnp.zeros_like(leaf)] * num_stages)

    # Without a known stage the buffer has the state's dtype: the field's own would take a second trace to find out.
    buffer = jax.tree.map(empty, known[0] if known else y0)
    for i, stage in enumerate(known):
        buffer = _write(buffer, stage, i)

    def argument(row: Any, buffer: State) -> State:
        def combine(leaf: Array) -> Array:
            # Full precision: by default an accelerator multiplies in fewer bits than the state has.
            return jnp.tensordot(jnp.asarray(row, leaf.dtype), leaf, axes=1, precision=lax.Precision.HIGHEST)

        return tree_axpy(dt, jax.tree.map(combine, buffer), y0)

    def evaluate(buffer: State, stage: tuple[Array, Array, Array]) -> tuple[State, None]:
        i, node, row = stage
        return _write(buffer, field(t0 + node * dt, argument(row, buffer)), i), None

    steps = (
        jnp.arange(num_known, num_stages),
        jnp.asarray(nodes[num_known:], jnp.result_type(dt)),
        jnp.asarray(a[num_known:]),
    )
    buffer, _ = lax.scan(evaluate, buffer, steps)
    stages = tuple(jax.tree.map(lambda leaf, i=i: leaf[i], buffer) for i in range(num_stages))
    return argument(a[wanted], buffer), stages


def _write(buffer: State, stage: State, i: Any) -> State:
    """`buffer` with row i of every leaf set to `stage`."""
    return jax.tree.map(lambda rows, leaf: rows.at[i].set(leaf.astype(rows.dtype)), buffer, stage)
