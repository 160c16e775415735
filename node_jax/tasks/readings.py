"""Fit a motion of second order to readings whose noise changes with time."""

from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from node_jax.analysis import Prediction
from node_jax.analysis.figures import DATA, HELD_OUT, MODEL, dress, new_figure, save_figure
from node_jax.data import Readings
from node_jax.errors import UsageError
from node_jax.fields import AbstractField
from node_jax.integrate import Integrator
from node_jax.losses import masked_mean
from node_jax.solution import Solution
from node_jax.status import is_success
from node_jax.tasks.base import AbstractTask, Evaluation, Inspection, Phase
from node_jax.tasks.looks import inspect_solves, monitor_solve, require_room, solve_metrics
from node_jax.types import Key

_LEAST_NOISE = 1e-2
"""Of the noise's standard deviation, in that of all readings: where a curve meets readings no likelihood is largest."""
_PLAIN, _BLENDED = 0.3, 0.5
"""Shares of training up to which squares alone move the curve, and from which the likelihood does."""


class ReadingsModel(eqx.Module):
    """A field, where its motion starts, and the logarithm of the noise at its knots, in the model's units."""

    field: AbstractField
    start: Float[Array, "2"]
    """Position and velocity at the first time."""
    log_noise: Float[Array, " knot"]


