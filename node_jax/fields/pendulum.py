"""The pendulum, q the angle from where it hangs: at rest with itself, with friction, and turned by a motor.

The same system in three parametrizations, each with the trainable leaves that its studies need. `Pendulum` has both
parameters positive and conserves its energy; `DampedPendulum` is known by its period, and may lose energy;
`ControlledPendulum` takes a torque. In the words of `ControlledPendulum` the others are

    Pendulum(inertia, torque):          weight = torque, damping = 0,
    DampedPendulum(period, damping):    inertia = 1, weight = (2π / period)², the same damping.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from node_jax.fields.base import AbstractEnergyField, AbstractParametricField
from node_jax.fields.checks import logarithms
from node_jax.fields.inputs import control_at
from node_jax.fields.phase_space import halves, joined_as
from node_jax.fields.states import components
from node_jax.types import State


class Pendulum(AbstractEnergyField, AbstractParametricField):
    r"""H = p²/(2 I) + τ (1 - cos q): a rigid pendulum at the angle q from where it hangs, with the angular momentum p.

    It turns over where H > 2 τ; its small swings have the period 2π √(I/τ). The defaults give H = 3 (1 - cos q) + p².
    Both parameters are positive by construction: the trainable leaf is their logarithm.

    Arguments:
        inertia: I, m l² of a mass m at the length l.
        torque: τ, the largest torque of gravity, m g l.

    A state is an array (..., 2) of q and p, or a pair of arrays (..., 1).

    Raises:
        ValueError: for parameters that are not positive, or a state of another size.

    Reference: the defaults are those of Greydanus, Dzamba & Yosinski (2019), arXiv:1906.01563.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> float(nj.fields.Pendulum().energy(jnp.array([0.0, 2.0])))
        4.0
    """

    log_parameters: Float[Array, "2"]

    def __init__(self, inertia: float = 0.5, torque: float = 3.0) -> None:
        self.log_parameters = logarithms("Pendulum", inertia=inertia, torque=torque)

    def __call__(self, t: Any, y: Any, args: Any = None) -> State:
        """The derivative at y, in its form."""
        del t, args
        q, p = halves("Pendulum", y, 2)
        inertia, torque = jnp.exp(self.log_parameters)
        return joined_as(y, p / inertia, -torque * jnp.sin(q))

    def energy(self, y: Any, args: Any = None) -> Float[Array, "*batch"]:
        """H at each state."""
        del args
        q, p = halves("Pendulum", y, 2)
        inertia, torque = jnp.exp(self.log_parameters)
        return _energy(q, p, inertia, torque)[..., 0]

    def named_parameters(self) -> dict[str, Float[Array, ""]]:
        """`inertia` and `torque`."""
        return dict(zip(("inertia", "torque"), jnp.exp(self.log_parameters), strict=True))


class DampedPendulum(AbstractEnergyField, AbstractParametricField):
    r"""dq/dt = p,  dp/dt = -ω0² sin q - α p, for the angle q from the rest below and its rate p.

    Without friction the energy p²/2 + ω0² (1 - cos q) is kept; with it, it decreases by α p² in a unit of time. Rest is
    at p = 0 and q a multiple of π: stable below (even multiples), a saddle above.

    Arguments:
        period: 2π / ω0, that of small swings without friction, in units of time, > 0. The trainable leaf is ω0.
        damping: α, in 1/time, a trainable leaf; `None` has no friction, and nothing to train there.

    Raises:
        ValueError: for a period that is not positive and finite, or a state of another size than 2.

    Reference: Yin et al. (2021), arXiv:2010.04456, with period 6 and damping 0.2.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> field = nj.fields.DampedPendulum(period=6.0, damping=0.2)
        >>> {name: round(float(value), 3) for name, value in field.named_parameters().items()}
        {'omega0': 1.047, 'damping': 0.2}
    """

    omega0: Float[Array, ""]
    damping: Float[Array, ""] | None

    def __init__(self, period: float, damping: float | None = None) -> None:
        if not (np.isfinite(period) and period > 0):
            raise ValueError(f"DampedPendulum: expected a finite period > 0, got {period!r}.")
        self.omega0 = jnp.asarray(2 * np.pi / period, float)
        self.damping = None if damping is None else jnp.asarray(damping, float)

    def __call__(self, t: Any, y: Float[Array, "*batch 2"], args: Any = None) -> Float[Array, "*batch 2"]:
        """The derivative of (q, p)."""
        del t, args
        q, p = components("DampedPendulum", y, "q", "p")
        force = -(self.omega0**2) * jnp.sin(q)
        return jnp.stack([p, force if self.damping is None else force - self.damping * p], axis=-1)

    def energy(self, y: Float[Array, "*batch 2"], args: Any = None) -> Float[Array, "*batch"]:
        """p²/2 + ω0² (1 - cos q), for a mass and a length of 1."""
        del args
        q, p = components("DampedPendulum", y, "q", "p")
        return _energy(q, p, 1, self.omega0**2)

    def named_parameters(self) -> dict[str, Float[Array, ""]]:
        """omega0 in radians per time, and damping in 1/time if there is any."""
        named = {"omega0": jnp.abs(self.omega0)}
        return named if self.damping is None else {**named, "damping": self.damping}


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
        q, p = components("ControlledPendulum", y, "q", "p")
        inertia, weight, damping = self.parameters
        velocity = p / inertia
        torque = control_at("ControlledPendulum", t, args, 1, jnp.asarray(y))[..., 0]
        return jnp.stack([velocity, torque - weight * jnp.sin(q) - damping * velocity], axis=-1)

    def energy(self, y: Float[Array, "*batch 2"], args: Any = None) -> Float[Array, "*batch"]:
        """H at each state."""
        del args
        q, p = components("ControlledPendulum", y, "q", "p")
        inertia, weight, _ = self.parameters
        return _energy(q, p, inertia, weight)

    def named_parameters(self) -> dict[str, Float[Array, ""]]:
        """Inertia, weight and damping."""
        return dict(zip(("inertia", "weight", "damping"), self.parameters, strict=True))


def _energy(q: Array, p: Array, inertia: Any, weight: Any) -> Array:
    """p² / (2 inertia) + weight (1 - cos q)."""
    return p**2 / (2 * inertia) + weight * (1 - jnp.cos(q))
