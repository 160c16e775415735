"""Losses on real values."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def masked_mean_squared_error(
    predicted: Float[Array, "*shape"], target: Float[Array, "*shape"], mask: Bool[Array, "*shape"]
) -> Float[Array, ""]:
    """Σ mask (predicted - target)² / max(Σ mask, 1): the mean squared error over the entries where `mask` holds.

    Entries outside the mask may be NaN; value and gradient are then still finite (the difference is replaced before
    it is squared, so that no NaN meets a zero).

    Arguments:
        predicted, target, mask: arrays of one shape.

    Returns:
        A scalar in units of the values squared; 0 where nothing is unmasked.

    Raises:
        ValueError: if the shapes differ, which would broadcast silently.
    """
    if not predicted.shape == target.shape == mask.shape:
        raise ValueError(
            "masked_mean_squared_error: expected three arrays of one shape, got "
            f"{predicted.shape}, {target.shape} and {mask.shape}."
        )
    difference = jnp.where(mask, predicted - target, 0)
    return jnp.sum(difference**2) / jnp.maximum(jnp.sum(mask), 1)


def masked_mean(values: Float[Array, " batch"], mask: Bool[Array, " batch"]) -> Float[Array, ""]:
    """The mean of the values where the mask holds; 0 where it holds nowhere."""
    return jnp.sum(jnp.where(mask, values, 0)) / jnp.maximum(jnp.sum(mask), 1)
