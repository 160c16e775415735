"""Arithmetic on pytrees of arrays, as the solver needs it.

Coefficients that are plain zeros are skipped at trace time, so that a sparse tableau costs no operation.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

from node_jax.types import State


class WithIntegrals(NamedTuple):
    """A state, and integrals along the solution that feed back into nothing.

    A solver steps both. What looks at the size of a state, as an error norm does, leaves the integrals out, so that
    they change no step.
    """

    y: State
    integrals: State


def tree_without_integrals(x: PyTree) -> PyTree:
    """`x` with every `WithIntegrals` in it replaced by its state; `x` itself without any."""
    return jax.tree.map(lambda node: node.y if _has_integrals(node) else node, x, is_leaf=_has_integrals)


def tree_nan_with_integrals(x: PyTree) -> PyTree:
    """`tree_without_integrals(x)`, with NaN in every element where an integral in `x` is not finite."""
    nodes = [node for node in jax.tree.leaves(x, is_leaf=_has_integrals) if _has_integrals(node)]
    integrals = jax.tree.leaves([node.integrals for node in nodes])
    if not integrals:
        return tree_without_integrals(x)
    marker = reduce(jnp.add, [jnp.sum(0 * leaf) for leaf in integrals])
    return jax.tree.map(lambda leaf: leaf + marker.astype(leaf.dtype), tree_without_integrals(x))


def tree_put_states(x: PyTree, states: PyTree) -> PyTree:
    """`x` whose parts outside of integrals are `states`, as `tree_without_integrals` returns them."""

    def put(node: Any, state: Any) -> Any:
        return node._replace(y=state) if _has_integrals(node) else state

    return jax.tree.map(put, x, states, is_leaf=_has_integrals)


def _has_integrals(x: Any) -> bool:
    return isinstance(x, WithIntegrals)


def tree_layout(x: PyTree) -> tuple[Any, list[tuple[int, ...]]]:
    """Structure and shapes of a pytree, to compare with those of another."""
    leaves, structure = jax.tree.flatten(x)
    return structure, [jnp.shape(leaf) for leaf in leaves]


def tree_add(x: State, y: State) -> State:
    """`x + y`, leaf by leaf."""
    return jax.tree.map(lax.add, x, y)


def tree_scale(a: Any, x: State) -> State:
    """`a * x`, in the dtype of `x`."""
    return jax.tree.map(partial(_scaled, a), x)


def _scaled(a: Any, leaf: Array) -> Array:
    """`a * leaf`, in the dtype of `leaf`, where `a` is a number. JAX traces operations of `lax` several times as fast
    as those of `jax.numpy`, and a step consists of such sums.
    """
    number = np.asarray(a, leaf.dtype) if isinstance(a, float) else lax.convert_element_type(a, leaf.dtype)
    return lax.mul(number, leaf)


def tree_weighted_sum(weights: Sequence[Any], trees: Sequence[State]) -> State | None:
    """`sum_i weights[i] * trees[i]` over the weights that are not a plain Python zero; a plain one costs no operation.

    Weights are cast to the dtype of the leaf they meet, so that a low-precision state stays so. `None` if all are zero.
    """
    terms = [(w, x) for w, x in zip(weights, trees, strict=True) if not (isinstance(w, float) and w == 0.0)]
    if not terms:
        return None

    def scale(weight: Any, leaf: Array) -> Array:
        return leaf if isinstance(weight, float) and weight == 1.0 else _scaled(weight, leaf)

    def add_leaves(*leaves: Array) -> Array:
        return reduce(lax.add, [scale(w, leaf) for (w, _), leaf in zip(terms, leaves, strict=True)])

    return jax.tree.map(add_leaves, *(x for _, x in terms))


def tree_axpy(a: Any, x: State | None, y: State) -> State:
    """`y + a * x`, in the dtype of `y`; `y` itself where `x` is `None`."""
    if x is None:
        return y

    def add(x_leaf: Array, y_leaf: Array) -> Array:
        # A field may answer in fewer bits than the state has.
        return lax.add(y_leaf, _scaled(a, lax.convert_element_type(x_leaf, y_leaf.dtype)))

    return jax.tree.map(add, x, y)


def tree_where(condition: Bool[Array, ""], x: PyTree, y: PyTree) -> PyTree:
    """`x` where the scalar condition holds, else `y`, of the same shapes and dtypes."""
    return jax.tree.map(lambda a, b: lax.select(condition, a, b), x, y)


def tree_where_rows(mask: Bool[Array, "..."], x: PyTree, y: PyTree) -> PyTree:
    """The rows of `x` where `mask` holds, else those of `y`.

    Arguments:
        mask: of shape `rows`, the first axes of every leaf of `x`: (time,), (lane,) or (step, lane).
        x: leaves of shape (*rows, ...).
        y: a tree like `x` with leaves of the same shapes and dtypes, which may lack first axes: one row for all of
            them; or a number.
    """
    others = jax.tree.map(lambda leaf: lax.full_like(leaf, y), x) if isinstance(y, int | float) else y

    def choose(a: Array, b: Array) -> Array:
        is_kept = lax.broadcast_in_dim(mask, a.shape, range(mask.ndim))
        return lax.select(is_kept, a, lax.broadcast(b, a.shape[: a.ndim - b.ndim]))

    return jax.tree.map(choose, x, others)


def expand_like(mask: Bool[Array, "..."], leaf: Array) -> Bool[Array, "..."]:
    """`mask` with axes of size 1 appended, to meet `leaf`, whose first axes are those of `mask`."""
    return mask.reshape(*mask.shape, *[1] * (leaf.ndim - mask.ndim))


def tree_read(buffer: PyTree, row: Int[Array, ""]) -> PyTree:
    """Row `row` of every leaf of a buffer with a leading axis of rows, the first or the last if it lies outside."""
    return jax.tree.map(lambda leaf: lax.squeeze(leaf, (0,)), tree_slice(buffer, row, 1))


def tree_slice(buffer: PyTree, first: Int[Array, ""], num_rows: int) -> PyTree:
    """`num_rows` rows of every leaf from row `first` on, from the nearest row at which there are so many."""

    def cut(leaf: Array) -> Array:
        return lax.dynamic_slice_in_dim(leaf, first, num_rows, allow_negative_indices=False)

    return jax.tree.map(cut, buffer)


def tree_take(buffer: PyTree, rows: Int[Array, " row"]) -> PyTree:
    """The given rows of every leaf, none of which may lie outside."""

    def take(leaf: Array) -> Array:
        numbers = lax.expand_dims(rows, (rows.ndim,))
        axes = lax.GatherDimensionNumbers(tuple(range(rows.ndim, rows.ndim + leaf.ndim - 1)), (0,), (0,))
        return lax.gather(leaf, numbers, axes, (1, *leaf.shape[1:]), mode="promise_in_bounds")

    return jax.tree.map(take, buffer)


def tree_write(buffer: PyTree, row: Int[Array, ""], value: PyTree) -> PyTree:
    """The buffer with `value` as its row `row`, the first or the last if that lies outside."""
    return tree_write_slice(buffer, row, jax.tree.map(lambda leaf: lax.expand_dims(leaf, (0,)), value))


def tree_write_slice(buffer: PyTree, first: Int[Array, ""], values: PyTree) -> PyTree:
    """The buffer with `values` as its rows from `first` on, or from the nearest row at which there is room."""

    def write(leaf: Array, rows: Array) -> Array:
        return lax.dynamic_update_slice_in_dim(leaf, rows, first, 0, allow_negative_indices=False)

    return jax.tree.map(write, buffer, values)


def tree_buffer(num_rows: int, like: PyTree) -> PyTree:
    """Zeros for `num_rows` values like `like`."""
    return jax.tree.map(lambda leaf: jnp.zeros((num_rows, *jnp.shape(leaf)), jnp.result_type(leaf)), like)


def tree_zeros(like: PyTree) -> PyTree:
    """Zeros in the shapes and dtypes of `like`."""
    return jax.tree.map(jnp.zeros_like, like)


def tree_bytes(x: PyTree) -> int:
    """The memory of all leaves, in bytes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(x))


