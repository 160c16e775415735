"""Tasks with their data, fields, integrators and regularizers from a config."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from node_jax import tasks
from node_jax.adjoints import CheckpointedAdjoint
from node_jax.config import schema
from node_jax.config.data import CsvData, HareLynxData, SimulatedData
from node_jax.config.regularize import SOLVE_COSTS, Regularize
from node_jax.config.tasks import (
    Collocation,
    CurriculumStage,
    Forecast,
    GrowingHorizon,
    MultipleShooting,
    RollOut,
    Trajectory,
)
from node_jax.controllers import AbstractController, ConstantStep, FixedSteps, PIController
from node_jax.data import TimeSeries, Trajectories, as_trajectories, load_hare_lynx, read_csv_series, simulate
from node_jax.fields import MLP, AbstractField, HybridField, LogLotkaVolterra, Lorenz, LotkaVolterra
from node_jax.integrate import Integrator
from node_jax.integrate.diffrax_backend import DIFFRAX_SOLVERS
from node_jax.losses import JacobianNorm, KineticEnergy, Regularization, TotalDerivative
from node_jax.models import fit_scaling
from node_jax.solvers import RK4, Tsit5
from node_jax.types import Key

_ACTIVATIONS = {"tanh": jnp.tanh, "softplus": jax.nn.softplus, "silu": jax.nn.silu}
_BURN_IN = 10.0
"""Time units of Lorenz's system after which a solution is on the attractor, to the eye and beyond."""


def build_task(run: schema.Run, field: schema.Field) -> tasks.AbstractTask:
    """The task of a run with one of its fields."""
    integrator = Integrator(
        _build_solver(run.solver), _build_controller(run.controller), CheckpointedAdjoint(), run.max_steps
    )
    if isinstance(run.task, Trajectory):
        return _build_trajectory(run, run.task, field, integrator)
    return _build_forecast(run, run.task, field, integrator)


def _build_forecast(run: schema.Run, task: Forecast, field: schema.Field, integrator: Integrator) -> tasks.ForecastTask:
    assert not isinstance(run.data, SimulatedData)
    train, test = _load_series(run.data).split(task.train_until)
    fitted = train if task.validate_after is None else train.split(task.validate_after)[0]
    return tasks.ForecastTask(
        train,
        test,
        fit_scaling(fitted.times, fitted.values, task.time_scale, task.transform),
        partial(_build_field, field, len(train.names)),
        integrator,
        task.segment_steps,
        task.batch_size,
        task.validate_after,
        _build_regularization(run.regularize),
        run.train.watch_growth,
    )


def _build_trajectory(
    run: schema.Run, task: Trajectory, field: schema.Field, integrator: Integrator
) -> tasks.TrajectoryTask:
    data, validation = _load_trajectories(run, task)
    times, values = data.times[0], data.values.reshape(-1, len(data.names))
    return tasks.TrajectoryTask(
        data,
        fit_scaling(times, values, task.time_scale, task.transform),
        partial(_build_field, field, len(data.names)),
        integrator,
        [_build_stage(stage) for stage in task.stages],
        validation=validation,
        validation_steps=task.validation_steps,
        has_free_starts=task.has_free_starts,
        regularization=_build_regularization(run.regularize),
        watches_growth=run.train.watch_growth,
    )


def _load_series(data: HareLynxData | CsvData) -> TimeSeries:
    if isinstance(data, HareLynxData):
        return load_hare_lynx()
    return read_csv_series(
        data.path,
        data.time,
        data.columns,
        time_unit=data.time_unit,
        value_unit=data.value_unit,
        has_missing=data.has_missing,
    )


def _load_trajectories(run: schema.Run, task: Trajectory) -> tuple[Trajectories, Trajectories | None]:
    """What is fitted, and what validates."""
    if not isinstance(run.data, SimulatedData):
        series = _load_series(run.data)
        if task.train_until is None:
            return as_trajectories(series), None
        train, test = series.split(task.train_until)
        return as_trajectories(train), as_trajectories(test)
    config = run.data
    ts = np.linspace(0.0, config.duration, config.num_times)
    if config.system == "lotka-volterra":
        names = ("prey", "predator")
        return simulate(LotkaVolterra(), np.ones((1, 2)), ts, noise=config.noise, seed=run.seed, names=names), None
    num = config.num_series + config.num_held_out
    starts = np.array([0.0, 0.0, 25.0]) + 5 * np.random.default_rng(run.seed).standard_normal((num, 3))
    made = partial(simulate, Lorenz(), ts=ts, seed=run.seed, burn_in=_BURN_IN, names=("x", "y", "z"))
    held_out = made(starts[config.num_series :]) if config.num_held_out else None
    return made(starts[: config.num_series], noise=config.noise), held_out


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


def _build_regularization(config: Regularize) -> Regularization:
    weights = {name: getattr(config, name) for name in (*SOLVE_COSTS, "l1", "l2", "spectral")}
    weights = {name: jnp.asarray(weight) for name, weight in weights.items() if weight > 0}
    costs = {
        "kinetic": KineticEnergy(),
        "jacobian": JacobianNorm(),
        "derivative": TotalDerivative(config.derivative_order),
    }
    return Regularization(
        {name: cost for name, cost in costs.items() if name in weights},
        tuple(name for name in ("error", "stiffness") if name in weights),
        weights,
        config.spectral_bound,
        config.end_time_width,
    )


def _build_field(field: schema.Field, dim: int, key: Key) -> AbstractField:
    if isinstance(field, schema.HybridLotkaVolterra):
        mechanism = LogLotkaVolterra(field.growth, field.predation, field.reproduction, field.death)
        return HybridField(mechanism, _build_field(field.residual, dim, key))
    return MLP(
        dim,
        field.width,
        field.depth,
        activation=_ACTIVATIONS[field.activation],
        is_time_dependent=field.is_time_dependent,
        final_scale=field.final_scale,
        dropout=field.dropout,
        key=key,
    )


def _build_solver(solver: schema.Solver) -> Any:
    if isinstance(solver, schema.DiffraxSolver):
        return DIFFRAX_SOLVERS[solver.method]()
    return RK4() if isinstance(solver, schema.RK4) else Tsit5()


def _build_controller(controller: schema.Controller) -> AbstractController:
    if isinstance(controller, schema.ConstantStep):
        return ConstantStep(controller.dt)
    if isinstance(controller, schema.FixedSteps):
        return FixedSteps(controller.n)
    return PIController(rtol=controller.rtol, atol=controller.atol, dt0=controller.dt0)
