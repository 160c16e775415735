"""What a field with control inputs finds in its `args`."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.interpolate import AbstractPath


def control_at(owner: str, t: Any, args: Any, num_controls: int, like: Float[Array, "*batch dim"]) -> Array:
    """The control u(t) that `args` hold: a path, evaluated at t, or u itself.

    Arguments:
        owner: who asks, for the errors.
        t: the time at which the field is called.
        args: a path such as `nj.interpolate.ZeroOrderHold`, whose values have shape (time, num_controls); or an array
            of shape (num_controls,) or (*batch, num_controls); or `None`, for no input.
        num_controls: how many there are.
        like: the state, whose batch axes and dtype u takes over.

    Returns:
        Shape (*batch, num_controls).

    Raises:
        ValueError: for another number of controls, or `args` that are neither.
    """
    shape = (*like.shape[:-1], num_controls)
    if args is None:
        return jnp.zeros(shape, like.dtype)
    # At the very t of the call a solver may know the value already.
    value = args.evaluate(t) if isinstance(args, AbstractPath) else args
    if isinstance(value, dict | tuple | list | str):
        raise ValueError(
            f"{owner}: expected args to be the control, an array of shape ({num_controls},) or a path such as "
            f"nj.interpolate.ZeroOrderHold(ts, values), got a {type(value).__name__}. Wrap the field in a function "
            "that picks the control from it."
        )
    value = jnp.asarray(value, like.dtype)
    if value.ndim < 1 or value.shape[-1] != num_controls or value.ndim > len(shape):
        raise ValueError(
            f"{owner}: expected a control of shape ({num_controls},), got {value.shape}. The values of a path have "
            f"the shape (time, {num_controls})."
        )
    return jnp.broadcast_to(value, shape)
