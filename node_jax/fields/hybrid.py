"""Known mechanism plus what a network finds."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from node_jax.fields.base import AbstractField
from node_jax.tree import tree_layout
from node_jax.types import State, VectorField


class HybridField(AbstractField):
    r"""dy/dt = mechanism(t, y, args) + A residual(t, S y, args).

    The mechanism holds what is known, with its physical parameters as trainable leaves; the residual, usually an `MLP`
    that starts near zero, what is not. S sets to 0 the components that the residual does not see, A those on which it
    does not act. Also called a universal differential equation.

    Both parts are given `args` as they are, so what differs between samples goes there: a mechanism that reads its
    rates from `args`, as a plain function or a module, has rates of each trajectory in `nj.odeint_batch` with
    `in_axes=(0, None, 0)`; controls go there as paths of `nj.interpolate`. An `MLP` does not look at `args`.

    Arguments:
        mechanism: a field or a plain function; the derivative that theory gives.
        residual: a field or a plain function on the same state; the correction.
        acts_on: the components that the residual changes: indices along the last axis of a state that is one array,
            indices of the leaves of any other. `None` is all of them.
        sees: the components that it depends on, in the same way.

    Raises:
        ValueError: when called, if one of the parts does not return the structure and shapes of the state.

    Reference: Rackauckas et al. (2020), arXiv:2001.04385.

    Example:
        >>> import jax, jax.numpy as jnp, node_jax as nj
        >>> network = nj.fields.MLP(dim=2, width=16, depth=1, key=jax.random.key(0))
        >>> field = nj.fields.HybridField(nj.fields.DampedPendulum(period=6.0), network, acts_on=(1,))
        >>> slope = field(0.0, jnp.array([0.0, 1.0]))
        >>> float(slope[0])
        1.0
    """

    mechanism: VectorField
    residual: VectorField
    acts_on: tuple[int, ...] | None = eqx.field(static=True)
    sees: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(
        self,
        mechanism: VectorField,
        residual: VectorField,
        *,
        acts_on: Sequence[int] | None = None,
        sees: Sequence[int] | None = None,
    ) -> None:
        self.mechanism = mechanism
        self.residual = residual
        self.acts_on = _as_indices("acts_on", acts_on)
        self.sees = _as_indices("sees", sees)

    def __call__(self, t: Any, y: State, args: Any = None) -> State:
        """The sum of both parts at (t, y)."""
        known = self.mechanism(t, y, args)
        found = self.correction(t, y, args)
        _check_alike(y, known, found)
        return jax.tree.map(jnp.add, known, found)

    def correction(self, t: Any, y: State, args: Any = None) -> State:
        """What the residual adds at (t, y): A residual(t, S y, args)."""
        found = self.residual(t, _keep("sees", self.sees, y), args)
        # What has another structure is refused where both parts are known.
        is_alike = jax.tree.structure(found) == jax.tree.structure(y)
        return _keep("acts_on", self.acts_on, found) if is_alike else found


def _as_indices(name: str, chosen: Any) -> tuple[int, ...] | None:
    if chosen is None:
        return None
    is_fine = isinstance(chosen, (tuple, list)) and all(isinstance(i, int) and not isinstance(i, bool) for i in chosen)
    if not is_fine or len(set(chosen)) != len(chosen) or not all(i >= 0 for i in chosen):
        raise ValueError(
            f"HybridField: expected {name} to be a tuple of different indices from 0 on, got {chosen!r}. "
            "(1,) is the second component alone; None takes all."
        )
    return tuple(chosen)


def _keep(name: str, chosen: tuple[int, ...] | None, x: State) -> State:
    """`x` with 0 in the components that are not chosen."""
    if chosen is None:
        return x
    leaves, treedef = jax.tree.flatten(x)
    is_one = jax.tree_util.treedef_is_leaf(treedef)
    size = (jnp.shape(x) or (0,))[-1] if is_one else len(leaves)
    if chosen and max(chosen) >= size:
        what = "components along the last axis of the state" if is_one else "leaves of the state"
        raise ValueError(f"HybridField: expected {name} to be indices below {size}, the {what}, got {chosen}.")
    if is_one:
        mask = [i in chosen for i in range(size)]
        return jnp.where(jnp.asarray(mask), x, 0)
    kept = [leaf if i in chosen else jnp.zeros_like(leaf) for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(treedef, kept)


def _check_alike(y: State, known: State, found: State) -> None:
    """Both parts have the structure and the shapes of the state; a sum would broadcast what differs."""
    expected = tree_layout(y)
    if tree_layout(known) == expected == tree_layout(found):
        return
    lines = [
        f"  {name} {jax.tree.map(jnp.shape, x)}"
        for name, x in (("state:    ", y), ("mechanism:", known), ("residual: ", found))
    ]
    raise ValueError(
        "HybridField: expected mechanism and residual to return the structure and shapes of the state, got the shapes\n"
        + "\n".join(lines)
        + "\nBoth are called as field(t, y, args), time first."
    )
