"""Mechanical systems that are known, for positions q and momenta p; pendulums are in a file of their own."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.fields.base import AbstractEnergyField, AbstractParametricField
from node_jax.fields.checks import logarithms
from node_jax.fields.phase_space import halves, joined_as
from node_jax.types import State


class MassSpring(AbstractEnergyField, AbstractParametricField):
    r"""H = p²/(2 m) + k q²/2: a mass on a spring, of the period 2π √(m/k).

    The defaults give H = q² + p², with the period π. Both parameters are positive by construction: the trainable leaf
    is their logarithm.

    Arguments:
        mass: m.
        stiffness: k.

    A state is an array (..., 2) of q and p, or a pair of arrays (..., 1).

    Raises:
        ValueError: for parameters that are not positive, or a state of another size.

    Reference: the defaults are those of Greydanus, Dzamba & Yosinski (2019), arXiv:1906.01563.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> float(nj.fields.MassSpring().energy(jnp.array([1.0, 2.0])))
        5.0
    """

    log_parameters: Float[Array, "2"]

    def __init__(self, mass: float = 0.5, stiffness: float = 2.0) -> None:
        self.log_parameters = logarithms("MassSpring", mass=mass, stiffness=stiffness)

    def __call__(self, t: Any, y: Any, args: Any = None) -> State:
        """The derivative at y, in its form."""
        del t, args
        q, p = halves("MassSpring", y, 2)
        mass, stiffness = jnp.exp(self.log_parameters)
        return joined_as(y, p / mass, -stiffness * q)

    def energy(self, y: Any, args: Any = None) -> Float[Array, "*batch"]:
        """H at each state."""
        del args
        q, p = halves("MassSpring", y, 2)
        mass, stiffness = jnp.exp(self.log_parameters)
        return (p**2 / (2 * mass) + 0.5 * stiffness * q**2)[..., 0]

    def named_parameters(self) -> dict[str, Float[Array, ""]]:
        """`mass` and `stiffness`."""
        return dict(zip(("mass", "stiffness"), jnp.exp(self.log_parameters), strict=True))


class TwoBody(AbstractEnergyField, AbstractParametricField):
    r"""H = |p₁|²/(2 m₁) + |p₂|²/(2 m₂) - G m₁ m₂ / |q₁ - q₂|: two bodies in a plane that attract each other.

    Beside the energy the sum of the momenta and the angular momentum are conserved. The parameters are positive by
    construction: the trainable leaf is their logarithm.

    Arguments:
        masses: m₁ and m₂.
        gravity: G, the constant of gravitation.

    A state is an array (..., 8) of the positions x₁, y₁, x₂, y₂ and the momenta in the same order, or a pair of arrays
    (..., 4).

    Raises:
        ValueError: for parameters that are not positive, or a state of another size.

    Reference: the defaults are those of Greydanus, Dzamba & Yosinski (2019), arXiv:1906.01563.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> apart = jnp.array([1.0, 0.0, -1.0, 0.0, 0.0, 0.5, 0.0, -0.5])
        >>> float(nj.fields.TwoBody().energy(apart)), float(nj.fields.TwoBody().angular_momentum(apart))
        (-0.25, 1.0)
    """

    log_parameters: Float[Array, "3"]

    def __init__(self, masses: tuple[float, float] = (1.0, 1.0), gravity: float = 1.0) -> None:
        first, second = masses
        self.log_parameters = logarithms("TwoBody", mass_1=first, mass_2=second, gravity=gravity)

    def __call__(self, t: Any, y: Any, args: Any = None) -> State:
        """The derivative at y, in its form."""
        del t, args
        q, p = halves("TwoBody", y, 8)
        masses, gravity = jnp.exp(self.log_parameters[:2]), jnp.exp(self.log_parameters[2])
        apart = q[..., :2] - q[..., 2:]
        pull = gravity * masses[0] * masses[1] * apart / jnp.sum(apart**2, axis=-1, keepdims=True) ** 1.5
        return joined_as(y, p / jnp.repeat(masses, 2), jnp.concatenate([-pull, pull], axis=-1))

    def energy(self, y: Any, args: Any = None) -> Float[Array, "*batch"]:
        """H at each state."""
        del args
        q, p = halves("TwoBody", y, 8)
        masses, gravity = jnp.exp(self.log_parameters[:2]), jnp.exp(self.log_parameters[2])
        distance = jnp.sqrt(jnp.sum((q[..., :2] - q[..., 2:]) ** 2, axis=-1))
        kinetic = jnp.sum(p**2 / jnp.repeat(2 * masses, 2), axis=-1)
        return kinetic - gravity * masses[0] * masses[1] / distance

    def angular_momentum(self, y: Any) -> Float[Array, "*batch"]:
        """Σ x p_y - y p_x at each state; it is conserved."""
        q, p = halves("TwoBody", y, 8)
        return jnp.sum(q[..., ::2] * p[..., 1::2] - q[..., 1::2] * p[..., ::2], axis=-1)

    def named_parameters(self) -> dict[str, Float[Array, ""]]:
        """`mass_1`, `mass_2` and `gravity`."""
        return dict(zip(("mass_1", "mass_2", "gravity"), jnp.exp(self.log_parameters), strict=True))
