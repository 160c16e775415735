"""System identification: physical parameters with intervals, by the Fisher information of a fit."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from scipy.special import ndtri, stdtrit

from node_jax.errors import UsageError
from node_jax.fields import AbstractParametricField, HybridField

Derivative = Literal["auto", "forward", "reverse"]

_NULL_SHARE = 1e-3
"""A parameter that moves by this share along directions that the data do not see is not identified."""
_SETTLED = 0.1
"""Standard errors that a further step may move an estimate at the optimum."""


@dataclass(frozen=True, eq=False)
class Identification:
    """Estimates of named parameters and how well the data determine them.

    Arguments:
        names: of the parameters.
        estimates: shape (parameter,).
        covariance: shape (parameter, parameter); infinite variances for what the data do not determine.
        noise: standard deviation of the residuals, given or estimated.
        degrees_of_freedom: residuals less what the fit used up; infinite where the noise was given.
        spectrum: shape (parameter,), eigenvalues of the Fisher information of relative changes of the parameters, the
            largest first: along its direction a combination is known to 1/√eigenvalue, as a share. 0 is not known.
        directions: shape (parameter, parameter), a row for each eigenvalue: relative changes of the parameters.
        remaining: shape (parameter,), the Gauss-Newton step that remains at the estimates, in standard errors.
        parameters: the pytree of parameters at which all this was taken.
    """

    names: tuple[str, ...]
    estimates: np.ndarray
    covariance: np.ndarray
    noise: float
    degrees_of_freedom: float
    spectrum: np.ndarray
    directions: np.ndarray
    remaining: np.ndarray
    parameters: Any

    @property
    def standard_errors(self) -> np.ndarray:
        """Shape (parameter,)."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def correlation(self) -> np.ndarray:
        """Shape (parameter, parameter); NaN for what the data do not determine."""
        errors = self.standard_errors
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.covariance / errors[:, None] / errors

    @property
    def has_converged(self) -> bool:
        """Whether the estimates lie at the optimum, to a tenth of a standard error."""
        return bool((np.abs(self.remaining[np.isfinite(self.remaining)]) <= _SETTLED).all())

    def intervals(self, level: float = 0.9) -> np.ndarray:
        """Confidence intervals, shape (parameter, 2): Student's t where the noise was estimated, else normal.

        Arguments:
            level: the share of repetitions in which an interval holds the true value, in (0, 1).
        """
        if not 0 < level < 1:
            raise UsageError(f"Identification.intervals: expected a level in (0, 1), got {level!r}. 0.9 is usual.")
        freedom = self.degrees_of_freedom
        quantile = ndtri((1 + level) / 2) if np.isinf(freedom) else stdtrit(freedom, (1 + level) / 2)
        half = quantile * self.standard_errors
        return np.stack([self.estimates - half, self.estimates + half], axis=1)

    def to_markdown(self, level: float = 0.9) -> str:
        """A table: estimate, standard error and interval of each parameter."""
        lines = [f"| parameter | estimate | standard error | {100 * level:g} % interval |", "|---|---|---|---|"]
        rows = zip(self.names, self.estimates, self.standard_errors, self.intervals(level), strict=True)
        for name, estimate, error, (low, high) in rows:
            known = f"{low:.4g} to {high:.4g}" if np.isfinite(error) else "not determined"
            lines.append(f"| {name} | {estimate:.4g} | {error:.2g} | {known} |")
        return "\n".join(lines)


