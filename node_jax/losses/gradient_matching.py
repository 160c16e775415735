"""Fit a field to slopes, without solving it."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from node_jax.losses.regression import masked_mean_squared_error
from node_jax.types import Args, VectorField


def gradient_matching_loss(
    field: VectorField,
    times: Float[Array, " row"],
    states: Float[Array, "row dim"],
    slopes: Float[Array, "row dim"],
    mask: Bool[Array, " row"],
    scale: Any = 1.0,
    args: Args = None,
    controls: Float[Array, "row num_controls"] | None = None,
) -> Float[Array, ""]:
    r"""mean over rows and components of ((field(t, y, args) - slope) / scale)²: gradient matching, or collocation.

    No equation is solved: a step is cheap, the landscape is that of regression, and there are no solves that fail. What
    a smoothing spline gets wrong in its slopes, the field learns with them: use it to start, and refine with solves.

    Arguments:
        field: `field(t, y, args) -> dy/dt` of one state.
        times, states, slopes: smoothed ones, such as `nj.data.smooth` gives.
        mask: which rows count.
        scale: shape (dim,) or a number, the size of each component's slope, so that no component outweighs the others.
        args: passed to the field, shared by all rows.
        controls: control inputs at the rows, of which each gets its own as `args`.

    References: Varah (1982), doi:10.1137/0903003; Roesch, Rackauckas & Stumpf (2021), Collocation based training of
    neural ordinary differential equations, doi:10.1515/sagmb-2020-0025.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> t, y = jnp.zeros(3), jnp.array([[1.0], [2.0], [3.0]])
        >>> float(nj.losses.gradient_matching_loss(lambda t, y, args: -y, t, y, -y, jnp.ones(3, bool)))
        0.0
    """
    if controls is None:
        derivatives = jax.vmap(lambda t, y: field(t, y, args))(times, states)
    else:
        derivatives = jax.vmap(field)(times, states, controls)
    return masked_mean_squared_error(derivatives / scale, slopes / scale, jnp.broadcast_to(mask[:, None], slopes.shape))
