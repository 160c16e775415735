"""Dropout that stays the same along a solve."""

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from node_jax.types import Key

Tree = TypeVar("Tree")


class Dropout(eqx.Module):
    r"""x -> mask x / (1 - rate), with a mask that is a part of the module; without a mask, x -> x.

    A mask that was drawn anew at each evaluation would make a field that is no function of (t, y): no order of a
    method, no error estimate and no adjoint would hold. Here `draw_dropout` draws masks once, before a solve, and all
    evaluations forward and backward see these. What is solved, and differentiated, is one thinned network. The factor
    makes the mean over masks x.

    The mask is boolean, so that it is an input of the compiled program, is saved with a model, and is never trained.

    Arguments:
        rate: probability that an entry is dropped, in [0, 1).
        shape: the last axes of x, over which entries are dropped independently.

    Raises:
        ValueError: for a rate outside [0, 1).

    Reference: Srivastava et al. (2014), JMLR 15, 1929-1958; one mask along a sequence: Gal & Ghahramani (2016),
    arXiv:1512.05287.

    Example:
        >>> import jax, jax.numpy as jnp, node_jax as nj
        >>> dropout = nj.fields.Dropout(0.5, (4,))
        >>> dropout(jnp.ones(4)).tolist()
        [1.0, 1.0, 1.0, 1.0]
        >>> sorted(set(nj.fields.draw_dropout(dropout, key=jax.random.key(0))(jnp.ones(4)).tolist()))
        [0.0, 2.0]
    """

    rate: float = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)
    mask: Bool[Array, "..."] | None = None
    """True where an entry is kept; `None` keeps all, for evaluation."""

    def __check_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(f"Dropout: expected a rate in [0, 1), the share that is dropped, got {self.rate!r}.")

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """`x` with the entries of the mask dropped, and the others scaled up."""
        if self.mask is None:
            return x
        if self.mask.ndim > x.ndim or x.shape[x.ndim - self.mask.ndim :] != self.mask.shape:
            raise ValueError(
                f"Dropout: expected an array that a mask of shape {self.mask.shape} fits, got shape {x.shape}. "
                "The batch_shape of draw_dropout must be that of the state's batch axes."
            )
        return jnp.where(self.mask, x / (1 - self.rate), 0)


def draw_dropout(field: Tree, *, key: Key, batch_shape: tuple[int, ...] = ()) -> Tree:
    """`field` with masks drawn anew in every `Dropout` of its tree; a field without one comes back as it is.

    An entry is kept with probability 1 - rate. Call it once a solve, in the loss; evaluate with the field that no masks
    were drawn for. Another key gives another mask in the same program.

    Arguments:
        field: a field, a model that holds one, or any pytree with `Dropout` modules.
        key: random key of the masks; each `Dropout` gets its own share.
        batch_shape: leading axes of the masks. With `()` all samples of a state share one thinned network; with the
            batch axes of the state, each sample has its own.

    Returns:
        The same tree, with a mask of shape (*batch_shape, *shape) in every `Dropout`.

    Example:
        >>> import jax, jax.numpy as jnp, node_jax as nj
        >>> field = nj.fields.MLP(dim=2, width=16, depth=1, dropout=0.2, key=jax.random.key(0))
        >>> thinned = nj.fields.draw_dropout(field, key=jax.random.key(1))
        >>> nj.odeint(thinned, jnp.ones(2), [0.0, 1.0]).ys.shape
        (2, 2)
    """

    def is_dropout(node: Any) -> bool:
        return isinstance(node, Dropout)

    nodes, structure = jax.tree.flatten(field, is_leaf=is_dropout)
    keys = iter(jax.random.split(key, max(1, sum(map(is_dropout, nodes)))))

    def draw(node: Any) -> Any:
        if not is_dropout(node):
            return node
        mask = jax.random.bernoulli(next(keys), 1 - node.rate, (*batch_shape, *node.shape))
        return Dropout(node.rate, node.shape, mask)

    return jax.tree.unflatten(structure, [draw(node) for node in nodes])
