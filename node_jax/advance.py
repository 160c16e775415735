r"""A state moved along a sum of slopes, y + dt Σ_i w_i k_i, as one equation of a program.

A Runge-Kutta step is made of such sums, and in operations of `lax` each is a dozen equations, which JAX traces,
linearizes and transposes one by one: a good part of the time that a gradient takes to trace. Here the rules of the sum
as a whole are written down. The compiled program is the same.

Reference: Hairer, Nørsett & Wanner (1993), Solving Ordinary Differential Equations I, section II.1.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from node_jax.tree import tree_axpy, tree_weighted_sum
from node_jax.types import State, Time


def tree_advance(y: State, dt: Time, weights: Sequence[float], slopes: Sequence[State]) -> State:
    """`y + dt Σ_i w_i k_i`, one equation for each leaf. A weight of zero costs no operation.

    Arguments:
        y: a state, leaves of any shape.
        dt: signed step size, of shape (), in units of time.
        weights: the w_i, Python numbers without a unit.
        slopes: the k_i, as many, of the structure and shapes of `y`, in units of state over time.

    Returns:
        The state there, of the shapes and dtypes of `y`; `y` itself if all weights are zero.

    Raises:
        ValueError: if there are not as many slopes as weights.
    """
    terms = [(w, k) for w, k in zip(weights, slopes, strict=True) if w != 0.0]
    if not terms:
        return y
    kept = tuple(w for w, _ in terms)
    has_mesh = not jax.sharding.get_abstract_mesh().empty

    def advance(leaf: Array, *slopes: Array) -> Array:
        # On a mesh types tell of its axes, and a field may answer in fewer bits than the state has.
        if has_mesh or any(jax.typeof(slope) != jax.typeof(leaf) for slope in slopes):
            return tree_axpy(dt, tree_weighted_sum(kept, slopes), leaf)
        return _advance.bind(leaf, lax.convert_element_type(dt, leaf.dtype), *slopes, weights=kept)

    return jax.tree.map(advance, y, *(k for _, k in terms))


_advance = Primitive("advance")
"""Of arrays of one dtype: y and the slopes of shape (*rows, ...), dt of shape `rows`, the axes of `jax.vmap`, or ()."""


@_advance.def_impl
def _operations(y: Array, dt: Array, *slopes: Array, weights: tuple[float, ...]) -> Array:
    return lax.add(y, _increment(dt, weights, slopes))


def _increment(dt: Array, weights: Sequence[float], slopes: Sequence[Array]) -> Array:
    """dt Σ_i w_i k_i."""
    rate = tree_weighted_sum(weights, slopes)
    assert rate is not None
    return _times(dt, rate)


def _times(dt: Array, leaf: Array) -> Array:
    """Each row of the leaf, of shape (*rows, ...), times its own number of `dt`, of shape `rows`."""
    return lax.mul(lax.broadcast_in_dim(dt, leaf.shape, range(dt.ndim)), leaf)


def _differentiate(primals: Any, tangents: Any, *, weights: tuple[float, ...]) -> tuple[Array, Array]:
    """The tangent ẏ + dt Σ_i w_i k̇_i + ḋt Σ_i w_i k_i, of which the first two terms are again one equation."""
    _, dt, *slopes = primals
    y_dot, dt_dot, *slope_dots = tangents
    moving, parts = (y_dot, *slope_dots), []
    if not all(isinstance(tangent, ad.Zero) for tangent in moving):
        y_dot, *slope_dots = map(ad.instantiate_zeros, moving)
        parts.append(_advance.bind(y_dot, dt, *slope_dots, weights=weights))
    if not isinstance(dt_dot, ad.Zero):
        parts.append(_increment(dt_dot, weights, slopes))
    return _advance.bind(*primals, weights=weights), reduce(lax.add, parts)


def _transpose(bar: Any, y: Any, dt: Array, *slopes: Any, weights: tuple[float, ...]) -> list[Array | None]:
    """ȳ is the cotangent itself, k̄_i = w_i dt times it. dt is a constant here: its tangent is made of operations."""
    if isinstance(bar, ad.Zero):
        return [None] * (2 + len(slopes))
    scaled = _times(dt, bar)
    slope_bars = [
        tree_weighted_sum((weight,), (scaled,)) if ad.is_undefined_primal(slope) else None
        for weight, slope in zip(weights, slopes, strict=True)
    ]
    return [bar if ad.is_undefined_primal(y) else None, None, *slope_bars]


def _batch(operands: Any, axes: Any, *, weights: tuple[float, ...]) -> tuple[Array, int]:
    """The new axis comes first in all operands, but not in a step size that is one number for all."""
    size = next(x.shape[axis] for x, axis in zip(operands, axes, strict=True) if axis is not None)

    def in_front(x: Array, axis: int | None) -> Array:
        return jnp.broadcast_to(x, (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)

    y, dt, *slopes = map(in_front, operands, axes)
    if axes[1] is None and not operands[1].ndim:
        dt = operands[1]
    return _advance.bind(y, dt, *slopes, weights=weights), 0


_advance.def_abstract_eval(lambda y, *_, **__: y)
ad.primitive_jvps[_advance] = _differentiate
ad.primitive_transposes[_advance] = _transpose
batching.primitive_batchers[_advance] = _batch
mlir.register_lowering(_advance, mlir.lower_fun(_operations, multiple_results=False))
