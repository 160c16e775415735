"""Fields that go downhill."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from node_jax.fields.base import AbstractEnergyField
from node_jax.fields.network import over_batch


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

    def _as_state(self, y: Any) -> Array:
        y = jnp.asarray(y)
        dim = y.shape[-1:] if self.factor is None else self.factor.shape[:1]
        if y.ndim < 1 or y.shape[-1:] != dim:
            raise ValueError(
                f"GradientFlowField: expected a state whose last axis has {'dim' if not dim else dim[0]} entries, got "
                f"shape {y.shape}. Batch axes come first: (batch, dim)."
            )
        return y


def cholesky_of(owner: str, name: str, matrix: Any) -> Float[Array, "dim dim"]:
    """The lower triangular L with L Lᵀ = matrix.

    Arguments:
        owner, name: for the error.
        matrix: symmetric and positive definite; checked where it is known.

    Raises:
        ValueError: if it is not.
    """
    array = jnp.asarray(matrix, jnp.result_type(float))
    is_square = array.ndim == 2 and array.shape[0] == array.shape[1]
    if is_square and isinstance(array, Tracer):
        return jnp.linalg.cholesky(array)
    known = np.asarray(array, np.float64)
    is_fine = is_square and np.isfinite(known).all() and np.allclose(known, known.T, rtol=1e-5, atol=1e-8)
    if not is_fine or not (np.linalg.eigvalsh(known) > 0).all():
        least = f" with the least eigenvalue {np.linalg.eigvalsh(known)[0]:.3g}" if is_fine else ""
        raise ValueError(
            f"{owner}: expected {name} to be a symmetric positive definite matrix, got one of shape {array.shape}"
            f"{least}. A @ A.T + 1e-3 * I is one for any A."
        )
    return jnp.asarray(np.linalg.cholesky(known), array.dtype)
