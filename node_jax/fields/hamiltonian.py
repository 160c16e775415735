"""Fields that are made from an energy, and conserve it."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.fields.base import AbstractEnergyField
from node_jax.fields.network import Network
from node_jax.fields.phase_space import call_scalar, check_dim, halves, joined_as
from node_jax.fields.states import over_batch
from node_jax.types import Key, State


class HamiltonianField(AbstractEnergyField):
    r"""dq/dt = ∂H/∂p,  dp/dt = -∂H/∂q, for y = (q, p): Hamilton's equations.

    In short dy/dt = J ∇H(y) with J = [[0, I], [-I, 0]]. Whatever H is, solutions keep it, and the flow keeps the volume
    of phase space. So what a network learns as H cannot gain or lose energy, over any time; how near it is to the
    energy of the system is another question. Measured states must be canonical: momenta, not velocities, unless the
    two are proportional.

    Arguments:
        hamiltonian: H(y), or H(y, args) where the solve has `args`, a scalar for one state y of shape (dim,): any
            function or module that can be differentiated twice. A constant added to it has no effect.
        dim: entries of the state, positions and momenta together; `None` leaves it to H.

    A state is an array of shape (..., dim) with the positions first, or a pair (q, p) of arrays of shape (..., dim/2).

    Raises:
        ValueError: for an odd `dim`, a state of another size, or an H that is no scalar.

    Reference: Greydanus, Dzamba & Yosinski (2019), arXiv:1906.01563.

    Example:
        >>> import jax, jax.numpy as jnp, node_jax as nj
        >>> field = nj.fields.HamiltonianField.network(dim=2, width=16, depth=2, key=jax.random.key(0))
        >>> ys = nj.odeint(field, jnp.array([1.0, 0.0]), jnp.linspace(0.0, 10.0, 5)).ys
        >>> bool(jnp.ptp(field.energy(ys)) < 1e-2)
        True
    """

    hamiltonian: Callable[..., Float[Array, ""]]
    dim: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        check_dim("HamiltonianField", self.dim)

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
    ) -> "HamiltonianField":
        """A `Network` from the state to its energy; see there for the arguments."""
        check_dim("HamiltonianField", dim)
        return cls(Network(dim, (), width, depth, activation=activation, final_scale=final_scale, key=key), dim)

    def __call__(self, t: Any, y: Any, args: Any = None) -> State:
        """The derivative at y, in its form."""
        del t
        whole = jnp.concatenate(halves("HamiltonianField", y, self.dim), axis=-1)
        slope_q, slope_p = jnp.split(over_batch(jax.grad(lambda y: self._at(y, args)), whole), 2, axis=-1)
        return joined_as(y, slope_p, -slope_q)

    def energy(self, y: Any, args: Any = None) -> Float[Array, "*batch"]:
        """H at each state."""
        whole = jnp.concatenate(halves("HamiltonianField", y, self.dim), axis=-1)
        return over_batch(lambda y: self._at(y, args), whole)

    def _at(self, y: Float[Array, " dim"], args: Any) -> Float[Array, ""]:
        return call_scalar("HamiltonianField", self.hamiltonian, (y,), args)


class SeparableHamiltonianField(AbstractEnergyField):
    r"""dq/dt = ∇T(p),  dp/dt = -∇V(q): Hamilton's equations for H = T(p) + V(q).

    Kinetic energy of the momenta alone and potential energy of the positions alone are what the symplectic methods
    need: with a pair (q, p) as state, `nj.StormerVerlet()` and `nj.ConstantStep` keep the energy error bounded over any
    number of steps.

    Arguments:
        kinetic: T(p), or T(p, args) where the solve has `args`, a scalar for momenta of shape (dim/2,).
        potential: V(q), or V(q, args), likewise of positions.
        dim: entries of the state, positions and momenta together; `None` leaves it to T and V.

    A state is a pair (q, p) of arrays of shape (..., dim/2), or an array of shape (..., dim) with the positions first.

    Raises:
        ValueError: for an odd `dim`, a state of another size, or an energy that is no scalar.

    Reference: Greydanus, Dzamba & Yosinski (2019), arXiv:1906.01563; separable and with a symplectic method Chen et al.
    (2020), arXiv:1909.13334.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> field = nj.fields.SeparableHamiltonianField(lambda p: 0.5 * p @ p, lambda q: -jnp.cos(q[0]))
        >>> step = {"solver": nj.StormerVerlet(), "controller": nj.ConstantStep(0.1)}
        >>> ys = nj.odeint(field, (jnp.array([1.0]), jnp.array([0.0])), [0.0, 100.0], **step).ys
        >>> bool(abs(field.energy(ys)[1] - field.energy(ys)[0]) < 1e-2)
        True
    """

    kinetic: Callable[..., Float[Array, ""]]
    potential: Callable[..., Float[Array, ""]]
    dim: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        check_dim("SeparableHamiltonianField", self.dim)

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
    ) -> "SeparableHamiltonianField":
        """A `Network` for each of T and V; see there for the arguments."""
        check_dim("SeparableHamiltonianField", dim)
        key_kinetic, key_potential = jax.random.split(key)
        options = {"activation": activation, "final_scale": final_scale}
        kinetic = Network(dim // 2, (), width, depth, key=key_kinetic, **options)
        return cls(kinetic, Network(dim // 2, (), width, depth, key=key_potential, **options), dim)

    @classmethod
    def natural_network(
        cls,
        dim: int,
        width: int,
        depth: int,
        *,
        activation: Callable[[Array], Array] = jnp.tanh,
        final_scale: float = 1.0,
        key: Key,
    ) -> "SeparableHamiltonianField":
        """A `Network` for V, and T = |A p|²/2 with a matrix A that is trained from the identity on.

        That is the kinetic energy of masses that do not depend on the positions. It is even in the momenta: a motion
        run backwards is a motion too.
        """
        check_dim("SeparableHamiltonianField", dim)
        options = {"activation": activation, "final_scale": final_scale, "key": key}
        return cls(_QuadraticForm(jnp.eye(dim // 2)), Network(dim // 2, (), width, depth, **options), dim)

    def __call__(self, t: Any, y: Any, args: Any = None) -> State:
        """The derivative at y, in its form."""
        del t
        q, p = halves("SeparableHamiltonianField", y, self.dim)
        velocity = over_batch(jax.grad(lambda p: self._part(self.kinetic, p, args)), p)
        force = -over_batch(jax.grad(lambda q: self._part(self.potential, q, args)), q)
        return joined_as(y, velocity, force)

    def energy(self, y: Any, args: Any = None) -> Float[Array, "*batch"]:
        """T + V at each state."""
        q, p = halves("SeparableHamiltonianField", y, self.dim)
        kinetic = over_batch(lambda p: self._part(self.kinetic, p, args), p)
        return kinetic + over_batch(lambda q: self._part(self.potential, q, args), q)

    def _part(self, part: Callable[..., Array], half: Float[Array, " n"], args: Any) -> Float[Array, ""]:
        return call_scalar("SeparableHamiltonianField", part, (half,), args)


class _QuadraticForm(eqx.Module):
    """|A p|²/2."""

    factor: Float[Array, "n n"]

    def __call__(self, p: Float[Array, " n"], args: Any = None) -> Float[Array, ""]:
        del args
        return 0.5 * jnp.sum((self.factor @ p) ** 2)
