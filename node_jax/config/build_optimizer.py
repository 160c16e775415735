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

    Weight decay leaves alone what has fewer than two axes: biases, norms and physical rates. L-BFGS has its line search
    in place of a rate, a schedule and clipping.
    """
    if isinstance(optimizer, optimizers.LBFGS):
        search = optax.scale_by_zoom_linesearch(optimizer.max_linesearch_steps, initial_guess_strategy="one")
        return optax.lbfgs(memory_size=optimizer.memory_size, linesearch=search)
    rate = _build_schedule(optimizer.lr, schedule, num_steps)
    match optimizer:
        case optimizers.AdamW() as adamw:
            update = optax.adamw(rate, adamw.b1, adamw.b2, weight_decay=adamw.weight_decay, mask=is_weight_matrix)
        case optimizers.Lion() as lion:
            update = optax.lion(rate, lion.b1, lion.b2, weight_decay=lion.weight_decay, mask=is_weight_matrix)
        case optimizers.Adam() as adam:
            update = optax.adam(rate, adam.b1, adam.b2)
        case optimizers.SGD() as sgd:
            update = optax.sgd(rate, sgd.momentum or None, nesterov=sgd.is_nesterov)
    if clip_norm is None:
        return update
    return optax.chain(optax.clip_by_global_norm(clip_norm), update)


def _build_schedule(lr: float, schedule: optimizers.Schedule, num_steps: int) -> Callable[[Any], Any]:
    warmup = schedule.warmup_steps
    match schedule:
        case optimizers.CosineSchedule() as cosine:
            after = optax.cosine_decay_schedule(lr, num_steps - warmup, cosine.final_fraction)
        case optimizers.ExponentialSchedule() as exponential:
            after = optax.exponential_decay(lr, exponential.decay_steps, exponential.factor)
        case optimizers.StepSchedule() as steps:
            after = optax.piecewise_constant_schedule(lr, {b - warmup: steps.factor for b in steps.boundaries})
        case optimizers.ConstantSchedule():
            after = optax.constant_schedule(lr)
    if warmup == 0:
        return after
    # The first step has a rate above 0: a step of no size would be wasted.
    rise = optax.linear_schedule(lr / warmup, lr, warmup - 1) if warmup > 1 else optax.constant_schedule(lr)
    return optax.join_schedules([rise, after], [warmup])


def is_weight_matrix(parameters: Any) -> Any:
    """Where weight decay applies: arrays of two axes or more, not biases, norms or physical rates."""
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, parameters)