def tree_freeze(x: PyTree) -> PyTree:
    """`x` with every array in it a constant of differentiation; leaves that are no arrays stay as they are."""
    return jax.tree.map(lambda leaf: lax.stop_gradient(leaf) if eqx.is_inexact_array(leaf) else leaf, x)


def tree_freeze_unless(keep: Bool[Array, ""], x: PyTree) -> PyTree:
    """`x`, a constant of differentiation unless `keep` holds: what comes back to it else is thrown away, NaN too."""
    return jax.tree.map(
        lambda leaf: tree_where(keep, leaf, lax.stop_gradient(leaf)) if eqx.is_inexact_array(leaf) else leaf, x
    )


def tree_vdot(x: State, y: State) -> Float[Array, ""]:
    """The sum over all leaves of `x * y`; 0 for a tree without elements."""
    products = jax.tree.map(lambda a, b: jnp.sum(a * b), x, y)
    return jnp.asarray(jax.tree.reduce(jnp.add, products, 0.0))


def tree_size(x: PyTree) -> int:
    """The number of elements in all leaves."""
    return sum(leaf.size for leaf in jax.tree.leaves(x))


def tree_all_finite(x: State) -> Bool[Array, ""]:
    """Whether every element of every leaf is finite."""
    return jnp.isfinite(tree_zero_if_finite(x))


