"""Equations of second order as systems of first order."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.fields.base import AbstractField
from node_jax.fields.checks import check_sizes
from node_jax.fields.inputs import control_at
from node_jax.fields.network import Network
from node_jax.tree import tree_layout
from node_jax.types import Key, State


class SecondOrderField(AbstractField):
    r"""d²x/dt² = a(t, x, v, args), as dx/dt = v, dv/dt = a.

    The state is (x, v), in one of two forms, in which the derivative comes as well:

    - an array of shape (*batch, 2 n), x first: what models and tasks take;
    - a pair of x and v of equal structure and shapes, for the symplectic methods `nj.StormerVerlet` and
      `nj.LeapfrogMidpoint`, which need an acceleration that does not read v.

    Half of the derivative is known: velocities are those of the positions, which a field of first order would have to
    learn, and paths in x alone may cross.

    Arguments:
        acceleration: `a(t, x, v, args)`, with the structure and shapes of x; an `AccelerationNetwork`, any Equinox
            module or a plain function.

    Raises:
        ValueError: for an array of odd size, a pair that does not match, or an acceleration of another shape than x.

    Reference: Norcliffe, Bodnar, Day, Simidjievski & Liò (2020), arXiv:2006.07220.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> field = nj.fields.SecondOrderField(lambda t, x, v, args: -x)
        >>> field(0.0, jnp.array([1.0, 2.0])).tolist()
        [2.0, -1.0]
        >>> steps = {"solver": nj.StormerVerlet(), "controller": nj.ConstantStep(0.01)}
        >>> x, v = nj.odeint(field, (jnp.array([1.0]), jnp.array([0.0])), [0.0, 3.14159], **steps).ys
        >>> bool(abs(x[-1, 0] + 1.0) < 1e-3)
        True
    """

    acceleration: Callable[[Any, Any, Any, Any], State]

    def __call__(self, t: Any, y: State, args: Any = None) -> State:
        """The derivative at (t, y), a pair for a pair."""
        if isinstance(y, tuple):
            return self._of_pair(t, y, args)
        y = jnp.asarray(y)
        if y.ndim < 1 or y.shape[-1] % 2 or y.shape[-1] == 0:
            raise ValueError(
                "SecondOrderField: expected a pair (x, v), or an array (x, v) whose last axis has an even number of "
                f"entries, positions first, got shape {y.shape}."
            )
        x, v = jnp.split(y, 2, axis=-1)
        return jnp.concatenate(self._of_pair(t, (x, v), args), axis=-1)

    def _of_pair(self, t: Any, y: tuple[Any, ...], args: Any) -> tuple[Any, Any]:
        if len(y) != 2 or tree_layout(y[0]) != tree_layout(y[1]):
            raise ValueError(
                "SecondOrderField: expected a pair (x, v) of positions and velocities with equal structure and shapes, "
                f"got {jax.tree.map(jnp.shape, y)}."
            )
        x, v = y
        found = self.acceleration(t, x, v, args)
        if tree_layout(found) != tree_layout(x):
            raise ValueError(
                "SecondOrderField: expected an acceleration with the structure and shapes of x, "
                f"{jax.tree.map(jnp.shape, x)}, got {jax.tree.map(jnp.shape, found)}."
            )
        return v, found


class AccelerationNetwork(eqx.Module):
    r"""a(t, x, v, u) = network([x, v, t, u]), each input only where it is wanted.

    Arguments:
        num_coordinates: size of x.
        width, depth: of the hidden layers.
        reads_velocity: whether v is an input; without it symplectic methods serve.
        is_time_dependent: whether t is.
        num_controls: size of the control u, an input where it is positive: `args`, as in `PortHamiltonianField`.
        activation, final_scale, key: as in `Network`.

    Example:
        >>> import jax, jax.numpy as jnp, node_jax as nj
        >>> a = nj.fields.AccelerationNetwork(2, 16, 1, key=jax.random.key(0))
        >>> nj.fields.SecondOrderField(a)(0.0, jnp.ones((5, 4))).shape
        (5, 4)
    """

    network: Network
    reads_velocity: bool = eqx.field(static=True)
    is_time_dependent: bool = eqx.field(static=True)
    num_controls: int = eqx.field(static=True)

    def __init__(
        self,
        num_coordinates: int,
        width: int,
        depth: int,
        *,
        reads_velocity: bool = True,
        is_time_dependent: bool = False,
        num_controls: int = 0,
        activation: Callable[[Array], Array] = jnp.tanh,
        final_scale: float = 1.0,
        key: Key,
    ) -> None:
        check_sizes("AccelerationNetwork", num_coordinates=(num_coordinates, 1), num_controls=(num_controls, 0))
        in_size = (1 + reads_velocity) * num_coordinates + is_time_dependent + num_controls
        sizes = (in_size, (num_coordinates,), width, depth)
        self.network = Network(*sizes, activation=activation, final_scale=final_scale, key=key)
        self.reads_velocity, self.is_time_dependent = reads_velocity, is_time_dependent
        self.num_controls = num_controls

    def __call__(self, t: Any, x: Float[Array, "*batch n"], v: Array, args: Any) -> Float[Array, "*batch n"]:
        """The acceleration."""
        parts = [x, v] if self.reads_velocity else [x]
        if self.is_time_dependent:
            parts.append(jnp.broadcast_to(jnp.asarray(t, x.dtype), (*x.shape[:-1], 1)))
        if self.num_controls:
            parts.append(control_at("AccelerationNetwork", t, args, self.num_controls, x))
        return self.network(jnp.concatenate(parts, axis=-1))
