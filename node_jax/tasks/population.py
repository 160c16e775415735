"""Fit a population of subjects by their marginal likelihood: nonlinear mixed effects, with or without networks."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from node_jax.analysis import Prediction, draw_observed, draw_subjects, subjects_shown
from node_jax.data import Subjects
from node_jax.errors import UsageError, require
from node_jax.integrate import Integrator
from node_jax.losses import Marginal, Posterior, find_posterior, l2_norm_squared, laplace_marginal, laplace_value
from node_jax.losses.laplace import Curvature
from node_jax.status import Status
from node_jax.tasks.base import AbstractTask, Evaluation, Inspection, Phase
from node_jax.tasks.batches import check_batch_size, draw_batch
from node_jax.tasks.looks import with_more_steps
from node_jax.tasks.population_model import PopulationModel, Records, SubjectConditional, records_of
from node_jax.tasks.predictive import Predictive, score
from node_jax.types import Key

_NUM_DRAWS = 400
"""Draws of random effects behind each predictive interval."""
_NUM_CURVE = 120
"""Times of a drawn curve."""


class PopulationTask(AbstractTask):
    r"""Nonlinear mixed effects: what subjects share is fitted, what is theirs alone is integrated out.

        loss = -(1 / number of measurements) Σ_i log p(y_i),        p(y_i) = ∫ p(y_i | η) N(η; 0, I) dη,

    by `nj.losses.laplace_marginal`. The subjects' own parameters are those of a `PopulationModel`. Whatever the
    individual model holds, a network too, is trained along with the population.

    Arguments:
        data: the subjects that are fitted.
        make_model: `make_model(key)` gives a fresh `PopulationModel`.
        integrator: how the fields are solved. Its adjoint is chosen by the task; `max_steps` bounds what the gradient
            costs, since under `jax.vmap` all of them are taken.
        held_out: the same subjects at the same times with other values: samples that were not fitted.
        others: subjects that were not fitted; the loss of these chooses the best model and the end of training.
        batch_size: subjects drawn for each training step; `None` takes all.
        curvature, tolerance: of the approximation, see `laplace_marginal`.
        weight_penalty: factor of the sum of squared weights of what all subjects share (the matrices of
            `PopulationModel.individual`), which is added to -log p of all data: a normal prior on them.

    Raises:
        UsageError: for `held_out` with other times, or a batch that the subjects do not fill.

    Reference: Lindstrom & Bates (1990), Biometrics 46, 673-687; Pinheiro & Bates (2000), Mixed-Effects Models in S and
    S-PLUS, chapter 7.
    """

    records: Records
    other_records: Records | None
    integrator: Integrator
    data: Subjects = eqx.field(static=True)
    held_out: Subjects | None = eqx.field(static=True)
    others: Subjects | None = eqx.field(static=True)
    make_model: Callable[[Key], PopulationModel] = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)
    curvature: Curvature = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)
    weight_penalty: float = eqx.field(static=True)

    def __init__(
        self,
        data: Subjects,
        make_model: Callable[[Key], PopulationModel],
        integrator: Integrator,
        *,
        held_out: Subjects | None = None,
        others: Subjects | None = None,
        batch_size: int | None = None,
        curvature: Curvature = "expected",
        tolerance: float = 1e-4,
        weight_penalty: float = 0.0,
    ) -> None:
        if held_out is not None and not (held_out.ids == data.ids and np.array_equal(held_out.times, data.times)):
            raise UsageError("PopulationTask: expected held_out to be of the same subjects at the same times as data.")
        check_batch_size("PopulationTask", batch_size, len(data.ids), "subjects")
        require(weight_penalty >= 0, "PopulationTask", "a weight_penalty >= 0", weight_penalty, "1 is a start.")
        self.records = records_of(data)
        self.other_records = None if others is None else records_of(others)
        self.integrator, self.make_model = integrator, make_model
        self.data, self.held_out, self.others = data, held_out, others
        self.batch_size, self.curvature, self.tolerance = batch_size, curvature, tolerance
        self.weight_penalty = weight_penalty

    def init(self, key: Key) -> PopulationModel:
        """A fresh model."""
        return self.make_model(key)

    def marginals(self, model: PopulationModel, records: Records, *, is_differentiable: bool = True) -> Marginal:
        """Laplace's approximation for each subject.

        Arguments:
            model: of the population.
            records: of the subjects, as `records_of` makes them.
            is_differentiable: whether a gradient is wanted; without it the program is a fraction of the size.

        Returns:
            A `Marginal` whose leaves have an axis of subjects.
        """

        def of(records: Records) -> Marginal:
            conditional = SubjectConditional(model, records, self.integrator)
            dim, search = len(model.random), conditional.for_search()
            if not is_differentiable:
                return laplace_value(search, dim, curvature=self.curvature, tolerance=self.tolerance)
            gradient = conditional.for_gradient()
            return laplace_marginal(gradient, dim, search=search, curvature=self.curvature, tolerance=self.tolerance)

        return jax.vmap(of)(records)

    def loss(self, model: PopulationModel, key: Key, phase: Phase) -> tuple[Float[Array, ""], dict[str, Array]]:
        """The mean of -log p over measurements. Subjects whose solves failed are masked and counted."""
        del phase
        records = draw_batch(key, self.batch_size, self.records)
        value, metrics = _mean_of(self.marginals(model, records), records)
        if self.weight_penalty > 0:
            penalty = self.weight_penalty * l2_norm_squared(model.individual) / jnp.sum(self.records.mask)
            metrics["penalty"] = penalty
            value = value + penalty
        return value, metrics

    def validate(self, model: PopulationModel) -> dict[str, Array] | None:
        """The loss of the subjects that were not fitted; infinite if a solve failed."""
        if self.other_records is None:
            return None
        found = self.marginals(model, self.other_records, is_differentiable=False)
        value, metrics = _mean_of(found, self.other_records)
        return {"loss": jnp.where(metrics["failed_share"] > 0, jnp.inf, value)}

    def monitor(self, model: PopulationModel) -> dict[str, Array]:
        """The parameters of the population by name."""
        return model.named()

    def predictive(
        self,
        model: PopulationModel,
        subjects: Subjects,
        times: np.ndarray | None = None,
        *,
        is_new: bool = False,
        key: Key,
        num_draws: int = _NUM_DRAWS,
    ) -> Predictive:
        """What the model says of further measurements of subjects.

        Arguments:
            model: of the population.
            subjects: what was given to them, and what was measured.
            times: of the further measurements, shape (subject, time); `None` takes those of `subjects`.
            is_new: whether the measured values are not to be used: random effects are drawn from the population.
                Otherwise they are drawn from the normal approximation given these values.
            key: of the draws.
            num_draws: of random effects, and of the noise.
        """
        dim, num = len(model.random), len(subjects.ids)
        effects = jnp.zeros((num, dim)), jnp.broadcast_to(jnp.eye(dim), (num, dim, dim))
        if not is_new:
            posterior = _find_posteriors(self.integrator, model, records_of(subjects), self.tolerance)
            effects = posterior.mode, posterior.precision
        return self._predictive_of(model, subjects, subjects.times if times is None else times, effects, key, num_draws)

    def _predictive_of(
        self,
        model: PopulationModel,
        subjects: Subjects,
        times: np.ndarray,
        effects: tuple[Array, Array],
        key: Key,
        num_draws: int = _NUM_DRAWS,
    ) -> Predictive:
        """`predictive` at `times` for random effects with these modes (subject, effect) and precisions."""
        wanted = dataclasses.replace(records_of(subjects), times=jnp.asarray(times))
        integrator = with_more_steps(self.integrator, 1 + times.shape[1] // subjects.times.shape[1])
        found = _draw(integrator, model, (wanted, *effects, jax.random.split(key, len(subjects.ids))), num_draws)
        return Predictive(times, *(np.asarray(leaf, float) for leaf in found))

    def inspect(self, model: PopulationModel, key: Key, phase: Phase) -> Inspection:
        """All subjects at their most likely random effects."""
        del key, phase
        found, states = self._at_modes(model)
        targets = np.where(self.data.mask, self.data.values, np.nan)[..., None]
        failed = ~np.isfinite(np.where(self.data.mask, states, 0.0)).all(axis=1)
        statuses = np.where(failed, int(Status.non_finite), int(Status.success))
        figures = {"iterations": np.asarray(found.num_iterations), "converged": np.asarray(found.has_converged)}
        return Inspection(self.data.times, targets, states[..., None], statuses, figures)

    def predict(self, model: PopulationModel) -> Prediction:
        """The first subject that was not fitted, or else the first of all at its most likely random effects."""
        subjects = (self.data if self.others is None else self.others).take([0])
        found = self.predictive(model, subjects, is_new=self.others is not None, key=jax.random.key(0))
        inside = subjects.mask[0]
        times, values, truth = (x[0][inside] for x in (subjects.times, found.typical, subjects.values))
        noise = np.std(found.draws[0] - found.typical[0], axis=0)[inside].mean(keepdims=True)
        return Prediction(times, truth[:, None], values[:, None], noise, ("y",), subjects.value_unit)

    def looks(self, model: PopulationModel) -> dict[str, tuple[Predictive, Subjects]]:
        """What is scored, by name: predictions, and the values they are held against."""
        key = jax.random.key(0)
        known = self.predictive(model, self.data, key=key)
        found = {"fitted": (known, self.data)}
        if self.held_out is not None:
            found["held-out samples"] = (known, self.held_out)
        if self.others is not None:
            found["new subjects"] = (self.predictive(model, self.others, is_new=True, key=key), self.others)
        return found

    def evaluate(self, model: Any, others: dict[str, Any], directory: Path, log: Callable[[str], None]) -> Evaluation:
        """Errors and coverages of fitted and held-out samples and of new subjects; the parameters by name."""
        log("drawing random effects")
        table = [
            "| model | data | samples | RMSE | mean log density | held by 50 % | held by 90 % |",
            f"|{'---|' * 7}",
        ]
        metrics: dict[str, float] = {}
        for name, candidate in {"model": model, **others}.items():
            for data, (found, truth) in self.looks(candidate).items():
                row = score(found, truth)
                table.append(
                    f"| {name} | {data} | {row['samples']:.0f} | {row['rmse']:.4g} | {row['log_density']:.4g} "
                    f"| {row['coverage_50']:.1%} | {row['coverage_90']:.1%} |"
                )
                if name == "model":
                    metrics |= {f"{data} {key}": value for key, value in row.items()}
        named = {name: float(value) for name, value in model.named().items()}
        table += [
            "",
            "| parameter | value |",
            "|---|---|",
            *(f"| {name} | {value:.4f} |" for name, value in named.items()),
        ]
        summary = (
            f"Fitted to {self.data.source}: {len(self.data.ids)} subjects, {int(self.data.mask.sum())} measurements in "
            f"{self.data.value_unit}. Predictions of fitted and held-out samples know the fitted samples of the "
            "subject, those of new subjects know covariates and doses alone. The RMSE is that of the median. "
            "Parameters are logarithms, sd the standard deviations of random effects and of the noise."
        )
        return Evaluation(metrics | named, "\n".join(table), self.draw(model, others, directory), summary)

    def draw(self, model: Any, others: dict[str, Any], directory: Path) -> tuple[str, ...]:
        """Each subject's fit with its interval; predictions against observations, and residuals."""
        del others
        posterior, typical = self._at_modes(model)
        shown = subjects_shown(len(self.data.ids))
        data, effects = self.data.take(shown), (posterior.mode[shown], posterior.precision[shown])
        first, last = data.times[:, :1], data.times.max(axis=1, keepdims=True)
        times = first + (last - first) * np.linspace(0, 1, _NUM_CURVE)
        fine = self._predictive_of(model, data, times, effects, jax.random.key(0))
        hidden = None if self.held_out is None else self.held_out.values[shown]
        draw_subjects(data, times, fine.interval(0.9), hidden, directory / "subjects.png")
        scale = np.asarray(model.noise.scale(jnp.asarray(typical)))
        draw_observed(self.data, typical, scale, directory / "observed.png")
        return ("subjects.png", "observed.png")

    def _at_modes(self, model: PopulationModel) -> tuple[Posterior, np.ndarray]:
        """Of the fitted subjects, the most likely random effects, and predictions there, shape (subject, time)."""
        found = _find_posteriors(self.integrator, model, self.records, self.tolerance)
        return found, np.asarray(_predict_compiled(self.integrator, model, self.records, found.mode))


