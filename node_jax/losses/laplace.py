"""The marginal likelihood of one subject by Laplace's method: its random effects are integrated out."""

import abc
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from node_jax.errors import require

Curvature = Literal["expected", "exact"]
_FARTHEST = 10.0
"""How many tolerances the last step of Newton's method may go: beyond, its model does not hold."""


class AbstractConditional(eqx.Module):
    """p(y | η): what one subject's measurements are worth, given its random effects η. Its arrays are its leaves."""

    @abc.abstractmethod
    def predict(self, effects: Float[Array, " effect"]) -> Float[Array, " time"]:
        """f(η), what is measured without an error."""

    @abc.abstractmethod
    def misfit(self, prediction: Float[Array, " time"]) -> Float[Array, " time"]:
        """ρ = -log p(y | f) of each measurement; 0 where there is none."""

    @abc.abstractmethod
    def information(self, prediction: Float[Array, " time"]) -> Float[Array, " time"]:
        """ρ'' at each prediction, or its expectation; never negative, and 0 where nothing was measured."""


class Posterior(NamedTuple):
    """The normal approximation of p(η | y)."""

    mode: Float[Array, " effect"]
    """η̂, the most likely random effects."""
    precision: Float[Array, "effect effect"]
    """The inverse of their covariance, with the expected curvature."""
    num_iterations: Int[Array, ""]
    """Steps of the search for the mode."""
    has_converged: Bool[Array, ""]
    """Whether its last step was within the tolerance."""
    energy: Float[Array, ""]
    """l(η̂), the misfit of all measurements and ½ |η̂|²; infinite where every solve failed."""


class Marginal(NamedTuple):
    """What Laplace's method finds for one subject."""

    value: Float[Array, ""]
    """-log p(y)."""
    posterior: Posterior
    """No gradient flows through it."""


class _Local(NamedTuple):
    """What is known at one η."""

    energy: Float[Array, ""]
    slope: Float[Array, " effect"]
    precision: Float[Array, "effect effect"]


def laplace_marginal(
    conditional: AbstractConditional,
    dim: int,
    *,
    search: AbstractConditional | None = None,
    curvature: Curvature = "expected",
    max_iterations: int = 30,
    tolerance: float = 1e-4,
) -> Marginal:
    r"""-log p(y) for y | η ~ p(y | η) and η ~ N(0, I), by Laplace's method.

        l(η) = Σ ρ(f(η)) + ½ |η|²,        -log p(y) ≈ l(η̂) + ½ log det H(η̂),        η̂ = argmin l.

    H is the second derivative of l. With `curvature="expected"` it is I + Jᵀ ρ'' J with J = df/dη and the expected ρ'',
    which needs no second derivative of the model: the first-order conditional estimate with interaction (FOCEI) of the
    pharmacologists. The two agree, and both are exact, for a linear model with normal errors.

    The mode is found by Gauss-Newton steps with Levenberg and Marquardt's damping. The gradient is that of the value at
    the mode, which moves with the parameters: by the implicit function theorem dη̂ = -(∇²l)⁻¹ d(∇l), with the exact
    ∇²l whatever the curvature. It costs no derivative of the search.

    Arguments:
        conditional: p(y | η) of one subject; derivatives flow to its arrays, in reverse mode over forward mode.
        dim: number of random effects.
        search: the same, for forward-mode derivatives only, such as a solve by `nj.ForwardMode`; `None` is
            `conditional`.
        curvature: of the approximation.
        max_iterations: of the search.
        tolerance: largest change of an effect in the last step, in standard deviations of the population.

    Returns:
        A `Marginal`. Where a solve fails it is NaN. Map it over subjects with `jax.vmap`.

    Raises:
        UsageError: for a dim, a number of iterations or a tolerance that cannot be.

    Reference: Tierney & Kadane (1986), J. Am. Stat. Assoc. 81, 82-86; Wang (2007), Derivation of various NONMEM
    estimation methods, J. Pharmacokinet. Pharmacodyn. 34, 575-593, doi:10.1007/s10928-007-9060-6; the gradient:
    Almquist, Leander & Jirstrand (2015), J. Pharmacokinet. Pharmacodyn. 42, 191-209, doi:10.1007/s10928-015-9409-1.
    """
    _check_curvature("laplace_marginal", curvature)
    frozen = jax.tree.map(_stop, conditional if search is None else search)
    posterior = find_posterior(frozen, dim, max_iterations=max_iterations, tolerance=tolerance)

    def moving(effects: Array) -> tuple[tuple[Array, Array], Array]:
        local = _look(frozen, effects, curvature)
        return (local.slope, _half_log_determinant(local.precision)), local.slope

    (hessian, determinant_slope), slope = jax.jacfwd(moving, has_aux=True)(posterior.mode)
    is_good = jnp.all(jnp.isfinite(slope))
    # Where the search ended beside a minimum ∇²l may not be one of a minimum; the expected curvature always is.
    is_minimum = jnp.all(jnp.isfinite(jnp.linalg.cholesky(hessian)))
    hessian = jnp.where(is_minimum, hessian, posterior.precision)
    # A last step of Newton's method: the value is right to second order without it, the gradient to first order only.
    step = jnp.linalg.solve(hessian, slope)
    is_near = posterior.has_converged & (jnp.max(jnp.abs(step)) <= _FARTHEST * tolerance)
    mode = posterior.mode - jnp.where(is_near, step, 0.0)
    # How the determinant changes where the mode moves: -determinant_slope · (∇²l)⁻¹ d(∇l). The value is left alone.
    weights = jnp.where(is_good, jnp.linalg.solve(hessian, determinant_slope), 0.0)
    local = _look(conditional, mode, curvature, is_safe=True)
    drift = jnp.dot(weights, local.slope)
    value = local.energy + _half_log_determinant(local.precision) - (drift - lax.stop_gradient(drift))
    return Marginal(jnp.where(is_good, value, jnp.nan), posterior)


