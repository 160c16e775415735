"""Optimizers and schedules as Optax transformations."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from node_jax.config import optimizers


def build_optimizer(
    optimizer: optimizers.Optimizer, schedule: optimizers.Schedule, num_steps: int, clip_norm: float | None
) -> optax.GradientTransformation:
    """The Optax transformation of a config.

    Its numbers (rates, decays) are arrays in the optimizer's state, under `hyperparams`, so that runs that differ in
    them share one compiled program. Weight decay leaves alone what has fewer than two axes: biases, norms and physical
    rates. L-BFGS has its line search in place of a rate, a schedule and clipping.

    Arguments:
        optimizer, schedule: the configs.
        num_steps: optimizer steps in all, at which a schedule ends.
        clip_norm: largest norm of the gradient; `None` does not clip.
    """
    if isinstance(optimizer, optimizers.LBFGS):
        search = optax.scale_by_zoom_linesearch(optimizer.max_linesearch_steps, initial_guess_strategy="one")
        return optax.lbfgs(memory_size=optimizer.memory_size, linesearch=search)
    shape = _schedule_shape(schedule, num_steps)

    def scaled(lr: Any) -> Callable[[Any], Any]:
        return lambda step: lr * shape(step)

    match optimizer:
        case optimizers.AdamW() as c:

            def make_adamw(lr: Any, b1: Any, b2: Any, weight_decay: Any) -> optax.GradientTransformation:
                return optax.adamw(scaled(lr), b1, b2, weight_decay=weight_decay, mask=is_weight_matrix)

            make, numbers = make_adamw, {"lr": c.lr, "b1": c.b1, "b2": c.b2, "weight_decay": c.weight_decay}
        case optimizers.Lion() as c:

            def make_lion(lr: Any, b1: Any, b2: Any, weight_decay: Any) -> optax.GradientTransformation:
                return optax.lion(scaled(lr), b1, b2, weight_decay=weight_decay, mask=is_weight_matrix)

            make, numbers = make_lion, {"lr": c.lr, "b1": c.b1, "b2": c.b2, "weight_decay": c.weight_decay}
        case optimizers.Adam() as c:

            def make_adam(lr: Any, b1: Any, b2: Any) -> optax.GradientTransformation:
                return optax.adam(scaled(lr), b1, b2)

            make, numbers = make_adam, {"lr": c.lr, "b1": c.b1, "b2": c.b2}
        case optimizers.SGD() as c:

            def make_sgd(lr: Any, momentum: Any = None) -> optax.GradientTransformation:
                return optax.sgd(scaled(lr), momentum, nesterov=c.is_nesterov)

            make, numbers = make_sgd, {"lr": c.lr} | ({"momentum": c.momentum} if c.momentum else {})
    update = optax.inject_hyperparams(make)(**numbers)
    if clip_norm is None:
        return update
    return optax.chain(optax.clip_by_global_norm(clip_norm), update)


def _schedule_shape(schedule: optimizers.Schedule, num_steps: int) -> Callable[[Any], Any]:
    """The factor of the learning rate at each step."""
    warmup = schedule.warmup_steps
    match schedule:
        case optimizers.CosineSchedule() as cosine:
            after = optax.cosine_decay_schedule(1.0, num_steps - warmup, cosine.final_fraction)
        case optimizers.ExponentialSchedule() as exponential:
            after = optax.exponential_decay(1.0, exponential.decay_steps, exponential.factor)
        case optimizers.StepSchedule() as steps:
            after = optax.piecewise_constant_schedule(1.0, {b - warmup: steps.factor for b in steps.boundaries})
        case optimizers.ConstantSchedule():
            after = optax.constant_schedule(1.0)
    if warmup == 0:
        return after
    # The first step has a rate above 0: a step of no size would be wasted.
    rise = optax.linear_schedule(1 / warmup, 1.0, warmup - 1) if warmup > 1 else optax.constant_schedule(1.0)
    return optax.join_schedules([rise, after], [warmup])


def is_weight_matrix(parameters: Any) -> Any:
    """Where weight decay applies: arrays of two axes or more, not biases, norms or physical rates."""
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, parameters)
