"""Fit a vector field to noisy trajectories by a curriculum of losses."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from node_jax.analysis import Identification, Prediction, draw_fit
from node_jax.data import TimeSeries, Trajectories, as_trajectories
from node_jax.errors import UsageError
from node_jax.fields import AbstractField, draw_dropout
from node_jax.integrate import Integrator
from node_jax.losses import (
    Regularization,
    gradient_matching_loss,
    horizon_times,
    masked_mean_squared_error,
    segment_rows,
)
from node_jax.models import Forecaster, Scaling
from node_jax.solution import Solution
from node_jax.status import is_success
from node_jax.tasks.base import AbstractTask, Evaluation, Inspection, Phase
from node_jax.tasks.batches import draw_batch
from node_jax.tasks.inputs import Inputs
from node_jax.tasks.looks import (
    inspect_solves,
    monitor_solve,
    require_room,
    solve_metrics,
    squared_error_to,
    with_more_steps,
)
from node_jax.tasks.parameters import describe_parameters, identify_parameters, parameter_metrics
from node_jax.tasks.portraits import draw_portraits
from node_jax.tasks.rows import Rows, Segments, flatten_series, relative_errors, rows_of
from node_jax.tasks.stages import (
    Collocation,
    CurriculumStage,
    GrowingHorizon,
    MultipleShooting,
    RollOut,
    check_stages,
)
from node_jax.types import Key

Metrics = dict[str, Array]

_LEAST_NOISE = 1e-3
"""Start states of data without noise can still be trained; in the model's units, in which the data are about 1."""
_FINER = 5
"""Times of a curve in a figure for each interval between rows."""


class TrajectoryModel(eqx.Module):
    """A field, and where solves of the training trajectories start.

    Arguments:
        forecaster: the field with its scaling and integrator.
        offsets: shape (series, start, dim), from the smoothed states at the first row of each series and at those where
            segments start, in units of the noise (`TrajectoryTask.start_states`).
    """

    forecaster: Forecaster
    offsets: Float[Array, "series start dim"]