def identify(
    residuals: Callable[[Any], Any],
    parameters: Any,
    *,
    named: Callable[[Any], dict[str, Array]] | None = None,
    penalty: Callable[[Any], Any] | None = None,
    noise: float | None = None,
    refine: bool = True,
    derivative: Derivative = "auto",
) -> Identification:
    r"""Physical parameters with a covariance, from the residuals of a fit.

    With the Jacobian J = ∂r/∂θ of the residuals at the least squares estimate, noise that is independent, normal and of
    standard deviation σ, and g(θ) the named parameters,

        Fisher information  F = JᵀJ / σ²,        Cov g = G F⁻¹ Gᵀ,  G = ∂g/∂θ,        σ² = ‖r‖² / (n - n_fit).

    Everything in `parameters` is free: what of it has no name (initial states, the weights of a network) is profiled
    out, and makes the intervals as wide as it must. What is to be held fixed is captured by `residuals` instead: then
    the intervals hold on the condition that it is right. A network that is free can take over the part of the
    mechanism, which then is not determined by the data, but only by what prefers one division to another: `penalty`,
    rows beside the residuals such as √w times the network's output (Yin et al. 2021).

    The covariance is that of a linear model around the estimate: right for small noise, wrong for a model that does not
    fit, whose residuals are neither small nor independent. Look at the residuals, and hold a bootstrap against it.

    Arguments:
        residuals: `residuals(parameters)` gives model minus data, any pytree of arrays, in units in which all have the
            same noise. What was not measured is left out: a zero would count as a perfect measurement. Jax compiles
            once for a function; a `jax.tree_util.Partial` of it takes other data without compiling anew.
        parameters: a pytree; its floating-point arrays are free.
        named: `named(parameters)` gives the scalars of interest by name, in physical units. `None` takes
            `named_parameters()` of an `AbstractParametricField`, or of the mechanism of a `HybridField`, and of any
            other pytree all elements by their paths.
        penalty: more rows to be made small, in units of the noise as the residuals; not counted as data.
        noise: σ where it is known; `None` estimates it, for intervals by Student's t.
        refine: whether `parameters` are a start, from which the Levenberg-Marquardt method goes to the least squares
            estimate; otherwise they are taken for it.
        derivative: "forward" has a Jacobian by columns and needs `nj.ForwardMode()` or `nj.DirectAdjoint()` in the
            solve; "reverse" by rows, under any other adjoint. "auto" takes forward where there are fewer free
            parameters than rows and the solve allows it. Float64 wants `jax.enable_x64`.

    Returns:
        An `Identification`.

    Raises:
        UsageError: for residuals that are not finite at the estimate, or without a free parameter.

    Warns:
        UserWarning: for parameters that the data do not determine, and for estimates that are not at the optimum.

    Reference: Seber & Wild (1989), Nonlinear Regression, doi:10.1002/0471725315; sloppiness: Gutenkunst et al. (2007),
    doi:10.1371/journal.pcbi.0030189; Levenberg-Marquardt by optimistix.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> ts, y0 = jnp.linspace(0.0, 2.0, 9), jnp.ones(1)
        >>> def solve(rate):
        ...     return nj.odeint(lambda t, y, rate: -rate * y, y0, ts, rate, adjoint=nj.ForwardMode()).ys[:, 0]
        >>> data = jnp.exp(-0.7 * ts) + 0.01 * jnp.cos(9 * ts)
        >>> found = nj.analysis.identify(lambda p: solve(p["rate"]) - data, {"rate": jnp.array(1.0)})
        >>> low, high = found.intervals(0.9)[0]
        >>> bool(low < 0.7 < high < low + 0.05)
        True
    """
    arrays, rest = eqx.partition(parameters, eqx.is_inexact_array)
    start, unravel = ravel_pytree(arrays)
    if start.size == 0:
        raise UsageError(
            f"identify: expected floating-point arrays among the parameters, got {parameters!r}. Write jnp.array(1.0)."
        )
    names_of = named or _named_by_default

    join = eqx.Partial(_combine, unravel, rest)
    rows = _Rows(residuals, penalty, join)
    is_forward = _is_forward(rows, start, derivative)
    theta = _refine(rows, start, is_forward) if refine else start
    values, jacobian = (np.asarray(x, float) for x in _linearize(rows, theta, is_forward))
    num_data = len(values) - _count(penalty, parameters)
    if not (np.isfinite(values).all() and np.isfinite(jacobian).all()):
        where = "after the refinement" if refine else "at the parameters"
        raise UsageError(
            f"identify: expected finite residuals and derivatives {where}, got {(~np.isfinite(values)).sum()} of "
            f"{len(values)} that are not. Leave out what was not measured, and look at the status of the solve."
        )
    scalars = names_of(join(theta))
    gradient = _gradient(names_of, join, theta)
    linear = _Linear(values, jacobian, num_data, np.finfo(start.dtype).eps)
    estimates = np.asarray([*scalars.values()], float)
    found = _infer(linear, tuple(scalars), estimates, np.asarray(gradient, float), noise, join(theta))
    _warn(found)
    return found


