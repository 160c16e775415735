"""Do training curricula make fits of neural ODEs work where the plain fit does not?

Question: At equal numbers of updates, how well does a network as a field fit (a) five periods of predator and prey with
    5 % noise, (b) the Lorenz attractor with 1 % noise, by one long roll-out from the start, and by a curriculum?
Expected: (a) the plain fit has relative errors of about 0.2 against the true trajectory, and needs five times the
    updates to get below 0.1, where the curriculum is for all ten seeds. (b) The curriculum forecasts unseen starts for
    a median of four Lyapunov times and its largest exponent is within 10 % of 0.906; the plain fit stays near the mean.
Cost: some minutes on 2 CPU cores for each study, most of it for plain fits; one minute each with --quick.
Command: python -m experiments.curriculum [--only NAME] [--quick] [--record]

Seeds set the noise, the initial weights and (b) the training data. Plain fit and curriculum have the same data, initial
weights, initial states (smoothed, and trained), optimizer, schedule and number of updates; only the stages differ. The
curriculum of (a) is collocation, multiple shooting, roll-out; that of (b) the first two.
"""

import argparse
import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import node_jax as nj
from experiments.benchmarks.report import Results, Table, record, say, show, write
from experiments.curriculum_figures import EXPONENT, MOST_ERROR, draw_lorenz, draw_predator_and_prey
from node_jax.analysis import lyapunov_exponents, valid_times
from node_jax.models import combine_trainable, fit_scaling, partition_trainable
from node_jax.tasks import (
    Collocation,
    GrowingHorizon,
    MultipleShooting,
    Phase,
    RollOut,
    TrajectoryModel,
    TrajectoryTask,
)
from node_jax.tasks.rows import relative_errors
from node_jax.types import Key

_ROOT = Path(__file__).parents[1]
_RUNS = _ROOT / "runs" / "curriculum"
_PAGE, _RECORDS = _ROOT / "docs" / "curricula.md", _ROOT / "docs" / "results" / "training"


@dataclass(frozen=True)
class Plan:
    """Which stages of a task, for how many updates each, from which learning rate down."""

    stages: tuple[int, ...]
    num_steps: tuple[int, ...]
    learning_rate: float


@dataclass
class Fit:
    """A trained model, its losses, and what it cost."""

    model: TrajectoryModel
    losses: np.ndarray
    failed_share: float
    wall_s: float
    cpu_s: float