class TrajectoryTask(AbstractTask):
    r"""Fit dy/dt = f(t, y) to one or several trajectories, by a curriculum.

    A plain fit solves from the first row to the last and compares. Over several periods of an oscillation, or over more
    than a Lyapunov time, that loss has many bad minima and large gradients: the fit tends to the mean of the data. A
    curriculum starts with losses whose landscape is smooth and ends with the one that is meant:

        Collocation  →  MultipleShooting or GrowingHorizon  →  RollOut

    Initial states are parameters too, since the first measurement is as noisy as any other. They begin at the smoothed
    states and are trained as offsets in units of the noise, so that a step of an optimizer that suits a network is
    small beside what is uncertain in them, and weight decay pulls them to the smoothed states.

    Arguments:
        data: a `TimeSeries`, several, or `Trajectories`, in the user's units. Their controls are a field's `args`: a
            path in the model's time, or an array, of the user's values; see `nj.data.Controls`.
        scaling: between units.
        make_field: `make_field(key)` gives a fresh field on states of shape (dim,).
        integrator: how it is solved; by `integrator.batch` where that can, else under `jax.vmap`.
        stages: of the curriculum; `phase.stage` of the loss counts them.
        validation: trajectories that nothing is fitted to; `None` takes the training data.
        validation_steps: intervals of the solves that `validation_loss` compares; `None` takes whole trajectories.
        has_free_starts: whether initial states are trained.
        regularization: what is kept small beside the losses, in the model's units.
        watches_growth: whether norms of state, Jacobian and gradient are logged; see `measure_growth`.

    Raises:
        UsageError: without stages, for steps that do not fit into the trajectories, or other quantities or controls
            in `validation`.
    """

    rows: Rows
    held_out: Rows
    slope_scale: Float[Array, " dim"]
    noise: Float[Array, " dim"]
    scaling: Scaling
    integrator: Integrator
    regularization: Regularization
    data: Trajectories = eqx.field(static=True)
    validation: Trajectories | None = eqx.field(static=True)
    validation_steps: int = eqx.field(static=True)
    make_field: Callable[[Key], AbstractField] = eqx.field(static=True)
    stages: tuple[CurriculumStage, ...] = eqx.field(static=True)
    start_rows: tuple[int, ...] = eqx.field(static=True)
    has_free_starts: bool = eqx.field(static=True)
    watches_growth: bool = eqx.field(static=True)

    def __init__(
        self,
        data: TimeSeries | Trajectories | Sequence[TimeSeries],
        scaling: Scaling,
        make_field: Callable[[Key], AbstractField],
        integrator: Integrator,
        stages: Sequence[CurriculumStage],
        *,
        validation: TimeSeries | Trajectories | Sequence[TimeSeries] | None = None,
        validation_steps: int | None = None,
        has_free_starts: bool = True,
        regularization: Regularization | None = None,
        watches_growth: bool = False,
    ) -> None:
        self.data = as_trajectories(data)
        self.validation = None if validation is None else as_trajectories(validation)
        length = self.data.times.shape[1]
        check_stages(stages, self.data)
        if self.validation is not None and self.validation.names != self.data.names:
            raise UsageError(
                f"TrajectoryTask: expected validation data of {self.data.names}, got {self.validation.names}."
            )
        driven, validated = (one and one.controls and one.controls.names for one in (self.data, self.validation))
        if self.validation is not None and driven != validated:
            raise UsageError(f"TrajectoryTask: expected validation data with the controls {driven}, got {validated}.")
        self.rows, noise = rows_of(self.data, scaling)
        self.noise = jnp.asarray(np.maximum(noise, _LEAST_NOISE))
        self.held_out = self.rows if self.validation is None else rows_of(self.validation, scaling)[0]
        longest = self.held_out.times.shape[1] - 1
        if validation_steps is not None and not 1 <= validation_steps <= longest:
            raise UsageError(
                f"TrajectoryTask: expected validation_steps between 1 and {longest}, got {validation_steps}."
            )
        self.validation_steps = validation_steps or longest
        require_room("TrajectoryTask", integrator, max(length - 1, longest))
        is_row = np.asarray(self.rows.is_row)
        size = np.sqrt(np.mean(np.asarray(self.rows.slopes)[is_row] ** 2, axis=0))
        self.slope_scale = jnp.asarray(np.where(size > 0, size, 1.0))
        self.scaling = scaling
        self.integrator = integrator
        self.make_field = make_field
        self.stages = tuple(stages)
        steps = [stage.segment_steps for stage in stages if isinstance(stage, MultipleShooting)]
        self.start_rows = tuple(sorted({0}.union(*(range(0, length - 1, k) for k in steps))))
        self.has_free_starts = has_free_starts
        self.regularization = Regularization() if regularization is None else regularization
        self.watches_growth = watches_growth

    def init(self, key: Key) -> TrajectoryModel:
        """A fresh field; all start states at the smoothed ones."""
        forecaster = Forecaster(self.make_field(key), self.scaling, self.integrator)
        return TrajectoryModel(forecaster, jnp.zeros_like(self.rows.states[:, np.array(self.start_rows)]))

    def loss(self, model: TrajectoryModel, key: Key, phase: Phase) -> tuple[Float[Array, ""], Metrics]:
        """The loss of stage `phase.stage`, and what is to be kept small, in the model's units.

        Failed solves are masked and counted in `failed_share`. All solves of a step share their dropout.
        """
        key_batch, key_dropout, key_solve = jax.random.split(key, 3)
        field = draw_dropout(model.forecaster.field, key=key_dropout)
        costs, is_good = {}, jnp.ones(1, bool)
        match self.stages[phase.stage]:
            case Collocation() as stage:
                error, metrics = self._collocation(field, key_batch, stage)
            case MultipleShooting() as stage:
                segments = self._segments(model, key_batch, stage)
                # Segments are alike: with a lane for each, nobody waits, and a queue would only cost.
                num = len(segments.starts)
                solution, costs = self._solve(field, segments.starts, segments.times, key_solve, segments.inputs, num)
                is_good = is_success(solution.status)
                error, jump = segments.loss(solution.ys, is_good, stage.weight(phase.fraction))
                metrics = {**solve_metrics(solution, self.integrator), "jump": jump}
            case GrowingHorizon() | RollOut() as stage:
                starts, times, values, mask, inputs = self._whole(model, key_batch, stage, phase.fraction)
                solution, costs = self._solve(field, starts, times, key_solve, inputs)
                is_good = is_success(solution.status)
                error = masked_mean_squared_error(solution.ys, values, mask & is_good[:, None, None])
                metrics = solve_metrics(solution, self.integrator)
        penalty, means = self.regularization.penalty(costs, is_good, model.forecaster.field, phase.multiplier)
        if self.regularization.weights:
            metrics |= {"error_loss": error, **means}
        return error + penalty, metrics

    def validate(self, model: TrajectoryModel) -> dict[str, Array]:
        """`validation_loss`, as "loss"."""
        return {"loss": self.validation_loss(model)}

    def validation_loss(self, model: TrajectoryModel) -> Float[Array, ""]:
        """Mean squared error of solves over `validation_steps`, of the held-out trajectories from smoothed states.

        Without held-out trajectories whole solves of the training ones start at the model's states. Infinite if a solve
        failed.
        """
        rows, counts = segment_rows(self.held_out.times.shape[1], self.validation_steps)
        is_whole = self.validation is None and len(rows) == 1
        starts = self.starts(model)[:, None] if is_whole else self.held_out.states[:, rows[:, 0]]
        inputs = None if self.held_out.inputs is None else flatten_series(self.held_out.inputs.segments(rows))
        solution = self.solve(model, flatten_series(starts), flatten_series(self.held_out.times[:, rows]), inputs)
        mask = flatten_series(self.held_out.mask[:, rows]) & jnp.tile(counts, (len(self.held_out.times), 1))[..., None]
        error = masked_mean_squared_error(solution.ys, flatten_series(self.held_out.values[:, rows]), mask)
        return jnp.where(jnp.all(is_success(solution.status)), error, jnp.inf)

    def starts(self, model: TrajectoryModel) -> Float[Array, "series dim"]:
        """The initial states of the training trajectories, in the model's units."""
        return self.start_states(model)[:, 0]

    def start_states(self, model: TrajectoryModel) -> Float[Array, "series start dim"]:
        """The states at `start_rows`, in the model's units: smoothed + noise offsets."""
        smoothed = self.rows.states[:, np.array(self.start_rows)]
        is_free = np.array([self.has_free_starts or row > 0 for row in self.start_rows])
        return smoothed + jnp.where(is_free[:, None], self.noise * model.offsets, 0.0)

    def solve(
        self, model: TrajectoryModel, starts: Float[Array, "batch dim"], times: Array, inputs: Inputs | None = None
    ) -> Solution:
        """Solves in the model's units, from a state and over times of each.

        Arguments:
            model: its field is solved.
            starts: where.
            times: shape (batch, time).
            inputs: the controls of each, such as `task.held_out.inputs`; `None` for none.
        """
        return _solve_all(self.integrator, model, starts, times, inputs)

    def _solve(
        self,
        field: AbstractField,
        starts: Array,
        times: Array,
        key: Key,
        inputs: Inputs | None,
        lanes: int | None = None,
    ) -> tuple[Solution, Metrics]:
        args = None if inputs is None else inputs.as_args()
        return self.regularization.solve_batch(self.integrator, field, starts, times, key, lanes, args)

    def _collocation(self, field: AbstractField, key: Key, stage: Collocation) -> tuple[Array, Metrics]:
        inputs = None if self.rows.inputs is None else self.rows.inputs.at_rows(self.rows.times.shape[1])
        parts = (self.rows.times, self.rows.states, self.rows.slopes, self.rows.is_row, inputs)
        *rows, controls = draw_batch(key, stage.batch_size, [flatten_series(x) for x in parts])
        zero = jnp.zeros(())
        metrics = {"num_evals": zero, "failed_share": zero}
        return gradient_matching_loss(field, *rows, scale=self.slope_scale, controls=controls), metrics

    def _segments(self, model: TrajectoryModel, key: Key, stage: MultipleShooting) -> Segments:
        rows, counts = segment_rows(self.rows.times.shape[1], stage.segment_steps)
        starts = self.start_states(model)[:, np.searchsorted(self.start_rows, rows[:, 0])]
        # The last segment has no next one: whatever stands there is masked.
        next_starts = jnp.roll(starts, -1, axis=1)
        is_joined = self.rows.is_row[:, rows[:, -1]] & (np.arange(len(rows)) < len(rows) - 1)
        mask = self.rows.mask[:, rows] & counts[..., None]
        inputs = None if self.rows.inputs is None else self.rows.inputs.segments(rows)
        arrays = [starts, self.rows.times[:, rows], self.rows.values[:, rows], mask, next_starts, is_joined, inputs]
        return Segments(*draw_batch(key, stage.batch_size, [flatten_series(x) for x in arrays]))

    def _whole(self, model: TrajectoryModel, key: Key, stage: GrowingHorizon | RollOut, fraction: Array) -> list[Any]:
        """Starts, times, values, masks and controls of whole trajectories, up to the horizon."""
        arrays = [self.starts(model), self.rows.times, self.rows.values, self.rows.mask, self.rows.inputs]
        starts, times, values, mask, inputs = draw_batch(key, stage.batch_size, arrays)
        if isinstance(stage, GrowingHorizon):
            longest = self.rows.times.shape[1] - 1
            times, is_inside = horizon_times(times, stage.start_steps + (longest - stage.start_steps) * fraction)
            mask = mask & is_inside[:, None]
        return [starts, times, values, mask, inputs]

    def monitor(self, model: TrajectoryModel) -> dict[str, Array]:
        """See `monitor_solve`, of the first trajectory."""
        start, times, values = self.starts(model)[0], self.rows.times[0], self.rows.values[0]
        inputs, field = self.rows.inputs, model.forecaster.field
        args = None if inputs is None else jax.tree.map(lambda x: x[0], inputs.as_args())
        growth_of = squared_error_to(values[-1]) if self.watches_growth else None
        return monitor_solve(self.integrator, field, start, times, args, growth_of=growth_of)

    def inspect(self, model: TrajectoryModel, key: Key, phase: Phase) -> Inspection:
        """What `loss` solves with `key`, without dropout; of collocation, which solves nothing, whole trajectories."""
        key_batch, stage = jax.random.split(key, 3)[0], self.stages[phase.stage]
        if isinstance(stage, MultipleShooting):
            segments = self._segments(model, key_batch, stage)
            starts, times, values, mask, inputs = (*segments[:4], segments.inputs)
        else:
            whole = RollOut() if isinstance(stage, Collocation) else stage
            starts, times, values, mask, inputs = self._whole(model, key_batch, whole, phase.fraction)
        return inspect_solves(self.solve(model, starts, times, inputs), times, jnp.where(mask, values, jnp.nan))

    def predict(self, model: TrajectoryModel) -> Prediction:
        """The first trajectory that nothing is fitted to, or else the first of all, in the model's units.

        Its noise is what whole solves of the training trajectories leave. The truth is the true one where it is known.
        """
        data = self.data if self.validation is None else self.validation
        start = self.starts(model)[:1] if self.validation is None else self.held_out.states[:1, 0]
        first = jax.tree.map(lambda x: x[:1], self.held_out.inputs)
        solution = self.solve(model, start, self.held_out.times[:1], first)
        fitted = self.solve(model, self.starts(model), self.rows.times, self.rows.inputs)
        residuals = np.where(self.rows.mask, np.asarray(fitted.ys) - np.asarray(self.rows.values), np.nan)
        noise = np.sqrt(np.nanmean(residuals**2, axis=(0, 1)))
        known = data.values if data.truth is None else data.truth
        truth = np.asarray(self.scaling.state_to_model(known[0]), float)
        inside = np.isfinite(truth).all(axis=-1)
        times, values = data.times[0][inside], np.asarray(solution.ys[0], float)[inside]
        return Prediction(times, truth[inside], values, noise, data.names, self.scaling.name_unit(data.value_unit))

    def evaluate(self, model: Any, others: dict[str, Any], directory: Path, log: Callable[[str], None]) -> Evaluation:
        """Relative root mean square errors of whole solves of the training trajectories, beside `others`; a figure."""
        log("solving the trajectories")
        data = self.data
        has_truth = data.truth is not None
        head = ["fit", *data.names, "all", *(["all, against the truth"] if has_truth else []), "failed solves"]
        table = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
        metrics: dict[str, float] = {}
        for name, candidate in {"model": model, **others}.items():
            ys, num_failed = self._fit_of(candidate, self.rows.times)
            each, total = relative_errors(ys, data.values)
            row = {f"relative_rmse_{column}": value for column, value in zip(data.names, each, strict=True)}
            row["relative_rmse"] = total
            if data.truth is not None:
                row["relative_rmse_truth"] = relative_errors(ys, data.truth)[1]
            table.append(f"| {name} | {' | '.join(f'{value:.3f}' for value in row.values())} | {num_failed} |")
            if name == "model":
                metrics = row
        metrics["validation_loss"] = float(self.validation_loss(model))
        log("identifying the parameters")
        parameters = self.identify(model)
        if parameters is not None:
            field = model.forecaster.field
            table += ["", describe_parameters(parameters, field, self.scaling, data.time_unit)]
            metrics |= parameter_metrics(parameters)
        summary = (
            f"Fitted to {data.source}: {len(data.times)} series of up to {data.times.shape[1]} rows, each solved once "
            "from its initial state over all its times. Errors are root mean squares relative to the standard "
            "deviation of each quantity (1 is what its mean would do); lower is better. The validation loss is a mean "
            "square in the model's units."
        )
        return Evaluation(metrics, "\n".join(table), self.draw(model, others, directory), summary)

    def identify(self, model: TrajectoryModel) -> Identification | None:
        """The physical parameters of a model's field, or of its mechanism, with their covariance and in the model's
        units; `None` for a field that names none. See `identify_parameters`.
        """
        noise = self.noise if self.has_free_starts else None
        return identify_parameters(model.forecaster.field, self.integrator, self.rows, self.starts(model), noise)

    def draw(self, model: Any, others: dict[str, Any], directory: Path) -> tuple[str, ...]:
        """Whole solves of the training trajectories over their data; of two quantities, the phase portrait."""
        data = self.data
        share = np.linspace(0.0, 1.0, _FINER * (data.times.shape[1] - 1) + 1)
        times = data.times[:, :1] + share * (data.times[:, -1:] - data.times[:, :1])
        taus = self.scaling.time_to_model(times)
        fits = {name: (times, self._fit_of(one, taus, _FINER)[0]) for name, one in {"model": model, **others}.items()}
        draw_fit(data, fits, self.scaling.is_log, directory / "fit.png")
        fields = {name: one.forecaster.field for name, one in {"model": model, **others}.items()}
        if draw_portraits(fields, data, self.scaling, directory / "portrait.png"):
            return ("fit.png", "portrait.png")
        return ("fit.png",)

    def _fit_of(self, model: TrajectoryModel, times: Array, finer: int = 1) -> tuple[np.ndarray, int]:
        """Solves of the training trajectories in the user's units, and how many failed.

        `times` may be `finer` times as many as the rows.
        """
        integrator = with_more_steps(self.integrator, finer)
        solution = _solve_all(integrator, model, self.starts(model), times, self.rows.inputs)
        num_failed = int(jnp.sum(~is_success(solution.status)))
        return np.asarray(self.scaling.state_from_model(solution.ys), float), num_failed


def _solve_all(
    integrator: Integrator, model: TrajectoryModel, starts: Array, times: Array, inputs: Inputs | None
) -> Solution:
    field, key, args = model.forecaster.field, jax.random.key(0), None if inputs is None else inputs.as_args()
    return Regularization().solve_batch(integrator, field, starts, times, key, args=args)[0]
