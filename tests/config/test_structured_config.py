"""Configs of fields with a structure build what they say, and refuse what cannot be."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.config import (
    ControlledPendulumData,
    CrashTestData,
    DampedOscillatorData,
    Forecast,
    HareLynxData,
    MLPField,
    PortHamiltonian,
    SecondOrder,
    StableDynamics,
    Trajectory,
)
from node_jax.config.build import build
from node_jax.config.builders import data as loading
from node_jax.config.builders import systems
from node_jax.config.builders.fields import build_field
from node_jax.config.load import load_config

CONFIGS = Path(__file__).parents[2] / "configs" / "physics"
KEY = jax.random.key(0)


def config(name):
    return load_config(CONFIGS / f"{name}.py")


def test_every_field_is_built_for_its_quantities_and_controls():
    fields = {
        PortHamiltonian(angles=(1,)): (nj.fields.PortHamiltonianField, lambda field: field),
        StableDynamics(): (nj.fields.StableField, lambda field: field.nominal),
        SecondOrder(): (nj.fields.SecondOrderField, lambda field: field.acceleration),
        MLPField(): (nj.fields.MLP, lambda field: field),
    }
    for variant, (kind, driven) in fields.items():
        field = build_field(variant, 4, KEY, 2)
        assert isinstance(field, kind)
        assert driven(field).num_controls == 2
        assert jax.eval_shape(field, 0.0, jnp.ones(4), jnp.ones(2)).shape == (4,)
    free = build_field(PortHamiltonian(has_dissipation=False), 4, KEY)
    assert free.dissipation is None
    assert free.num_controls == 0


def test_a_pendulum_is_driven_by_torques_that_are_held():
    fitted, held_out = systems.load_controlled_pendulum(
        ControlledPendulumData(num_series=3, num_held_out=2, noise=0.1), 0
    )
    torques = fitted.controls.values
    assert fitted.values.shape == (3, 21, 2)
    assert held_out.values.shape == (2, 21, 2)
    assert np.abs(torques).max() <= 2.0
    assert (torques[:, :5] == torques[:, :1]).all()
    assert (torques[:, 5] != torques[:, 4]).all()
    np.testing.assert_array_equal(held_out.values, held_out.truth)
    # Energy changes by what the torque puts in, less what friction takes.
    energy = nj.fields.ControlledPendulum(damping=0.2).energy(held_out.truth)
    work = np.cumsum(held_out.controls.values[:, :-1, 0] * np.diff(held_out.truth[..., 0], axis=1), axis=1)
    assert (np.asarray(energy[:, 1:] - energy[:, :1]) <= work + 1e-4).all()


def test_starts_that_are_fitted_and_that_validate_alternate():
    fitted, held_out = systems.load_damped_oscillator(DampedOscillatorData(radius=2.0, noise=0.0), 0)
    assert fitted.values.shape == held_out.values.shape == (4, 41, 2)
    starts = np.concatenate([fitted.values[:, 0], held_out.values[:, 0]])
    np.testing.assert_allclose(np.linalg.norm(starts, axis=1), 2.0)
    angles = np.sort(np.arctan2(*fitted.values[:, 0].T) % (2 * np.pi))
    np.testing.assert_allclose(np.diff(angles), np.pi / 2)


def test_the_fold_of_a_crash_test_is_that_of_the_seed(monkeypatch):
    times = np.linspace(0.0, 50.0, 40).round()
    monkeypatch.setattr(loading, "load_table", lambda name: {"times": times, "accel": np.sin(times)})
    tasks = [build(replace(config("crash_test"), seed=seed)).task for seed in (3, 13, 4)]
    assert (tasks[0].is_held_out == tasks[1].is_held_out).all()
    assert tasks[0].is_held_out.sum() == 4
    assert not (tasks[0].is_held_out & tasks[2].is_held_out).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: replace(config("controlled_pendulum"), task=Trajectory()), "none with angles"),
        (lambda: replace(config("stable_dynamics"), field=SecondOrder(), task=Trajectory()), "none with SecondOrder"),
        (
            lambda: replace(
                config("stable_dynamics"), field=SecondOrder(), task=Trajectory(transform="none", time_scale=2.0)
            ),
            "1 with SecondOrder",
        ),
        (lambda: replace(config("crash_test"), field=MLPField()), "Choose field:second-order"),
        (lambda: replace(config("crash_test"), data=HareLynxData()), "Choose data:crash-test-data"),
        (lambda: replace(config("crash_test"), reference=MLPField()), "None with NoisyReadings"),
        (lambda: replace(config("stable_dynamics"), data=CrashTestData()), "Choose a task NoisyReadings"),
        (lambda: replace(config("stable_dynamics"), task=Forecast(train_until=1.0)), "one measured series"),
        (lambda: build_field(PortHamiltonian(), 3, KEY), "got 3 quantities"),
        (lambda: PortHamiltonian(angles=(-1,)), "indices from 0"),
        (lambda: StableDynamics(rate=-1.0), "field.rate"),
        (lambda: ControlledPendulumData(hold_rows=0), "data.hold_rows"),
        (lambda: DampedOscillatorData(damping=0.0), "data.damping"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(nj.UsageError, match=message):
        change()
