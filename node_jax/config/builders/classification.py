"""A classification task from a config."""

from functools import partial

import jax
import numpy as np

from node_jax.config.builders.fields import build_field
from node_jax.config.data import ConcentricSpheresData, DigitsData, Labelled
from node_jax.config.fields import Field
from node_jax.config.schema import Run
from node_jax.config.tasks import Classification
from node_jax.data import LabelledPoints, LabelledSplits, draw_concentric_spheres, load_digits
from node_jax.integrate import Integrator
from node_jax.losses import Regularization
from node_jax.models import Classifier, Scaling, fit_scaling
from node_jax.models.classifier import state_dim
from node_jax.tasks import ClassificationTask
from node_jax.types import Key


def build_classification(
    run: Run, task: Classification, field: Field, integrator: Integrator, regularization: Regularization
) -> ClassificationTask:
    """The task of a run with one of its fields."""
    assert isinstance(run.data, Labelled)
    data = load_labelled(run.data, run.seed)
    scaling = None
    if task.transform == "standard":
        scaling = fit_scaling(np.zeros(1), data.train.inputs, 1.0, "standard")
    return ClassificationTask(
        data,
        partial(_make_model, task, field, data.train, scaling, integrator),
        batch_size=task.batch_size,
        criterion=task.criterion,
        regularization=regularization,
        watches_growth=run.train.watch_growth,
    )


def _make_model(
    task: Classification, field: Field, data: LabelledPoints, scaling: Scaling | None, integrator: Integrator, key: Key
) -> Classifier:
    key_field, key_model = jax.random.split(key)
    dim = data.inputs.shape[1]
    size = state_dim(dim, task.encoder_dim, task.num_augmented)
    return Classifier(
        build_field(field, size, key_field),
        dim,
        len(data.classes),
        integrator=integrator,
        scaling=scaling,
        encoder_dim=task.encoder_dim,
        num_augmented=task.num_augmented,
        end_time=task.end_time,
        key=key_model,
    )


def load_labelled(config: Labelled, seed: int) -> LabelledSplits:
    """Points to fit, to validate by and to test on; all of simulated points are drawn anew."""
    if isinstance(config, DigitsData):
        return load_digits(config.validation_share, config.test_share, seed)
    return _draw_spheres(config, seed)


def _draw_spheres(config: ConcentricSpheresData, seed: int) -> LabelledSplits:
    inside, outside = config.outer_radii
    share = config.num_inner / (config.num_inner + config.num_outer)
    seeds = np.random.SeedSequence(seed).generate_state(3)

    def draw(number: int, place: int) -> LabelledPoints:
        num_inner = round(share * number)
        return draw_concentric_spheres(
            num_inner,
            number - num_inner,
            dim=config.dim,
            inner_radius=config.inner_radius,
            outer_radii=(inside, outside),
            seed=int(seeds[place]),
        )

    return LabelledSplits(
        draw(config.num_inner + config.num_outer, 0),
        draw(config.num_validation, 1) if config.num_validation else None,
        draw(config.num_test, 2),
    )
