"""What a time loop takes and gives."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from node_jax.controllers import AbstractController, judge_times
from node_jax.events import Jumps
from node_jax.interpolate.dense import DensePath
from node_jax.solution import Stats
from node_jax.solvers import AbstractSolver
from node_jax.stepping.watch import Events, Watch
from node_jax.types import State, Time


class Problem(eqx.Module):
    """An initial value problem, checked and ready for a loop: every number in it is an array leaf."""

    field: Callable[[Time, State], State]
    """dy/dt = field(t, y): a pytree whose array leaves are all that the field reads, arguments and closures too."""
    jumps: Jumps | None = eqx.field(default=None, kw_only=True)
    """Changes of the state at known times; each is a step of no length."""
    y0: State
    ts: Float[Array, " time"]
    direction: Time
    """+1 forward in time, -1 backward; see `node_jax.controllers.direction_of`."""
    solver: AbstractSolver
    controller: AbstractController
    asked_ts: Float[Array, " time"] | None = None
    """The times that the controller goes by, where `ts` holds others beside them."""
    extra_stops: Float[Array, " stop"] | None = None
    """Times at which a step must end, beside the controller's own; in the order of the solve."""
    jump_ts: Float[Array, " jump"] | None = None
    """Times at which the field may be discontinuous, beside the controller's own; in the order of the solve."""
    at_stop: Callable[[Time, State], State] | None = None
    """What happens to the internal state where a step ends at a stop; `None` for nothing."""
    watch: Watch | None = None
    """Events to look for. A solve that does so finds their times and is not differentiated."""
    cost_hint: Float[Array, ""] | None = None
    """What the solve is expected to cost beside others of a batch, in any unit."""
    max_steps: int = eqx.field(static=True, kw_only=True)
    """Bound on attempted steps, accepted or not."""
    costs: tuple[str, ...] = eqx.field(static=True, default=(), kw_only=True)
    """Which sums along the solve to record (see `node_jax.stepping.costs`)."""
    reads_rows: bool = eqx.field(static=True, default=True, kw_only=True)
    """Whether values at `ts` between its ends are wanted."""
    wants_path: bool = eqx.field(static=True, default=False, kw_only=True)
    """Whether the dense output of every step is kept."""
    wants_errors: bool = eqx.field(static=True, default=False, kw_only=True)
    """Whether the scaled error of every step is kept."""

    @property
    def only_ends(self) -> bool:
        """Whether just the start and the end of `ts` are read, so that no dense output is needed for it."""
        return self.ts.shape[0] <= 2 or not self.reads_rows

    @property
    def needs_dense(self) -> bool:
        """Whether a step's dense output is read."""
        return self.wants_path or not self.only_ends or self.watch is not None

    @property
    def controller_ts(self) -> Float[Array, " time"]:
        """The times that the controller goes by."""
        return self.ts if self.asked_ts is None else self.asked_ts

    @property
    def chooses_dense(self) -> bool:
        """Whether dense output costs evaluations of its own and only some steps hold an output."""
        has_choice = self.solver.num_evals(True) > self.solver.num_evals(False)
        return self.needs_dense and has_choice and not self.wants_path and self.watch is None

    def holds_output(self, t0: Time, t1: Time) -> Bool[Array, ""]:
        """Whether one of `ts` lies in the step from t0, excluded, to t1."""
        ts = self.ts * self.direction
        return jnp.any((ts > t0 * self.direction) & (ts <= t1 * self.direction))

    @property
    def has_jumps(self) -> bool:
        """Whether the field may be discontinuous at stops."""
        return self.controller.has_jumps or self.jump_ts is not None

    @property
    def reuses_slope(self) -> bool:
        """Whether each step takes its first stage from the step before."""
        is_smooth = not self.has_jumps and self.at_stop is None
        return self.solver.is_fsal and is_smooth and (self.solver.is_slope_exact or not self.needs_dense)

    @property
    def reads_last_slope(self) -> bool:
        """Whether a step's slope at its end is read: by the next step, dense output, a cost or the error estimate."""
        is_taken = self.reuses_slope or self.needs_dense or bool(self.costs)
        return is_taken or self.judges_last_slope or not self.solver.ends_in_slope

    @property
    def evaluates_last_slope(self) -> bool:
        """Whether compiled code evaluates a step's slope at its end: where it is read, or stages run in a loop."""
        return self.reads_last_slope or self.solver.runs_stages_in_loop

    @property
    def judges_last_slope(self) -> bool:
        """Whether a step is accepted only if its slope at the end is finite, since the error estimate holds it."""
        return self.controller.is_adaptive and self.solver.sees_last_stage

    @property
    def records_slope(self) -> bool:
        """Whether the record of a batch has the slope that each step starts with.

        Where the slope at the end of a step is read by nothing but the next step, that finds it again on the way back:
        instead of its own at the end, which nothing reads either.
        """
        is_read = self.needs_dense or bool(self.costs) or not self.solver.ends_in_slope
        return self.reuses_slope and is_read

    @property
    def dynamics(self) -> tuple[Callable[[Time, State], State], Jumps | None]:
        """All that moves the state, and that parameters belong to."""
        return self.field, self.jumps

    def stops(self) -> Float[Array, " stop"] | None:
        """Where a step must end, sorted in the direction of the solve; `None` for nowhere but at the end."""
        jumps = None if self.jumps is None else self.jumps.all_times(self.direction)
        parts = [self.controller.stops(self.controller_ts), self.extra_stops, self.jump_ts, jumps]
        parts = [stops for stops in parts if stops is not None]
        if not parts:
            return None
        # A sort is dear: one set of stops is sorted already.
        stops = parts[0] if len(parts) == 1 else jnp.sort(jnp.concatenate(parts) * self.direction) * self.direction
        return lax.stop_gradient(stops)

    def judge_times(self) -> tuple[Bool[Array, ""], Int[Array, ""]]:
        """Whether `ts` is finite and sorted in either direction, and how many of its times are the first; 1 if not."""
        return judge_times(self.ts, self.direction)


class LoopResult(eqx.Module):
    """The outcome of a loop. Gradients flow through `ys`, `costs` and `path`."""

    ys: State
    """Values at the times, NaN where the loop did not come."""
    status: Int[Array, ""]
    stats: Stats
    num_saved: Int[Array, ""]
    """How many rows of `ys` hold values."""
    costs: dict[str, Float[Array, ""]]
    path: DensePath | None
    errors: Float[Array, " step"] | None
    """The scaled error of every accepted step."""
    times: Float[Array, " node"] | None
    """Ends of the accepted steps."""
    z_end: State
    """The solver's internal state where the loop ended."""
    num_nodes: Int[Array, ""]
    """Steps on the tape."""
    events: Events | None = None
    """What has fired, if the problem watches events."""
