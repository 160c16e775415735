"""How a solve ended, as data.

Inside compiled code a failure is an `int32` beside the result, never an exception: a raising check hangs a program
that is sharded over devices. `check` turns it into an exception on the host, where that is safe.
"""

from enum import IntEnum
from typing import Any

import numpy as np
from jax.core import Tracer

from node_jax.errors import SolveError


class Status(IntEnum):
    """Outcome of one solve; `Status(int(sol.status))` names it.

    `success` and `event` are successes, everything else is a failure.
    """

    success = 0
    event = 1
    max_steps = 2
    dt_underflow = 3
    non_finite = 4
    tape_full = 5
    invalid_input = 6
    copies_apart = 7
    max_events = 8


SENTENCES: dict[Status, str] = {
    Status.success: "the solve reached the last time",
    Status.event: "a terminal event ended the solve",
    Status.max_steps: (
        "the solve used up max_steps before the last time; raise max_steps, loosen rtol and atol, or, "
        "if it happens after some training, the field has become stiff: regularize it or use an implicit solver"
    ),
    Status.dt_underflow: (
        "the step size fell below what the time's precision (or dtmin) allows; the field is stiff or blows up: "
        "check its scale, loosen rtol and atol, use float64, or an implicit solver"
    ),
    Status.non_finite: (
        "the field or the state became NaN or infinite; check the initial state and the parameters for NaN, "
        "scale the inputs, or clip the gradient that led there"
    ),
    Status.tape_full: "the tape of a batched solve was too short; raise max_rows",
    Status.copies_apart: (
        "the two copies of the state of a reversible method have moved apart; the field is dissipative or the steps "
        "are large: use adjoint=nj.CheckpointedAdjoint(), a smaller coupling, or tighter tolerances"
    ),
    Status.max_events: (
        "an event with a jump was due more often than its max_events; raise it, or let it terminate the solve"
    ),
    Status.invalid_input: "the times were NaN or not sorted; sort ts (either direction) and remove NaN",
}


def is_success(status: Any) -> Any:
    """Whether a status (an int32 array of any shape) is a success: `success` or `event`."""
    return (status == Status.success) | (status == Status.event)


def check(solution: Any) -> Any:
    """Raise if any solve in `solution` failed; otherwise return `solution` unchanged.

    Host side only: it waits for the result, and cannot be used inside `jax.jit`.

    Arguments:
        solution: what `nj.odeint` returned, or anything with a `status` of int32, of any shape.

    Returns:
        The same `solution`, so that `nj.check(nj.odeint(...)).ys` reads well.

    Raises:
        SolveError: with the sentence of the first failure, the count of failures and the first failed index.
    """
    if isinstance(solution.status, Tracer):
        raise TypeError(
            "nj.check was called inside a jax transformation (jit, grad or vmap), where no exception can be raised. "
            "Call it on the result outside, or look at `sol.status` inside."
        )
    status = np.asarray(solution.status)
    failed = np.flatnonzero(~is_success(status.reshape(-1)))
    if failed.size == 0:
        return solution
    first = Status(int(status.reshape(-1)[failed[0]]))
    sentence = f"{SENTENCES[first]} (status {first.name})"
    if status.ndim == 0:
        raise SolveError(f"The solve failed: {sentence}.")
    index = tuple(int(i) for i in np.unravel_index(failed[0], status.shape))
    shown = index[0] if len(index) == 1 else index
    raise SolveError(f"{failed.size} of {status.size} solves failed, the first at index {shown}: {sentence}.")
