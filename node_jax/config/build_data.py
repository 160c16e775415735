"""The data of a config: read, or simulated."""

from dataclasses import replace
from functools import partial

import numpy as np

from node_jax import data as host
from node_jax.config.build_graph import load_oscillators
from node_jax.config.build_structured_data import load_controlled_pendulum, load_damped_oscillator
from node_jax.config.data import CsvData, HareLynxData, MechanicalData, SimulatedData
from node_jax.config.graph import OscillatorNetworkData
from node_jax.config.schema import Run
from node_jax.config.structured_data import ControlledPendulumData, DampedOscillatorData
from node_jax.config.tasks import Trajectory
from node_jax.data import (
    MECHANICAL_SETUPS,
    TimeSeries,
    Trajectories,
    as_trajectories,
    load_hare_lynx,
    read_csv_series,
    simulate,
    simulate_mechanics,
)
from node_jax.fields import DampedPendulum, Lorenz, LotkaVolterra

_BURN_IN = 10.0
"""Time units of Lorenz's system after which a solution is on the attractor, to the eye and beyond."""

PENDULUM = (6.0, 0.2)
"""Period and friction of the simulated pendulum."""


def pendulum_starts(num: int, seed: int) -> np.ndarray:
    """Angles and rates, shape (num, 2), of a length between 1.3 and 2.3 in the direction of a random point of a square.

    Reference: the code of Yin et al. (2021), arXiv:2010.04456.
    """
    rng = np.random.default_rng(seed)
    points, lengths = rng.uniform(-1, 1, (num, 2)), rng.uniform(1.3, 2.3, (num, 1))
    return points / np.linalg.norm(points, axis=1, keepdims=True) * lengths


def load_series(data: HareLynxData | CsvData) -> TimeSeries:
    """One measured series."""
    if isinstance(data, HareLynxData):
        return load_hare_lynx().between(*data.years)
    return read_csv_series(
        data.path,
        data.time,
        data.columns,
        time_unit=data.time_unit,
        value_unit=data.value_unit,
        has_missing=data.has_missing,
    )


def load_trajectories(run: Run, task: Trajectory) -> tuple[Trajectories, Trajectories | None]:
    """What is fitted, and what validates."""
    if isinstance(run.data, MechanicalData):
        made = load_mechanics(run.data, run.seed)
        return made.train.as_trajectories(), made.test.as_trajectories()
    if isinstance(run.data, ControlledPendulumData):
        return load_controlled_pendulum(run.data, run.seed)
    if isinstance(run.data, DampedOscillatorData):
        return load_damped_oscillator(run.data, run.seed)
    if isinstance(run.data, HareLynxData | CsvData):
        series = load_series(run.data)
        if task.train_until is None:
            return as_trajectories(series), None
        train, test = series.split(task.train_until)
        return as_trajectories(train), as_trajectories(test)
    if isinstance(run.data, OscillatorNetworkData):
        return load_oscillators(run.data, run.seed)
    config = run.data
    assert isinstance(config, SimulatedData)
    ts = np.linspace(0.0, config.duration, config.num_times)
    if config.system == "lotka-volterra":
        names = ("prey", "predator")
        return simulate(LotkaVolterra(), np.ones((1, 2)), ts, noise=config.noise, seed=run.seed, names=names), None
    num = config.num_series + config.num_held_out
    if config.system == "damped-pendulum":
        made = partial(simulate, DampedPendulum(*PENDULUM), ts=ts, seed=run.seed, names=("angle", "rate"))
        starts = pendulum_starts(num, run.seed)
        held_out = made(starts[config.num_series :]) if config.num_held_out else None
        return made(starts[: config.num_series], noise=config.noise), held_out
    starts = np.array([0.0, 0.0, 25.0]) + 5 * np.random.default_rng(run.seed).standard_normal((num, 3))
    made = partial(simulate, Lorenz(), ts=ts, seed=run.seed, burn_in=_BURN_IN, names=("x", "y", "z"))
    held_out = made(starts[config.num_series :]) if config.num_held_out else None
    return made(starts[: config.num_series], noise=config.noise), held_out


def load_mechanics(config: MechanicalData, seed: int) -> host.MechanicalData:
    """A mechanical system with what was measured of it."""
    given = {name: getattr(config, name) for name in ("num_series", "num_times", "duration", "noise")}
    changed = {name: value for name, value in given.items() if value is not None}
    setup = replace(MECHANICAL_SETUPS[config.system], **changed)
    return simulate_mechanics(config.system, setup, num_rollouts=config.num_rollouts, seed=seed)
