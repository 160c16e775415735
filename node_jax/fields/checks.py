"""What parameters of fields must be: sizes, spans of time, positive numbers, positive definite matrices."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from node_jax.errors import require_count


def check_sizes(owner: str, **sizes: tuple[int, int]) -> None:
    """Refuse sizes that are no integers, or below their least.

    Arguments:
        owner: who asks, for the error.
        sizes: by name, the value and the least that it may be.

    Raises:
        ValueError: for such a size.
    """
    for name, (value, least) in sizes.items():
        require_count(owner, name, value, least)


def check_span(owner: str, span: tuple[float, float]) -> None:
    """Refuse what is no span (t0, t1) of time.

    Raises:
        ValueError: unless t0 < t1, both finite.
    """
    if not (len(span) == 2 and all(map(math.isfinite, span)) and span[0] < span[1]):
        raise ValueError(f"{owner}: expected a span (t0, t1) with t0 < t1, got {span!r}.")


def logarithms(owner: str, **parameters: float) -> Float[Array, " parameter"]:
    """Logarithms of parameters, as a leaf with which they stay positive.

    Raises:
        ValueError: for a parameter that is not positive.
    """
    for name, value in parameters.items():
        if not value > 0:
            raise ValueError(f"{owner}: expected {name} to be positive, got {value!r}.")
    return jnp.log(jnp.asarray([*parameters.values()], float))


def cholesky_of(owner: str, name: str, matrix: Any) -> Float[Array, "n n"]:
    """The lower triangular L with L Lᵀ = matrix.

    Arguments:
        owner, name: for the error.
        matrix: shape (n, n), symmetric to rounding and positive definite; checked where it is known.

    Raises:
        ValueError: if it is not.
    """
    array = jnp.asarray(matrix, float)
    is_square = array.ndim == 2 and array.shape[0] == array.shape[1] > 0
    if is_square and isinstance(array, Tracer):
        return jnp.linalg.cholesky(array)
    came = f"shape {array.shape}"
    if is_square:
        known = np.asarray(array, np.float64)
        came = f"{known.tolist()}"
        if np.isfinite(known).all() and np.allclose(known, known.T, rtol=1e-5, atol=1e-8 * np.abs(known).max()):
            least = np.linalg.eigvalsh(known)[0]
            if least > 0:
                return jnp.asarray(np.linalg.cholesky(known), array.dtype)
            came += f" with the least eigenvalue {least:.3g}"
    raise ValueError(
        f"{owner}: expected {name} to be a symmetric positive definite matrix of shape (n, n), got {came}. "
        "A @ A.T + 1e-3 * I is one for any A."
    )
