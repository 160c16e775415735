"""Tasks with their data, fields, integrators and regularizers from a config."""

from functools import partial

import numpy as np

from node_jax import tasks
from node_jax.config.builders.classification import build_classification
from node_jax.config.builders.data import load_crash_test, load_series, load_trajectories
from node_jax.config.builders.fields import build_field
from node_jax.config.builders.graphs import build_graph_field
from node_jax.config.builders.integrator import build_integrator
from node_jax.config.builders.population import build_population
from node_jax.config.builders.regularization import build_regularization
from node_jax.config.builders.systems import load_mechanics
from node_jax.config.data import CsvData, HareLynxData, MechanicalData, OscillatorNetworkData, SubjectsData
from node_jax.config.fields import Compartments, Field, GraphMLPField
from node_jax.config.schema import Run
from node_jax.config.tasks import (
    Classification,
    Collocation,
    CurriculumStage,
    DerivativeMatching,
    Forecast,
    GrowingHorizon,
    MultipleShooting,
    NoisyReadings,
    Population,
    RollOut,
    Trajectory,
)
from node_jax.data import folds, integrate_derivatives
from node_jax.integrate import Integrator
from node_jax.models import fit_scaling


def build_task(run: Run, field: Field) -> tasks.AbstractTask:
    """The task of a run with one of its fields."""
    integrator = build_integrator(run.solver, run.controller, run.max_steps)
    if isinstance(run.task, Classification):
        return build_classification(run, run.task, field, integrator, build_regularization(run.regularize))
    if isinstance(run.task, Trajectory):
        return _build_trajectory(run, run.task, field, integrator)
    if isinstance(run.task, DerivativeMatching):
        return _build_derivatives(run, run.task, field, integrator)
    if isinstance(run.task, NoisyReadings):
        return _build_readings(run, run.task, field, integrator)
    if isinstance(run.task, Population):
        assert isinstance(run.data, SubjectsData)
        assert isinstance(field, Compartments)
        return build_population(run.task, run.data, field, integrator)
    return _build_forecast(run, run.task, field, integrator)


def _build_readings(run: Run, task: NoisyReadings, field: Field, integrator: Integrator) -> tasks.ReadingsTask:
    readings, num_folds = load_crash_test(), task.num_folds
    is_held_out = np.zeros(len(readings.times), bool)
    if num_folds is not None:
        is_held_out = folds(len(readings.times), num_folds) == run.seed % num_folds
    make_field = partial(build_field, field, 2)
    return tasks.ReadingsTask(readings, is_held_out, task.time_scale, task.noise_knots, make_field, integrator)


def _build_forecast(run: Run, task: Forecast, field: Field, integrator: Integrator) -> tasks.ForecastTask:
    assert isinstance(run.data, HareLynxData | CsvData)
    train, test = load_series(run.data).split(task.train_until)
    fitted = train if task.validate_after is None else train.split(task.validate_after)[0]
    return tasks.ForecastTask(
        train,
        test,
        fit_scaling(fitted.times, fitted.values, task.time_scale, task.transform),
        partial(build_field, field, len(train.names)),
        integrator,
        task.segment_steps,
        task.batch_size,
        task.validate_after,
        build_regularization(run.regularize),
        run.train.watch_growth,
    )


def _build_trajectory(run: Run, task: Trajectory, field: Field, integrator: Integrator) -> tasks.TrajectoryTask:
    data, validation = load_trajectories(run.data, run.seed, task.train_until)
    times, values = data.times[0], data.values.reshape(-1, len(data.names))
    num_controls = 0 if data.controls is None else len(data.controls.names)
    make_field = partial(build_field, field, len(data.names), num_controls=num_controls)
    if isinstance(field, GraphMLPField):
        assert isinstance(run.data, OscillatorNetworkData)
        make_field = partial(build_graph_field, field, run.data, run.seed)
    return tasks.TrajectoryTask(
        data,
        fit_scaling(times, values, task.time_scale, task.transform),
        make_field,
        integrator,
        [_build_stage(stage) for stage in task.stages],
        validation=validation,
        validation_steps=task.validation_steps,
        has_free_starts=task.has_free_starts,
        regularization=build_regularization(run.regularize),
        watches_growth=run.train.watch_growth,
    )


def _build_derivatives(
    run: Run, task: DerivativeMatching, field: Field, integrator: Integrator
) -> tasks.DerivativeTask:
    assert isinstance(run.data, MechanicalData)
    made = load_mechanics(run.data, run.seed)
    data = integrate_derivatives(made.train) if task.integrates_derivatives else made.train
    num_held_out = round(task.validation_share * len(data.times))
    num_fitted = len(data.times) - num_held_out
    return tasks.DerivativeTask(
        data.select(slice(num_fitted)),
        partial(build_field, field, len(data.names)),
        integrator,
        batch_size=task.batch_size,
        validation=data.select(slice(num_fitted, None)) if num_held_out else None,
        test=made.test,
        rollouts=made.rollouts,
        energy=made.system.energy,
        regularization=build_regularization(run.regularize),
    )


def _build_stage(stage: CurriculumStage) -> tasks.CurriculumStage:
    match stage:
        case Collocation():
            return tasks.Collocation(batch_size=stage.batch_size)
        case MultipleShooting():
            first, last = stage.continuity
            return tasks.MultipleShooting(
                segment_steps=stage.segment_steps, continuity=(first, last), batch_size=stage.batch_size
            )
        case GrowingHorizon():
            return tasks.GrowingHorizon(start_steps=stage.start_steps, batch_size=stage.batch_size)
        case RollOut():
            return tasks.RollOut(batch_size=stage.batch_size)
