"""Several runs of one program: in turn or together, interrupted or not, each is what it would be alone."""

import json
import os
import signal

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from node_jax.errors import Preempted
from node_jax.train import Candidate, Stage, fit, fit_several, read_metrics, several
from tests.train.cases import Bowl, Silent, directory, settings

TARGET = jnp.array([[1.0, -1.0]])
RATES = (0.01, 0.1, 0.2)


def _optimizer(rate):
    return optax.inject_hyperparams(optax.adam)(learning_rate=rate)


def _candidates(folder, patience=None, **task):
    return [
        Candidate(
            f"rate {rate}",
            Bowl(TARGET, noise=0.3, **task),
            _optimizer(rate),
            settings(Stage(40, patience), seed=i),
            directory(folder / str(i)),
        )
        for i, rate in enumerate(RATES)
    ]


def _silent(title, num_steps, done):
    return Silent(num_steps, done)


def _losses(folder):
    return [[row["loss"] for row in read_metrics(folder / str(i) / "metrics.jsonl")] for i in range(len(RATES))]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Each run by itself: models and losses."""
    folder = tmp_path_factory.mktemp("alone")
    models = [
        fit(c.task, c.optimizer, c.settings, directory(folder / str(i)), Silent)
        for i, c in enumerate(_candidates(folder))
    ]
    return models, _losses(folder)


@pytest.mark.parametrize("mode", ["in-turn", "together"])
def test_each_run_is_what_it_is_alone(mode, alone, tmp_path):
    models = fit_several(_candidates(tmp_path), _silent, mode, tmp_path / "mode.json")
    for found, expected in zip(models, alone[0], strict=True):
        np.testing.assert_allclose(found.w, expected.w, rtol=1e-5)
    np.testing.assert_allclose(_losses(tmp_path), alone[1], rtol=1e-5)
    assert len({float(model.w[0, 0]) for model in models}) == len(RATES)


def test_what_is_measured_is_kept_and_holds_when_resumed(tmp_path, monkeypatch):
    monkeypatch.setattr(several, "LEAST_DISPATCHES", 1)
    fit_several(_candidates(tmp_path), _silent, "measure", tmp_path / "mode.json")
    facts = json.loads((tmp_path / "mode.json").read_text())
    fastest = min(facts["seconds_of_a_dispatch"], key=facts["seconds_of_a_dispatch"].get)
    assert facts["mode"] == fastest
    (tmp_path / "mode.json").write_text(json.dumps({"mode": "in-turn"}))
    before = _losses(tmp_path)
    fit_several(_candidates(tmp_path), _silent, "measure", tmp_path / "mode.json")
    assert _losses(tmp_path) == before


def test_short_runs_are_trained_in_turn_without_a_measurement(alone, tmp_path):
    fit_several(_candidates(tmp_path), _silent, "measure", tmp_path / "mode.json")
    assert not (tmp_path / "mode.json").exists()
    np.testing.assert_allclose(_losses(tmp_path), alone[1], rtol=1e-5)


def test_a_sweep_asked_to_end_while_it_measures_ends_and_resumes(alone, tmp_path, monkeypatch):
    monkeypatch.setattr(several, "LEAST_DISPATCHES", 1)
    candidates = _candidates(tmp_path)

    class Asking(Bowl):
        def loss(self, model, key, phase):
            # Called while the programs are compiled.
            os.kill(os.getpid(), signal.SIGTERM)
            return super().loss(model, key, phase)

    first = candidates[0]
    asking = Candidate(first.name, Asking(TARGET, noise=0.3), first.optimizer, first.settings, first.directory)
    with pytest.raises(Preempted, match="checkpoints of 3 runs"):
        fit_several([asking, *candidates[1:]], _silent, "measure", tmp_path / "mode.json")
    fit_several(candidates, _silent, "in-turn", tmp_path / "mode.json")
    np.testing.assert_allclose(_losses(tmp_path), alone[1], rtol=1e-5)


@pytest.mark.parametrize("mode", ["in-turn", "together"])
def test_a_stopped_sweep_resumes_to_the_same_numbers(mode, alone, tmp_path):
    class Stopping(Silent):
        def advance(self, step, row):
            if step == 25:
                os.kill(os.getpid(), signal.SIGTERM)

    def stopping(title, num_steps, done):
        return Stopping(num_steps, done)

    with pytest.raises(Preempted):
        fit_several(_candidates(tmp_path), stopping, mode, tmp_path / "mode.json")
    # One of them is behind: its checkpoint was not written before the kill.
    if mode == "together":
        (tmp_path / "1" / "metrics.jsonl").write_text("")
        for file in sorted((tmp_path / "1" / "checkpoints").rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
    models = fit_several(_candidates(tmp_path), _silent, mode, tmp_path / "mode.json")
    for found, expected in zip(models, alone[0], strict=True):
        np.testing.assert_allclose(found.w, expected.w, rtol=1e-5)
    np.testing.assert_allclose(_losses(tmp_path), alone[1], rtol=1e-5)


@pytest.mark.parametrize("mode", ["in-turn", "together"])
def test_a_sweep_asked_to_end_in_its_last_dispatch_ends(mode, tmp_path):
    class Stopping(Silent):
        def advance(self, step, row):
            is_last = mode == "together" or (tmp_path / "2" / "metrics.jsonl").stat().st_size
            if step == 40 and is_last:
                os.kill(os.getpid(), signal.SIGTERM)

    def stopping(title, num_steps, done):
        return Stopping(num_steps, done)

    with pytest.raises(Preempted, match="checkpoints of 3 runs"):
        fit_several(_candidates(tmp_path), stopping, mode, tmp_path / "mode.json")
    assert [len(losses) for losses in _losses(tmp_path)] == [8, 8, 8]


@pytest.mark.parametrize("mode", ["in-turn", "together"])
def test_a_run_that_stops_does_not_stop_the_others(mode, alone, tmp_path):
    candidates = _candidates(tmp_path)
    bad = candidates[1]
    broken = optax.inject_hyperparams(optax.adam)(learning_rate=jnp.nan)
    candidates[1] = Candidate(bad.name, bad.task, broken, bad.settings, bad.directory)
    models = fit_several(candidates, _silent, mode, tmp_path / "mode.json")
    assert models[1] is None
    assert (tmp_path / "1" / "failure" / "failure.json").exists()
    for i in (0, 2):
        np.testing.assert_allclose(models[i].w, alone[0][i].w, rtol=1e-5)


@pytest.mark.parametrize("mode", ["in-turn", "together"])
def test_runs_that_end_early_do_not_hold_the_others(mode, tmp_path):
    fit_several(_candidates(tmp_path, patience=1, validation="rises"), _silent, mode, tmp_path / "mode.json")
    assert [len(losses) for losses in _losses(tmp_path)] == [4, 4, 4]
