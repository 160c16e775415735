"""Training from the last checkpoint to the best model, one run or several."""

import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import optax

from node_jax.errors import Preempted
from node_jax.tasks import AbstractTask, Inspection
from node_jax.train.failure import Failure
from node_jax.train.preemption import Preemption
from node_jax.train.progress import Progress
from node_jax.train.run_directory import RunDirectory
from node_jax.train.settings import FitSettings
from node_jax.train.state import model_of
from node_jax.train.trainer import Trainer


def fit(
    task: AbstractTask,
    optimizer: optax.GradientTransformation,
    settings: FitSettings,
    directory: RunDirectory,
    make_progress: Callable[[int, int], Progress],
    profile: Path | None = None,
) -> Any:
    """Train, from the last checkpoint in `directory` if there is one, and return the best model.

    Dispatches start at multiples of `log_every` whether the run was interrupted or not, so a run that was killed and
    resumed goes through the same compiled programs on the same numbers as one that was not. SIGTERM ends the run after
    the dispatch that is under way, with a checkpoint.

    Arguments:
        task: what is trained.
        optimizer: an Optax gradient transformation; it is given `value`, `grad` and `value_fn` too.
        settings: how long, how often to look, when to stop.
        directory: where metrics and checkpoints go; `config.json` stands in it.
        make_progress: `make_progress(num_steps, done)` gives what a person sees, a context manager.
        profile: a folder for a JAX trace of the second dispatch of this call, which compiles nothing; or `None`.

    Raises:
        TrainingError: if too many steps had to be skipped or too many solves failed; the batch is kept in the run
            directory.
        CheckpointError: if a checkpoint is of another model or config, or the last one cannot be written.
        Preempted: after SIGTERM.
    """
    with contextlib.closing(Trainer(task, optimizer, settings, directory)) as trainer:
        trainer.resume()
        _train(trainer, make_progress, profile)
        return trainer.finish()


def _train(trainer: Trainer, make_progress: Callable[[int, int], Progress], profile: Path | None) -> None:
    with make_progress(trainer.settings.num_steps, trainer.num_done) as progress, Preemption() as preemption:
        for number in itertools.count():
            if trainer.standing.is_done:
                break
            with jax.profiler.trace(profile) if profile is not None and number == 1 else contextlib.nullcontext():
                trainer.dispatch(progress)
            if preemption.is_asked:
                # After the last dispatch too: what follows, such as the training of a reference, may take long.
                trainer.save_now()
                raise Preempted(f"Asked to end; a checkpoint of step {trainer.num_done} is written.")


def load_best(
    task: AbstractTask, optimizer: optax.GradientTransformation, settings: FitSettings, directory: RunDirectory
) -> Any:
    """The best model of a trained run.

    Raises:
        CheckpointError: if there is none, or it is not of this model.
    """
    with contextlib.closing(Trainer(task, optimizer, settings, directory)) as trainer:
        best, _ = trainer.checkpoints.restore("best")
        return model_of(best, trainer.rest)


def inspect_run(
    task: AbstractTask, optimizer: optax.GradientTransformation, settings: FitSettings, directory: RunDirectory
) -> tuple[Failure, Inspection]:
    """The step at which a run stopped, and its batch, solved again with the parameters of that step.

    Of a run that did not stop, the step after its last checkpoint.

    Raises:
        UsageError, CheckpointError: if neither can be read.
    """
    with contextlib.closing(Trainer(task, optimizer, settings, directory)) as trainer:
        return trainer.look_again()
