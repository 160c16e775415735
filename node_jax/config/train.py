"""How long to train, how often to look, and when to stop."""

from dataclasses import dataclass

from node_jax.config.checks import is_positive, require_at_least
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class Train:
    """How long to train, how often to look, and when to stop."""

    num_steps: int = 2000
    """Optimizer steps at most, at least 1."""
    log_every: int = 50
    """Steps compiled into one dispatch, after which metrics are written."""
    checkpoint_every: int = 500
    """Steps between checkpoints, a multiple of log_every; the model is validated at each."""
    patience: int | None = None
    """Checkpoints without a lower loss (of the data held out, if there are any) after which training stops, at least
    1; None trains to the last step. The best checkpoint is used either way."""
    clip_norm: float | None = 1.0
    """Largest norm of the gradient, > 0; None does not clip."""
    accumulate: int = 1
    """Batches whose gradients are averaged in one step, at least 1."""
    ema_decay: float | None = None
    """Decay of a moving average of the parameters, in [0, 1), which is then what is validated and used; None keeps
    none. 0.99 averages over about 100 steps."""
    max_failed: float = 0.5
    """Training stops when more than this share of the solves between two rows of metrics failed, in [0, 1]."""
    max_skipped: float = 0.5
    """Training stops when more than this share of the steps between two rows of metrics was skipped because the loss
    or its gradient was not finite, in [0, 1]."""

    watch_growth: bool = False
    """Whether norms of the state, of the field's Jacobian and of the gradient along a solve are logged."""
    tensorboard: bool = False
    """Whether metrics are also written for TensorBoard, into the run's folder; needs the extra `tensorboard`."""

    def __post_init__(self) -> None:
        require_at_least(self.num_steps, 1, "train.num_steps", "2000 is a start.")
        require_at_least(self.log_every, 1, "train.log_every", "50 is a start.")
        fits = self.checkpoint_every >= 1 and self.checkpoint_every % self.log_every == 0
        expected = f"a positive multiple of train.log_every = {self.log_every}"
        cure = "A resumed run must meet whole dispatches."
        require(fits, "train.checkpoint_every", expected, self.checkpoint_every, cure)
        patience_is_fine = self.patience is None or self.patience >= 1
        require(patience_is_fine, "train.patience", "at least 1 or None", self.patience, "5 to 10 is usual.")
        clip_is_fine = self.clip_norm is None or is_positive(self.clip_norm)
        require(clip_is_fine, "train.clip_norm", "a norm > 0 or None", self.clip_norm, "1.0 is usual.")
        require_at_least(self.accumulate, 1, "train.accumulate", "1 takes one batch a step.")
        decay_is_fine = self.ema_decay is None or 0 <= self.ema_decay < 1
        require(decay_is_fine, "train.ema_decay", "a number in [0, 1) or None", self.ema_decay, "0.99 is usual.")
        for name in ("max_failed", "max_skipped"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"train.{name}", "a share in [0, 1]", value, "0.5 is usual.")
