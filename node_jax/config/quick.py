"""A config as it is, but short: to see in seconds that a run works."""

from dataclasses import replace

from node_jax.config.schema import Run
from node_jax.config.tasks import Trajectory

_DISPATCH = 5
"""Steps compiled into one dispatch of a short run."""
_SEEDS = 2
"""Seeds at most."""


def shorten(run: Run) -> Run:
    """The same data, model and loss for ten steps, or ten of each stage, validated half-way; at most two seeds.

    Its name ends in `-quick`. What it finds means nothing.
    """
    log_every = min(run.train.log_every, _DISPATCH)
    task, num_steps = run.task, 2 * log_every
    if isinstance(task, Trajectory):
        task = replace(task, stages=tuple(replace(stage, num_steps=num_steps) for stage in task.stages))
    return replace(
        run,
        name=f"{run.name}-quick",
        task=task,
        train=replace(run.train, num_steps=num_steps, log_every=log_every, checkpoint_every=log_every),
        schedule=replace(run.schedule, warmup_steps=min(run.schedule.warmup_steps, log_every)),
        sweep=replace(run.sweep, seeds=min(run.sweep.seeds, _SEEDS)),
    )
