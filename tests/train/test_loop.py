"""The loop on the host: stages, early stopping, signals, a full disk, and steps that fail."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from node_jax.errors import Preempted
from node_jax.train import (
    CheckpointError,
    Checkpoints,
    Failure,
    Stage,
    StepSettings,
    TrainingError,
    describe,
    fit,
    inspect_run,
    load_best,
    read_metrics,
)
from node_jax.train.state import Standing, init_state
from tests.train.cases import Bowl, Silent, directory, settings

TARGET = jnp.array([[1.0, -1.0]])
ROOT = Path(__file__).parents[2]


def _fit(task, folder, chosen, optimizer=None):
    return fit(task, optimizer or optax.sgd(0.1), chosen, directory(folder), Silent)


def _rows(folder):
    return [
        {k: v for k, v in row.items() if k not in ("wall_s", "steps_per_s")}
        for row in read_metrics(folder / "metrics.jsonl")
    ]


def test_training_stops_when_the_validation_loss_has_not_fallen_and_the_best_is_restored(tmp_path):
    chosen = settings(Stage(200, patience=3))
    model = _fit(Bowl(TARGET, validation="rises"), tmp_path, chosen)
    rows = _rows(tmp_path)
    assert rows[-1]["step"] == 40
    validated = [row["validation_loss"] for row in rows if "validation_loss" in row]
    assert len(validated) == 4
    assert -float(jnp.sum((model.w - TARGET) ** 2)) == pytest.approx(min(validated), rel=1e-5)
    assert validated[0] == min(validated)


def test_training_goes_on_while_the_validation_loss_falls(tmp_path):
    _fit(Bowl(TARGET, validation="falls"), tmp_path, settings(Stage(60, patience=1)))
    assert _rows(tmp_path)[-1]["step"] == 60


def test_stages_follow_one_another_by_steps_or_by_patience(tmp_path):
    stages = (Stage(15), Stage(100, patience=1), Stage(20))
    _fit(Bowl(TARGET, noise=2.0), tmp_path, settings(*stages), optax.sgd(1.0))
    stage_of = {row["step"]: row["stage"] for row in _rows(tmp_path)}
    assert stage_of[15] == 0
    assert stage_of[20] == 1
    last = max(step for step, stage in stage_of.items() if stage == 1)
    assert (last - 15) % 10 == 0
    assert last < 115
    assert max(stage_of) == last + 20
    # Bowl's loss has the factor 1 + stage.
    assert set(stage_of.values()) == {0, 1, 2}


def test_a_resumed_run_continues_all_that_it_keeps_track_of(tmp_path):
    """Stopped by SIGTERM in the middle of the second stage: stage, multiplier, average, patience go on."""
    step = StepSettings(ema_decay=0.9, nfe_budget=40.0, accumulate=2)
    chosen = settings(Stage(20), Stage(40, patience=2), Stage(10), step=step)
    task, optimizer = Bowl(TARGET, noise=0.3, cost=0.1), optax.adam(0.05)
    whole = fit(task, optimizer, chosen, directory(tmp_path / "whole"), Silent)

    class Stopping(Silent):
        def advance(self, step, row):
            super().advance(step, row)
            if step == 35:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Preempted, match="checkpoint of step 35"):
        fit(task, optimizer, chosen, directory(tmp_path / "stopped"), Stopping)
    resumed = fit(task, optimizer, chosen, directory(tmp_path / "stopped"), Silent)
    assert _rows(tmp_path / "stopped") == _rows(tmp_path / "whole")
    np.testing.assert_array_equal(resumed.w, whole.w)
    best = load_best(task, optimizer, chosen, directory(tmp_path / "stopped"))
    np.testing.assert_array_equal(best.w, whole.w)


def test_a_run_asked_to_end_in_its_last_dispatch_ends_with_all_done(tmp_path):
    class Stopping(Silent):
        def advance(self, step, row):
            if step == 40:
                os.kill(os.getpid(), signal.SIGTERM)

    task, optimizer = Bowl(TARGET), optax.sgd(0.1)
    with pytest.raises(Preempted, match="checkpoint of step 40"):
        fit(task, optimizer, settings(), directory(tmp_path), Stopping)
    dispatched = []

    class Noting(Silent):
        def advance(self, step, row):
            dispatched.append(step)

    fit(task, optimizer, settings(), directory(tmp_path), Noting)
    assert not dispatched
    assert _rows(tmp_path)[-1]["step"] == 40


def test_a_folder_of_checkpoints_that_is_lost_on_the_way_is_said_and_survived(tmp_path):
    told = []
    (tmp_path / "kept").mkdir()
    (tmp_path / "in the way").write_text("")

    def put(target):
        """Checkpoints are written by a thread meanwhile: what stands there must change in one go."""
        (tmp_path / "link").symlink_to(tmp_path / target)
        (tmp_path / "link").replace(tmp_path / "checkpoints")

    class Losing(Silent):
        def advance(self, step, row):
            if step == 15:
                put("in the way")
            if step == 35:
                put("kept")

        def warn(self, message):
            told.append(message)

    put("kept")
    fit(Bowl(TARGET), optax.sgd(0.1), settings(), directory(tmp_path), Losing)
    assert any("checkpoint of step 20" in message for message in told)
    assert _rows(tmp_path)[-1]["step"] == 40
    model = load_best(Bowl(TARGET), optax.sgd(0.1), settings(), directory(tmp_path))
    whole = _fit(Bowl(TARGET), tmp_path / "whole", settings())
    np.testing.assert_array_equal(model.w, whole.w)


def test_a_best_checkpoint_of_lost_work_gives_way_to_an_earlier_step(tmp_path):
    run = directory(tmp_path)
    state, _ = init_state(Bowl(TARGET), optax.sgd(0.1), 0)
    checkpoints = Checkpoints(run.checkpoints, state, [], {})
    for step in (30, 10):
        checkpoints.save("best", eqx.tree_at(lambda s: s.step, state, jnp.int32(step)), Standing())
        assert int(checkpoints.restore("best")[0].step) == step
    checkpoints.close()


def test_a_full_disk_keeps_the_last_good_checkpoint_and_all_metrics_and_says_so(tmp_path):
    """A limit on the size of files stands for the full disk."""
    task, optimizer = Bowl(TARGET), optax.sgd(0.1)
    told = []

    class Limited(Silent):
        def advance(self, step, row):
            if step in (15, 40):
                limit = 100 if step == 15 else resource.RLIM_INFINITY
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

        def warn(self, message):
            told.append(message)

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        run = directory(tmp_path)
        fit(task, optimizer, settings(), run, Limited)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, before)
    assert any("checkpoint of step 20" in message and "is kept" in message for message in told)
    assert any("rows wait in memory" in message for message in told)
    assert [row["step"] for row in _rows(tmp_path)] == [5, 10, 15, 20, 25, 30, 35, 40]
    state, _ = init_state(task, optimizer, 0)
    checkpoints = Checkpoints(run.checkpoints, state, [], {})
    assert int(checkpoints.restore("last")[0].step) == 40
    checkpoints.close()


def test_steps_that_are_not_finite_stop_training_and_their_batch_can_be_inspected(tmp_path):
    task, optimizer, chosen = Bowl(TARGET, breaks_at=22), optax.sgd(0.1), settings()
    with pytest.raises(TrainingError, match=r"not finite in 60 % of the steps between steps 20 and 25.*inspect"):
        _fit(task, tmp_path, chosen)
    last = _rows(tmp_path)[-1]
    assert last["step"] == 25
    assert last["skipped_share"] == pytest.approx(0.6)
    facts = json.loads((tmp_path / "failure" / "failure.json").read_text())
    assert facts["step"] == 22
    assert np.isnan(facts["gradient_norm"])
    assert np.load(tmp_path / "failure" / "batch.npz")["statuses"].tolist() == [0, 2]
    failure, inspection = inspect_run(task, optimizer, chosen, directory(tmp_path))
    assert isinstance(failure, Failure)
    assert failure.fraction == pytest.approx(22 / 40)
    table = describe(inspection)
    assert "| 1 | max_steps | 1 | 9 |" in table
    assert "1 of 2 solves failed" in table


def test_a_run_that_got_past_its_failure_shows_its_last_step(tmp_path):
    with pytest.raises(TrainingError):
        _fit(Bowl(TARGET, breaks_at=22), tmp_path, settings())
    task, optimizer, chosen = Bowl(TARGET), optax.sgd(0.1), settings()
    fit(task, optimizer, chosen, directory(tmp_path), Silent)
    assert inspect_run(task, optimizer, chosen, directory(tmp_path))[0].step == 40


def test_a_few_skipped_steps_do_not_stop_training(tmp_path):
    _fit(Bowl(TARGET, breaks_at=23, breaks_once=True), tmp_path, settings())
    assert [row["skipped_share"] for row in _rows(tmp_path)] == pytest.approx([0, 0, 0, 0, 0.2, 0, 0, 0])


def test_too_many_failed_solves_stop_training(tmp_path):
    with pytest.raises(TrainingError, match="30 % of the solves failed"):
        _fit(Bowl(TARGET, failed=0.3), tmp_path, settings(max_failed=0.2))
    assert (tmp_path / "failure" / "failure.json").exists()


def test_a_run_that_did_not_stop_shows_the_step_after_its_last_checkpoint(tmp_path):
    task, optimizer, chosen = Bowl(TARGET), optax.sgd(0.1), settings()
    _fit(task, tmp_path, chosen)
    failure, _ = inspect_run(task, optimizer, chosen, directory(tmp_path))
    assert failure.step == 40
    assert "did not stop" in failure.reason


def test_a_checkpoint_of_another_config_shows_what_differs(tmp_path):
    state, _ = init_state(Bowl(TARGET), optax.sgd(0.1), 0)
    saved = Checkpoints(tmp_path, state, [], {"train": {"num_steps": 3, "log_every": 1}, "seed": 0})
    saved.save("last", state, Standing())
    saved.close()
    now = Checkpoints(tmp_path, state, [], {"train": {"num_steps": 4, "log_every": 1}, "seed": 0, "new": True})
    with pytest.raises(CheckpointError) as error:
        now.restore("last")
    assert "config.train.num_steps: 3 in the checkpoint, 4 now\n" in str(error.value)
    assert "config.new: null in the checkpoint, true now\n" in str(error.value)
    assert "log_every" not in str(error.value)


def test_metrics_are_written_for_tensorboard_and_a_trace_when_asked_for(tmp_path):
    run = directory(tmp_path)
    fit(Bowl(TARGET), optax.sgd(0.1), settings(has_tensorboard=True), run, Silent, tmp_path / "profile")
    (events,) = run.tensorboard.iterdir()
    content = events.read_bytes()
    assert content.count(b"gradient_norm") == 8
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def test_a_terminated_command_ends_with_code_143_and_resumes(tmp_path):
    overrides = ["--train.num-steps", "100000", "--train.log-every", "2", "--train.checkpoint-every", "20000"]
    command = [sys.executable, "-m", "node_jax.cli", "train", str(ROOT / "configs" / "debug.py"), "reference:none"]
    process = subprocess.Popen(
        [*command, "--output", str(tmp_path), *overrides], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            if "steps/s" in line:
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stderr.read()
    assert process.returncode == 143
    assert "a checkpoint of step" in rest
    (run,) = tmp_path.iterdir()
    rows = read_metrics(run / "metrics.jsonl")
    assert f"a checkpoint of step {rows[-1]['step']} is written" in rest
