"""Simulated systems for fields with a structure, from a config."""

from functools import partial
from typing import Any

import numpy as np

from node_jax.config.structured_data import ControlledPendulumData, DampedOscillatorData
from node_jax.data import Controls, Readings, Trajectories, load_table, simulate
from node_jax.fields import ControlledPendulum, SecondOrderField


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


def load_crash_test() -> Readings:
    """All readings of the crash test."""
    table = load_table("mcycle")
    units = ("head acceleration", "ms", "g", "mcycle (Silverman 1985)")
    return Readings(table["times"].astype(float), table["accel"].astype(float), *units)
