"""How parameters move: optimizers and the schedules of their learning rates."""

from dataclasses import dataclass
from typing import TypeAlias

from node_jax.config.checks import require_at_least, require_decays, require_rate
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent, with momentum."""

    lr: float = 1e-2
    """Learning rate, > 0."""
    momentum: float = 0.9
    """Decay of the velocity, in [0, 1); 0 is plain gradient descent."""
    is_nesterov: bool = False
    """Whether the gradient is that of a look ahead (Nesterov 1983)."""

    def __post_init__(self) -> None:
        require_rate(self.lr)
        require(0 <= self.momentum < 1, "optimizer.momentum", "a number in [0, 1)", self.momentum, "0.9 is usual.")
        works = not self.is_nesterov or self.momentum > 0
        require(works, "optimizer.is_nesterov", "a momentum > 0", self.momentum, "Nesterov's look ahead is along it.")


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam (Kingma & Ba 2015)."""

    lr: float = 1e-2
    """Learning rate, > 0."""
    b1: float = 0.9
    """Decay of the mean, in [0, 1)."""
    b2: float = 0.999
    """Decay of the mean square, in [0, 1)."""

    def __post_init__(self) -> None:
        require_rate(self.lr)
        require_decays(self.b1, self.b2)


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    lr: float = 1e-2
    """Learning rate, > 0."""
    b1: float = 0.9
    """Decay of the mean, in [0, 1)."""
    b2: float = 0.999
    """Decay of the mean square, in [0, 1)."""
    weight_decay: float = 1e-3
    """Strength of the decay of weight matrices (biases, norms and rates are left alone), >= 0."""

    def __post_init__(self) -> None:
        require_rate(self.lr)
        require_decays(self.b1, self.b2)
        require_at_least(self.weight_decay, 0, "optimizer.weight_decay", "1e-3 is usual.")


@dataclass(frozen=True, kw_only=True)
class Lion:
    """Signs of an interpolated momentum, with decoupled weight decay (Chen et al. 2023)."""

    lr: float = 1e-3
    """Learning rate, > 0; a third to a tenth of Adam's."""
    b1: float = 0.9
    """Weight of the momentum in the update, in [0, 1)."""
    b2: float = 0.99
    """Decay of the momentum, in [0, 1)."""
    weight_decay: float = 1e-3
    """Strength of the decay of weight matrices (biases, norms and rates are left alone), >= 0."""

    def __post_init__(self) -> None:
        require_rate(self.lr)
        require_decays(self.b1, self.b2)
        require_at_least(self.weight_decay, 0, "optimizer.weight_decay", "Three to ten times AdamW's is usual.")


@dataclass(frozen=True, kw_only=True)
class LBFGS:
    """Limited-memory BFGS with a line search (Nocedal & Wright 2006, 7.2 and 3.5), for full batches."""

    memory_size: int = 10
    """Differences of gradients that are kept, at least 1."""
    max_linesearch_steps: int = 20
    """Most evaluations of the loss in one line search, at least 1."""

    def __post_init__(self) -> None:
        require_at_least(self.memory_size, 1, "optimizer.memory_size", "10 is usual.")
        require_at_least(self.max_linesearch_steps, 1, "optimizer.max_linesearch_steps", "20 is usual.")


@dataclass(frozen=True, kw_only=True)
class ConstantSchedule:
    """The learning rate stays as it is."""

    warmup_steps: int = 0
    """Steps over which the rate first rises from 0 in a straight line, at least 0."""

    def __post_init__(self) -> None:
        require_at_least(self.warmup_steps, 0, "schedule.warmup_steps", "A twentieth of all steps is usual.")


@dataclass(frozen=True, kw_only=True)
class CosineSchedule:
    """Half a cosine from the learning rate down to a fraction of it at the last step."""

    warmup_steps: int = 0
    """Steps over which the rate first rises from 0 in a straight line, at least 0."""
    final_fraction: float = 0.0
    """Learning rate at the end, as a fraction of the one at the start, in [0, 1]."""

    def __post_init__(self) -> None:
        require_at_least(self.warmup_steps, 0, "schedule.warmup_steps", "A twentieth of all steps is usual.")
        inside = 0 <= self.final_fraction <= 1
        require(inside, "schedule.final_fraction", "a fraction in [0, 1]", self.final_fraction, "0 is usual.")


@dataclass(frozen=True, kw_only=True)
class ExponentialSchedule:
    """The rate falls by the same factor over every `decay_steps`."""

    warmup_steps: int = 0
    """Steps over which the rate first rises from 0 in a straight line, at least 0."""
    decay_steps: int = 1000
    """Steps over which the rate falls by the factor, at least 1."""
    factor: float = 0.5
    """What is left of it, in (0, 1]."""

    def __post_init__(self) -> None:
        require_at_least(self.warmup_steps, 0, "schedule.warmup_steps", "A twentieth of all steps is usual.")
        require_at_least(self.decay_steps, 1, "schedule.decay_steps", "A third of all steps is a start.")
        require(0 < self.factor <= 1, "schedule.factor", "a factor in (0, 1]", self.factor, "0.5 is usual.")


@dataclass(frozen=True, kw_only=True)
class StepSchedule:
    """The rate falls by a factor at given steps."""

    warmup_steps: int = 0
    """Steps over which the rate first rises from 0 in a straight line, at least 0."""
    boundaries: tuple[int, ...] = (1000,)
    """Steps at which it falls, increasing, each at least 1."""
    factor: float = 0.1
    """What is left of it at each, in (0, 1]."""

    def __post_init__(self) -> None:
        require_at_least(self.warmup_steps, 0, "schedule.warmup_steps", "A twentieth of all steps is usual.")
        increases = all(a < b for a, b in zip((self.warmup_steps, *self.boundaries), self.boundaries, strict=False))
        expected = f"increasing steps after the warm-up of {self.warmup_steps}"
        require(increases, "schedule.boundaries", expected, self.boundaries, "Sort them, or shorten the warm-up.")
        require(0 < self.factor <= 1, "schedule.factor", "a factor in (0, 1]", self.factor, "0.1 is usual.")


Optimizer: TypeAlias = Adam | AdamW | SGD | Lion | LBFGS
Schedule: TypeAlias = ConstantSchedule | CosineSchedule | ExponentialSchedule | StepSchedule
