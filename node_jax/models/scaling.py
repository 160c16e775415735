"""The user's units and the model's."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from node_jax.errors import UsageError
from node_jax.models.trainable import Constant


class Scaling(Constant):
    r"""Time and state in the user's units and in units that suit float32 and a network.

        τ = (t - t_offset) / t_scale,        z = (g(y) - loc) / scale,        g = log or the identity.

    Arguments:
        t_offset, t_scale: origin and unit of the model's time, in the user's time unit.
        loc, scale: shape (dim,), origin and unit of the model's state, in units of g(y).
        is_log: whether g is the natural logarithm, for quantities that stay positive.

    Kept in float64 on the host: NumPy times are converted before they are rounded to float32, so that dates far from
    zero lose nothing.
    """

    t_offset: np.ndarray
    t_scale: np.ndarray
    loc: np.ndarray
    scale: np.ndarray
    is_log: bool = eqx.field(static=True)

    def name_unit(self, value_unit: str) -> str:
        """The unit of the model's state, for quantities in `value_unit`."""
        if self.is_log:
            return f"log {value_unit}"
        return value_unit if (self.scale == 1).all() else "standard deviations"

    def time_to_model(self, t: Any) -> Float[Array, "..."]:
        """τ for times in the user's unit."""
        return jnp.asarray((t - self.t_offset) / self.t_scale)

    def time_from_model(self, tau: Any) -> Any:
        """Times in the user's unit for τ."""
        return tau * self.t_scale + self.t_offset

    def state_to_model(self, y: Any) -> Float[Array, "... dim"]:
        """z for states in the user's units."""
        g = jnp.log(jnp.asarray(y)) if self.is_log else jnp.asarray(y)
        return (g - self.loc) / self.scale

    def state_from_model(self, z: Float[Array, "... dim"]) -> Float[Array, "... dim"]:
        """States in the user's units for z."""
        g = z * self.scale + self.loc
        return jnp.exp(g) if self.is_log else g


def fit_scaling(times: np.ndarray, values: np.ndarray, t_scale: float, transform: str) -> Scaling:
    """A scaling from training data.

    Arguments:
        times: shape (time,), the times that the model may see; the first becomes the origin.
        values: shape (time, dim), the values there. NaN is a missing value.
        t_scale: unit of the model's time, in the unit of `times`.
        transform: `"log"` takes logarithms and centres them (scale 1, so that growth rates keep their meaning);
            `"standard"` centres and divides by the standard deviation; `"none"` keeps the values, for fields that are
            written in their units.

    Raises:
        UsageError: for values that are not positive under a logarithm, or that do not vary.
    """
    if not t_scale > 0:
        raise UsageError(f"fit_scaling: expected t_scale > 0, got {t_scale}.")
    if transform == "none":
        dim = values.shape[-1]
        return Scaling(np.asarray(times[0]), np.asarray(float(t_scale)), np.zeros(dim), np.ones(dim), False)
    is_log = transform == "log"
    if is_log:
        for row, column in np.argwhere(values <= 0)[:1]:
            raise UsageError(
                f"fit_scaling: expected positive values for a logarithm, got {values[row, column]:g} in column "
                f"{column + 1} at time {times[row]:g}. Use the transform 'standard'."
            )
        values = np.log(values)
    spread = np.nanstd(values, axis=0)
    if not (spread > 0).all():
        raise UsageError(f"fit_scaling: expected values that vary, got a constant column {spread.argmin() + 1}.")
    scale = np.ones_like(spread) if is_log else spread
    return Scaling(np.asarray(times[0]), np.asarray(float(t_scale)), np.nanmean(values, axis=0), scale, is_log)