def make_trainer(task: TrajectoryTask, plan: Plan) -> Callable[[TrajectoryTask, int], Fit]:
    """A function `train(task, seed)`, compiled once for all tasks of one shape: `task` is one of them."""
    rate = optax.cosine_decay_schedule(plan.learning_rate, sum(plan.num_steps), 0.01)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
    example, static = eqx.partition(task, eqx.is_array)
    _, rest = partition_trainable(task.init(jax.random.key(0)))

    @partial(jax.jit, static_argnums=(4, 5))
    def run(parameters: Any, state: Any, arrays: Any, key: Key, stage: int, num_steps: int) -> Any:
        whole = eqx.combine(arrays, static)

        def update(carry: Any, i: Any) -> Any:
            def loss(parameters: Any) -> Any:
                phase = Phase(stage, i / num_steps)
                return whole.loss(combine_trainable(parameters, rest), jax.random.fold_in(key, i), phase)

            (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(carry[0])
            updates, state = optimizer.update(gradient, carry[1], carry[0])
            return (optax.apply_updates(carry[0], updates), state), (value, metrics["failed_share"])

        return jax.lax.scan(update, (parameters, state), jnp.arange(num_steps))

    def train(task: TrajectoryTask, seed: int) -> Fit:
        wall, cpu = time.perf_counter(), time.process_time()
        # What is static differs (it holds the data on the host), and is not read by a loss.
        arrays = jax.tree.unflatten(jax.tree.structure(example), jax.tree.leaves(eqx.partition(task, eqx.is_array)[0]))
        keys = jax.random.split(jax.random.key(seed), 1 + len(plan.stages))
        parameters, _ = partition_trainable(task.init(keys[0]))
        state, losses, failed = optimizer.init(parameters), [], []
        for key, stage, num_steps in zip(keys[1:], plan.stages, plan.num_steps, strict=True):
            (parameters, state), (values, shares) = run(parameters, state, arrays, key, stage, num_steps)
            losses.append(np.asarray(values))
            failed.append(float(jnp.mean(shares)))
        model = combine_trainable(parameters, rest)
        seconds = time.perf_counter() - wall, time.process_time() - cpu
        return Fit(model, np.concatenate(losses), max(failed), *seconds)

    return train


def train_all(tasks: Sequence[TrajectoryTask], plan: Plan, name: str) -> list[Fit]:
    """Fits of all seeds, one after the other."""
    train = make_trainer(tasks[0], plan)
    fits = []
    for seed, task in enumerate(tasks):
        fits.append(train(task, seed))
        say(f"{name}, seed {seed}: loss {fits[-1].losses[-1]:.2g}, {fits[-1].wall_s:.1f} s")
    return fits


def predator_and_prey(is_quick: bool, folder: Path) -> Results:
    """Lotka-Volterra, five periods from one start, a network as a field."""
    num_seeds, length = 2 if is_quick else 10, 5
    steps = (40, 30, 30) if is_quick else (400, 600, 1000)
    times = np.linspace(0.0, length * 3.32, 20 * length + 1)
    system, start = nj.fields.LotkaVolterra(), np.ones((1, 2))
    data = [
        nj.data.simulate(system, start, times, noise=0.05, seed=s, names=("prey", "predator")) for s in range(num_seeds)
    ]
    scaling = fit_scaling(times, data[0].truth[0], 1.0, "standard")
    integrator = nj.Integrator(solver=nj.RK4(), controller=nj.FixedSteps(1))

    def field(key: Key) -> nj.fields.MLP:
        return nj.fields.MLP(2, 32, 2, activation=jnp.tanh, key=key)

    shooting = MultipleShooting(segment_steps=10, continuity=(1.0, 10.0))
    stages = (Collocation(), shooting, RollOut(), GrowingHorizon(start_steps=20))
    tasks = [TrajectoryTask(one, scaling, field, integrator, stages) for one in data]
    plans = {
        "plain": Plan((2,), (sum(steps),), 5e-3),
        "plain, twice the learning rate": Plan((2,), (sum(steps),), 1e-2),
        "plain, five times the updates": Plan((2,), (5 * sum(steps),), 5e-3),
        "growing horizon, then roll-out": Plan((3, 2), (sum(steps[:2]), steps[2]), 5e-3),
        "curriculum": Plan((0, 1, 2), steps, 5e-3),
    }
    runs = {name: (plan, train_all(tasks, plan, name)) for name, plan in plans.items()}

    def solve(task: TrajectoryTask, fit: Fit, times: np.ndarray) -> np.ndarray:
        ys = task.solve(fit.model, task.starts(fit.model), scaling.time_to_model(times[None])).ys
        return np.asarray(scaling.state_from_model(ys), float)

    errors = {
        name: [relative_errors(solve(*pair, times), pair[0].data.truth)[1] for pair in zip(tasks, fits, strict=True)]
        for name, (_, fits) in runs.items()
    }
    rows = [
        (
            name,
            sum(plan.num_steps),
            f"{sum(error < MOST_ERROR for error in errors[name])} of {num_seeds}",
            float(np.median(errors[name])),
            max(errors[name]),
            float(np.mean([fit.wall_s for fit in fits])),
            float(np.mean([fit.cpu_s for fit in fits])),
            max(fit.failed_share for fit in fits),
        )
        for name, (plan, fits) in runs.items()
    ]
    columns = (
        "fit",
        "updates",
        "below 0.1",
        "median",
        "worst",
        "seconds a seed",
        "CPU seconds a seed",
        "failed solves",
    )
    caption = "Lotka-Volterra, 5 % noise, five periods: error relative to the true trajectory"
    losses = {name: [fit.losses for fit in fits] for name, (_, fits) in runs.items()}
    # Peaks are sharp beside the rows: what is drawn is solved at more times.
    fine = np.linspace(times[0], times[-1], 5 * (len(times) - 1) + 1)
    first = {name: solve(tasks[0], fits[0], fine) for name, (_, fits) in runs.items()}
    truth = nj.data.simulate(system, start, fine).truth
    draw_predator_and_prey(data[0], fine, truth, first, errors, losses, folder / "predator_prey.png")
    return Results(
        "predator_prey",
        "Does a curriculum fit five periods of predator and prey?",
        [Table(caption, columns, rows)],
        data={"errors": errors},
        is_quick=is_quick,
    )


def lorenz(is_quick: bool, folder: Path) -> Results:
    """The Lorenz attractor, sixteen short series, unseen starts."""
    num_seeds, num_series, num_tests = (1, 2, 4) if is_quick else (5, 16, 50)
    steps = (40, 20) if is_quick else (1000, 3000)
    times, test_times = np.arange(251) * 0.02, np.arange(601) * 0.02
    system, names = nj.fields.Lorenz(), ("x", "y", "z")

    def starts(seed: int, num: int) -> np.ndarray:
        return np.array([0.0, 0.0, 25.0]) + 5 * np.random.default_rng(seed).standard_normal((num, 3))

    data = [
        nj.data.simulate(system, starts(1000 + s, num_series), times, noise=0.01, seed=s, burn_in=10.0, names=names)
        for s in range(num_seeds)
    ]
    test = nj.data.simulate(system, starts(77, num_tests), test_times, burn_in=10.0, names=names)
    scaling = fit_scaling(times, data[0].truth.reshape(-1, 3), 0.2, "standard")
    integrator = nj.Integrator(controller=nj.ConstantStep(0.25), max_steps=128)

    def field(key: Key) -> nj.fields.MLP:
        return nj.fields.MLP(3, 64, 2, activation=jax.nn.silu, key=key)

    stages = (
        Collocation(batch_size=256 if not is_quick else 64),
        MultipleShooting(segment_steps=10, continuity=(1.0, 10.0), batch_size=100 if not is_quick else 50),
        RollOut(),
    )
    tasks = [TrajectoryTask(one, scaling, field, integrator, stages) for one in data]
    plans = {"plain": Plan((2,), (sum(steps),), 5e-3), "curriculum": Plan((0, 1), steps, 5e-3)}
    runs = {name: (plan, train_all(tasks, plan, name)) for name, plan in plans.items()}
    judge = make_judge(test, scaling, 200 if not is_quick else 10)
    rows, found = [], {}
    for name, (plan, fits) in runs.items():
        for seed, fit in enumerate(fits):
            found[name, seed] = judge(fit.model.forecaster.field)
            _, strict, lenient, exponent = found[name, seed]
            rows.append(
                (
                    f"{name}, seed {seed}",
                    sum(plan.num_steps),
                    float(np.median(strict)),
                    float(np.median(lenient)),
                    exponent,
                    fit.wall_s,
                    fit.cpu_s,
                    fit.failed_share,
                )
            )
    columns = (
        "fit",
        "updates",
        "valid time",
        "valid time, centred at 0",
        "largest exponent",
        "seconds",
        "CPU seconds",
        "failed solves",
    )
    caption = "Lorenz, 1 % noise: unseen starts, median valid time in Lyapunov times (1/0.906)"
    forecasts = {name: found[name, 0][0] for name in runs}
    valid = {name: [found[name, seed][1] for seed in range(num_seeds)] for name in runs}
    losses = {name: [fit.losses for fit in fits] for name, (_, fits) in runs.items()}
    draw_lorenz(test, forecasts, valid, losses, folder / "lorenz.png")
    return Results(
        "lorenz",
        "Does a curriculum find the Lorenz attractor?",
        [Table(caption, columns, rows)],
        data={f"{name}, seed {seed}": {"valid_times": found[name, seed][1].tolist()} for name, seed in found},
        is_quick=is_quick,
    )


def make_judge(test: nj.data.Trajectories, scaling: nj.models.Scaling, num_intervals: int) -> Callable[[Any], Any]:
    """A function `judge(field)`: forecasts of the test starts, valid times by two measures, largest exponent."""
    integrator = nj.Integrator(controller=nj.PIController(rtol=1e-6, atol=1e-6), max_steps=2048)
    steps = nj.Integrator(solver=nj.RK4(), controller=nj.FixedSteps(10))
    y0s = scaling.state_to_model(test.truth[:, 0])
    taus = scaling.time_to_model(test.times[0])

    @eqx.filter_jit
    def look(field: Any) -> tuple[Any, Any]:
        ys = integrator.batch(field, y0s, taus, lanes=len(y0s)).ys
        # An interval of one unit of the model's time: half a Lyapunov time at most.
        exponents = lyapunov_exponents(
            field, y0s, steps, interval=1.0, num_intervals=num_intervals, num_skipped=num_intervals // 4
        )
        return ys, jnp.mean(exponents) / scaling.t_scale

    def judge(field: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        ys, exponent = look(field)
        ys, truth = np.asarray(scaling.state_from_model(ys), float), test.truth
        times = EXPONENT * test.times[0]
        strict = valid_times(ys, truth, times, truth.std(axis=(0, 1)))
        lenient = valid_times(ys, truth, times, np.sqrt(np.mean(truth**2)))
        return ys, strict, lenient, float(exponent)

    return judge


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Plain fits beside curricula; results go to runs/curriculum/<date>/.")
    parser.add_argument("--quick", action="store_true", help="few updates of few seeds: does it run?")
    parser.add_argument("--only", nargs="+", choices=[*STUDIES], default=[*STUDIES], help="some of the studies")
    parser.add_argument("--record", action="store_true", help="keep the results in docs/results/training")
    options = parser.parse_args()
    folder = _RUNS / datetime.date.today().isoformat()
    folder.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        results = STUDIES[name](options.quick, folder)
        path = write(results, folder)
        show(results)
        if options.record:
            record(path, _PAGE, _RECORDS)


STUDIES = {"predator_prey": predator_and_prey, "lorenz": lorenz}

if __name__ == "__main__":
    main()
