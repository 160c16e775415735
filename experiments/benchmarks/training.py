"""How long does it take to train a neural ODE, from a cold start to the same loss?

The task of diffrax's own neural-ODE example (its documentation, docs.kidger.site/diffrax): 256 series of a nonlinear
oscillator at 100 times, batches of 32, a scaled tanh of an MLP 2-64-64-2 with softplus, 500 updates on the first tenth
of each series, then 500 on all of it, AdaBelief at 3e-3, started anew for the second half, rtol 1e-3, atol 1e-6. Every
side gets the same data, batches, initial weights and optimizer, the first three as arrays. The clock starts before
anything is traced.

    python -m experiments.benchmarks.training [--quick] [--record]
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.integrate import solve_ivp

from experiments.benchmarks import ours, rivals
from experiments.benchmarks.contender import Setting
from experiments.benchmarks.report import Results, Table, main, say

NUM_SERIES, NUM_TIMES, BATCH, END = 256, 100, 32, 10.0
LEARNING_RATE = 3e-3
HORIZONS = (NUM_TIMES // 10, NUM_TIMES)
SETTING = Setting(rtol=1e-3, atol=1e-6, dt0=END / (NUM_TIMES - 1), max_steps=256)


@dataclass(frozen=True)
class Data:
    """Times, series of shape (series, time, 2), the rows of every update's batch, and the weights to start from."""

    ts: np.ndarray
    series: np.ndarray
    batches: np.ndarray
    initial: "ScaledNetwork"

    def updates(self, horizon: int) -> Iterator[np.ndarray]:
        """The batches of one horizon in order, not yet cut."""
        half = len(self.batches) // 2
        for rows in self.batches[:half] if horizon == HORIZONS[0] else self.batches[half:]:
            yield self.series[rows]


@dataclass(frozen=True)
class Course:
    """What training gave: seconds since the start and loss after each update, and the trained field.

    `processor` is the processor time of the whole, over all cores: what others do on the machine is not in it.
    """

    seconds: np.ndarray
    processor: float
    losses: np.ndarray
    field: "ScaledNetwork"


