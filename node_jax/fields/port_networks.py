"""Networks for the parts of a mechanical system: its energy, its friction, and where forces act."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.fields.checks import check_sizes
from node_jax.fields.network import Network
from node_jax.fields.port_hamiltonian import PortHamiltonianField
from node_jax.types import Key

_LEAST_INVERSE_MASS = 1e-2
"""Added to the diagonal of the learned inverse mass matrix, so that it is positive definite."""
_SMALL = 0.1
"""Factor of the last layers' initial weights: the parts start near those of a free, frictionless body of mass 1."""


class Coordinates(eqx.Module):
    """What networks see of positions q: angles by their cosine and sine, and others as they are.

    Arguments:
        num_coordinates: size of q.
        angles: which of them are angles, in radians; what is learned for one is then periodic.
    """

    num_coordinates: int = eqx.field(static=True)
    angles: tuple[int, ...] = eqx.field(static=True)

    def __check_init__(self) -> None:
        num = self.num_coordinates
        check_sizes("Coordinates", num_coordinates=(num, 1))
        are_fine = all(isinstance(i, int) and 0 <= i < num for i in self.angles)
        if not are_fine or len(set(self.angles)) < len(self.angles):
            raise ValueError(
                f"Coordinates: expected angles to be different indices from 0 to {num - 1}, got {self.angles}."
            )

    @property
    def num_features(self) -> int:
        """Two an angle, one of each other."""
        return self.num_coordinates + len(self.angles)

    def __call__(self, q: Float[Array, " coordinate"]) -> Float[Array, " feature"]:
        """The features of q."""
        if q.shape != (self.num_coordinates,):
            raise ValueError(
                f"Coordinates: expected positions of shape ({self.num_coordinates},), got {q.shape}. The state (q, p) "
                "has twice as many entries."
            )
        others = [i for i in range(self.num_coordinates) if i not in self.angles]
        turned = q[jnp.array(self.angles, int)]
        return jnp.concatenate([q[jnp.array(others, int)], jnp.cos(turned), jnp.sin(turned)])


class MechanicalEnergy(eqx.Module):
    r"""H(q, p) = pᵀ M⁻¹(q) p / 2 + V(q), with M⁻¹(q) = A(q) A(q)ᵀ + ε I and networks for A and V.

    Arguments:
        coordinates: what the networks see of q.
        inverse_mass: A, of shape (num_coordinates, num_coordinates), less the identity.
        potential: V, a scalar.
    """

    coordinates: Coordinates
    inverse_mass: Network
    potential: Network

    def __call__(self, y: Float[Array, " dim"]) -> Float[Array, ""]:
        """H at y = (q, p)."""
        q, p = jnp.split(y, 2)
        seen = self.coordinates(q)
        factor = jnp.eye(q.size, dtype=y.dtype) + self.inverse_mass(seen)
        kinetic = jnp.sum((factor.T @ p) ** 2) + _LEAST_INVERSE_MASS * jnp.sum(p**2)
        return 0.5 * kinetic + self.potential(seen)


class OnMomenta(eqx.Module):
    """A matrix that acts on momenta alone, y ↦ [0; B(q)]: a friction's factor L, or the map G of forces.

    Arguments:
        coordinates: what the network sees of q.
        matrix: B, of shape (num_coordinates, columns).
    """

    coordinates: Coordinates
    matrix: Network

    def __call__(self, y: Float[Array, " dim"]) -> Float[Array, "dim columns"]:
        """The matrix at y = (q, p)."""
        block = self.matrix(self.coordinates(jnp.split(y, 2)[0]))
        return jnp.concatenate([jnp.zeros_like(block), block])


def mechanical_port_hamiltonian(
    num_coordinates: int,
    num_controls: int,
    width: int,
    depth: int,
    *,
    angles: Sequence[int] = (),
    has_dissipation: bool = True,
    activation: Any = jnp.tanh,
    key: Key,
) -> PortHamiltonianField:
    r"""A `PortHamiltonianField` of a mechanical system of which nothing else is known.

        dq/dt = ∂H/∂p,    dp/dt = -∂H/∂q - D(q) ∂H/∂p + g(q) u,    H = pᵀ M⁻¹(q) p / 2 + V(q),    D = B Bᵀ,

    with a network each for M⁻¹, V, B and g. Friction and forces act on momenta, so that dq/dt is the velocity.

    Arguments:
        num_coordinates: size of q, half of that of the state.
        num_controls: size of u; 0 for none.
        width, depth: of each network's hidden layers.
        angles: which coordinates are angles, in radians: they enter by cosine and sine.
        has_dissipation: whether there is friction.
        activation: of the hidden layers, elementwise and smooth: H is differentiated twice in training.
        key: random key of the initial weights.

    From states and controls alone H, D and g are found up to one factor: momenta that are all doubled, with H and g,
    give the same motion in q. Where momenta are measured, as here, the factor is fixed.

    Raises:
        ValueError: for sizes that are too small, or angles that are no coordinates.

    References: Zhong, Dey & Chakraborty (2020), arXiv:1909.12077 and arXiv:2002.08860.

    Example:
        >>> import jax, jax.numpy as jnp, node_jax as nj
        >>> field = nj.fields.mechanical_port_hamiltonian(1, 1, 16, 1, angles=(0,), key=jax.random.key(0))
        >>> y, turn = jnp.array([0.5, 1.0]), jnp.array([2 * jnp.pi, 0.0])
        >>> bool(jnp.allclose(field(0.0, y, jnp.ones(1)), field(0.0, y + turn, jnp.ones(1)), atol=1e-5))
        True
    """
    check_sizes("mechanical_port_hamiltonian", num_controls=(num_controls, 0))
    coordinates = Coordinates(num_coordinates, tuple(angles))
    keys = jax.random.split(key, 4)

    def network(key: Key, out_shape: tuple[int, ...], final_scale: float) -> Network:
        sizes = (coordinates.num_features, out_shape, width, depth)
        return Network(*sizes, activation=activation, final_scale=final_scale, key=key)

    square = (num_coordinates, num_coordinates)
    energy = MechanicalEnergy(coordinates, network(keys[0], square, _SMALL), network(keys[1], (), 1.0))
    dissipation = OnMomenta(coordinates, network(keys[2], square, 1.0)) if has_dissipation else None
    forces = OnMomenta(coordinates, network(keys[3], (num_coordinates, num_controls), 1.0)) if num_controls else None
    return PortHamiltonianField(energy, dissipation, forces, num_controls=num_controls)
