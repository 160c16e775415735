"""What lanes hold, and what is known of the trajectories that they have handed in."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from node_jax.status import Status
from node_jax.stepping.batch import Batch, put_rows
from node_jax.stepping.outputs import Rows, repeat_last_row
from node_jax.stepping.problem import LoopResult
from node_jax.stepping.progress import Progress
from node_jax.stepping.single import nan_beyond, stats_of
from node_jax.stepping.watch import Events
from node_jax.types import State


class Lanes(NamedTuple):
    """What the lanes hold; leaves have a leading axis of lanes."""

    now: Progress
    trajectory: Int[Array, " lane"]
    """Which one; one too large where there is none."""
    problem_rows: list[Array]
    rows: Rows | None


class Record(NamedTuple):
    """What is known of each trajectory once it has ended; leaves have a leading axis of trajectories."""

    status: Int[Array, " batch"]
    num_attempts: Int[Array, " batch"]
    num_accepted: Int[Array, " batch"]
    num_dense: Int[Array, " batch"] | None
    num_saved: Int[Array, " batch"]
    costs: dict[str, Float[Array, " batch"]]
    z_end: State
    ys: State | None
    slopes: State | None
    events: Events | None


def hand_in(batch: Batch, lanes: Lanes) -> Record:
    """What is recorded of the trajectories in the lanes."""
    now, rows, num_rows = lanes.now, lanes.rows, batch.frame.ts.shape[0]
    ys = slopes = None
    if rows is None:
        num_saved = batch.map(
            lambda problem, t: jnp.sum(problem.ts * problem.direction <= t * problem.direction, dtype=jnp.int32),
            lanes.problem_rows,
            now.t,
        )
        num_saved = jnp.where(now.status == Status.invalid_input, 1, num_saved)
    else:
        ys, slopes = jax.tree.map(lambda leaf: leaf[:, :num_rows], (rows.ys, rows.slopes))
        num_saved = rows.num_written
    counts = (now.num_attempts, now.num_accepted, now.num_dense)
    return Record(now.status, *counts, num_saved, now.costs, now.z, ys, slopes, now.events)


def record_ended(batch: Batch, record: Record, lanes: Lanes) -> tuple[Record, Lanes]:
    """Record the trajectories that have ended, and let their lanes forget them."""
    has_ended = ~lanes.now.is_running
    index = jnp.where(has_ended, lanes.trajectory, batch.size)
    index_left = jnp.where(has_ended, batch.size, lanes.trajectory)
    return put_rows(record, index, hand_in(batch, lanes)), lanes._replace(trajectory=index_left)


def result_of(
    batch: Batch, record: Record, num_executed: Int[Array, ""], num_chunks: Int[Array, ""]
) -> tuple[LoopResult, State | None]:
    """The outcome for all trajectories; dy/dt at the times, where that was asked for."""
    frame, num_saved = batch.frame, record.num_saved
    if frame.only_ends:
        y_end = jax.vmap(frame.solver.read)(record.z_end)
        y0 = batch.map(lambda problem: problem.y0, batch.rows())
        count = frame.ts.shape[0]
        ys = jax.tree.map(lambda start, leaf: jnp.stack([start, leaf][:count], 1), y0, y_end)
        slopes = record.slopes
    else:
        rows = (record.ys, record.slopes)
        if batch.mapped.ts:
            rows, num_saved = batch.map(repeat_last_row, batch.rows(), rows, num_saved)
        ys, slopes = rows
    result = LoopResult(
        ys=jax.vmap(nan_beyond)(ys, num_saved),
        status=record.status,
        stats=stats_of(frame, record.num_attempts, record.num_accepted, record.num_dense, num_executed),
        num_saved=num_saved,
        costs=record.costs,
        path=None,
        errors=None,
        times=None,
        z_end=record.z_end,
        num_nodes=num_chunks,
        events=record.events,
    )
    return result, slopes