def make_data(num_updates: int) -> Data:
    """Series of dy/dt = (x_2, −x_1) with x = y / (1 + y), from starts uniform in [−0.6, 1]²."""
    random = np.random.default_rng(0)
    ts = np.linspace(0.0, END, NUM_TIMES)
    starts = random.uniform(-0.6, 1.0, (NUM_SERIES, 2))

    def derivative(t: float, y: np.ndarray) -> np.ndarray:
        del t
        x = y / (1 + y)
        return np.stack([x[1], -x[0]])

    series = [solve_ivp(derivative, (0.0, END), y0, "DOP853", ts, rtol=1e-9, atol=1e-9).y.T for y0 in starts]
    shuffled = [random.permutation(NUM_SERIES).reshape(-1, BATCH) for _ in range(-(-num_updates * BATCH // NUM_SERIES))]
    batches = np.concatenate(shuffled)[:num_updates]
    return Data(ts.astype(np.float32), np.stack(series).astype(np.float32), batches, initial_field())


class ScaledNetwork(eqx.Module):
    """dy/dt = scale tanh(W_3 σ(W_2 σ(W_1 y + b_1) + b_2) + b_3) with σ = softplus."""

    weights: list[jax.Array]
    biases: list[jax.Array]
    scale: jax.Array

    def __call__(self, t: Any, y: Any, args: Any) -> Any:
        """dy/dt; axes of `y` before its last are batch axes."""
        del t, args
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            y = jax.nn.softplus(y @ weight.T + bias)
        return self.scale * jnp.tanh(y @ self.weights[-1].T + self.biases[-1])


def initial_field() -> ScaledNetwork:
    """The weights that every side starts from, drawn as equinox draws those of its MLP, on the host."""
    layers = eqx.nn.MLP(2, 2, 64, 2, key=jax.random.key(5678)).layers
    biases = [layer.bias for layer in layers if layer.bias is not None]
    field = ScaledNetwork([layer.weight for layer in layers], biases, jnp.asarray(1.0, jnp.float32))
    return jax.tree.map(np.asarray, field)


def _train_jax(data: Data, solve: Callable[[Any, Any, Any], Any], is_padded: bool) -> Course:
    """The loop of all sides in jax: one compiled update, called from Python.

    Arguments:
        data: the data.
        solve: (field, y0, ts) -> states with time first.
        is_padded: solve for all times in both phases, times beyond the horizon repeating its last and masked in the
            loss, so that one program serves; otherwise the horizon is cut, and each is compiled.
    """
    start, start_processor = time.perf_counter(), time.process_time()
    parameters, static = eqx.partition(jax.tree.map(jnp.asarray, data.initial), eqx.is_inexact_array)
    optimizer = optax.adabelief(LEARNING_RATE)

    def loss_of(parameters: Any, batch: Any, ts: Any, weights: Any) -> Any:
        ys = solve(eqx.combine(parameters, static), batch[:, 0], ts)
        errors = jnp.mean((ys - jnp.swapaxes(batch, 0, 1)) ** 2, axis=(1, 2))
        return jnp.sum(errors * weights) / jnp.sum(weights)

    @jax.jit
    def update(parameters: Any, state: Any, batch: Any, ts: Any, weights: Any) -> Any:
        loss, gradient = jax.value_and_grad(loss_of)(parameters, batch, ts, weights)
        updates, state = optimizer.update(gradient, state, parameters)
        return optax.apply_updates(parameters, updates), state, loss

    seconds, losses = [], []
    for horizon in HORIZONS:
        length = NUM_TIMES if is_padded else horizon
        ts = jnp.asarray(data.ts[np.minimum(np.arange(length), horizon - 1)])
        weights = jnp.asarray(np.arange(length) < horizon, jnp.float32)
        state = optimizer.init(parameters)
        for batch in data.updates(horizon):
            parameters, state, loss = update(parameters, state, batch[:, :length], ts, weights)
            losses.append(float(loss))
            seconds.append(time.perf_counter() - start)
    processor = time.process_time() - start_processor
    return Course(np.asarray(seconds), processor, np.asarray(losses), eqx.combine(parameters, static))


def train_ours(data: Data) -> Course:
    """The batch in the state, one program for both horizons."""
    return _train_jax(data, lambda field, y0, ts: ours.solve(field, y0, ts, SETTING).ys, is_padded=True)


def train_diffrax_example(data: Data) -> Course:
    """As in diffrax's example: vmap over series, its default controller and `max_steps`, horizons cut."""

    def solve_one(field: Any, y0: Any, ts: Any) -> Any:
        return diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Tsit5(),
            ts[0],
            ts[-1],
            ts[1] - ts[0],
            y0,
            saveat=diffrax.SaveAt(ts=ts),
            stepsize_controller=diffrax.PIDController(rtol=SETTING.rtol, atol=SETTING.atol),
        ).ys

    def solve(field: Any, y0: Any, ts: Any) -> Any:
        return jax.vmap(lambda y: solve_one(field, y, ts), out_axes=1)(y0)

    return _train_jax(data, solve, is_padded=False)


def train_diffrax_expert(data: Data) -> Course:
    """diffrax with all that helps it: batch in the state, PI controller, all steps kept, one program."""
    adjoint = diffrax.RecursiveCheckpointAdjoint(checkpoints=SETTING.max_steps)

    def solve(field: Any, y0: Any, ts: Any) -> Any:
        return rivals.diffrax_solve(field, y0, ts, SETTING, adjoint=adjoint).ys

    return _train_jax(data, solve, is_padded=True)


def train_torch(data: Data) -> Course:
    """torchdiffeq's `odeint`, the batch in the state, with AdaBelief as optax has it."""
    import torch
    import torchdiffeq

    initial = data.initial
    trial = rivals.torch_field(initial.weights, initial.biases, "softplus", has_scaled_tanh=True)
    starts, ts = torch.tensor(data.series[:BATCH, 0]), torch.tensor(data.ts)
    rivals.choose_torch_threads(lambda: torchdiffeq.odeint(trial, starts, ts, rtol=1e-3, atol=1e-6).sum().backward())
    start, start_processor = time.perf_counter(), time.process_time()
    module = rivals.torch_field(initial.weights, initial.biases, "softplus", has_scaled_tanh=True)
    seconds, losses = [], []
    for horizon in HORIZONS:
        ts = torch.tensor(data.ts[:horizon])
        optimizer = _AdaBelief(list(module.parameters()), LEARNING_RATE)
        for rows in data.updates(horizon):
            batch = torch.tensor(rows[:, :horizon]).transpose(0, 1)
            ys = torchdiffeq.odeint(
                module, batch[0], ts, rtol=SETTING.rtol, atol=SETTING.atol, method=rivals.torch_method()
            )
            loss = ((ys - batch) ** 2).mean()
            module.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            seconds.append(time.perf_counter() - start)
    parameters = [jnp.asarray(parameter.detach().numpy()) for parameter in module.layers.parameters()]
    trained = ScaledNetwork(parameters[0::2], parameters[1::2], jnp.asarray(module.scale.item()))
    processor = time.process_time() - start_processor
    return Course(np.asarray(seconds), processor, np.asarray(losses), trained)


class _AdaBelief:
    """Zhuang et al. (2020), arXiv:2010.07468, with the constants of optax: an optimizer for torch parameters."""

    def __init__(self, parameters: list[Any], rate: float) -> None:
        import torch

        self._parameters, self._rate, self._count = parameters, rate, 0
        self._means = [torch.zeros_like(p) for p in parameters]
        self._variances = [torch.zeros_like(p) for p in parameters]

    def step(self) -> None:
        """One update from the parameters' gradients."""
        import torch

        self._count += 1
        b1, b2, tiny = 0.9, 0.999, 1e-16
        with torch.no_grad():
            for parameter, mean, variance in zip(self._parameters, self._means, self._variances, strict=True):
                mean.mul_(b1).add_(parameter.grad, alpha=1 - b1)
                variance.mul_(b2).add_((parameter.grad - mean) ** 2, alpha=1 - b2).add_(tiny)
                scale = (variance / (1 - b2**self._count)).sqrt() + tiny
                parameter.sub_(self._rate * mean / (1 - b1**self._count) / scale)


def final_loss(course: Course, data: Data) -> float:
    """The trained field on all series and all times, by the same tight solve for every side."""
    setting = Setting(1e-6, 1e-8, 0.01, 4096)
    ys = jax.jit(lambda y0, ts: rivals.diffrax_solve(course.field, y0, ts, setting).ys)(data.series[:, 0], data.ts)
    return float(jnp.mean((jnp.swapaxes(ys, 0, 1) - data.series) ** 2))


def run(quick: bool = False) -> Results:
    """Measure training runs."""
    num_updates = 200 if quick else 1000
    results = Results("training", "How long does it take to train a neural ODE to the same loss?", [], is_quick=quick)
    data = make_data(num_updates)
    trainers: dict[str, Callable[[Data], Course]] = {
        "node_jax": train_ours,
        "diffrax, as in its example": train_diffrax_example,
        "diffrax, batch in the state": train_diffrax_expert,
    }
    if rivals.has_torch and not quick:
        trainers["torchdiffeq"] = train_torch
    courses: dict[str, Course] = {}
    for turn in range(1 if quick else 3):
        for name, train in trainers.items():
            if turn > 0 and name == "torchdiffeq":
                continue
            say(name)
            jax.clear_caches()
            course = train(data)
            # The quickest of the turns: all of them do exactly the same.
            if name not in courses or course.seconds[-1] < courses[name].seconds[-1]:
                courses[name] = course
    half = num_updates // 2
    common = max(float(np.min(_smooth(course.losses[half:]))) for course in courses.values())
    rows = []
    for name, course in courses.items():
        reached = np.flatnonzero(_smooth(course.losses[half:]) <= common)
        steady = [np.median(np.diff(seconds)) * 1e3 for seconds in np.split(course.seconds, 2)]
        rows.append(
            (
                name,
                float(course.seconds[-1]),
                course.processor,
                float(course.seconds[half + reached[0]]),
                float(course.seconds[-1] - sum(steady) * half / 1e3),
                *(float(ms) for ms in steady),
                final_loss(course, data),
            )
        )
    columns = (
        "side",
        "all updates [s]",
        "processor time [s]",
        f"to a training loss of {common:.2g} [s]",
        "beyond steady updates (compilation) [s]",
        "update, first tenth [ms]",
        "update, all times [ms]",
        "final loss",
    )
    results.tables.append(Table(f"{num_updates} updates, half on the first tenth of the times", columns, rows))
    results.data["courses"] = {name: (c.seconds.tolist(), c.losses.tolist()) for name, c in courses.items()}
    results.notes += [
        "The level that all sides reach in the second half is that of the worst side's best mean of 20 updates. The "
        "final loss is on all series and times, solved tightly.",
        "Every side is called an update at a time from Python and reads the loss, as in the example.",
        "With the batch in the state one error norm serves all series, so a series may be solved less exactly than "
        "with steps of its own; the final loss shows what that does.",
    ]
    return results


def _smooth(losses: np.ndarray) -> np.ndarray:
    """The mean of the last 20 losses, the first ones infinite."""
    sums = np.cumsum(np.concatenate([[0.0], losses]))
    return np.concatenate([np.full(19, np.inf), (sums[20:] - sums[:-20]) / 20])


if __name__ == "__main__":
    main(run)