def tree_zero_if_finite(x: State) -> Array:
    """0 if every element of every leaf is finite, else NaN: a sum, which a solve computes for its norms anyway."""
    return jnp.asarray(jax.tree.reduce(jnp.add, jax.tree.map(lambda leaf: jnp.sum(0 * leaf), x), 0.0))


def tree_nan_with(x: State, y: State) -> State:
    """`x`, with NaN where `y` is not finite: a test for both at the price of one."""
    return jax.tree.map(lambda a, b: a + 0 * b, x, y)


def tree_any_nonzero(x: PyTree) -> Bool[Array, ""]:
    """Whether any element of any leaf differs from 0; NaN does."""
    return jax.tree.reduce(jnp.logical_or, jax.tree.map(lambda a: jnp.any(a != 0), x), jnp.asarray(False))


def rms_norm(x: State) -> Float[Array, ""]:
    """Root mean square over all elements of all leaves; 0 for a state without elements.

    The square root is safe at zero: its derivative there is taken as 0.
    """
    return safe_sqrt(tree_vdot(x, x) / max(1, tree_size(x)))


def safe_sqrt(x: Float[Array, ""]) -> Float[Array, ""]:
    """The square root, whose derivative at zero is taken as 0."""
    is_zero = x == 0
    return lax.select(is_zero, jnp.zeros_like(x), lax.sqrt(lax.select(is_zero, jnp.ones_like(x), x)))


def scaled_norm(
    x: State, y0: State, y1: State, rtol: Any, atol: Any, norm: Callable[[State], Array] = rms_norm
) -> Float[Array, ""]:
    """`norm(x / (atol + rtol max(|y0|, |y1|)))`, the size of `x` in units of the tolerance.

    `rtol` and `atol` are numbers, or trees that are a prefix of the state's: one tolerance a leaf or a subtree.
    """

    def scale(x_leaf: Array, a: Array, b: Array, rtol: Any, atol: Any) -> Array:
        atol = jnp.asarray(atol, a.dtype)
        if a.dtype == jnp.float16:
            # A usual tolerance is zero there, and would leave 0 / 0 of a part that is zero.
            atol = jnp.maximum(atol, jnp.finfo(a.dtype).tiny)
        return x_leaf / (atol + jnp.asarray(rtol, a.dtype) * jnp.maximum(abs(a), abs(b)))

    return norm(jax.tree.map(scale, x, y0, y1, tree_spread(rtol, y0), tree_spread(atol, y0)))


def tree_spread(prefix: PyTree, like: PyTree) -> PyTree:
    """`prefix`, a tree that `like` refines, with each leaf repeated over the subtree of `like` below it."""
    return jax.tree.map(lambda leaf, subtree: jax.tree.map(lambda _: leaf, subtree), prefix, like)
