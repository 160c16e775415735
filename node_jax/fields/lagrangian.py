"""Fields that are made from a Lagrangian, for positions and velocities."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from node_jax.fields.base import AbstractEnergyField
from node_jax.fields.checks import cholesky_of
from node_jax.fields.network import Network
from node_jax.fields.phase_space import call_scalar, check_dim, halves, joined_as
from node_jax.fields.states import over_batch
from node_jax.types import Key, State

_LEAST_ROOT = 0.1
"""Smallest diagonal entry of a learned Cholesky factor: no inertia is below its square."""


class LagrangianField(AbstractEnergyField):
    r"""dq/dt = v,  dv/dt = (∂²L/∂v²)⁻¹ (∂L/∂q - (∂²L/∂q∂v) v), for y = (q, v): the Euler-Lagrange equation.

    Positions may be any that describe the system, angles too, and velocities are what is measured: no momenta are
    needed. Solutions keep the energy v·∂L/∂v - L. Where ∂²L/∂v² is singular there is no acceleration: a solve that
    comes there ends with the status `non_finite`.

    Arguments:
        lagrangian: L(q, v), or L(q, v, args) where the solve has `args`, a scalar for one state with q and v of shape
            (dim/2,): any function or module that can be differentiated three times.
        dim: entries of the state, positions and velocities together; `None` leaves it to L.

    A state is an array of shape (..., dim) with the positions first, or a pair (q, v) of arrays of shape (..., dim/2).

    Raises:
        ValueError: for an odd `dim`, a state of another size, or an L that is no scalar.

    Reference: Cranmer, Greydanus, Hoyer, Battaglia, Spergel & Ho (2020), arXiv:2003.04630.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> pendulum = nj.fields.LagrangianField(lambda q, v: 0.5 * v @ v + jnp.cos(q[0]))
        >>> [float(x) for x in pendulum(0.0, jnp.array([jnp.pi / 2, 2.0]))]
        [2.0, -1.0]
    """

    lagrangian: Callable[..., Float[Array, ""]]
    dim: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        check_dim("LagrangianField", self.dim)

    @classmethod
    def network(
        cls,
        dim: int,
        width: int,
        depth: int,
        *,
        activation: Callable[[Array], Array] = jax.nn.softplus,
        final_scale: float = 0.1,
        key: Key,
    ) -> "LagrangianField":
        """L = |v|²/2 + a `Network` of (q, v); see there for the arguments.

        The first term, and a small `final_scale`, start near free motion of unit masses, where ∂²L/∂v² is regular.
        """
        check_dim("LagrangianField", dim)
        options = {"activation": activation, "final_scale": final_scale, "key": key}
        return cls(_FreeLagrangian(Network(dim, (), width, depth, **options)), dim)

    def __call__(self, t: Any, y: Any, args: Any = None) -> State:
        """The derivative at y, in its form."""
        del t
        q, v = halves("LagrangianField", y, self.dim)

        def acceleration(q: Array, v: Array) -> Array:
            momentum = jax.grad(self._at, argnums=1)
            mass = jax.jacfwd(momentum, argnums=1)(q, v, args)
            _, drift = jax.jvp(lambda q: momentum(q, v, args), (q,), (v,))
            return jnp.linalg.solve(mass, jax.grad(self._at)(q, v, args) - drift)

        return joined_as(y, v, over_batch(acceleration, q, v))

    def energy(self, y: Any, args: Any = None) -> Float[Array, "*batch"]:
        """v·∂L/∂v - L at each state."""

        def energy(q: Array, v: Array) -> Array:
            value, momentum = jax.value_and_grad(self._at, argnums=1)(q, v, args)
            return v @ momentum - value

        return over_batch(energy, *halves("LagrangianField", y, self.dim))

    def _at(self, q: Float[Array, " n"], v: Float[Array, " n"], args: Any) -> Float[Array, ""]:
        return call_scalar("LagrangianField", self.lagrangian, (q, v), args)


class NaturalLagrangianField(AbstractEnergyField):
    r"""The Euler-Lagrange equation of L = ½ vᵀ M(q) v - V(q), with a positive definite mass matrix M:

        dq/dt = v,        M dv/dt = ½ ∂(vᵀ M v)/∂q - (dM/dt) v - ∇V(q).

    That is the form of a mechanical system without friction, such as an arm of several links. M is always invertible,
    so that every state has an acceleration, and V is a potential whose slope is a force.

    Arguments:
        mass: a symmetric positive definite array of shape (dim/2, dim/2), which is trained by its Cholesky factor and
            stays positive definite, or a function M(q) that returns such a matrix, or M(q, args) where the solve has
            `args`. A solve that comes where a function's matrix is not positive definite ends with `non_finite`.
        potential: V(q), or V(q, args), a scalar for positions of shape (dim/2,).
        dim: entries of the state, positions and velocities together; `None` leaves it to the two.

    A state is an array of shape (..., dim) with the positions first, or a pair (q, v) of arrays of shape (..., dim/2).

    Raises:
        ValueError: for an array that is not symmetric and positive definite, an odd `dim`, a state of another size, or
            a potential that is no scalar.

    Reference: Lutter, Ritter & Peters (2019), arXiv:1907.04490; without a structure of L Cranmer et al. (2020),
    arXiv:2003.04630.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> field = nj.fields.NaturalLagrangianField(2.0 * jnp.eye(1), lambda q: -jnp.cos(q[0]))
        >>> [round(float(x), 6) for x in field(0.0, jnp.array([jnp.pi / 2, 2.0]))]
        [2.0, -0.5]
    """

    mass: Callable[..., Float[Array, "n n"]]
    potential: Callable[..., Float[Array, ""]]
    dim: int | None = eqx.field(static=True)

    def __init__(
        self,
        mass: Float[Array, "n n"] | Callable[..., Float[Array, "n n"]],
        potential: Callable[..., Float[Array, ""]],
        dim: int | None = None,
    ) -> None:
        check_dim("NaturalLagrangianField", dim)
        if not callable(mass):
            mass = _ConstantMass(mass)
            size = 2 * len(mass.log_diagonal)
            if dim not in (None, size):
                raise ValueError(f"NaturalLagrangianField: expected dim={size} for this mass matrix, got {dim}.")
            dim = size
        self.mass = mass
        self.potential = potential
        self.dim = dim

    @classmethod
    def network(
        cls,
        dim: int,
        width: int,
        depth: int,
        *,
        activation: Callable[[Array], Array] = jnp.tanh,
        final_scale: float = 1.0,
        key: Key,
    ) -> "NaturalLagrangianField":
        """A `Network` for V and one for the Cholesky factor of M; see there for the arguments."""
        check_dim("NaturalLagrangianField", dim)
        n = dim // 2
        key_mass, key_potential = jax.random.split(key)
        options = {"activation": activation, "final_scale": final_scale}
        factor = Network(n, (n * (n + 1) // 2,), width, depth, key=key_mass, **options)
        return cls(_MassNetwork(factor), Network(n, (), width, depth, key=key_potential, **options), dim)

    def __call__(self, t: Any, y: Any, args: Any = None) -> State:
        """The derivative at y, in its form."""
        del t
        q, v = halves("NaturalLagrangianField", y, self.dim)

        def acceleration(q: Array, v: Array) -> Array:
            mass, mass_drift = jax.jvp(lambda q: self.mass_matrix(q, args), (q,), (v,))
            push = jax.grad(lambda q: 0.5 * v @ self.mass_matrix(q, args) @ v - self._potential(q, args))(q)
            return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(mass), push - mass_drift @ v)

        return joined_as(y, v, over_batch(acceleration, q, v))

    def energy(self, y: Any, args: Any = None) -> Float[Array, "*batch"]:
        """½ vᵀ M(q) v + V(q) at each state."""

        def energy(q: Array, v: Array) -> Array:
            return 0.5 * v @ self.mass_matrix(q, args) @ v + self._potential(q, args)

        return over_batch(energy, *halves("NaturalLagrangianField", y, self.dim))

    def mass_matrix(self, q: Float[Array, " n"], args: Any = None) -> Float[Array, "n n"]:
        """M at positions of shape (dim/2,)."""
        mass = jnp.asarray(self.mass(q) if args is None else self.mass(q, args), q.dtype)
        if mass.shape != (q.size, q.size):
            raise ValueError(
                f"NaturalLagrangianField: expected a mass matrix of shape {(q.size, q.size)} for {q.size} positions, "
                f"got {mass.shape}."
            )
        return mass

    def _potential(self, q: Float[Array, " n"], args: Any) -> Float[Array, ""]:
        return call_scalar("NaturalLagrangianField", self.potential, (q,), args)


class _FreeLagrangian(eqx.Module):
    """|v|²/2 + network(q, v)."""

    network: Network

    def __call__(self, q: Float[Array, " n"], v: Float[Array, " n"], args: Any = None) -> Float[Array, ""]:
        del args
        return 0.5 * v @ v + self.network(jnp.concatenate([q, v]))


class _ConstantMass(eqx.Module):
    """M = C Cᵀ with the lower triangle of C below its diagonal, and the logarithm of that."""

    log_diagonal: Float[Array, " n"]
    below: Float[Array, " entries"]

    def __init__(self, mass: Any) -> None:
        factor = cholesky_of("NaturalLagrangianField", "mass", mass)
        self.log_diagonal = jnp.log(jnp.diagonal(factor))
        self.below = factor[np.tril_indices(len(factor), -1)]

    def __call__(self, q: Float[Array, " n"], args: Any = None) -> Float[Array, "n n"]:
        del q, args
        n = len(self.log_diagonal)
        factor = jnp.diag(jnp.exp(self.log_diagonal)).at[np.tril_indices(n, -1)].set(self.below)
        return factor @ factor.T


class _MassNetwork(eqx.Module):
    """M(q) = C Cᵀ, the entries of the lower triangular C from a network; those of the diagonal are positive."""

    network: Network

    def __call__(self, q: Float[Array, " n"], args: Any = None) -> Float[Array, "n n"]:
        del args
        entries, n = self.network(q), q.size
        # At the start, where a network is near zero, M is near the identity.
        diagonal = _LEAST_ROOT + jax.nn.softplus(entries[:n] + jnp.log(jnp.expm1(1.0 - _LEAST_ROOT)))
        factor = jnp.diag(diagonal).at[np.tril_indices(n, -1)].set(entries[n:])
        return factor @ factor.T
