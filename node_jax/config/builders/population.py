"""Tasks on populations from a config."""

from functools import partial

import numpy as np

from node_jax.config.data import SubjectsData
from node_jax.config.fields import Compartments
from node_jax.config.tasks import Population
from node_jax.data import load_remifentanil, load_theoph
from node_jax.fields import ClearanceNetwork
from node_jax.integrate import Integrator
from node_jax.losses import ResidualError
from node_jax.models import CompartmentIndividual
from node_jax.tasks import PopulationModel, PopulationTask
from node_jax.types import Key

_LOADERS = {"theophylline": load_theoph, "remifentanil": load_remifentanil}


def build_population(
    task: Population, data: SubjectsData, field: Compartments, integrator: Integrator
) -> PopulationTask:
    """The task, with samples and people held out."""
    subjects = _LOADERS[data.name]()
    if data.limit is not None:
        subjects = subjects.censor(data.limit)
    others = None
    if data.num_folds is not None:
        parts = np.random.default_rng(data.split_seed).permutation(len(subjects.ids)) % data.num_folds
        subjects, others = subjects.take(parts != data.fold), subjects.take(parts == data.fold)
    held_out = None
    if data.held_out_samples > 0:
        hidden = subjects.hold_out(data.held_out_samples, data.split_seed)
        subjects, held_out = subjects.hide(hidden), subjects.hide(~hidden)
    penalty = 0.0 if field.correction is None else field.correction.weight_penalty
    return PopulationTask(
        subjects,
        partial(_build_model, task, field, subjects.covariate_names),
        integrator,
        held_out=held_out,
        others=others,
        batch_size=task.batch_size,
        curvature=task.curvature,
        tolerance=task.tolerance,
        weight_penalty=penalty,
    )


def _build_model(task: Population, field: Compartments, covariates: tuple[str, ...], key: Key) -> PopulationModel:
    correction = None
    if field.correction is not None:
        correction = ClearanceNetwork(
            len(covariates),
            field.correction.scale,
            width=field.correction.width,
            depth=field.correction.depth,
            bound=field.correction.bound,
            key=key,
        )
    pairs = [effect.split(":") for effect in task.effects]
    return PopulationModel(
        CompartmentIndividual(tuple(field.start), correction),
        ResidualError(task.additive, task.proportional),
        {name: float(np.log(value)) for name, value in field.start.items()},
        task.random,
        random_scale=task.random_scale,
        is_correlated=task.is_correlated,
        covariate_names=covariates,
        covariate_effects=tuple((parameter, covariate) for parameter, covariate in pairs),
    )
