"""Data of known mechanical systems, in the set-up of Greydanus, Dzamba & Yosinski (2019)."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np

from node_jax.data.derivatives import Derivatives
from node_jax.data.synthetic import simulate
from node_jax.data.trajectories import Trajectories
from node_jax.errors import UsageError
from node_jax.fields import MassSpring, Pendulum, TwoBody
from node_jax.fields.base import AbstractEnergyField

_NUM_TIMES = 100
"""Of a roll-out."""
_NEARLY_CIRCULAR = 0.05
"""Spread of the speeds of two bodies about the one of a circle."""


@dataclass(frozen=True)
class MechanicalSetup:
    """How much is measured of a system, and how well: by default as published."""

    make_system: Callable[[], AbstractEnergyField]
    """The system, with its published parameters."""
    names: tuple[str, ...]
    num_series: int
    """Trajectories that are fitted."""
    num_test: int
    """Trajectories of the same kind that are not."""
    num_times: int
    """Rows of each, evenly spaced."""
    duration: float
    """From the first row to the last."""
    noise: float
    """Standard deviation of the noise of the states. Derivatives have none."""
    rollout_duration: float
    """Of the solves whose energy is compared."""


MECHANICAL_SETUPS = {
    "mass-spring": MechanicalSetup(MassSpring, ("q", "p"), 25, 25, 30, 3.0, 0.1, 20.0),
    "pendulum": MechanicalSetup(Pendulum, ("q", "p"), 25, 25, 45, 3.0, 0.1, 20.0),
    "two-body": MechanicalSetup(
        TwoBody, ("x1", "y1", "x2", "y2", "px1", "py1", "px2", "py2"), 800, 200, 50, 20.0, 0.0, 25.0
    ),
}
"""The published ones, by the name of the system."""


@dataclass(frozen=True, eq=False)
class MechanicalData:
    """A system, what was measured of it, and solves to compare with."""

    system: AbstractEnergyField
    train: Derivatives
    test: Derivatives
    rollouts: Trajectories
    """Of the system itself, from starts of their own, without noise."""


def simulate_mechanics(name: str, setup: MechanicalSetup, *, num_rollouts: int = 15, seed: int = 0) -> MechanicalData:
    """Noisy states with the exact derivatives behind them, of trajectories that start at random.

    Masses on springs and pendulums start in a random direction of the plane (q, p), at distances from the origin within
    0.1 to 1 and 1.3 to 2.3; their roll-outs at coordinates within ±0.2 to ±1, as in the published evaluation. Two
    bodies of equal mass start opposite to each other with nearly the speed of a circle.

    Arguments:
        name: "mass-spring", "pendulum" or "two-body".
        setup: such as `MECHANICAL_SETUPS[name]`.
        num_rollouts: solves of the system to compare with, at 100 times each.
        seed: of starts and noise.

    Raises:
        UsageError: for another name, or less than one trajectory or roll-out.
        SolveError: if a solve fails.

    Reference: Greydanus, Dzamba & Yosinski (2019), arXiv:1906.01563.
    """
    if name not in MECHANICAL_SETUPS:
        raise UsageError(f"simulate_mechanics: expected one of {', '.join(MECHANICAL_SETUPS)}, got {name!r}.")
    if min(setup.num_series, setup.num_test, num_rollouts) < 1 or setup.num_times < 2 or setup.noise < 0:
        raise UsageError(
            "simulate_mechanics: expected at least one trajectory of each kind, two rows and a noise of at least 0, "
            f"got {setup} and {num_rollouts} roll-outs."
        )
    generator = np.random.default_rng(seed)
    num = setup.num_series + setup.num_test
    system = setup.make_system()
    ts = np.linspace(0.0, setup.duration, setup.num_times)
    rollout_ts = np.linspace(0.0, setup.rollout_duration, _NUM_TIMES)
    all_ts = np.union1d(ts, rollout_ts)
    # One solve for both, since compiling takes longer than solving.
    starts = np.concatenate([_draw_starts(name, num, generator), _draw_rollout_starts(name, num_rollouts, generator)])
    whole = simulate(system, starts, all_ts).values
    states = whole[:num, np.searchsorted(all_ts, ts)]
    paths = whole[num:, np.searchsorted(all_ts, rollout_ts)]
    with jax.enable_x64(True):
        slopes = np.asarray(system(0.0, states, None))
    rollouts = Trajectories(np.tile(rollout_ts, (num_rollouts, 1)), paths, setup.names, source="the system itself")
    measured = states + setup.noise * generator.standard_normal(states.shape)
    source = f"simulations of the system {name} with noise {setup.noise:g} in the states, seed {seed}"
    data = Derivatives(np.tile(ts, (num, 1)), measured, slopes, setup.names, source=source)
    train, test = data.select(slice(setup.num_series)), data.select(slice(setup.num_series, None))
    return MechanicalData(system, train, test, rollouts)


def _draw_starts(name: str, num: int, generator: np.random.Generator) -> np.ndarray:
    """Where trajectories start that are measured, shape (num, dim)."""
    if name == "two-body":
        return _draw_orbits(num, generator)
    nearest, farthest = (0.1, 1.0) if name == "mass-spring" else (1.3, 2.3)
    directions = generator.uniform(-1.0, 1.0, (num, 2))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions * generator.uniform(nearest, farthest, (num, 1))


def _draw_rollout_starts(name: str, num: int, generator: np.random.Generator) -> np.ndarray:
    """Where trajectories start that are compared, shape (num, dim)."""
    if name == "two-body":
        return _draw_orbits(num, generator)
    return generator.choice((-1.0, 1.0), (num, 2)) * generator.uniform(0.2, 1.0, (num, 2))


def _draw_orbits(num: int, generator: np.random.Generator) -> np.ndarray:
    """Two bodies of mass 1 on nearly circular orbits about the origin, for a gravity of 1, shape (num, 8)."""
    position = generator.uniform(0.5, 1.5, (num, 2))
    distance = np.linalg.norm(position, axis=1, keepdims=True)
    velocity = np.stack([-position[:, 1], position[:, 0]], axis=1) / (2 * distance**1.5)
    velocity *= 1.0 + _NEARLY_CIRCULAR * generator.standard_normal((num, 1))
    return np.concatenate([position, -position, velocity, -velocity], axis=1)
