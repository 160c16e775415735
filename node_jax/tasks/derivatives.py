"""Fit a vector field to measured derivatives, then see what its solves conserve."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from node_jax.analysis import Prediction, draw_drift, draw_fit, measure_drift
from node_jax.data import Derivatives, Trajectories
from node_jax.errors import UsageError
from node_jax.fields import AbstractEnergyField, AbstractField, draw_dropout
from node_jax.integrate import Integrator
from node_jax.losses import Regularization, gradient_matching_loss
from node_jax.solution import Solution
from node_jax.status import Status, is_success
from node_jax.tasks.base import AbstractTask, Evaluation, Inspection, Phase
from node_jax.tasks.batches import check_batch_size
from node_jax.types import Key

_Rows = tuple[Float[Array, " row"], Float[Array, "row dim"], Float[Array, "row dim"]]


class DerivativeTask(AbstractTask):
    r"""Regression on derivatives: mean over rows and components of (f(t, y) - dy/dt)².

    Nothing is solved in training, so that a step is cheap and no solve can fail. It needs derivatives that are
    measured, or a simulator that gives them; `nj.data.integrate_derivatives` takes the noise out of states where
    derivatives are exact. A fit is judged by solves: from the starts of `rollouts` over their times, by what becomes of
    the energy of the true system,

        energy MSE = mean over solves and times of (H(y(t)) - H(ŷ(t)))²,

    for the true solve y and the fitted one ŷ. A model is the field alone, in the units of the data.

    Arguments:
        data: the rows that are fitted.
        make_field: `make_field(key)` gives a fresh field on states of shape (dim,).
        integrator: how roll-outs are solved.
        batch_size: rows drawn for each training step, with replacement; `None` takes all.
        validation: rows that nothing is fitted to, to choose the best model and the end of training by; `None` keeps
            the last one.
        test: rows that are only reported.
        rollouts: solves of the true system, whose first states are the starts; `None` makes none.
        energy: H of the true system, for states of shape (..., dim); `None` compares states alone.
        regularization: of the parameters. Costs of solves have nothing to act on here.

    Raises:
        UsageError: for a batch larger than the data, other quantities in other data, costs of solves, or an energy
            without roll-outs.

    Reference: the energy MSE is that of Greydanus, Dzamba & Yosinski (2019), arXiv:1906.01563.
    """

    rows: _Rows
    held_out: _Rows | None
    starts: Float[Array, "solve dim"] | None
    integrator: Integrator
    regularization: Regularization
    energy: Callable[[Any], Any] | None
    data: Derivatives = eqx.field(static=True)
    validation: Derivatives | None = eqx.field(static=True)
    test: Derivatives | None = eqx.field(static=True)
    rollouts: Trajectories | None = eqx.field(static=True)
    make_field: Callable[[Key], AbstractField] = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)

    def __init__(
        self,
        data: Derivatives,
        make_field: Callable[[Key], AbstractField],
        integrator: Integrator,
        *,
        batch_size: int | None = None,
        validation: Derivatives | None = None,
        test: Derivatives | None = None,
        rollouts: Trajectories | None = None,
        energy: Callable[[Any], Any] | None = None,
        regularization: Regularization | None = None,
    ) -> None:
        check_batch_size("DerivativeTask", batch_size, data.num_rows, "rows")
        for other in (validation, test, rollouts):
            if other is not None and len(other.names) != len(data.names):
                raise UsageError(f"DerivativeTask: expected data of {data.names} everywhere, got {other.names}.")
        if energy is not None and rollouts is None:
            raise UsageError("DerivativeTask: expected rollouts beside an energy, got None. It is compared along them.")
        self.regularization = Regularization() if regularization is None else regularization
        if self.regularization.costs or self.regularization.record:
            raise UsageError("DerivativeTask: expected no costs of solves, since training solves nothing.")
        self.rows = _flatten(data)
        self.held_out = None if validation is None else _flatten(validation)
        self.starts = None if rollouts is None else jnp.asarray(rollouts.values[:, 0], float)
        self.integrator = integrator
        self.data, self.validation, self.test = data, validation, test
        self.rollouts, self.energy = rollouts, energy
        self.make_field = make_field
        self.batch_size = batch_size

    def init(self, key: Key) -> AbstractField:
        """A fresh field."""
        return self.make_field(key)

    def loss(self, model: AbstractField, key: Key, phase: Phase) -> tuple[Float[Array, ""], dict[str, Array]]:
        """The mean squared error of the derivatives of a batch, and penalties on the parameters."""
        key_batch, key_dropout = jax.random.split(key)
        error = _error(draw_dropout(model, key=key_dropout), self._batch(key_batch))
        penalty, _ = self.regularization.penalty({}, jnp.ones(1, bool), model, phase.multiplier)
        return error + penalty, {"error_loss": error} if self.regularization.weights else {}

    def validate(self, model: AbstractField) -> dict[str, Array] | None:
        """The mean squared error over the rows that are held out."""
        return None if self.held_out is None else {"loss": _error(model, self.held_out)}

    def monitor(self, model: AbstractField) -> dict[str, Array]:
        """Nothing: there is no solve to watch."""
        del model
        return {}

    def inspect(self, model: AbstractField, key: Key, phase: Phase) -> Inspection:
        """The rows that `loss` draws with `key`: as states and targets the derivatives, fitted and measured."""
        del phase
        times, states, derivatives = self._batch(jax.random.split(key)[0])
        fitted = jax.vmap(lambda t, y: model(t, y, None))(times, states)
        squares = jnp.mean((fitted - derivatives) ** 2, axis=1)
        statuses = np.full(len(times), int(Status.success), np.int32)
        rows, targets, states = (np.asarray(array)[:, None] for array in (times, derivatives, fitted))
        return Inspection(rows, targets, states, statuses, {"mean squared error": np.asarray(squares)})

    def roll_out(self, model: AbstractField) -> Solution:
        """Solves from the starts of `rollouts` over their times, all at once.

        Raises:
            UsageError: if there are none.
        """
        if self.rollouts is None or self.starts is None:
            raise UsageError("DerivativeTask: expected rollouts, got None. Pass solves of the true system.")
        times = jnp.asarray(self.rollouts.times, float)
        solution, _ = Regularization().solve_batch(self.integrator, model, self.starts, times, jax.random.key(0))
        return solution

    def predict(self, model: AbstractField) -> Prediction:
        """The first roll-out; without any, the derivatives along the first series that nothing is fitted to."""
        fitted = jax.vmap(lambda t, y: model(t, y, None))(*self.rows[:2])
        noise = np.sqrt(np.mean(np.asarray(fitted - self.rows[2], float) ** 2, axis=0))
        if self.rollouts is not None:
            values = np.asarray(self.roll_out(model).ys[0], float)
            truth = self.rollouts.values[0]
            return Prediction(self.rollouts.times[0], truth, values, noise, self.data.names, self.data.value_unit)
        series = next(one for one in (self.test, self.validation, self.data) if one is not None)
        times, states = jnp.asarray(series.times[0], float), jnp.asarray(series.states[0], float)
        values = np.asarray(jax.vmap(lambda t, y: model(t, y, None))(times, states), float)
        names = tuple(f"d{name}/dt" for name in self.data.names)
        return Prediction(series.times[0], series.derivatives[0], values, noise, names, self.data.value_unit)

    def measure(self, model: AbstractField) -> dict[str, float]:
        """The errors of a field, by name.

        Returns:
            `derivative_loss_train`, and `..._validation` and `..._test` where there are such rows; of roll-outs
            `energy_mse` where the energy is known, `state_mse`, and the number of `failed_solves`, whose rows that were
            not reached make both NaN.
        """
        parts = {"train": self.data, "validation": self.validation, "test": self.test}
        compiled = eqx.filter_jit(_error)
        found = {
            f"derivative_loss_{name}": float(compiled(model, _flatten(part)))
            for name, part in parts.items()
            if part is not None
        }
        if self.rollouts is not None:
            solution, truth = self.roll_out(model), self.rollouts.values
            states = np.asarray(solution.ys, float)
            if self.energy is not None:
                found["energy_mse"] = float(np.mean((self._energy_of(truth) - self._energy_of(states)) ** 2))
            found["state_mse"] = float(np.mean((truth - states) ** 2))
            found["failed_solves"] = float(jnp.sum(~is_success(solution.status)))
        return found

    def evaluate(self, model: Any, others: dict[str, Any], directory: Path, log: Callable[[str], None]) -> Evaluation:
        """Errors of derivatives, and of the energy along roll-outs, beside `others`."""
        log("comparing derivatives" + ("" if self.rollouts is None else " and roll-outs"))
        found = {name: self.measure(one) for name, one in {"model": model, **others}.items()}
        columns = [name.replace("_", " ") for name in found["model"]]
        table = [f"| field | {' | '.join(columns)} |", f"|{'---|' * (len(columns) + 1)}"]
        for name, row in found.items():
            table.append(f"| {name} | {' | '.join(f'{value:.3g}' for value in row.values())} |")
        summary = (
            f"Fitted to derivatives of {self.data.source}: {self.data.num_rows} rows. Losses are mean squares over "
            "rows and quantities, in the units of the data; lower is better."
        )
        if self.rollouts is not None:
            summary += (
                f" {len(self.rollouts.times)} solves of {self.rollouts.times[0, -1]:g} {self.rollouts.time_unit} each "
                "start where nothing was fitted, and are compared with those of the true system."
            )
        return Evaluation(found["model"], "\n".join(table), self.draw(model, others, directory), summary)

    def draw(self, model: Any, others: dict[str, Any], directory: Path) -> tuple[str, ...]:
        """Roll-outs over those of the true system, and what becomes of the energy along them: the true one where it is
        known, else the field's own.
        """
        if self.rollouts is None:
            return ()
        candidates = {"model": model, **others}
        solves = {name: np.asarray(self.roll_out(one).ys, float) for name, one in candidates.items()}
        times = self.rollouts.times
        draw_fit(self.rollouts, {n: (times, ys) for n, ys in solves.items()}, False, directory / "rollouts.png")
        energies = {name: one.energy for name, one in candidates.items() if isinstance(one, AbstractEnergyField)}
        if self.energy is not None:
            energies = dict.fromkeys(candidates, self._energy_of)
        if not energies:
            return ("rollouts.png",)
        drifts = {name: measure_drift(energy, times, solves[name]) for name, energy in energies.items()}
        draw_drift(drifts, directory / "energy.png")
        return "rollouts.png", "energy.png"

    def _batch(self, key: Key) -> _Rows:
        if self.batch_size is None:
            return self.rows
        # With replacement: without, all rows would be shuffled in each step, which costs more than the rest of it.
        chosen = jax.random.randint(key, (self.batch_size,), 0, len(self.rows[0]))
        times, states, derivatives = (array[chosen] for array in self.rows)
        return times, states, derivatives

    def _energy_of(self, states: Any) -> np.ndarray:
        assert self.energy is not None
        return np.asarray(self.energy(jnp.asarray(states, float)), float)


def _flatten(data: Derivatives) -> _Rows:
    """Rows of all series, on the device."""
    dim = len(data.names)
    times, states = jnp.asarray(data.times.reshape(-1), float), jnp.asarray(data.states.reshape(-1, dim), float)
    return times, states, jnp.asarray(data.derivatives.reshape(-1, dim), float)


def _error(field: AbstractField, rows: _Rows) -> Float[Array, ""]:
    times, states, derivatives = rows
    return gradient_matching_loss(field, times, states, derivatives, jnp.ones(len(times), bool))