def laplace_value(
    conditional: AbstractConditional,
    dim: int,
    *,
    curvature: Curvature = "expected",
    max_iterations: int = 30,
    tolerance: float = 1e-4,
) -> Marginal:
    r"""-log p(y) for y | η ~ p(y | η) and η ~ N(0, I), by Laplace's method, where no gradient is wanted.

        -log p(y) ≈ l(η̂) + ½ log det H(η̂),        with l and H of `laplace_marginal`, in a fraction of its program.

    η̂ is where the search ended: within the tolerance of the mode, at which l is flat, but the determinant not.

    Arguments:
        conditional: p(y | η) of one subject, for forward-mode derivatives.
        dim: number of random effects.
        curvature: of the approximation.
        max_iterations: of the search.
        tolerance: largest change of an effect in the last step, in standard deviations of the population.

    Returns:
        A `Marginal`, not to be differentiated. Where a solve fails it is NaN. Map it over subjects with `jax.vmap`.

    Raises:
        UsageError: for a dim, a number of iterations or a tolerance that cannot be.

    Reference: Tierney & Kadane (1986), J. Am. Stat. Assoc. 81, 82-86.
    """
    _check_curvature("laplace_value", curvature)
    posterior = find_posterior(conditional, dim, max_iterations=max_iterations, tolerance=tolerance)
    precision = posterior.precision
    if curvature == "exact":
        precision = _look(conditional, posterior.mode, curvature).precision
    value = posterior.energy + _half_log_determinant(precision)
    return Marginal(jnp.where(jnp.isfinite(value), value, jnp.nan), posterior)


def _check_curvature(where: str, curvature: str) -> None:
    require(curvature in ("expected", "exact"), where, "'expected' or 'exact'", curvature, "See there.")


def _stop(leaf: Any) -> Any:
    return lax.stop_gradient(leaf) if eqx.is_inexact_array(leaf) else leaf