def _mean_of(found: Marginal, records: Records) -> tuple[Array, dict[str, Array]]:
    """The mean of -log p over the measurements of subjects whose solves did not fail, and what the search took."""
    is_good = jnp.isfinite(found.value)
    counts = jnp.sum(jnp.where(is_good, jnp.sum(records.mask, axis=1), 0))
    total = jnp.sum(jnp.where(is_good, found.value, 0.0))
    metrics = {
        "failed_share": jnp.mean(1.0 - is_good),
        "inner_iterations": jnp.mean(found.posterior.num_iterations.astype(float)),
        "inner_unconverged": jnp.mean(1.0 - found.posterior.has_converged),
    }
    return total / jnp.maximum(counts, 1), metrics


def _predict_all(integrator: Integrator, model: PopulationModel, records: Records, effects: Array) -> Array:
    def of(records: Records, effects: Array) -> Array:
        parameters = model.parameters(effects, records.regimen.covariates)
        return model.individual.predict(parameters, records.times, records.regimen, integrator)

    return jax.vmap(of)(records, effects)


_predict_compiled = eqx.filter_jit(_predict_all)


@eqx.filter_jit
def _find_posteriors(integrator: Integrator, model: PopulationModel, records: Records, tolerance: float) -> Posterior:
    """Of each subject."""

    def of(records: Records) -> Posterior:
        conditional = SubjectConditional(model, records, integrator)
        return find_posterior(conditional.for_search(), len(model.random), tolerance=tolerance)

    return jax.vmap(of)(records)


