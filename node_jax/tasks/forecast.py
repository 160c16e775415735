"""Fit a vector field to one time series by many short solves, then forecast the years it has not seen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from node_jax.analysis import Prediction, draw_forecast, draw_phase
from node_jax.data import TimeSeries
from node_jax.errors import UsageError
from node_jax.fields import AbstractField, draw_dropout
from node_jax.integrate import Integrator
from node_jax.losses import Regularization, masked_mean_squared_error
from node_jax.models import Forecaster, Scaling, fit_vector_autoregression, last_value_forecast
from node_jax.solution import Solution
from node_jax.status import Status, is_success
from node_jax.tasks.base import AbstractTask, Evaluation, Inspection, Phase
from node_jax.tasks.batches import check_batch_size, draw_batch
from node_jax.tasks.looks import (
    inspect_solves,
    monitor_solve,
    require_room,
    solve_metrics,
    squared_error_to,
    with_more_steps,
)
from node_jax.types import Key


class ForecastTask(AbstractTask):
    r"""Multi-segment trajectory fitting.

    The training rows are cut into all overlapping segments of `segment_steps` intervals. Each is solved from its own
    first observation, and the loss is the mean squared error over the rows after it, in the model's units. One long
    solve from the first row instead tends to collapse to the mean of an oscillating series.

    Arguments:
        train, test: the rows to fit and the rows to forecast, in the user's units.
        scaling: between units.
        make_field: `make_field(key)` gives a fresh field on states of shape (dim,).
        integrator: how it is solved.
        segment_steps: intervals between rows in one segment.
        batch_size: segments drawn for each training step; `None` takes all.
        validate_after: rows of `train` after this time are not fitted, but forecast to choose the best model and the
            end of training; `None` fits all.
        regularization: what is kept small beside the error, in the model's units.
        watches_growth: whether norms of state, Jacobian and gradient are logged; see `measure_growth`.
    """

    segment_times: Float[Array, "segment row"]
    segment_states: Float[Array, "segment row dim"]
    validation: tuple[Float[Array, " row"], Float[Array, "row dim"]] | None
    scaling: Scaling
    integrator: Integrator
    regularization: Regularization
    train: TimeSeries = eqx.field(static=True)
    test: TimeSeries = eqx.field(static=True)
    make_field: Callable[[Key], AbstractField] = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)
    watches_growth: bool = eqx.field(static=True)

    def __init__(
        self,
        train: TimeSeries,
        test: TimeSeries,
        scaling: Scaling,
        make_field: Callable[[Key], AbstractField],
        integrator: Integrator,
        segment_steps: int,
        batch_size: int | None,
        validate_after: float | None = None,
        regularization: Regularization | None = None,
        watches_growth: bool = False,
    ) -> None:
        fitted = train if validate_after is None else train.split(validate_after)[0]
        num_segments = len(fitted.times) - segment_steps
        if segment_steps < 1 or num_segments < 1:
            raise UsageError(
                f"ForecastTask: expected segment_steps between 1 and {len(fitted.times) - 1}, the intervals between "
                f"training rows, got {segment_steps}. Shorten the segments, or train until a later time."
            )
        check_batch_size("ForecastTask", batch_size, num_segments, "segments")
        if scaling.is_log and not (test.values > 0).all():
            row, column = np.argwhere(~(test.values > 0))[0]
            raise UsageError(
                f"ForecastTask: expected positive values for a logarithm, got {test.values[row, column]:g} for "
                f"{test.names[column]!r} at {test.time_unit} {test.times[row]:g}. Use the transform 'standard'."
            )
        require_room(
            "ForecastTask", integrator, max(segment_steps, len(test.times), len(train.times) - len(fitted.times))
        )
        rows = np.arange(num_segments)[:, None] + np.arange(segment_steps + 1)
        self.segment_times = scaling.time_to_model(fitted.times[rows])
        self.segment_states = scaling.state_to_model(fitted.values[rows])
        held_out = slice(len(fitted.times) - 1, None)
        self.validation = None
        if validate_after is not None:
            held_out_states = scaling.state_to_model(train.values[held_out])
            self.validation = scaling.time_to_model(train.times[held_out]), held_out_states
        self.scaling = scaling
        self.integrator = integrator
        self.regularization = Regularization() if regularization is None else regularization
        self.watches_growth = watches_growth
        self.train = train
        self.test = test
        self.make_field = make_field
        self.batch_size = batch_size

    def init(self, key: Key) -> Forecaster:
        """A forecaster with a fresh field."""
        return Forecaster(self.make_field(key), self.scaling, self.integrator)

    def loss(self, model: Forecaster, key: Key, phase: Phase) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Mean squared error over the segments, and what is to be kept small.

        Rows of failed solves are masked and counted in `failed_share`. All segments of a step share their dropout.
        """
        key_batch, key_dropout, key_solve = jax.random.split(key, 3)
        times, states = self._batch(key_batch)
        field = draw_dropout(model.field, key=key_dropout)

        def solve(state: Array, times: Array, key: Key) -> tuple[Solution, dict[str, Array]]:
            return self.regularization.solve(model.integrator, field, state, times, key)

        solution, costs = jax.vmap(solve)(states[:, 0], times, jax.random.split(key_solve, len(times)))
        predicted, target = solution.ys[:, 1:], states[:, 1:]
        has_succeeded = is_success(solution.status)
        mask = jnp.broadcast_to(has_succeeded[:, None, None], target.shape)
        metrics = solve_metrics(solution, model.integrator)
        error = masked_mean_squared_error(predicted, target, mask)
        penalty, means = self.regularization.penalty(costs, has_succeeded, model.field, phase.multiplier)
        if self.regularization.weights:
            metrics |= {"error_loss": error, **means}
        return error + penalty, metrics

    def _batch(self, key: Key) -> tuple[Float[Array, "segment row"], Float[Array, "segment row dim"]]:
        return draw_batch(key, self.batch_size, (self.segment_times, self.segment_states))

    def validate(self, model: Forecaster) -> dict[str, Array] | None:
        """Mean squared error of one forecast from the last fitted row over the rows held out, in the model's units."""
        if self.validation is None:
            return None
        times, states = self.validation
        solution = model.solve_scaled(states[0], times)
        return {"loss": jnp.mean((solution.ys[1:] - states[1:]) ** 2)}

    def monitor(self, model: Forecaster) -> dict[str, Array]:
        """See `monitor_solve`, of the first segment."""
        times, states = self.segment_times[0], self.segment_states[0]
        growth_of = squared_error_to(states[-1]) if self.watches_growth else None
        return monitor_solve(model.integrator, model.field, states[0], times, growth_of=growth_of)

    def inspect(self, model: Forecaster, key: Key, phase: Phase) -> Inspection:
        """The segments that `loss` draws with `key`, each solved again, without dropout."""
        del phase
        times, states = self._batch(jax.random.split(key, 3)[0])
        return inspect_solves(jax.vmap(model.solve_scaled)(states[:, 0], times), times, states)

    def forecast(self, model: Forecaster) -> Solution:
        """One solve from the last training row over all test rows, in the user's units."""
        return model(self.train.values[-1], np.concatenate([self.train.times[-1:], self.test.times]))

    def predict(self, model: Forecaster) -> Prediction:
        """One forecast over the test rows, in the model's units; its noise is what the segments leave."""
        values = np.asarray(self.scaling.state_to_model(self.forecast(model).ys[1:]), float)
        truth = np.asarray(self.scaling.state_to_model(self.test.values), float)
        fitted = jax.vmap(model.solve_scaled)(self.segment_states[:, 0], self.segment_times)
        residuals = np.asarray(fitted.ys[:, 1:] - self.segment_states[:, 1:], float)
        noise = np.sqrt(np.nanmean(residuals**2, axis=(0, 1)))
        return Prediction(
            self.test.times, truth, values, noise, self.test.names, self.scaling.name_unit(self.test.value_unit)
        )

    def evaluate(self, model: Any, others: dict[str, Any], directory: Path, log: Callable[[str], None]) -> Evaluation:
        """RMSE over the test rows, in the model's units, beside `others`, the last value and an autoregression."""
        log("forecasting")
        truth = np.asarray(self.scaling.state_to_model(self.test.values), float)
        horizon = len(truth)

        forecasts: dict[str, np.ndarray] = {}
        endings: dict[str, str] = {}
        for name, candidate in {"model": model, **others}.items():
            solution = self.forecast(candidate)
            forecasts[name] = np.asarray(self.scaling.state_to_model(solution.ys[1:]), float)
            status = Status(int(solution.status))
            endings[name] = "" if is_success(status) else f" (solve failed: {status.name})"
        forecasts |= self._plain_forecasts()

        table = [
            f"| forecast | {' | '.join(self.test.names)} | all | first 10 rows |",
            f"|---|{'---|' * (len(self.test.names) + 2)}",
        ]
        metrics: dict[str, float] = {}
        for name, forecast in forecasts.items():
            squares = (forecast - truth) ** 2
            each = np.sqrt(squares.mean(axis=0))
            total, early = float(np.sqrt(squares.mean())), float(np.sqrt(squares[:10].mean()))
            cells = [f"{value:.3f}" for value in (*each, total, early)]
            table.append(f"| {name}{endings.get(name, '')} | {' | '.join(cells)} |")
            if name == "model":
                metrics = {f"rmse_{column}": float(v) for column, v in zip(self.test.names, each, strict=True)}
                metrics |= {"rmse": total, "rmse_first_10": early}

        summary = (
            f"Fitted to {self.train.source}, {self.train.time_unit} {self.train.times[0]:g} to "
            f"{self.train.times[-1]:g} ({len(self.train.times)} rows); one forecast from the last of them over "
            f"{self.test.time_unit} {self.test.times[0]:g} to {self.test.times[-1]:g} ({horizon} rows), which nothing "
            f"was fitted to or chosen by. Root mean square error in {self.scaling.name_unit(self.test.value_unit)}; "
            "lower is better."
        )
        return Evaluation(metrics, "\n".join(table), self.draw(model, others, directory), summary)

    def draw(self, model: Any, others: dict[str, Any], directory: Path) -> tuple[str, ...]:
        """The forecasts over the series, and the model's in the plane of the first two quantities."""
        shown = {name: self._dense_forecast(candidate) for name, candidate in {"model": model, **others}.items()}
        times = np.concatenate([self.train.times[-1:], self.test.times])
        for name, forecast in self._plain_forecasts().items():
            values = np.asarray(self.scaling.state_from_model(jnp.asarray(forecast)), float)
            shown[name] = times, np.concatenate([self.train.values[-1:], values])
        is_log = self.scaling.is_log
        draw_forecast(self.train, self.test, shown, self._short_solves(model), is_log, directory / "forecast.png")
        path = shown["model"][1]
        draw_phase(self.train, self.test, path, path[0], is_log, directory / "phase.png")
        return "forecast.png", "phase.png"

    def _plain_forecasts(self) -> dict[str, np.ndarray]:
        """What needs no training, in the model's units."""
        history, horizon = np.asarray(self.scaling.state_to_model(self.train.values), float), len(self.test.times)
        forecasts = {"last value": last_value_forecast(history, horizon)}
        if np.allclose(np.diff(self.train.times), self.train.times[1] - self.train.times[0]):
            regression = fit_vector_autoregression(history, max_order=min(5, (len(history) - 2) // 4))
            forecasts[f"autoregression of order {regression.order}"] = regression.forecast(history, horizon)
        return forecasts

    def _dense_forecast(self, model: Forecaster) -> tuple[np.ndarray, np.ndarray]:
        """The forecast on a grid fine enough to draw."""
        times = np.linspace(self.train.times[-1], self.test.times[-1], 20 * len(self.test.times) + 1)
        fine = eqx.tree_at(lambda m: m.integrator, model, with_more_steps(model.integrator, 20))
        return times, np.asarray(fine(self.train.values[-1], times).ys, float)

    def _short_solves(self, model: Forecaster) -> list[tuple[np.ndarray, np.ndarray]]:
        """Solves over consecutive segments of the training rows, each from its own first observation, for a plot."""
        length = self.segment_times.shape[1] - 1
        last = len(self.train.times) - 1
        fine = eqx.tree_at(lambda m: m.integrator, model, with_more_steps(model.integrator, 10))
        solves = []
        for start in range(0, last, length):
            end = min(start + length, last)
            times = np.linspace(self.train.times[start], self.train.times[end], 10 * length + 1)
            solves.append((times, np.asarray(fine(self.train.values[start], times).ys, float)))
        return solves
