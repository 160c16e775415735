"""Penalties on the parameters of a field or model."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

_WEIGHT_NDIM = 2
"""Weight matrices have two axes, biases and rates fewer."""


def l1_norm(parameters: PyTree[Any], *, min_ndim: int = _WEIGHT_NDIM) -> Float[Array, ""]:
    """Σ |w| over all elements of the weight matrices; its gradient at 0 is 0.

    Arguments:
        parameters: a pytree such as a field; what is no floating-point array is left out.
        min_ndim: least number of axes of the arrays that count; 0 takes all, biases and scalars too.

    Raises:
        ValueError: if no array counts.

    Reference: Tibshirani (1996), doi:10.1111/j.2517-6161.1996.tb02080.x.
    """
    # JAX takes 1 for the slope of |w| at 0: weights that are 0 would not stay there.
    sizes = [jnp.sum(leaf * lax.stop_gradient(jnp.sign(leaf))) for leaf in _arrays("l1_norm", parameters, min_ndim)]
    return _sum(sizes)


def l2_norm_squared(parameters: PyTree[Any], *, min_ndim: int = _WEIGHT_NDIM) -> Float[Array, ""]:
    """Σ w² over all elements of the weight matrices.

    Arguments:
        parameters, min_ndim: as in `l1_norm`.

    Raises:
        ValueError: if no array counts.

    Reference: Krogh & Hertz (1991), A Simple Weight Decay Can Improve Generalization, NeurIPS 4.
    """
    return _sum([jnp.sum(leaf**2) for leaf in _arrays("l2_norm_squared", parameters, min_ndim)])


def spectral_norms(parameters: PyTree[Any]) -> Float[Array, " weight"]:
    """The largest singular value of each weight matrix, in the order of the leaves.

    For a network whose activations have slopes of at most 1 (softplus, tanh, relu), their product bounds its Lipschitz
    constant: for a field, the rate at which solutions can part. The values are exact, by a singular value
    decomposition: power iteration with a fixed count is cheaper for wide layers, but stays below the value where the
    next one is close, so that a penalty would not see the excess. Matrices are decomposed once a step of training, not
    in each evaluation of the field; the time grows with the cube of the width, and for layers of several hundred units
    it can exceed that of the rest of the step.

    Arguments:
        parameters: a pytree such as a field. Of an array of more than two axes the first is the output, the others are
            one. Arrays with fewer, and empty ones, are left out.

    Raises:
        ValueError: if there is no weight matrix.

    Reference: Yoshida & Miyato (2017), arXiv:1705.10941.
    """
    weights = [leaf for leaf in _arrays("spectral_norms", parameters, _WEIGHT_NDIM) if leaf.size]
    if not weights:
        raise ValueError("spectral_norms: expected weight matrices with elements, got empty ones alone.")
    matrices = [leaf.reshape(leaf.shape[0], -1) for leaf in weights]
    return jnp.stack([jnp.max(jnp.linalg.svd(matrix, compute_uv=False)) for matrix in matrices])


def spectral_excess(parameters: PyTree[Any], bound: float = 1.0) -> Float[Array, ""]:
    """Σ max(σ - bound, 0)² over the largest singular values σ of the weight matrices: 0 while all keep the bound.

    Arguments:
        parameters: as in `spectral_norms`.
        bound: the largest σ that costs nothing, positive.

    Raises:
        ValueError: for a bound that is not positive, and if there is no weight matrix.

    Reference: Gouk, Frank, Pfahringer & Cree (2021), arXiv:1804.04368, who project onto the bound instead.
    """
    if isinstance(bound, (int, float)) and not bound > 0:
        raise ValueError(f"spectral_excess: expected bound to be positive, got {bound}; 1 is usual.")
    return jnp.sum(jnp.maximum(spectral_norms(parameters) - bound, 0) ** 2)


def _arrays(caller: str, parameters: PyTree[Any], min_ndim: int) -> list[Array]:
    arrays = [leaf for leaf in jax.tree.leaves(parameters) if eqx.is_inexact_array(leaf)]
    wanted = [leaf for leaf in arrays if leaf.ndim >= min_ndim]
    if not wanted:
        shapes = [leaf.shape for leaf in arrays]
        cure = " Write min_ndim=0 to take all arrays." if shapes and caller.startswith("l") else ""
        raise ValueError(
            f"{caller}: expected floating-point arrays of at least {min_ndim} axes, got the shapes {shapes}.{cure}"
        )
    return wanted


def _sum(terms: list[Array]) -> Float[Array, ""]:
    return jnp.sum(jnp.stack(terms))