@eqx.filter_jit
def _draw(
    integrator: Integrator, model: PopulationModel, subjects: tuple[Records, Array, Array, Key], num_draws: int
) -> tuple[Array, Array, Array, Array]:
    """Predictions at the most likely random effects, then draws: predictions, scales of the noise, measurements.

    Arguments:
        integrator, model: how predictions are made.
        subjects: records, most likely random effects, their precisions and a key, with an axis of subjects.
        num_draws: of random effects.
    """

    def of(arguments: tuple[Records, Array, Array, Key]) -> tuple[Array, Array, Array, Array]:
        records, mode, precision, key = arguments
        key_effects, key_noise = jax.random.split(key)
        standard = jax.random.normal(key_effects, (num_draws, len(mode)))
        # With H = R Rᵀ, mode + R⁻ᵀ z has the covariance H⁻¹.
        root = jnp.linalg.cholesky(precision)
        shift = jax.vmap(lambda z: jax.scipy.linalg.solve_triangular(root, z, lower=True, trans=1))(standard)
        repeat = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_draws + 1, *leaf.shape)), records)
        found = _predict_all(integrator, model, repeat, mode + jnp.concatenate([jnp.zeros((1, len(mode))), shift]))
        scales = model.noise.scale(found[1:])
        noise = jax.random.normal(key_noise, scales.shape)
        return found[0], found[1:], scales, found[1:] + scales * noise

    return jax.lax.map(of, subjects)
