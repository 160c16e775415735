"""The pendulum that is turned by a motor."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.fields.base import AbstractEnergyField, AbstractParametricField
from node_jax.fields.inputs import control_at


class ControlledPendulum(AbstractEnergyField, AbstractParametricField):
    r"""dq/dt = p / inertia,   dp/dt = -weight sin q - damping p / inertia + u.

    q is the angle from hanging down, in radians, p the angular momentum, u the torque: `args`, an array of shape (1,),
    a path such as `nj.interpolate.ZeroOrderHold` with values of shape (time, 1), or `None`. The energy is
    H = p² / (2 inertia) + weight (1 - cos q), 2 weight where it stands upright at rest. The defaults are the pendulum
    of OpenAI Gym, of mass and length 1 and gravity 10, without friction.

    Arguments:
        inertia, weight, damping: in units of mass length², mass length² / time² and mass length² / time; trainable.

    Raises:
        ValueError: for an inertia that is not positive, a negative damping, or a state of another size than 2.

    Reference: Zhong, Dey & Chakraborty (2020), arXiv:1909.12077.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> field = nj.fields.ControlledPendulum()
        >>> field(0.0, jnp.array([0.0, 1.0]), jnp.array([2.0])).tolist()
        [3.0, 2.0]
    """

    parameters: Float[Array, "3"]

    def __init__(self, inertia: float = 1.0 / 3.0, weight: float = 5.0, damping: float = 0.0) -> None:
        if not inertia > 0 or not damping >= 0:
            raise ValueError(
                f"ControlledPendulum: expected an inertia > 0 and a damping >= 0, got {inertia!r} and {damping!r}."
            )
        self.parameters = jnp.asarray([inertia, weight, damping], float)

    def __call__(self, t: Any, y: Float[Array, "*batch 2"], args: Any = None) -> Float[Array, "*batch 2"]:
        """The derivative of (q, p) under the torque that `args` hold."""
        y = self._as_state(y)
        inertia, weight, damping = self.parameters
        velocity = y[..., 1] / inertia
        torque = control_at("ControlledPendulum", t, args, 1, y)[..., 0]
        return jnp.stack([velocity, torque - weight * jnp.sin(y[..., 0]) - damping * velocity], axis=-1)

    def energy(self, y: Float[Array, "*batch 2"], args: Any = None) -> Float[Array, "*batch"]:
        """H at each state."""
        del args
        y = self._as_state(y)
        inertia, weight, _ = self.parameters
        return y[..., 1] ** 2 / (2 * inertia) + weight * (1 - jnp.cos(y[..., 0]))

    def named_parameters(self) -> dict[str, Float[Array, ""]]:
        """Inertia, weight and damping."""
        return dict(zip(("inertia", "weight", "damping"), self.parameters, strict=True))

    def _as_state(self, y: Any) -> Array:
        y = jnp.asarray(y)
        if y.ndim < 1 or y.shape[-1] != 2:
            raise ValueError(f"ControlledPendulum: expected a state of shape (..., 2), got {y.shape}.")
        return y
