"""A population of subjects: what they share, how they differ, and what one subject's measurements say of it."""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from node_jax.adjoints import DirectAdjoint, ForwardMode
from node_jax.data import Subjects
from node_jax.errors import UsageError, require
from node_jax.fields import Regimen
from node_jax.integrate import Integrator
from node_jax.interpolate import ZeroOrderHold
from node_jax.losses import AbstractConditional, ResidualError
from node_jax.models import AbstractIndividual


class PopulationModel(eqx.Module):
    r"""The parameters of subject i, with covariates x_i and random effects η_i ~ N(0, I):

        φ_i = β + C x_i + S L η_i,

    S putting the random effects to the parameters that have one, L Lᵀ = Ω their covariance.

    Arguments:
        individual: the measurements of one subject as a function of φ.
        noise: how they scatter.
        start: initial β, by the name of the parameter.
        random: names of the parameters that differ between subjects beyond what covariates tell.
        random_scale: initial standard deviation of these differences, > 0.
        is_correlated: whether L is a full triangle; otherwise it is diagonal.
        covariate_names: of x.
        covariate_effects: pairs (parameter, covariate) whose coefficient in C is trained, from 0.

    Raises:
        UsageError: for names that `individual` or the covariates do not have.
    """

    individual: AbstractIndividual
    noise: ResidualError
    fixed_effects: Float[Array, " parameter"]
    coefficients: Float[Array, "parameter covariate"] | None
    """C; `None` without covariates. Only the `free_coefficients` count."""
    log_scales: Float[Array, " effect"]
    correlations: Float[Array, " pair"] | None
    """The triangle below the diagonal of L, in units of the scale of its row; `None` if there is none."""
    free_coefficients: tuple[tuple[int, int], ...] = eqx.field(static=True)
    random: tuple[str, ...] = eqx.field(static=True)
    covariate_names: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self,
        individual: AbstractIndividual,
        noise: ResidualError,
        start: dict[str, float],
        random: tuple[str, ...],
        *,
        random_scale: float = 0.3,
        is_correlated: bool = False,
        covariate_names: tuple[str, ...] = (),
        covariate_effects: tuple[tuple[str, str], ...] = (),
    ) -> None:
        names = individual.names
        if set(start) != set(names):
            raise UsageError(f"PopulationModel: expected a start for each of {names}, got {tuple(start)}.")
        if not random or not set(random) <= set(names) or len(set(random)) < len(random):
            raise UsageError(f"PopulationModel: expected random effects on some of {names}, each once, got {random}.")
        require(random_scale > 0, "PopulationModel", "a random_scale > 0", random_scale, "0.3 is a start.")
        is_free = np.zeros((len(names), len(covariate_names)), bool)
        for parameter, covariate in covariate_effects:
            if parameter not in names or covariate not in covariate_names:
                raise UsageError(
                    f"PopulationModel: expected pairs of a parameter of {names} and a covariate of {covariate_names}, "
                    f"got {(parameter, covariate)}."
                )
            is_free[names.index(parameter), covariate_names.index(covariate)] = True
        num = len(random)
        self.individual, self.noise = individual, noise
        self.fixed_effects = jnp.asarray([start[name] for name in names], float)
        self.coefficients = jnp.zeros(is_free.shape) if is_free.size else None
        self.log_scales = jnp.full(num, np.log(random_scale), float)
        self.correlations = jnp.zeros(num * (num - 1) // 2) if is_correlated and num > 1 else None
        self.free_coefficients = tuple((int(i), int(j)) for i, j in np.argwhere(is_free))
        self.random, self.covariate_names = tuple(random), tuple(covariate_names)

    @property
    def cholesky(self) -> Float[Array, "effect effect"]:
        """L."""
        num = len(self.random)
        triangle = jnp.eye(num)
        if self.correlations is not None:
            triangle = triangle.at[jnp.tril_indices(num, -1)].set(self.correlations)
        return jnp.exp(self.log_scales)[:, None] * triangle

    def covariance(self) -> Float[Array, "effect effect"]:
        """Ω of the parameters in `random`."""
        return self.cholesky @ self.cholesky.T

    def parameters(
        self, effects: Float[Array, " effect"], covariates: Float[Array, " covariate"]
    ) -> Float[Array, " parameter"]:
        """φ of one subject."""
        places = jnp.array([self.individual.names.index(name) for name in self.random])
        typical = self.fixed_effects
        if self.coefficients is not None:
            is_free = np.zeros(self.coefficients.shape, bool)
            is_free[tuple(np.array(self.free_coefficients, int).reshape(-1, 2).T)] = True
            typical = typical + jnp.where(is_free, self.coefficients, 0.0) @ covariates
        return typical.at[places].add(self.cholesky @ effects)

    def named(self) -> dict[str, Array]:
        """β, C, the standard deviations and correlations of Ω, and those of the noise, by name."""
        found = dict(zip(self.individual.names, self.fixed_effects, strict=True))
        if self.coefficients is not None:
            for i, j in self.free_coefficients:
                found[f"{self.individual.names[i]}:{self.covariate_names[j]}"] = self.coefficients[i, j]
        covariance = self.covariance()
        scales = jnp.sqrt(jnp.diagonal(covariance))
        for i, name in enumerate(self.random):
            found[f"sd {name}"] = scales[i]
            for j in range(0 if self.correlations is None else i):
                found[f"corr {self.random[j]} {name}"] = covariance[i, j] / (scales[i] * scales[j])
        if self.noise.log_additive is not None:
            found["sd additive"] = jnp.exp(self.noise.log_additive)
        if self.noise.log_proportional is not None:
            found["sd proportional"] = jnp.exp(self.noise.log_proportional)
        return found


class Records(eqx.Module):
    """Measurements of subjects as arrays, each with an axis of subjects before those named here."""

    times: Float[Array, " time"]
    values: Float[Array, " time"]
    """0 where nothing was measured."""
    mask: Bool[Array, " time"]
    is_censored: Bool[Array, " time"]
    regimen: Regimen


def records_of(subjects: Subjects) -> Records:
    """`Subjects` as arrays of a compiled program."""
    infusion = None
    if subjects.rate_times is not None and subjects.rates is not None:
        infusion = eqx.filter_vmap(ZeroOrderHold)(jnp.asarray(subjects.rate_times), jnp.asarray(subjects.rates))
    is_censored = np.zeros(subjects.values.shape, bool) if subjects.is_censored is None else subjects.is_censored
    return Records(
        jnp.asarray(subjects.times),
        jnp.asarray(np.where(subjects.mask, subjects.values, 0.0)),
        jnp.asarray(subjects.mask),
        jnp.asarray(is_censored & subjects.mask),
        Regimen(
            jnp.asarray(subjects.dose_times),
            jnp.asarray(subjects.dose_amounts),
            infusion,
            jnp.asarray(subjects.covariates),
        ),
    )


class SubjectConditional(AbstractConditional):
    """p(y | η) of one subject of a population.

    Arguments:
        model: of the population.
        records: of this subject.
        integrator: how it is solved; `for_search` and `for_gradient` choose its adjoint.
    """

    model: PopulationModel
    records: Records
    integrator: Integrator

    def predict(self, effects: Float[Array, " effect"]) -> Float[Array, " time"]:
        """See `AbstractConditional.predict`; 1 where nothing was measured, so that no variance is zero there."""
        parameters = self.model.parameters(effects, self.records.regimen.covariates)
        found = self.model.individual.predict(parameters, self.records.times, self.records.regimen, self.integrator)
        return jnp.where(self.records.mask, found, 1.0)

    def misfit(self, prediction: Float[Array, " time"]) -> Float[Array, " time"]:
        """See `AbstractConditional.misfit`."""
        each = self.model.noise.misfit(prediction, self.records.values, self.records.is_censored)
        return jnp.where(self.records.mask, each, 0.0)

    def information(self, prediction: Float[Array, " time"]) -> Float[Array, " time"]:
        """See `AbstractConditional.information`."""
        each = self.model.noise.information(prediction, self.records.values, self.records.is_censored)
        return jnp.where(self.records.mask, each, 0.0)

    def for_search(self) -> "SubjectConditional":
        """The same for forward-mode derivatives."""
        return self._with(ForwardMode())

    def for_gradient(self) -> "SubjectConditional":
        """The same for derivatives of any order, in any mode."""
        return self._with(DirectAdjoint())

    def _with(self, adjoint: Any) -> "SubjectConditional":
        return dataclasses.replace(self, integrator=dataclasses.replace(self.integrator, adjoint=adjoint))
