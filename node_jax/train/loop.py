"""The training loop on the host: dispatch, log, checkpoint, resume."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax

from node_jax.models import combine_trainable
from node_jax.tasks import AbstractTask
from node_jax.train.checkpoint import Checkpoints
from node_jax.train.metrics import MetricsFile
from node_jax.train.progress import Progress
from node_jax.train.run_directory import RunDirectory
from node_jax.train.state import constants_of, init_state
from node_jax.train.step import make_advance

_MOST_FAILED = 0.5
"""Training stops when more than this share of the solves of a dispatch failed."""


class TrainingError(RuntimeError):
    """Training cannot go on."""


@dataclass(frozen=True)
class FitSettings:
    """How long to train and how often to look.

    Arguments:
        num_steps: optimizer steps in all.
        log_every: steps in one dispatch, after which one row of metrics is written.
        checkpoint_every: steps between checkpoints, a multiple of `log_every`.
        seed: of the initial parameters and of the batches.
    """

    num_steps: int
    log_every: int
    checkpoint_every: int
    seed: int


def fit(
    task: AbstractTask,
    optimizer: optax.GradientTransformation,
    settings: FitSettings,
    directory: RunDirectory,
    make_progress: Callable[[int, int], Progress],
) -> Any:
    """Train, from the last checkpoint in `directory` if there is one, and return the best model.

    Dispatches start at multiples of `log_every` whether the run was interrupted or not, so a run that was killed and
    resumed goes through the same compiled programs on the same numbers as one that was not.

    Raises:
        TrainingError: if the loss is no longer finite, or more than half of the solves failed.
    """
    state, rest = init_state(task, optimizer, settings.seed)
    checkpoints = Checkpoints(directory.checkpoints, state, constants_of(rest))
    best_loss = math.inf
    if checkpoints.has("last"):
        state, best_loss = checkpoints.restore("last")
    metrics_file = MetricsFile(directory.metrics, int(state.step))
    advance = make_advance(task, optimizer, rest)
    step = int(state.step)
    with make_progress(settings.num_steps, step) as progress:
        while step < settings.num_steps:
            started = time.perf_counter()
            num_steps = min(settings.log_every - step % settings.log_every, settings.num_steps - step)
            state, metrics = advance(state, num_steps)
            row = {name: float(np.mean(values)) for name, values in jax.device_get(metrics).items()}
            step += num_steps
            seconds = time.perf_counter() - started
            row = {
                "step": step,
                **row,
                "wall_s": round(seconds, 4),
                "steps_per_s": round(num_steps / seconds, 2),
            }
            if not math.isfinite(row["loss"]):
                raise TrainingError(
                    f"The loss became {row['loss']} between steps {step - num_steps} and {step}. Lower the learning "
                    "rate, clip the gradient, or tighten the solver's tolerances; the last checkpoint is kept."
                )
            if row.get("failed_share", 0.0) > _MOST_FAILED:
                raise TrainingError(
                    f"{100 * row['failed_share']:.0f} % of the solves failed between steps {step - num_steps} and "
                    f"{step}; the loss over the rest says little. Raise max_steps, loosen the tolerances, or lower the "
                    "learning rate; the last checkpoint is kept."
                )
            metrics_file.append(row)
            progress.advance(step, row)
            if step % settings.checkpoint_every == 0 or step == settings.num_steps:
                # Best first: a run killed between the two repeats the work and finds the same best again.
                # The loss leaves failed solves out, so a state with any is not a candidate.
                if row["loss"] < best_loss and row.get("failed_share", 0.0) == 0:
                    best_loss = row["loss"]
                    checkpoints.save("best", state, best_loss)
                checkpoints.save("last", state, best_loss)
    if not checkpoints.has("best"):
        checkpoints.save("best", state, best_loss)
    best, _ = checkpoints.restore("best")
    checkpoints.close()
    return combine_trainable(best.parameters, rest)


def load_best(task: AbstractTask, optimizer: optax.GradientTransformation, seed: int, directory: RunDirectory) -> Any:
    """The best model of a trained run.

    Raises:
        CheckpointError: if there is none, or it is not of this model.
    """
    state, rest = init_state(task, optimizer, seed)
    checkpoints = Checkpoints(directory.checkpoints, state, constants_of(rest))
    best, _ = checkpoints.restore("best")
    checkpoints.close()
    return combine_trainable(best.parameters, rest)
