"""What turns a config into objects."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from node_jax.adjoints import CheckpointedAdjoint
from node_jax.config import schema
from node_jax.config.build_optimizer import build_optimizer
from node_jax.config.regularize import SOLVE_COSTS, Regularize
from node_jax.controllers import AbstractController, ConstantStep, PIController
from node_jax.data import TimeSeries, load_hare_lynx, read_csv_series
from node_jax.fields import MLP, AbstractField, HybridField, LogLotkaVolterra
from node_jax.integrate import Integrator
from node_jax.integrate.diffrax_backend import DIFFRAX_SOLVERS
from node_jax.losses import JacobianNorm, KineticEnergy, Regularization, TotalDerivative
from node_jax.models import fit_scaling
from node_jax.solvers import RK4, Tsit5
from node_jax.tasks import AbstractTask, ForecastTask
from node_jax.train import FitSettings, Stage, StepSettings
from node_jax.types import Key

_ACTIVATIONS = {"tanh": jnp.tanh, "softplus": jax.nn.softplus, "silu": jax.nn.silu}


@dataclass(frozen=True)
class Experiment:
    """A run as objects."""

    task: AbstractTask
    """What is trained."""
    reference: AbstractTask | None
    """The same with the field to compare with."""
    optimizer: optax.GradientTransformation
    settings: FitSettings


def build(run: schema.Run) -> Experiment:
    """The objects of a run. Fan-in happens here and nowhere else: the library below never sees a config."""
    task = _build_task(run, run.field)
    reference = None if run.reference is None else _build_task(run, run.reference)
    optimizer = build_optimizer(run.optimizer, run.schedule, run.train.num_steps, run.train.clip_norm)
    return Experiment(task, reference, optimizer, _build_settings(run))


def _build_settings(run: schema.Run) -> FitSettings:
    train = run.train
    return FitSettings(
        stages=(Stage(train.num_steps, train.patience),),
        log_every=train.log_every,
        checkpoint_every=train.checkpoint_every,
        seed=run.seed,
        step=StepSettings(
            accumulate=train.accumulate,
            ema_decay=train.ema_decay,
            nfe_budget=run.regularize.nfe_budget,
            budget_rate=run.regularize.budget_rate,
        ),
        max_failed=train.max_failed,
        max_skipped=train.max_skipped,
        has_tensorboard=train.tensorboard,
    )


def _build_data(data: schema.Data) -> TimeSeries:
    if isinstance(data, schema.HareLynxData):
        return load_hare_lynx()
    return read_csv_series(data.path, data.time, data.columns, time_unit=data.time_unit, value_unit=data.value_unit)


def _build_task(run: schema.Run, field: schema.Field) -> ForecastTask:
    train, test = _build_data(run.data).split(run.task.train_until)
    held_out_after = run.task.validate_after
    fitted = train if held_out_after is None else train.split(held_out_after)[0]
    return ForecastTask(
        train,
        test,
        fit_scaling(fitted.times, fitted.values, run.task.time_scale, run.task.transform),
        partial(_build_field, field, len(train.names)),
        Integrator(_build_solver(run.solver), _build_controller(run.controller), CheckpointedAdjoint(), run.max_steps),
        run.task.segment_steps,
        run.task.batch_size,
        held_out_after,
        _build_regularization(run.regularize),
        run.train.watch_growth,
    )


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
    return PIController(rtol=controller.rtol, atol=controller.atol, dt0=controller.dt0)
