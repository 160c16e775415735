"""Trajectories of simulated systems from a config."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from node_jax import data as host
from node_jax.config.data import ControlledPendulumData, DampedOscillatorData, MechanicalData, SimulatedData
from node_jax.data import MECHANICAL_SETUPS, Controls, Trajectories, simulate, simulate_mechanics
from node_jax.fields import ControlledPendulum, DampedPendulum, Lorenz, LotkaVolterra, SecondOrderField

_BURN_IN = 10.0
"""Time units of Lorenz's system after which a solution is on the attractor, to the eye and beyond."""

PENDULUM = (6.0, 0.2)
"""Period and friction of the simulated pendulum."""


def load_simulated(config: SimulatedData, seed: int) -> tuple[Trajectories, Trajectories | None]:
    """What is fitted, and what validates."""
    num = config.num_series + config.num_held_out
    ts = np.linspace(0.0, config.duration, config.num_times)
    match config.system:
        case "lotka-volterra":
            starts = np.ones((num, 2))
            made = partial(simulate, LotkaVolterra(), names=("prey", "predator"))
        case "damped-pendulum":
            starts = pendulum_starts(num, seed)
            made = partial(simulate, DampedPendulum(*PENDULUM), names=("angle", "rate"))
        case "lorenz":
            starts = np.array([0.0, 0.0, 25.0]) + 5 * np.random.default_rng(seed).standard_normal((num, 3))
            made = partial(simulate, Lorenz(), burn_in=_BURN_IN, names=("x", "y", "z"))
    held_out = made(starts[config.num_series :], ts, seed=seed) if config.num_held_out else None
    return made(starts[: config.num_series], ts, noise=config.noise, seed=seed), held_out


def pendulum_starts(num: int, seed: int) -> np.ndarray:
    """Angles and rates, shape (num, 2), of a length between 1.3 and 2.3 in the direction of a random point of a square.

    Reference: the code of Yin et al. (2021), arXiv:2010.04456.
    """
    rng = np.random.default_rng(seed)
    points, lengths = rng.uniform(-1, 1, (num, 2)), rng.uniform(1.3, 2.3, (num, 1))
    return points / np.linalg.norm(points, axis=1, keepdims=True) * lengths


def load_controlled_pendulum(config: ControlledPendulumData, seed: int) -> tuple[Trajectories, Trajectories | None]:
    """What is fitted, and what validates."""
    rng = np.random.default_rng(seed)
    pendulum, ts = ControlledPendulum(damping=config.damping), np.linspace(0.0, config.duration, config.num_times)

    def draw(num: int, noise: float) -> Trajectories:
        reach = np.array([np.pi, config.max_momentum])
        starts = reach * rng.uniform(-1.0, 1.0, (num, 2))
        controls = draw_torques(rng, num, config.num_times, config.hold_rows, config.max_torque)
        return simulate(pendulum, starts, ts, noise=noise, seed=seed, names=("angle", "momentum"), controls=controls)

    fitted = draw(config.num_series, config.noise)
    return fitted, draw(config.num_held_out, 0.0) if config.num_held_out else None


def draw_torques(
    rng: np.random.Generator, num_series: int, num_rows: int, hold_rows: int, max_torque: float
) -> Controls:
    """Random torques, each held for some rows, of several series.

    Arguments:
        rng: what draws.
        num_series, num_rows: how many of each.
        hold_rows: rows for which one is held.
        max_torque: the largest.
    """
    levels = rng.uniform(-max_torque, max_torque, (num_series, -(-num_rows // hold_rows), 1))
    return Controls(np.repeat(levels, hold_rows, axis=1)[:, :num_rows], ("torque",))


def damped_oscillator(damping: float) -> SecondOrderField:
    """x'' = -x - x³ - damping x'."""

    def acceleration(t: Any, x: Any, v: Any, args: Any) -> Any:
        del t, args
        return -x - x**3 - damping * v

    return SecondOrderField(acceleration)


def load_damped_oscillator(config: DampedOscillatorData, seed: int) -> tuple[Trajectories, Trajectories | None]:
    """What is fitted, and what validates."""
    num = config.num_series + config.num_held_out
    # Those that are fitted and those that validate alternate, as far as they go.
    angles = 2 * np.pi * (config.arc * np.arange(num) / num + np.random.default_rng(seed).uniform())
    starts = config.radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    held_out = np.zeros(num, bool)
    held_out[np.linspace(0, num, config.num_held_out, endpoint=False).astype(int) + (config.num_series > 0)] = True
    ts = np.linspace(0.0, config.duration, config.num_times)
    made = partial(simulate, damped_oscillator(config.damping), ts=ts, seed=seed, names=("position", "velocity"))
    fitted = made(starts[~held_out], noise=config.noise)
    return fitted, made(starts[held_out]) if config.num_held_out else None


def load_mechanics(config: MechanicalData, seed: int) -> host.MechanicalData:
    """A mechanical system with what was measured of it."""
    given = {name: getattr(config, name) for name in ("num_series", "num_times", "duration", "noise")}
    changed = {name: value for name, value in given.items() if value is not None}
    setup = replace(MECHANICAL_SETUPS[config.system], **changed)
    return simulate_mechanics(config.system, setup, num_rollouts=config.num_rollouts, seed=seed)
