"""How long to train, how often to look, and when to stop."""

from dataclasses import dataclass, field

from node_jax.train.step import StepSettings


@dataclass(frozen=True)
class Stage:
    """A part of training with a loss of its own.

    Arguments:
        num_steps: optimizer steps at most.
        patience: checkpoints without a lower loss after which the stage ends; `None` waits for its last step.
    """

    num_steps: int
    patience: int | None = None


@dataclass(frozen=True)
class FitSettings:
    """How long to train, how often to look, and when to stop.

    Arguments:
        stages: one after the other; the task gets the number of the current one.
        log_every: steps in one dispatch, after which one row of metrics is written.
        checkpoint_every: steps between checkpoints, a multiple of `log_every`. The model is validated at each.
        seed: of the initial parameters and of the batches.
        step: what one optimizer step is made of.
        max_failed: training stops when more than this share of the solves of a dispatch failed.
        max_skipped: training stops when more than this share of the steps of a dispatch was skipped.
        has_tensorboard: whether metrics are also written for TensorBoard.
    """

    stages: tuple[Stage, ...]
    log_every: int
    checkpoint_every: int
    seed: int
    step: StepSettings = field(default_factory=StepSettings)
    max_failed: float = 0.5
    max_skipped: float = 0.5
    has_tensorboard: bool = False

    @property
    def num_steps(self) -> int:
        """Optimizer steps at most, over all stages."""
        return sum(stage.num_steps for stage in self.stages)
