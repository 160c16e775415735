"""How states, perturbations and gradients grow along a solve."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from node_jax.integrate import Integrator
from node_jax.status import Status
from node_jax.types import Args, State, VectorField

LARGEST_EXACT = 256
"""Entries of a state up to which its Jacobian is written out."""
_NUM_ITERATIONS = 100


class Growth(eqx.Module):
    """What `measure_growth` found at each time."""

    ts: Float[Array, " time"]
    """The times."""
    state_norm: Float[Array, " time"]
    """norm(y(t)), in units of the state."""
    jacobian_norm: Float[Array, " time"]
    """The largest singular value of ∂f/∂y at y(t), in 1/time."""
    log_norm: Float[Array, " time"]
    """The largest eigenvalue of the symmetric part of ∂f/∂y at y(t), in 1/time: a perturbation grows at most at this
    rate, and it bounds the real part of every eigenvalue of ∂f/∂y."""
    gradient_norm: Float[Array, " time"] | None
    """norm(∂L/∂y(t)), in units of the loss over those of the state; `None` without a loss."""
    status: Int[Array, ""]
    """An `nj.Status`: that of the first part of the solve that failed, or success. Rows beyond it are NaN, and all
    gradients."""

    def scalars(self) -> dict[str, Float[Array, ""]]:
        """The extremes as scalars, for a log: `max_state_norm`, `max_jacobian_norm`, `max_log_norm` and, with a loss,
        `gradient_ratio`, the gradient's norm at the start over that at the end."""
        found = {
            "max_state_norm": jnp.max(self.state_norm),
            "max_jacobian_norm": jnp.max(self.jacobian_norm),
            "max_log_norm": jnp.max(self.log_norm),
        }
        if self.gradient_norm is not None:
            found["gradient_ratio"] = self.gradient_norm[0] / self.gradient_norm[-1]
        return found


def measure_growth(
    field: VectorField,
    y0: State,
    ts: Any,
    args: Args = None,
    *,
    loss: Callable[[State], Array] | None = None,
    integrator: Integrator | None = None,
) -> Growth:
    r"""State, Jacobian and gradient norms along one solve.

    With J = ∂f/∂y at y(t) and μ(t) the largest eigenvalue of (J + Jᵀ) / 2, a small perturbation δ of the state and the
    gradient a(t) = ∂L/∂y(t) of a loss of the final state obey

        norm(δ(t)) <= exp(∫ μ) norm(δ(s)),        norm(a(s)) <= exp(∫ μ) norm(a(t)),        s < t, ∫ from s to t.

    The gradient is that of a perturbation which is added to the state at each time, through the steps that were taken:
    exact for the numbers of the solve, under an adjoint that is. Each interval of `ts` is solved by itself.

    Arguments:
        field, y0, ts, args: as in `nj.odeint`, for one trajectory; `jax.vmap` measures many. Axes of `y0` that are
            batch axes make one large state, whose norms are over all samples.
        loss: a scalar function of y(ts[-1]), or `None`.
        integrator: how the field is solved; the defaults of `nj.odeint` if `None`.

    Returns:
        A `Growth`. Up to 256 entries of the state, the Jacobian is written out at each time, and its norms are exact;
        beyond, 100 iterations of the power method give values that are not above them, without a matrix. Wrap the
        call in `eqx.filter_jit` where it is made often.

    Raises:
        ValueError: for a loss that is not a scalar, for less than two times, and as `nj.odeint`.

    Reference: logarithmic norm: Söderlind (2006), doi:10.1007/s10543-006-0069-9; growth in recurrent networks:
    Pascanu et al. (2013), arXiv:1211.5063.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> decay = lambda t, y, args: -2.0 * y
        >>> growth = nj.analysis.measure_growth(decay, jnp.ones(3), [0.0, 0.5, 1.0], loss=jnp.sum)
        >>> {name: round(float(value), 2) for name, value in growth.scalars().items()}
        {'max_state_norm': 1.73, 'max_jacobian_norm': 2.0, 'max_log_norm': -2.0, 'gradient_ratio': 0.14}
    """
    solve = Integrator() if integrator is None else integrator
    times = jnp.asarray(ts, jnp.result_type(float))
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(f"measure_growth: expected ts of shape (time,) with two times or more, got {times.shape}.")
    start = jax.tree.map(jnp.asarray, y0)

    def run(nudges: State) -> tuple[Array, tuple[State, Array]]:
        def advance(y: State, inputs: Any) -> tuple[State, tuple[State, Array]]:
            interval, nudge = inputs
            sol = solve(field, y, interval, args)
            y = jax.tree.map(lambda leaf, add: leaf[-1] + add, sol.ys, nudge)
            return y, (y, sol.status)

        first = jax.tree.map(lambda leaf, add: leaf + add[0], start, nudges)
        intervals = jnp.stack([times[:-1], times[1:]], axis=1)
        last, (ys, statuses) = lax.scan(advance, first, (intervals, jax.tree.map(lambda leaf: leaf[1:], nudges)))
        ys = jax.tree.map(lambda leaf, rows: jnp.concatenate([leaf[None], rows]), first, ys)
        value = jnp.zeros(()) if loss is None else jnp.asarray(loss(last))
        if value.shape != ():
            raise ValueError(f"measure_growth: expected a loss that is a scalar, got shape {value.shape}.")
        return value, (ys, statuses)

    nudges = jax.tree.map(lambda leaf: jnp.zeros((len(times), *leaf.shape), leaf.dtype), start)
    if loss is None:
        gradient_norm, (_, (ys, statuses)) = None, run(nudges)
    else:
        gradients, (ys, statuses) = jax.grad(run, has_aux=True)(nudges)
        gradient_norm = jax.vmap(_norm)(gradients)
    jacobian_norm, log_norm = lax.map(lambda at: _jacobian_norms(field, at[0], at[1], args), (times, ys))
    is_failed = statuses != Status.success
    status = jnp.where(jnp.any(is_failed), statuses[jnp.argmax(is_failed)], Status.success)
    return Growth(times, jax.vmap(_norm)(ys), jacobian_norm, log_norm, gradient_norm, status)


