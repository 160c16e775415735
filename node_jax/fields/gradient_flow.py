"""Fields that go downhill."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float

from node_jax.fields.base import AbstractEnergyField
from node_jax.fields.checks import cholesky_of
from node_jax.fields.states import as_vectors, over_batch


class GradientFlowField(AbstractEnergyField):
    r"""dy/dt = -M ∇V(y),   M = L Lᵀ positive definite.

    V decreases along every solution, dV/dt = -|Lᵀ ∇V|², and nothing moves but where V has a slope: a solution neither
    oscillates nor returns, and ends at a stationary point of V if it stays bounded. A system that does oscillate is
    outside of what this field can say. Backward in time V grows.

    Arguments:
        potential: V, a differentiable function of y of shape (dim,), such as `nj.fields.Network(dim, (), 32, 2, ...)`.
        mobility: M, shape (dim, dim), symmetric and positive definite; its factor L is trained. `None` is the identity.

    Raises:
        ValueError: for a mobility that is not square, symmetric and positive definite, or a state of another size.

    Reference: Hirsch, Smale & Devaney (2012), Differential Equations, Dynamical Systems, and an Introduction to Chaos,
    9.3.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> field = nj.fields.GradientFlowField(lambda y: jnp.sum(y**2) / 2, jnp.diag(jnp.array([1.0, 4.0])))
        >>> field(0.0, jnp.array([1.0, 1.0])).tolist()
        [-1.0, -4.0]
    """

    potential: Callable[[Float[Array, " dim"]], Float[Array, ""]]
    factor: Float[Array, "dim dim"] | None
    """L, lower triangular at first."""

    def __init__(self, potential: Callable[[Float[Array, " dim"]], Float[Array, ""]], mobility: Any = None) -> None:
        self.potential = potential
        self.factor = None if mobility is None else cholesky_of("GradientFlowField", "mobility", mobility)

    def __call__(self, t: Any, y: Float[Array, "*batch dim"], args: Any = None) -> Float[Array, "*batch dim"]:
        """The derivative at y; `t` and `args` are not used."""
        del t, args
        slope = over_batch(jax.grad(self.potential), self._as_state(y))
        return -slope if self.factor is None else -(slope @ self.factor) @ self.factor.T

    def energy(self, y: Float[Array, "*batch dim"], args: Any = None) -> Float[Array, "*batch"]:
        """V at each state."""
        del args
        return over_batch(self.potential, self._as_state(y))

    def _as_state(self, y: Any) -> Float[Array, "*batch dim"]:
        return as_vectors("GradientFlowField", y, None if self.factor is None else len(self.factor))
