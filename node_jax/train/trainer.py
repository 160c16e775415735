"""One run under way: dispatch, log, validate, checkpoint, and stop where too much fails."""

import contextlib
import json
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from node_jax.models import combine_trainable
from node_jax.tasks import AbstractTask, Inspection
from node_jax.train.checkpoint import CheckpointError, Checkpoints
from node_jax.train.failure import Failure, locate
from node_jax.train.metrics import MetricsFile
from node_jax.train.programs import Programs
from node_jax.train.progress import Reporter
from node_jax.train.run_directory import RunDirectory
from node_jax.train.settings import FitSettings, Stage
from node_jax.train.state import Standing, TrainState, constants_of, init_state, model_of, step_key
from node_jax.train.tensorboard import TensorBoardFile


class TrainingError(RuntimeError):
    """Training cannot go on."""


class Trainer:
    """A run under way: its state, its checkpoints and its compiled programs.

    Arguments:
        task, optimizer, settings, directory: as in `fit`.
        programs: compiled for another run of the same structure; `None` compiles.
    """

    def __init__(
        self,
        task: AbstractTask,
        optimizer: optax.GradientTransformation,
        settings: FitSettings,
        directory: RunDirectory,
        programs: Programs | None = None,
    ) -> None:
        self.task, self.optimizer, self.settings, self.directory = task, optimizer, settings, directory
        self.state, self.rest = self._fresh()
        self.standing = Standing()
        config = json.loads(directory.config.read_text())
        self.checkpoints = Checkpoints(directory.checkpoints, self.state, constants_of(self.rest), config)
        self.num_done = 0
        self._writer = ThreadPoolExecutor(1, "checkpoints")
        self._writing: Future[None] | None = None
        self._board: TensorBoardFile | None = None
        self.programs = programs or Programs(task, optimizer, self.rest, self.state, settings.step)

    def _fresh(self) -> tuple[TrainState, Any]:
        has_average = self.settings.step.ema_decay is not None
        return init_state(self.task, self.optimizer, self.settings.seed, has_average)

    def resume(self) -> None:
        """Go on from the last checkpoint, if there is one."""
        if self.checkpoints.has("last"):
            self.state, self.standing = self.checkpoints.restore("last")
        self.num_done = int(self.state.step)
        self._file = MetricsFile(self.directory.metrics, self.num_done)
        if self.settings.has_tensorboard:
            self._board = TensorBoardFile(self.directory.tensorboard, self.num_done)

    @property
    def _stage(self) -> Stage:
        return self.settings.stages[self.standing.stage]

    def next_call(self) -> tuple[int, int, int, int]:
        """What the next dispatch is: its steps, the stage, the step at which that began, and the steps of the stage."""
        done = int(self.state.step) - self.standing.stage_start
        num_steps = min(self.settings.log_every - done % self.settings.log_every, self._stage.num_steps - done)
        return num_steps, self.standing.stage, self.standing.stage_start, self._stage.num_steps

    def dispatch(self, progress: Reporter) -> None:
        """Several steps in one call, and what follows from them."""
        started = time.perf_counter()
        self.state, metrics = self.programs.advance(self.state, self.task, self.rest, *self.next_call())
        self.follow(metrics, started, progress)

    def follow(self, metrics: dict[str, np.ndarray], started: float, progress: Reporter) -> None:
        """Log, validate and checkpoint after a dispatch that gave `metrics` and began at `started`."""
        before, num_steps = self.num_done, len(metrics["loss"])
        self.num_done = step = before + num_steps
        row = _mean_row(metrics) | self.programs.monitor(self.state, self.task, self.rest)
        if len(self.settings.stages) > 1:
            row["stage"] = self.standing.stage
        seconds = time.perf_counter() - started
        row = {"step": step, **row, "wall_s": round(seconds, 4), "steps_per_s": round(num_steps / seconds, 2)}
        self._stop_if_too_much_failed(metrics, row, before, progress)
        done = step - self.standing.stage_start
        is_last = done == self._stage.num_steps
        is_checkpoint = done % self.settings.checkpoint_every == 0 or is_last
        loss = self._loss_to_choose_by(row) if is_checkpoint else math.nan
        self._log(row, progress)
        progress.advance(step, row)
        if is_checkpoint:
            self._pass_checkpoint(loss, "validation_loss" in row, is_last, progress)

    def _log(self, row: dict[str, Any], progress: Reporter) -> None:
        if self._board is not None:
            self._board.append(row)
        try:
            self._file.append(row)
        except OSError as error:
            progress.warn(f"{self.directory.metrics} could not be written ({error.strerror}); its rows wait in memory.")

    def _loss_to_choose_by(self, row: dict[str, Any]) -> float:
        """The loss of the data held out, or else that of training; infinite where some solves failed."""
        validation = self.programs.validate(self.state, self.task, self.rest)
        if validation is None:
            return row["loss"] if row.get("failed_share", 0.0) == 0 else math.inf
        row |= {f"validation_{name}": value for name, value in validation.items()}
        loss = row["validation_loss"]
        return loss if math.isfinite(loss) else math.inf

    def _pass_checkpoint(self, loss: float, is_validated: bool, is_last_step: bool, progress: Reporter) -> None:
        """Keep the best, see whether the stage has ended, and write the last checkpoint."""
        standing, step = self.standing, self.num_done
        if loss < standing.best_loss:
            # Best first: a run killed between the two repeats the work and finds the same best again.
            standing = replace(standing, best_loss=loss, num_worse=0)
            self._save("best", standing, progress)
        else:
            standing = replace(standing, num_worse=standing.num_worse + 1)
        patience = self._stage.patience
        if is_last_step or (patience is not None and standing.num_worse >= patience):
            if standing.stage + 1 == len(self.settings.stages):
                standing = replace(standing, is_done=True)
            else:
                # Losses of two stages are of two kinds, those of the data held out of one.
                best = standing.best_loss if is_validated else math.inf
                standing = Standing(best, 0, standing.stage + 1, step)
        self.standing = standing
        self._save("last", standing, progress)

    def _save(self, which: str, standing: Standing, progress: Reporter) -> None:
        """Write a checkpoint while training goes on, once the one before is written."""
        try:
            self._wait_for_writer()
        except CheckpointError as error:
            progress.warn(f"{error} Training goes on.")
        # The state itself is used up by the next dispatch.
        self._writing = self._writer.submit(self.checkpoints.save, which, jax.device_get(self.state), standing)

    def _wait_for_writer(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def save_now(self) -> None:
        """Write the last checkpoint before this returns."""
        with contextlib.suppress(CheckpointError):
            self._wait_for_writer()
        self.checkpoints.save("last", self.state, self.standing)

    def _stop_if_too_much_failed(
        self, metrics: dict[str, np.ndarray], row: dict[str, Any], before: int, progress: Reporter
    ) -> None:
        failed, skipped = row.get("failed_share", 0.0), row["skipped_share"]
        steps = f"between steps {before} and {self.num_done}"
        cure = "Raise max_steps, loosen the tolerances, lower the learning rate or clip the gradient"
        if skipped > self.settings.max_skipped:
            reason = f"The loss or its gradient was not finite in {100 * skipped:.0f} % of the steps {steps}."
        elif failed > self.settings.max_failed:
            reason = f"{100 * failed:.0f} % of the solves failed {steps}; the loss over the rest says little."
        else:
            return
        self._log(row, progress)
        at = locate(metrics)
        self._keep_failure(before, at, reason, float(metrics["gradient_norm"][at]))
        raise TrainingError(
            f"{reason} {cure}; the last checkpoint is kept. `node-jax inspect {self.directory.path}` shows the batch."
        )

    def _keep_failure(self, start: int, at: int, reason: str, gradient_norm: float) -> None:
        """Come back to step `start` + `at` from the last checkpoint by the same programs, and solve its batch again."""
        with contextlib.suppress(CheckpointError):
            self._wait_for_writer()
        has_last = self.checkpoints.has("last")
        self.state, standing = self.checkpoints.restore("last") if has_last else (self._fresh()[0], Standing())
        self.standing = standing
        while int(self.state.step) < start:
            self.state, _ = self.programs.advance(self.state, self.task, self.rest, *self.next_call())
        if at:
            self.state, _ = self.programs.advance(self.state, self.task, self.rest, at, *self.next_call()[1:])
        failure = self._failure(reason, gradient_norm)
        failure.save(self.directory.failure, self.state.parameters, self._inspect(failure))

    def _failure(self, reason: str, gradient_norm: float) -> Failure:
        step, standing = int(self.state.step), self.standing
        fraction = (step - standing.stage_start) / self._stage.num_steps
        multiplier = math.exp(float(self.state.log_multiplier))
        return Failure(step, reason, gradient_norm, standing.stage, fraction, multiplier)

    def look_again(self) -> tuple[Failure, Inspection]:
        """The batch at which training stopped, or else that of the next step, solved again."""
        failure, parameters = None, None
        if (self.directory.failure / "failure.json").exists():
            failure, parameters = Failure.load(self.directory.failure, self.state.parameters)
        # A run that was resumed may have got past it.
        if failure is None or (self.checkpoints.step("last") or 0) > failure.step:
            self.state, self.standing = self.checkpoints.restore("last")
            failure = self._failure("Training did not stop; this is the step after the last checkpoint.", math.nan)
        else:
            found = (jnp.int32(failure.step), parameters)
            self.state = eqx.tree_at(lambda s: (s.step, s.parameters), self.state, found)
        return failure, self._inspect(failure)

    def _inspect(self, failure: Failure) -> Inspection:
        """The batch of the next step, solved with the parameters of now, which need not be those of their average."""
        model = combine_trainable(self.state.parameters, self.rest)
        return self.task.inspect(model, step_key(self.state), failure.phase)

    def finish(self) -> Any:
        """The best model.

        Raises:
            CheckpointError, OSError: if what was last to be written could not be.
        """
        self._wait_for_writer()
        self._file.flush()
        if not self.checkpoints.has("best"):
            self.checkpoints.save("best", self.state, self.standing)
        best, _ = self.checkpoints.restore("best")
        return model_of(best, self.rest)

    def close(self) -> None:
        """Let a checkpoint that is being written come to its end, and release the files."""
        self._writer.shutdown()
        if self._board is not None:
            self._board.close()
        self.checkpoints.close()


def _mean_row(metrics: dict[str, np.ndarray]) -> dict[str, float]:
    """The means over the steps of a dispatch; those of a skipped step are left out, except how many there were."""
    is_kept = metrics["skipped_share"] == 0
    chosen = is_kept if is_kept.any() else slice(None)
    row = {name: float(np.mean(values[chosen])) for name, values in metrics.items()}
    return row | {"skipped_share": float(np.mean(metrics["skipped_share"]))}
