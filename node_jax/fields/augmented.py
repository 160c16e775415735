"""A field on a state with components more than the data have."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.fields.base import AbstractField
from node_jax.fields.checks import check_sizes
from node_jax.types import VectorField


class AugmentedField(AbstractField):
    r"""dz/dt = field(t, z, args) for z = (y, a), with `num_augmented` components a that start at zero.

    Trajectories of a field in y alone cannot cross, so that its flow is a homeomorphism: it cannot take an inner ball
    out of a ring around it. With room beside the data they pass each other. What is solved is z; `augment` pads a
    state, `project` reads y back, for example as `save=` of a solve. With no component more both are the identity.

    Arguments:
        field: a field on states of size dim + num_augmented.
        dim: size of the last axis of y.
        num_augmented: size of a, 0 or more.

    Raises:
        ValueError: for sizes that are none, and for states of another size.

    Reference: Dupont, Doucet & Teh (2019), Augmented neural ODEs, arXiv:1904.01681.

    Example:
        >>> import jax, jax.numpy as jnp, node_jax as nj
        >>> inner = nj.fields.MLP(dim=5, width=16, depth=1, key=jax.random.key(0))
        >>> field = nj.fields.AugmentedField(inner, dim=2, num_augmented=3)
        >>> start = field.augment(jnp.ones((7, 2)))
        >>> nj.odeint(field, start, [0.0, 1.0], save=lambda t, z, args: field.project(z)).ys.shape
        (2, 7, 2)
    """

    field: VectorField
    dim: int = eqx.field(static=True)
    num_augmented: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        check_sizes("AugmentedField", dim=(self.dim, 1), num_augmented=(self.num_augmented, 0))

    def augment(self, y: Any) -> Float[Array, "*batch total"]:
        """(y, 0) for y of shape (*batch, dim)."""
        y = _check(y, self.dim, "augment: expected y")
        return jnp.concatenate([y, jnp.zeros((*y.shape[:-1], self.num_augmented), y.dtype)], axis=-1)

    def project(self, z: Any) -> Float[Array, "*batch dim"]:
        """y, the first `dim` components of z."""
        return self._check_state(z)[..., : self.dim]

    def __call__(self, t: Any, y: Float[Array, "*batch total"], args: Any = None) -> Float[Array, "*batch total"]:
        """The derivative of z = (y, a)."""
        return self.field(t, self._check_state(y), args)

    def _check_state(self, z: Any) -> Float[Array, "*batch total"]:
        return _check(z, self.dim + self.num_augmented, "expected a state that augment(y) gives")


def _check(y: Any, size: int, what: str) -> Float[Array, "*batch size"]:
    y = jnp.asarray(y)
    if y.ndim < 1 or y.shape[-1] != size:
        raise ValueError(f"AugmentedField: {what}, whose last axis has {size} entries, got shape {y.shape}.")
    return y
