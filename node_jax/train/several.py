"""Several runs that share their compiled programs, trained in turn or side by side."""

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from node_jax.errors import Preempted
from node_jax.tasks import AbstractTask
from node_jax.train.preemption import Preemption
from node_jax.train.progress import Progress, Reporter
from node_jax.train.run_directory import RunDirectory, write_text_whole
from node_jax.train.settings import FitSettings
from node_jax.train.state import TrainState
from node_jax.train.trainer import Trainer, TrainingError

LEAST_DISPATCHES = 20
"""Runs of fewer dispatches are trained in turn without a measurement."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One of several runs.

    Arguments:
        name: for messages.
        task, optimizer, settings, directory: as in `fit`. Those of one call differ in arrays only: the task's, those of
            the optimizer's state, and what a seed gives.
    """

    name: str
    task: AbstractTask
    optimizer: optax.GradientTransformation
    settings: FitSettings
    directory: RunDirectory


def fit_several(
    candidates: Sequence[Candidate],
    make_progress: Callable[[str, int, int], Progress],
    mode: str,
    choice: Path,
) -> list[Any]:
    """Train each candidate as `fit` would, all with the same compiled programs.

    Arguments:
        candidates: the runs.
        make_progress: `make_progress(title, num_steps, done)`.
        mode: "in-turn", "together" (side by side in one program under `jax.vmap`) or "measure", which times one
            dispatch of both and takes the faster; short runs are trained in turn.
        choice: a file in which what was measured is kept, so that a resumed call goes on in the same way.

    Returns:
        The best model of each; `None` of one that had to stop, whose failure is in its directory.

    Raises:
        Preempted: after SIGTERM, with a checkpoint of every run that is under way.
    """
    with contextlib.ExitStack() as stack:
        trainers: list[Trainer] = []
        for candidate in candidates:
            programs = trainers[0].programs if trainers else None
            trainers.append(stack.enter_context(contextlib.closing(Trainer(*_parts(candidate), programs))))
            trainers[-1].resume()
        runs = [_Under(candidate.name, trainer) for candidate, trainer in zip(candidates, trainers, strict=True)]
        _train(runs, make_progress, mode, choice)
        return [None if run.has_failed else run.trainer.finish() for run in runs]


def _train(runs: "list[_Under]", make_progress: Callable[[str, int, int], Progress], mode: str, choice: Path) -> None:
    with Preemption() as preemption:
        if mode == "measure":
            mode = _measured([run.trainer for run in runs], choice)
            _end_if_asked(preemption, runs)
        if mode == "together":
            _train_together(runs, make_progress, preemption)
        else:
            for number, run in enumerate(runs, start=1):
                title = f"{run.name} ({number} of {len(runs)})"
                total, done = run.trainer.settings.num_steps, run.trainer.num_done
                with make_progress(title, total, done) as progress:
                    while run.is_active:
                        run.dispatch(progress)
                        _end_if_asked(preemption, runs)


class _Under:
    """A run under way, which may fail without the others."""

    def __init__(self, name: str, trainer: Trainer) -> None:
        self.name, self.trainer, self.has_failed = name, trainer, False

    @property
    def is_active(self) -> bool:
        return not self.has_failed and not self.trainer.standing.is_done

    def dispatch(self, progress: Reporter) -> None:
        self._guard(lambda: self.trainer.dispatch(progress), progress)

    def follow(self, state: TrainState, metrics: Any, started: float, progress: Reporter) -> None:
        self.trainer.state = state
        self._guard(lambda: self.trainer.follow(metrics, started, progress), progress)

    def _guard(self, call: Callable[[], None], progress: Reporter) -> None:
        try:
            call()
        except TrainingError as error:
            self.has_failed = True
            progress.warn(f"{self.name}: {error}")


class _Quiet:
    """Hands warnings on, and shows no rows: one of several runs is shown."""

    def __init__(self, progress: Reporter) -> None:
        self.warn = progress.warn

    def advance(self, step: int, row: dict[str, Any]) -> None:
        del step, row


def _parts(candidate: Candidate) -> tuple[AbstractTask, optax.GradientTransformation, FitSettings, RunDirectory]:
    return candidate.task, candidate.optimizer, candidate.settings, candidate.directory


def _train_together(
    runs: list[_Under], make_progress: Callable[[str, int, int], Progress], preemption: Preemption
) -> None:
    total = runs[0].trainer.settings.num_steps
    tasks, rests = [run.trainer.task for run in runs], [run.trainer.rest for run in runs]
    done = min(run.trainer.num_done for run in runs)
    with make_progress(f"{runs[0].name} and {len(runs) - 1} more, together", total, done) as progress:
        while active := [run for run in runs if run.is_active]:
            last = max(run.trainer.num_done for run in active)
            behind = [run for run in active if run.trainer.num_done < last]
            calls = {run.trainer.next_call() for run in active}
            if behind or len(calls) > 1:
                # After a kill between two checkpoints, or when stages end by patience: until they meet again.
                for run in behind or active:
                    run.dispatch(progress)
            else:
                started = time.perf_counter()
                # Runs that have ended are computed along: another width would be another program.
                states, metrics = runs[0].trainer.programs.advance_all(
                    [run.trainer.state for run in runs], tasks, rests, *calls.pop()
                )
                share = (time.perf_counter() - started) / len(active)
                for run, state, found in zip(runs, states, metrics, strict=True):
                    if run.is_active:
                        shown = progress if run is active[0] else _Quiet(progress)
                        run.follow(state, found, time.perf_counter() - share, shown)
            _end_if_asked(preemption, runs)


def _end_if_asked(preemption: Preemption, runs: list[_Under]) -> None:
    if preemption.is_asked:
        kept = [run for run in runs if not run.has_failed]
        for run in kept:
            run.trainer.save_now()
        raise Preempted(f"Asked to end; checkpoints of {len(kept)} runs are written.")


def _measured(trainers: list[Trainer], choice: Path) -> str:
    """The faster way: a dispatch of one run, times their number, against one of all together, on copies of states."""
    if choice.exists():
        return json.loads(choice.read_text())["mode"]
    calls = {trainer.next_call() for trainer in trainers}
    settings = trainers[0].settings
    # A program more is compiled, and run, for the comparison: that must be little beside the training.
    is_short = settings.num_steps < LEAST_DISPATCHES * settings.log_every
    if len(trainers) == 1 or len(calls) > 1 or is_short:
        return "in-turn"
    call, first = calls.pop(), trainers[0]
    tasks, rests = [trainer.task for trainer in trainers], [trainer.rest for trainer in trainers]

    def seconds(advance: Callable[[], Any]) -> float:
        advance()
        started = time.perf_counter()
        advance()
        return time.perf_counter() - started

    alone = seconds(lambda: first.programs.advance(_copy(first.state), first.task, first.rest, *call))
    together = seconds(lambda: first.programs.advance_all([_copy(t.state) for t in trainers], tasks, rests, *call))
    timed = {"in-turn": alone * len(trainers), "together": together}
    mode = min(timed, key=lambda name: timed[name])
    facts = {"mode": mode, "seconds_of_a_dispatch": {name: round(value, 4) for name, value in timed.items()}}
    write_text_whole(choice, json.dumps(facts, indent=2) + "\n")
    return mode


def _copy(state: TrainState) -> TrainState:
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), state)
