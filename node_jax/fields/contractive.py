"""A field whose solutions approach each other."""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from node_jax.fields.base import AbstractField
from node_jax.fields.mlp import MLP
from node_jax.types import Key

_NUM_SQUARINGS = 4


class ContractiveField(AbstractField):
    r"""dy/dt = -(rate + lipschitz) y + g(t, y), with abs(g(t, y) - g(t, x)) <= lipschitz abs(y - x) by construction.

    g is a network of tanh layers, each weight matrix W of which is used as W / max(1, bound(W) / s), where bound(W) is
    not below the largest singular value and s = lipschitz^(1/(depth + 1)). So any two solutions obey

        abs(y(t) - x(t)) <= exp(-rate (t - t0)) abs(y(t0) - x(t0))

    in the Euclidean norm, whatever the weights: errors, perturbations and gradients of later losses for earlier states
    shrink at this rate at least, and do not grow. What is forgotten has no gradient: choose rate times the length of
    the solve not much above 1 where the start is to be remembered. Backward in time solutions part.

    bound(W) = norm_F((W Wᵀ)^m)^(1/(2 m)) with m = 2^4, after 4 squarings, is at most 1.07 times the largest singular
    value of a matrix of 64 rows. It is part of every evaluation; `normalize` does it once a solve instead.

    Arguments:
        dim: size of the last axis of the state. Axes before it are batch axes.
        width: size of each hidden layer.
        depth: number of hidden layers.
        rate: at which solutions approach at least; positive, in 1/time.
        lipschitz: bound on the Lipschitz constant of g; positive, in 1/time. The larger, the more g can express.
        is_time_dependent: whether t is an input of g beside y.
        key: random key of the initial weights.

    Raises:
        ValueError: if `rate` or `lipschitz` is not positive, or sizes are not those of an `MLP`.

    Reference: contraction: Lohmiller & Slotine (1998), doi:10.1016/S0005-1098(98)00019-3; normalized weights: Miyato
    et al. (2018), arXiv:1802.05957, whose power iteration gives a value below the norm; this bound from above:
    Delattre et al. (2023), arXiv:2305.16173.

    Example:
        >>> import jax, jax.numpy as jnp, node_jax as nj
        >>> field = nj.fields.ContractiveField(2, 16, 1, rate=0.5, lipschitz=4.0, key=jax.random.key(0))
        >>> ys = nj.odeint(field, jnp.array([[1.0, 0.0], [-1.0, 2.0]]), [0.0, 2.0]).ys
        >>> distance = jnp.linalg.norm(ys[:, 0] - ys[:, 1], axis=-1)
        >>> bool(distance[1] <= jnp.exp(-1.0) * distance[0])
        True
    """

    network: MLP
    """Weights as they are trained, before they are normalized."""
    rate: float = eqx.field(static=True)
    lipschitz: float = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        width: int,
        depth: int,
        *,
        rate: float,
        lipschitz: float,
        is_time_dependent: bool = False,
        key: Key,
    ) -> None:
        for name, value in (("rate", rate), ("lipschitz", lipschitz)):
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"ContractiveField: expected {name} to be positive and finite, got {value!r}.")
        self.network = MLP(dim, width, depth, activation=jnp.tanh, is_time_dependent=is_time_dependent, key=key)
        self.rate = rate
        self.lipschitz = lipschitz

    def normalize(self) -> AbstractField:
        """The same field with its weights normalized, once for all evaluations of a solve.

        Call it inside the loss, before the solve, and train the field that it was called on:
        `nj.odeint(field.normalize(), ...)`.
        """
        share = self.lipschitz ** (1 / len(self.network.weights))
        weights = tuple(w / jnp.maximum(1, spectral_norm_bound(w) / share) for w in self.network.weights)
        network = eqx.tree_at(lambda network: network.weights, self.network, weights)
        return _DecayingField(network, self.rate + self.lipschitz)

    def __call__(self, t: Any, y: Float[Array, "*batch dim"], args: Any = None) -> Float[Array, "*batch dim"]:
        """The derivative at (t, y); `args` is not used."""
        return self.normalize()(t, y, args)


class _DecayingField(AbstractField):
    """dy/dt = network(t, y) - decay y."""

    network: MLP
    decay: float = eqx.field(static=True)

    def __call__(self, t: Any, y: Float[Array, "*batch dim"], args: Any = None) -> Float[Array, "*batch dim"]:
        return self.network(t, y, args) - self.decay * jnp.asarray(y)


def spectral_norm_bound(weight: Float[Array, "out inp"]) -> Float[Array, ""]:
    """norm_F((W Wᵀ)^m)^(1/(2 m)) with m = 2^4: not below the largest singular value of W, and smooth.

    With σ the largest singular value and r the rank, σ^(2 m) <= norm_F((W Wᵀ)^m) <= sqrt(r) σ^(2 m). W is scaled to
    entries of at most 1, which is a constant of the gradient, and each power to norm 1, so that none overflows or
    vanishes. A zero matrix gives a tiny number.
    """
    tiny = jnp.finfo(weight.dtype).tiny
    scale = lax.stop_gradient(jnp.maximum(jnp.max(abs(weight)), tiny))
    weight = weight / scale
    gram = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
    log_bound = jnp.log(scale)
    for i in range(_NUM_SQUARINGS + 1):
        # The square root has no derivative at a zero matrix.
        size = jnp.sqrt(jnp.maximum(jnp.sum(gram**2), tiny))
        log_bound += jnp.log(size) / 2 ** (i + 1)
        gram = gram / size
        if i < _NUM_SQUARINGS:
            gram = gram @ gram
    return jnp.exp(log_bound)
