"""Losses of classes."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def cross_entropy(logits: Float[Array, "*batch classes"], labels: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
    """-log softmax(logits)[label] of each point, in nats.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> bool(nj.losses.cross_entropy(jnp.zeros(2), jnp.array(0)) == jnp.log(2.0))
        True
    """
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], axis=-1)[..., 0]


def huber_on_signs(outputs: Float[Array, "*batch classes"], labels: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
    r"""The mean over classes of the Huber loss of outputs that shall be 1 for the label, and -1 for other classes.

    ½ e² for errors up to 1 and abs(e) - ½ beyond. Unlike `cross_entropy` it asks for a value, not for a side, so that
    a point that is far on the right side costs as well.

    Reference: Huber (1964), doi:10.1214/aoms/1177703732.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> float(nj.losses.huber_on_signs(jnp.array([1.0, 1.0]), jnp.array(0)))
        0.75
    """
    signs = 2 * jax.nn.one_hot(labels, outputs.shape[-1], dtype=outputs.dtype) - 1
    size = jnp.abs(outputs - signs)
    return jnp.mean(jnp.where(size <= 1, size**2 / 2, size - 0.5), axis=-1)
