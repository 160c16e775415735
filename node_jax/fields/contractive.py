"""A field whose solutions approach each other."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.fields.base import AbstractField
from node_jax.fields.checks import check_sizes
from node_jax.fields.states import as_vectors
from node_jax.types import Key


class ContractiveField(AbstractField):
    r"""dy/dt = (A - Aᵀ) y - Wᵀ tanh(W y + u t + b) + c - rate y.

    The first term only turns; the second is the gradient of a concave function, -Σ log cosh(W y + u t + b). So for all
    values of A, W, u, b and c, any two solutions obey

        abs(y(t) - x(t)) <= exp(-rate (t - t0)) abs(y(t0) - x(t0))

    in the Euclidean norm: errors, perturbations and gradients of later losses for earlier states do not grow, and
    shrink at this rate at least. Directions in which W is small shrink at no more than it. What is forgotten has no
    gradient: where the start is to be remembered, choose rate times the length of the solve below 1, or a rate of 0,
    with which distances never grow. Backward in time solutions part.

    Arguments:
        dim: size of the last axis of the state. Axes before it are batch axes.
        width: number of rows of W.
        rate: at which solutions approach at least; 0 or more, in 1/time.
        is_time_dependent: whether the field has u; otherwise it is autonomous.
        initial_scale: factor of the initial W, drawn as in Glorot & Bengio (2010). The network's own dissipation grows
            with its square.
        key: random key of the initial weights. Vectors start at 0, but for u.

    Raises:
        ValueError: for a `rate` that is negative or not finite, and for sizes below 1.

    Reference: contraction: Lohmiller & Slotine (1998), doi:10.1016/S0005-1098(98)00019-3; the antisymmetric part: Haber
    & Ruthotto (2018), arXiv:1705.03341, Chang et al. (2019), arXiv:1902.09689; the symmetric one: Ruthotto & Haber
    (2020), arXiv:1804.04272.

    Example:
        >>> import jax, jax.numpy as jnp, node_jax as nj
        >>> field = nj.fields.ContractiveField(dim=2, width=16, rate=0.5, key=jax.random.key(0))
        >>> ys = nj.odeint(field, jnp.array([[1.0, 0.0], [-1.0, 2.0]]), [0.0, 2.0]).ys
        >>> distance = jnp.linalg.norm(ys[:, 0] - ys[:, 1], axis=-1)
        >>> bool(distance[1] <= jnp.exp(-1.0) * distance[0])
        True
    """

    turn: Float[Array, "dim dim"]
    """A."""
    weight: Float[Array, "width dim"]
    """W."""
    drift: Float[Array, " width"] | None
    """u."""
    bias: Float[Array, " width"]
    """b."""
    push: Float[Array, " dim"]
    """c."""
    rate: float = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        width: int,
        *,
        rate: float,
        is_time_dependent: bool = False,
        initial_scale: float = 0.5,
        key: Key,
    ) -> None:
        check_sizes("ContractiveField", dim=(dim, 1), width=(width, 1))
        if not (rate >= 0 and math.isfinite(rate)):
            raise ValueError(f"ContractiveField: expected a finite rate of 0 or more, in 1/time, got {rate!r}.")
        key_turn, key_weight, key_drift = jax.random.split(key, 3)
        # The entries of A - Aᵀ then have variance 1 / dim, and its eigenvalues lie within ±2i.
        self.turn = jax.random.normal(key_turn, (dim, dim)) / math.sqrt(2 * dim)
        glorot = jax.nn.initializers.glorot_normal(in_axis=1, out_axis=0)
        self.weight = initial_scale * glorot(key_weight, (width, dim))
        self.drift = jax.random.normal(key_drift, (width,)) / math.sqrt(dim) if is_time_dependent else None
        self.bias = jnp.zeros((width,))
        self.push = jnp.zeros((dim,))
        self.rate = rate

    def __call__(self, t: Any, y: Float[Array, "*batch dim"], args: Any = None) -> Float[Array, "*batch dim"]:
        """The derivative at (t, y); `args` is not used."""
        del args
        y = as_vectors("ContractiveField", y, self.push.size)
        bias = self.bias if self.drift is None else self.bias + self.drift * jnp.asarray(t, y.dtype)
        pull = jnp.tanh(y @ self.weight.T + bias) @ self.weight
        return y @ (self.turn.T - self.turn) - pull + self.push - self.rate * y