def _norm(tree: State) -> Float[Array, ""]:
    return jnp.linalg.norm(ravel_pytree(tree)[0])


def _jacobian_norms(field: VectorField, t: Any, y: State, args: Args) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The spectral norm of ∂f/∂y and the largest eigenvalue of its symmetric part."""
    flat, unravel = ravel_pytree(y)

    def derivative(flat: Array) -> Array:
        return ravel_pytree(field(t, unravel(flat), args))[0]

    if flat.size <= LARGEST_EXACT:
        matrix = jax.jacfwd(derivative)(flat)
        # A decomposition of what is not finite need not end in NaN.
        is_finite = jnp.all(jnp.isfinite(matrix))
        matrix = jnp.where(is_finite, matrix, 0)
        norms = jnp.linalg.norm(matrix, 2), jnp.linalg.eigvalsh((matrix + matrix.T) / 2)[-1]
        return jax.tree.map(lambda norm: jnp.where(is_finite, norm, jnp.nan), norms)
    _, push = jax.linearize(derivative, flat)
    _, pull = jax.vjp(derivative, flat)
    norm = jnp.sqrt(_power_method(lambda x: pull(push(x))[0], flat))
    # Eigenvalues of the symmetric part lie in [-norm, norm]: with this shift the largest is the largest in size.
    shifted = _power_method(lambda x: (push(x) + pull(x)[0]) / 2 + norm * x, flat)
    return norm, shifted - norm


def _power_method(multiply: Callable[[Array], Array], like: Array) -> Float[Array, ""]:
    """The largest eigenvalue of a symmetric positive semidefinite map, from below."""

    def improve(x: Array, _: None) -> tuple[Array, None]:
        x = multiply(x)
        return x / jnp.maximum(jnp.linalg.norm(x), jnp.finfo(x.dtype).tiny), None

    x = jax.random.normal(jax.random.key(0), like.shape, like.dtype)
    x, _ = lax.scan(improve, x / jnp.linalg.norm(x), None, length=_NUM_ITERATIONS)
    return jnp.vdot(x, multiply(x))
