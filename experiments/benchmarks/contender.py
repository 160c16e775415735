"""What a solver must look like to be measured here."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Setting:
    """The numbers that every side gets alike; tolerances may be traced."""

    rtol: Any = 1e-4
    atol: Any = 1e-6
    dt0: Any = 0.01
    max_steps: int = 128
    solver: str = "Tsit5"
    constant_dt: float | None = None


class Solved(NamedTuple):
    """States with time first, and counts; a count is -1 where the solver does not say."""

    ys: Any
    num_accepted: Any
    num_rejected: Any
    num_evals: Any


class Solve(Protocol):
    """Solve from `ts[0]` and return the states at `ts`, or at `ts[-1]` alone with `final_only`."""

    def __call__(self, field: Any, y0: Any, ts: Any, setting: Setting, final_only: bool = False) -> Solved:
        """See the class."""
        ...


def by_method(solve: Solve, name: str) -> Solve:
    """`solve` by a method of this name."""

    def solve_by(field: Any, y0: Any, ts: Any, setting: Setting, final_only: bool = False) -> Solved:
        return solve(field, y0, ts, replace(setting, solver=name), final_only)

    return solve_by


def loss_of(ys: Any) -> Any:
    """The loss of every gradient here: the mean square of all that was saved."""
    return jnp.mean(ys**2)


def gradient_of(solve: Any, field: Any, y0: Any, ts: Any, setting: Setting, final_only: bool = False) -> Any:
    """The gradient of `loss_of` for the field's parameters and for y0."""
    parameters, static = eqx.partition(field, eqx.is_inexact_array)

    def loss(parameters: Any, y0: Any) -> Any:
        return loss_of(solve(eqx.combine(parameters, static), y0, ts, setting, final_only).ys)

    return jax.grad(loss, argnums=(0, 1))(parameters, y0)


def relative_error(gradient: Any, reference: Any) -> float:
    """‖gradient − reference‖ / ‖reference‖ over all leaves, in float64 on the host."""
    leaves = [
        (np.asarray(ours, np.float64), np.asarray(exact, np.float64))
        for ours, exact in zip(jax.tree.leaves(gradient), jax.tree.leaves(reference), strict=True)
    ]
    difference = sum(float(((ours - exact) ** 2).sum()) for ours, exact in leaves)
    size = sum(float((exact**2).sum()) for _, exact in leaves)
    return (difference / size) ** 0.5
