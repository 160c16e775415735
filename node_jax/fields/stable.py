"""Fields that cannot diverge: a Lyapunov function is learned beside them."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.fields.base import AbstractEnergyField
from node_jax.fields.checks import check_sizes
from node_jax.fields.states import as_vectors, over_batch
from node_jax.types import Key, VectorField


class ConvexNetwork(eqx.Module):
    r"""A scalar function g that is convex in its input x, for any weights (input-convex network):

        z_1 = σ(W_1 x + b_1),    z_{k+1} = σ(U_k z_k + W_{k+1} x + b_{k+1}),    g = u z_L,

    with the entries of U and u positive, as softplus of what is trained, and σ = softplus convex and increasing.

    Arguments:
        dim: size of x.
        width, depth: of the hidden layers; depth at least 1.
        key: random key of the initial weights.

    Reference: Amos, Xu & Kolter (2017), arXiv:1609.07152.
    """

    from_input: tuple[Float[Array, "width dim"], ...]
    """W_k."""
    biases: tuple[Float[Array, " width"], ...]
    """b_k."""
    from_hidden: tuple[Float[Array, "*width width"], ...]
    """U_k and u, before softplus."""

    def __init__(self, dim: int, width: int, depth: int, *, key: Key) -> None:
        check_sizes("ConvexNetwork", dim=(dim, 1), width=(width, 1), depth=(depth, 1))
        draw = jax.nn.initializers.glorot_normal(in_axis=1, out_axis=0)
        self.from_input = tuple(draw(k, (width, dim)) for k in jax.random.split(key, depth))
        self.biases = tuple(jnp.zeros((width,)) for _ in range(depth))
        # Positive weights add up: each starts at 1 / width.
        start = math.log(math.expm1(1.0 / width))
        self.from_hidden = (*(jnp.full((width, width), start) for _ in range(depth - 1)), jnp.full((width,), start))

    def __call__(self, x: Float[Array, " dim"]) -> Float[Array, ""]:
        """g(x)."""
        hidden = jax.nn.softplus(self.from_input[0] @ x + self.biases[0])
        for inp, bias, weight in zip(self.from_input[1:], self.biases[1:], self.from_hidden[:-1], strict=True):
            hidden = jax.nn.softplus(jax.nn.softplus(weight) @ hidden + inp @ x + bias)
        return jax.nn.softplus(self.from_hidden[-1]) @ hidden


class StableField(AbstractEnergyField):
    r"""dy/dt = f̂ - ∇V relu(∇Vᵀ f̂ + rate ∇Vᵀ (y - y*)) / |∇V|²,   f̂(t, y) = nominal(t, y) - nominal(t, y*),

    the nearest field to f̂ along which dV/dt <= -rate ∇Vᵀ (y - y*). V is convex with its minimum 0 at y*,

        V(y) = g(y) - g(y*) - ∇g(y*)ᵀ (y - y*) + ε |y - y*|²,

    with g an input-convex network, above its tangent at y*. For a convex V ∇Vᵀ (y - y*) is at least V, so that V falls
    at the rate at least: for any weights, with forward time,

        V(y(t)) <= exp(-rate (t - t0)) V(y(t0)),    |y(t) - y*|² <= V(y(t0)) / ε :

    every solution stays bounded, and ends at the equilibrium y* with a positive rate. A system with several equilibria
    or a limit cycle is outside of what this field can say. Backward in time solutions diverge.

    Arguments:
        nominal: a field on states of shape (dim,), such as an `MLP`; the directions that are learned.
        dim: size of the last axis of the state. Axes before it are batch axes.
        width, depth: of the hidden layers of g.
        rate: at which V decreases at least; 0 or more, in 1/time.
        equilibrium: y*, shape (dim,), which is trained; `None` starts at 0.
        floor: ε, positive.
        key: random key of the initial weights of g.

    Raises:
        ValueError: for a `rate` that is negative, sizes below 1, or an equilibrium of another size.

    Reference: Kolter & Manek (2019), arXiv:2001.06116. There f̂ is the nominal field itself, V has max(g(y) - g(y*), 0),
    smoothed, in place of the height above the tangent, and decreases by rate V. Here the field is continuous at y* too,
    V grows in every direction, not only where g does, and no rounding error of V is divided by |∇V|².

    Example:
        >>> import jax, jax.numpy as jnp, node_jax as nj
        >>> nominal = nj.fields.MLP(2, 16, 1, key=jax.random.key(0))
        >>> field = nj.fields.StableField(nominal, 2, 16, 1, rate=0.1, key=jax.random.key(1))
        >>> energies = field.energy(nj.odeint(field, jnp.array([5.0, -3.0]), [0.0, 10.0]).ys)
        >>> bool(energies[1] <= jnp.exp(-1.0) * energies[0])
        True
    """

    nominal: VectorField
    convex: ConvexNetwork
    equilibrium: Float[Array, " dim"]
    rate: float = eqx.field(static=True)
    floor: float = eqx.field(static=True)

    def __init__(
        self,
        nominal: VectorField,
        dim: int,
        width: int,
        depth: int,
        *,
        rate: float = 0.0,
        equilibrium: Any = None,
        floor: float = 1e-2,
        key: Key,
    ) -> None:
        if not (rate >= 0 and math.isfinite(rate)):
            raise ValueError(f"StableField: expected a finite rate of 0 or more, in 1/time, got {rate!r}.")
        if not (floor > 0 and math.isfinite(floor)):
            raise ValueError(f"StableField: expected floor to be a finite number > 0, got {floor!r}.")
        self.nominal = nominal
        self.convex = ConvexNetwork(dim, width, depth, key=key)
        self.equilibrium = jnp.zeros((dim,)) if equilibrium is None else jnp.asarray(equilibrium, float)
        if self.equilibrium.shape != (dim,):
            raise ValueError(
                f"StableField: expected an equilibrium of shape ({dim},), as dim says, got {self.equilibrium.shape}."
            )
        self.rate, self.floor = rate, floor

    def __call__(self, t: Any, y: Float[Array, "*batch dim"], args: Any = None) -> Float[Array, "*batch dim"]:
        """The derivative at (t, y)."""
        y = self._as_state(y)
        free = self.nominal(t, y, args) - self.nominal(t, jnp.broadcast_to(self.equilibrium, y.shape), args)
        return over_batch(self._project, y, free)

    def energy(self, y: Float[Array, "*batch dim"], args: Any = None) -> Float[Array, "*batch"]:
        """V at each state."""
        del args
        y = self._as_state(y)
        least = self.floor * jnp.sum((y - self.equilibrium.astype(y.dtype)) ** 2, axis=-1)
        # Near the equilibrium g is a difference of equal numbers.
        return jnp.maximum(over_batch(self._lyapunov, y), least)

    def _project(self, y: Array, free: Array) -> Array:
        slope = jax.grad(self._lyapunov)(y)
        excess = jax.nn.relu(jnp.dot(slope, free + self.rate * (y - self.equilibrium.astype(y.dtype))))
        size = jnp.sum(slope**2)
        # At the equilibrium, where nothing moves, both are 0.
        has_slope = size > jnp.finfo(y.dtype).tiny
        return free - slope * jnp.where(has_slope, excess / jnp.where(has_slope, size, 1), 0)

    def _lyapunov(self, y: Array) -> Array:
        centre = self.equilibrium.astype(y.dtype)
        least, tilt = jax.value_and_grad(self.convex)(centre)
        away = y - centre
        return self.convex(y) - least - jnp.dot(tilt, away) + self.floor * jnp.sum(away**2)

    def _as_state(self, y: Any) -> Array:
        return as_vectors("StableField", y, self.equilibrium.size)