def named_parameters_of(field: Any) -> dict[str, Array] | None:
    """`named_parameters()` of a field, or of the mechanism of a `HybridField`; `None` where there are none."""
    part = field.mechanism if isinstance(field, HybridField) else field
    return part.named_parameters() if isinstance(part, AbstractParametricField) else None


def _named_by_default(parameters: Any) -> dict[str, Array]:
    found = named_parameters_of(parameters)
    if found is not None:
        return found
    named = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(eqx.filter(parameters, eqx.is_inexact_array)):
        where = jax.tree_util.keystr(path, simple=True, separator=".") or "parameter"
        if leaf.ndim == 0:
            named[where] = leaf
        else:
            named |= {f"{where}{list(index)}": leaf[index] for index in np.ndindex(*leaf.shape)}
    return named


def _combine(unravel: Callable[[Array], Any], rest: Any, theta: Array) -> Any:
    return eqx.combine(unravel(theta), rest)


class _Rows(eqx.Module):
    """Residuals and penalty as one vector of the flat parameters."""

    residuals: Callable[[Any], Any]
    penalty: Callable[[Any], Any] | None
    join: Callable[[Array], Any]

    def __call__(self, theta: Float[Array, " free"]) -> Float[Array, " row"]:
        parameters = self.join(theta)
        parts = [ravel_pytree(self.residuals(parameters))[0]]
        if self.penalty is not None:
            parts.append(ravel_pytree(self.penalty(parameters))[0])
        return jnp.concatenate(parts)


def _count(penalty: Callable[[Any], Any] | None, parameters: Any) -> int:
    if penalty is None:
        return 0
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter_eval_shape(penalty, parameters)))


def _is_forward(rows: _Rows, theta: Array, derivative: Derivative) -> bool:
    if derivative not in ("auto", "forward", "reverse"):
        raise UsageError(f"identify: expected derivative to be auto, forward or reverse, got {derivative!r}.")
    if derivative != "auto":
        return derivative == "forward"
    if theta.size > jax.eval_shape(rows, theta).size:
        return False
    try:
        jax.eval_shape(jax.jacfwd(rows), theta)
    except TypeError:
        return False
    return True


@eqx.filter_jit
def _refine(rows: _Rows, start: Array, is_forward: bool) -> Array:
    """The least squares estimate, or how far the method came."""
    tolerance = float(np.sqrt(np.finfo(start.dtype).eps))
    solver = optimistix.LevenbergMarquardt(rtol=tolerance, atol=tolerance)
    options = {"jac": "fwd" if is_forward else "bwd"}
    solution = optimistix.least_squares(
        lambda theta, rows: rows(theta), solver, start, rows, options=options, max_steps=200, throw=False
    )
    return solution.value


@eqx.filter_jit
def _linearize(rows: _Rows, theta: Array, is_forward: bool) -> tuple[Array, Array]:
    jacobian = jax.jacfwd if is_forward else jax.jacrev
    return rows(theta), jacobian(rows)(theta)


@eqx.filter_jit
def _gradient(named: Callable[[Any], dict[str, Array]], join: Callable[[Array], Any], theta: Array) -> Array:
    """Of the named parameters, a row each."""
    return jax.jacobian(lambda theta: jnp.stack([*map(jnp.asarray, named(join(theta)).values())]))(theta)


@dataclass(frozen=True, eq=False)
class _Linear:
    """The model around an estimate: r + J δ, the first `num_data` rows of which are data."""

    values: np.ndarray
    jacobian: np.ndarray
    num_data: int
    eps: float