class ReadingsTask(AbstractTask):
    r"""d²x/dt² = a(t, x, v), of which x was read with noise: reading_i = x(t_i) + σ(t_i) ε_i, ε standard normal.

    The loss is the mean negative logarithm of the likelihood,

        mean_i ( (reading_i - x(t_i))² / (2 σ(t_i)²) + log σ(t_i) ),

    over the field, the start (x, v), of which v was never read, and log σ, a line between knots. A network with
    changing noise is prone to call noise what it has not fitted yet; so squares alone move the curve at first, the
    likelihood moves it in the end, and σ follows the likelihood all along.

    Arguments:
        readings: all of them, in the user's units.
        is_held_out: shape (reading,), which of them nothing is fitted to or chosen by.
        time_scale: the model's unit of time, in that of the readings. The model's unit of x is the standard deviation
            of the readings that are fitted, its origin their mean, and its origin of time the first reading.
        num_knots: of the noise, evenly spaced over all times, at least 2.
        make_field: `make_field(key)` gives a fresh field on states (x, v), such as a `SecondOrderField`.
        integrator: how it is solved.

    Raises:
        UsageError: for a mask that does not fit, fewer than two knots, or a time scale that is not positive.

    Reference: the order of squares and likelihood: Nix & Weigend (1994), doi:10.1109/ICNN.1994.374138; the field:
    Norcliffe et al. (2020), arXiv:2006.07220.
    """

    times: Float[Array, " time"]
    """Those at which there are readings, each once."""
    rows: Int[Array, " reading"]
    """Of each reading, its time."""
    values: Float[Array, " reading"]
    is_fitted: Bool[Array, " reading"]
    knots: Float[Array, " knot"]
    integrator: Integrator
    readings: Readings = eqx.field(static=True)
    units: tuple[float, float, float] = eqx.field(static=True)
    """Unit of time, origin and unit of x."""
    make_field: Callable[[Key], AbstractField] = eqx.field(static=True)

    def __init__(
        self,
        readings: Readings,
        is_held_out: np.ndarray,
        time_scale: float,
        num_knots: int,
        make_field: Callable[[Key], AbstractField],
        integrator: Integrator,
    ) -> None:
        if is_held_out.shape != readings.times.shape or is_held_out.all():
            raise UsageError(
                f"ReadingsTask: expected is_held_out of shape {readings.times.shape} that leaves some readings to fit, "
                f"got {is_held_out.shape}, of which {int(is_held_out.sum())} are held out."
            )
        if num_knots < 2 or not time_scale > 0:
            raise UsageError(
                f"ReadingsTask: expected at least 2 knots and a time_scale > 0, got {num_knots} and {time_scale}."
            )
        fitted = readings.values[~is_held_out]
        self.units = (time_scale, float(fitted.mean()), float(fitted.std()))
        times, rows = np.unique(readings.times, return_inverse=True)
        require_room("ReadingsTask", integrator, len(times) - 1)
        taus = (times - times[0]) / time_scale
        self.times, self.rows = jnp.asarray(taus, float), jnp.asarray(rows)
        self.values = jnp.asarray((readings.values - self.units[1]) / self.units[2], float)
        self.is_fitted = jnp.asarray(~is_held_out)
        self.knots = jnp.linspace(0.0, float(taus[-1]), num_knots)
        self.integrator, self.make_field = integrator, make_field
        self.readings = readings

    @property
    def is_held_out(self) -> np.ndarray:
        """Which readings are held out, on the host."""
        return ~np.asarray(self.is_fitted)

    def init(self, key: Key) -> ReadingsModel:
        """A fresh field, at rest at the first reading, with the noise of all readings."""
        return ReadingsModel(self.make_field(key), jnp.stack([self.values[0], 0.0]), jnp.zeros_like(self.knots))

    def solve(self, model: ReadingsModel, times: Float[Array, " time"]) -> tuple[Solution, Float[Array, " time"]]:
        """The motion, and the noise's standard deviation, in the model's units.

        Arguments:
            model: what is solved.
            times: in the model's units, from that of the first reading.
        """
        scale = jnp.exp(jnp.interp(times, self.knots, model.log_noise))
        return self.integrator(model.field, model.start, times), jnp.hypot(scale, _LEAST_NOISE)

    def loss(self, model: ReadingsModel, key: Key, phase: Phase) -> tuple[Float[Array, ""], dict[str, Array]]:
        """The likelihood of the fitted readings, in the model's units; see the class. 0 where the solve fails."""
        del key
        solution, scale = self.solve(model, self.times)
        is_good = is_success(solution.status)
        # Rows of a failed solve are NaN, which would go on into the gradient.
        error, noise = jnp.where(is_good, self.values - solution.ys[self.rows, 0], 0), scale[self.rows]
        squares = masked_mean(error**2, self.is_fitted)
        known = masked_mean(jax.lax.stop_gradient(error) ** 2 / (2 * noise**2) + jnp.log(noise), self.is_fitted)
        likelihood = masked_mean(error**2 / (2 * noise**2) + jnp.log(noise), self.is_fitted)
        share = jnp.clip((phase.fraction - _PLAIN) / (_BLENDED - _PLAIN), 0.0, 1.0)
        total = jnp.where(is_good, share * likelihood + (1 - share) * (squares + known), 0.0)
        batch = jax.tree.map(lambda leaf: leaf[None], solution)
        return total, {**solve_metrics(batch, self.integrator), "squares": squares, "likelihood": likelihood}

    def validate(self, model: ReadingsModel) -> None:
        """None: what is held out is there to be judged by, not to choose by."""
        del model

    def monitor(self, model: ReadingsModel) -> dict[str, Array]:
        """See `monitor_solve`."""
        return monitor_solve(self.integrator, model.field, model.start, self.times)

    def inspect(self, model: ReadingsModel, key: Key, phase: Phase) -> Inspection:
        """The one solve, beside the mean of the fitted readings at each time; velocities were not read."""
        del key, phase
        solution, _ = self.solve(model, self.times)
        ones = jnp.where(self.is_fitted, 1.0, 0.0)
        counts = jnp.zeros_like(self.times).at[self.rows].add(ones)
        means = jnp.zeros_like(self.times).at[self.rows].add(ones * self.values) / counts
        targets = jnp.stack([means, jnp.full_like(means, jnp.nan)], axis=-1)
        return inspect_solves(jax.tree.map(lambda leaf: leaf[None], solution), self.times[None], targets[None])

    def predict(self, model: ReadingsModel) -> Prediction:
        """Position and noise at the readings that are held out, or at all where none is, in the user's units."""
        chosen = self.is_held_out if self.is_held_out.any() else np.ones_like(self.is_held_out)
        solution, scale = self.solve(model, self.times)
        _, origin, unit = self.units
        values = origin + unit * np.asarray(solution.ys[self.rows, 0], float)[chosen]
        noise = unit * np.asarray(scale[self.rows], float)[chosen]
        asked = self.readings.at(chosen)
        names = (asked.name,)
        return Prediction(asked.times, asked.values[:, None], values[:, None], noise[:, None], names, asked.value_unit)

    def evaluate(self, model: Any, others: dict[str, Any], directory: Path, log: Callable[[str], None]) -> Evaluation:
        """Errors and coverages at the readings that are held out, or at all where none is; a figure."""
        log("solving the motion")
        table = ["| fit | root mean square error | -log likelihood | in 50 % | in 90 % |", f"|{'---|' * 5}"]
        found: dict[str, dict[str, float]] = {}
        for name, candidate in {"model": model, **others}.items():
            prediction = self.predict(candidate)
            score = (prediction.truth - prediction.values) / prediction.noise
            found[name] = {
                "rmse": float(np.sqrt(np.mean((prediction.truth - prediction.values) ** 2))),
                "negative_log_likelihood": float(
                    np.mean(score**2 / 2 + np.log(prediction.noise) + 0.5 * np.log(2 * np.pi))
                ),
                **{
                    f"coverage_{share:.0%}": float(np.mean(np.abs(score) <= NormalDist().inv_cdf((1 + share) / 2)))
                    for share in (0.5, 0.9)
                },
            }
            table.append(f"| {name} | {' | '.join(f'{value:.3g}' for value in found[name].values())} |")
        number = int(self.is_held_out.sum())
        judged = f"the {number} that are held out" if number else "all of them, which are fitted"
        summary = (
            f"Fitted to {len(self.readings.values) - number} readings of {self.readings.source}; judged by {judged}. "
            f"Errors in {self.readings.value_unit}; the last columns say how much of the readings the intervals hold."
        )
        return Evaluation(found["model"], "\n".join(table), self.draw(model, others, directory), summary)

    def draw(self, model: Any, others: dict[str, Any], directory: Path) -> tuple[str, ...]:
        """The motion with its 50 and 90 % intervals over the readings."""
        figure, axes = new_figure(1, 1, (9, 4))
        panel, (unit_t, origin, unit), readings = axes[0, 0], self.units, self.readings
        times = readings.times[0] + unit_t * np.asarray(self.times, float)
        for i, (name, candidate) in enumerate({"model": model, **others}.items()):
            solution, scale = self.solve(candidate, self.times)
            mean, noise = origin + unit * np.asarray(solution.ys[:, 0], float), unit * np.asarray(scale, float)
            panel.plot(times, mean, color=MODEL if i == 0 else "#999999", label=name)
            for share, alpha in ((0.9, 0.15), (0.5, 0.25)) if i == 0 else ():
                half = NormalDist().inv_cdf((1 + share) / 2) * noise
                panel.fill_between(
                    times, mean - half, mean + half, color=MODEL, alpha=alpha, linewidth=0, label=f"{share:.0%}"
                )
        fitted, held = readings.at(~self.is_held_out), self.is_held_out
        panel.plot(fitted.times, fitted.values, ".", color=DATA, markersize=4, label="readings")
        if held.any():
            style = {"color": DATA, "markerfacecolor": HELD_OUT, "markersize": 5}
            panel.plot(readings.times[held], readings.values[held], "o", label="held out", **style)
        panel.set(xlabel=f"time [{readings.time_unit}]", ylabel=f"{readings.name} [{readings.value_unit}]")
        panel.legend(frameon=False, fontsize=8)
        dress(panel)
        save_figure(figure, directory / "fit.png")
        return ("fit.png",)