def _look(conditional: AbstractConditional, effects: Array, curvature: Curvature, *, is_safe: bool = False) -> _Local:
    """l, ∇l and H at one η; if it is safe, with 1 for a prediction that failed, whose NaN would spoil the gradient of
    all others, masked or not.
    """

    def slope_of(effects: Array) -> tuple[Array, tuple[Array, Array, Array]]:
        def predict(effects: Array) -> tuple[Array, Array]:
            prediction = conditional.predict(effects)
            if is_safe:
                prediction = jnp.where(jnp.isfinite(prediction), prediction, 1.0)
            return prediction, prediction

        jacobian, prediction = jax.jacfwd(predict, has_aux=True)(effects)
        misfit = conditional.misfit(prediction)
        pull = jax.grad(lambda f: jnp.sum(conditional.misfit(f)))(prediction)
        return effects + pull @ jacobian, (jnp.sum(misfit) + 0.5 * jnp.sum(effects**2), prediction, jacobian)

    if curvature == "exact":
        precision, (slope, energy) = jax.jacfwd(lambda e: _with_slope(slope_of(e)), has_aux=True)(effects)
        return _Local(energy, slope, precision)
    slope, (energy, prediction, jacobian) = slope_of(effects)
    weighted = conditional.information(prediction)[:, None] * jacobian
    return _Local(energy, slope, jnp.eye(effects.shape[0], dtype=effects.dtype) + jacobian.T @ weighted)


def _with_slope(found: tuple[Array, tuple[Array, Array, Array]]) -> tuple[Array, tuple[Array, Array]]:
    slope, (energy, _, _) = found
    return slope, (slope, energy)


def _half_log_determinant(precision: Float[Array, "effect effect"]) -> Float[Array, ""]:
    """NaN for a matrix that is not positive definite."""
    return jnp.sum(jnp.log(jnp.diagonal(jnp.linalg.cholesky(precision))))


class _Search(NamedTuple):
    mode: Float[Array, " effect"]
    local: _Local
    damping: Float[Array, ""]
    step: Float[Array, ""]
    """Size of the last step; infinite before the first, and where damping made it small."""
    num: Int[Array, ""]


def find_posterior(
    conditional: AbstractConditional, dim: int, *, max_iterations: int = 30, tolerance: float = 1e-4
) -> Posterior:
    """The most likely random effects and their precision, by Gauss-Newton steps with Levenberg-Marquardt damping.

    Arguments:
        conditional: p(y | η) of one subject, for forward-mode derivatives.
        dim: number of random effects.
        max_iterations: steps at most.
        tolerance: largest change of an effect in the last step, in standard deviations of the population.

    Returns:
        A `Posterior`. The search is not to be differentiated.

    Raises:
        UsageError: for a dim, a number of iterations or a tolerance that cannot be.
    """
    where = "find_posterior"
    require(dim >= 1, where, "at least 1 random effect", dim, "Without any there is nothing to find.")
    require(max_iterations >= 1, where, "at least 1 iteration", max_iterations, "30 is usual.")
    require(tolerance > 0, where, "a tolerance > 0", tolerance, "1e-4 is usual.")

    def is_going_on(state: _Search) -> Bool[Array, ""]:
        return (state.num <= max_iterations) & (state.step > tolerance)

    def iterate(state: _Search) -> _Search:
        local = state.local
        damped = local.precision + state.damping * jnp.diag(jnp.diagonal(local.precision))
        step = -jnp.linalg.solve(damped, local.slope)
        trial = state.mode + step
        found = _look(conditional, trial, "expected")
        # Rounding may hide the gain of a last small step.
        slack = 8 * jnp.finfo(step.dtype).eps * jnp.abs(jnp.where(state.num > 0, local.energy, 0.0))
        is_better = jnp.isfinite(found.energy) & (found.energy <= local.energy + slack)
        mode, local = jax.tree.map(lambda new, old: jnp.where(is_better, new, old), (trial, found), (state.mode, local))
        damping = jnp.where(is_better, 0.1 * state.damping, jnp.maximum(10 * state.damping, 1e-2))
        # A small step tells that the mode is near, unless it is the damping that makes it small, or the first look.
        is_telling = (state.damping <= 1) & (state.num > 0) & jnp.isfinite(local.energy)
        size = jnp.where(is_telling, jnp.max(jnp.abs(step)), infinite)
        return _Search(mode, local, jnp.clip(damping, 1e-9, 1e9), size, state.num + 1)

    zero, identity = jnp.zeros(dim), jnp.eye(dim)
    infinite = jnp.asarray(jnp.inf, zero.dtype)
    # Where nothing is known the first step has no length: one program looks at the start and at all that follows.
    start = _Search(zero, _Local(infinite, zero, identity), jnp.asarray(1e-2, zero.dtype), infinite, jnp.asarray(0))
    last = lax.while_loop(is_going_on, iterate, start)
    return Posterior(last.mode, last.local.precision, last.num - 1, last.step <= tolerance, last.local.energy)