def _infer(
    linear: _Linear,
    names: tuple[str, ...],
    estimates: np.ndarray,
    gradient: np.ndarray,
    noise: float | None,
    parameters: Any,
) -> Identification:
    """The covariance of named parameters by a singular value decomposition of the Jacobian with columns of length 1, so
    that what counts as undetermined does not depend on units."""
    lengths = np.linalg.norm(linear.jacobian, axis=0)
    scales = 1 / np.where(lengths > 0, lengths, 1.0)
    left, singular, right = np.linalg.svd(linear.jacobian * scales, full_matrices=False)
    # More free parameters than rows: what the rows do not see spans the rest.
    is_seen = singular > max(linear.jacobian.shape) * linear.eps * max(singular[0], np.finfo(float).tiny)
    left, singular, right = left[:, is_seen], singular[is_seen], right[is_seen]
    freedom = linear.num_data - float(np.sum(left[: linear.num_data] ** 2))
    if noise is None and not freedom > 0.5:
        raise UsageError(
            f"identify: expected more data than what the fit uses up, got {linear.num_data} data for "
            f"{linear.jacobian.shape[1]} free parameters. Give noise=, add a penalty, or leave fewer parameters free."
        )
    sigma = float(np.sqrt(np.sum(linear.values[: linear.num_data] ** 2) / freedom)) if noise is None else float(noise)
    scaled = gradient * scales
    along = scaled @ right.T
    unseen = scaled - along @ right
    is_free = np.linalg.norm(unseen, axis=1) > _NULL_SHARE * np.linalg.norm(scaled, axis=1)
    factor = along / singular
    covariance = sigma**2 * factor @ factor.T
    errors = np.sqrt(np.diag(covariance))
    step = -factor @ (left.T @ linear.values)
    with np.errstate(invalid="ignore", divide="ignore"):
        remaining = np.where(step == 0, 0.0, step / errors)
    covariance[is_free] = covariance[:, is_free] = np.nan
    covariance[is_free, is_free] = np.inf
    remaining[is_free] = np.nan
    spectrum, directions = _spectrum(sigma * factor, unseen * is_free[:, None], estimates)
    known = freedom if noise is None else np.inf
    return Identification(names, estimates, covariance, sigma, known, spectrum, directions, remaining, parameters)


def _spectrum(factor: np.ndarray, unseen: np.ndarray, estimates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and directions of the information of relative changes; along what is not seen the uncertainty is
    beyond all others."""
    units = 1 / np.where(estimates == 0, 1.0, np.abs(estimates))[:, None]
    known, unknown = units * factor, units * unseen
    size = float(np.abs(unknown).max(initial=0.0))
    if size > 0:
        unknown = unknown * (1e8 * max(float(np.abs(known).max()), 1.0) / size)
    directions, errors, _ = np.linalg.svd(np.concatenate([known, unknown], axis=1), full_matrices=False)
    largest = 1e3 * max(float(np.linalg.norm(known)), np.finfo(float).tiny)
    with np.errstate(divide="ignore"):
        information = np.where(errors > largest, 0.0, 1 / errors**2)
    order = np.argsort(-information, kind="stable")
    return information[order], directions.T[order]


def _warn(found: Identification) -> None:
    unknown = [
        name for name, variance in zip(found.names, np.diag(found.covariance), strict=True) if np.isinf(variance)
    ]
    if unknown:
        warnings.warn(
            f"identify: the data do not determine {', '.join(unknown)}: other parameters can make up for a change. Fix "
            "some of them, measure something else, or add a penalty.",
            stacklevel=3,
        )
    if not found.has_converged:
        worst = int(np.nanargmax(np.abs(found.remaining)))
        warnings.warn(
            f"identify: the estimates are not at the optimum: a further step moves {found.names[worst]} by "
            f"{found.remaining[worst]:.2g} standard errors. Train longer, write refine=True, or use float64.",
            stacklevel=3,
        )
