"""A field whose solutions stay in a box."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from node_jax.fields.base import AbstractField
from node_jax.types import State, VectorField


class BoundedField(AbstractField):
    r"""dy/dt = -decay y + limit tanh(field(t, y, args) / limit), componentwise.

    The second part is at most `limit`, whatever the field and its weights, so that for every component

        abs(y_i(t)) <= max(abs(y_i(0)), limit / decay)        for t after the start,

    and once in the box of half-width limit / decay a solution stays there. Where the field is small beside `limit`
    it passes through almost unchanged. The law is about states: within the box neighbouring solutions may still part,
    and gradients grow; see `ContractiveField`. Backward in time the decay is a growth.

    Arguments:
        field: any field; the direction that is learned.
        decay: positive, in 1/time.
        limit: positive, in units of state over time.

    Raises:
        ValueError: if `decay` or `limit` is not positive.

    Reference: the leaky units of Hopfield (1984), doi:10.1073/pnas.81.10.3088.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> field = nj.fields.BoundedField(lambda t, y, args: y**3, decay=1.0, limit=2.0)
        >>> bool(nj.odeint(field, jnp.array([1.5]), [0.0, 50.0]).ys[-1, 0] <= 2.0)
        True
    """

    field: VectorField
    decay: float = eqx.field(static=True)
    limit: float = eqx.field(static=True)

    def __check_init__(self) -> None:
        for name, value in (("decay", self.decay), ("limit", self.limit)):
            if not value > 0:
                raise ValueError(f"BoundedField: expected {name} to be positive, got {value!r}.")

    def __call__(self, t: Any, y: State, args: Any = None) -> State:
        """The derivative at (t, y)."""
        drive = self.field(t, y, args)
        return jax.tree.map(lambda a, b: -self.decay * a + self.limit * jnp.tanh(b / self.limit), y, drive)
