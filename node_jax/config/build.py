"""The one place where a config becomes objects."""

from dataclasses import dataclass

import optax

from node_jax.config.builders.optimizer import build_optimizer
from node_jax.config.builders.tasks import build_task
from node_jax.config.schema import Run
from node_jax.config.tasks import Trajectory
from node_jax.tasks import AbstractTask
from node_jax.train import FitSettings, Stage, StepSettings


@dataclass(frozen=True)
class Experiment:
    """A run as objects."""

    task: AbstractTask
    """What is trained."""
    reference: AbstractTask | None
    """The same with the field to compare with."""
    optimizer: optax.GradientTransformation
    settings: FitSettings


def build(run: Run) -> Experiment:
    """The objects of a run. Fan-in happens here and nowhere else: the library below never sees a config."""
    task = build_task(run, run.field)
    reference = None if run.reference is None else build_task(run, run.reference)
    optimizer = build_optimizer(run.optimizer, run.schedule, run.num_steps, run.train.clip_norm)
    return Experiment(task, reference, optimizer, _build_settings(run))


def _build_settings(run: Run) -> FitSettings:
    train = run.train
    stages = (Stage(train.num_steps, train.patience),)
    if isinstance(run.task, Trajectory):
        stages = tuple(Stage(stage.num_steps, stage.patience) for stage in run.task.stages)
    return FitSettings(
        stages=stages,
        log_every=train.log_every,
        checkpoint_every=train.checkpoint_every,
        seed=run.seed,
        step=StepSettings(
            accumulate=train.accumulate,
            ema_decay=train.ema_decay,
            nfe_budget=run.regularize.nfe_budget,
            budget_rate=run.regularize.budget_rate,
            constraint_rate=run.regularize.constraint_rate,
        ),
        max_failed=train.max_failed,
        max_skipped=train.max_skipped,
        has_tensorboard=train.tensorboard,
    )
