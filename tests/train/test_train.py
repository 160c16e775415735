"""Training resumes exactly, keeps what is whole, and refuses what is not a run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from node_jax.cli import main
from node_jax.train import Checkpoints, MetricsFile, read_metrics
from node_jax.train.checkpoint import CheckpointError
from node_jax.train.state import Standing, TrainState

ROOT = Path(__file__).parents[2]
DEBUG = str(ROOT / "configs" / "debug.py")
WALL_TIME = ("wall_s", "steps_per_s")


def _only_run(folder):
    (run,) = folder.iterdir()
    return run


def _train(folder, *overrides):
    return main(["train", DEBUG, "--output", str(folder), "--debug", *overrides])


def _without_wall_time(path):
    return [{k: v for k, v in row.items() if k not in WALL_TIME} for row in read_metrics(path)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of configs/debug.py."""
    folder = tmp_path_factory.mktemp("runs")
    assert _train(folder) == 0
    return _only_run(folder)


def test_a_run_leaves_all_its_files(trained):
    for name in ("config.json", "versions.json", "metrics.jsonl", "evaluation.json", "report.md", "reference"):
        assert (trained / name).exists()
    for name in ("forecast.png", "phase.png", "loss.png"):
        assert (trained / name).read_bytes().startswith(b"\x89PNG")
        assert f"({name})" in (trained / "report.md").read_text()
    report = (trained / "report.md").read_text()
    for row in ("| model |", "| pure neural ODE |", "| last value |", "| autoregression of order"):
        assert row in report
    assert {"jax", "python", "node_jax"} <= set(json.loads((trained / "versions.json").read_text()))
    assert [row["step"] for row in read_metrics(trained / "metrics.jsonl")] == [1, 2]


def test_evaluate_gives_the_same_report_again(trained, tmp_path):
    copy = shutil.copytree(trained, tmp_path / "copy")
    before = (copy / "report.md").read_text()
    (copy / "report.md").unlink()
    assert main(["evaluate", str(copy), "--debug"]) == 0
    assert (copy / "report.md").read_text() == before


def test_a_run_can_be_plotted_inspected_and_compared(trained, tmp_path, capsys):
    copy = shutil.copytree(trained, tmp_path / "copy")
    (copy / "forecast.png").unlink()
    assert main(["plot", str(copy), "--debug"]) == 0
    assert main(["inspect", str(copy), "--debug"]) == 0
    config = json.loads((copy / "config.json").read_text())
    config["optimizer"]["lr"] = 0.5
    (copy / "config.json").write_text(json.dumps(config))
    capsys.readouterr()
    assert main(["compare", str(trained), str(copy), "--figure", str(tmp_path / "curves.png"), "--debug"]) == 0
    table = capsys.readouterr().out
    assert "| run | optimizer.lr | last step | last loss |" in table
    assert "| copy | 0.5 | 2 |" in table
    for figure in (copy / "training.png", copy / "forecast.png", copy / "inspection.png", tmp_path / "curves.png"):
        assert figure.read_bytes().startswith(b"\x89PNG")


def test_compared_runs_of_one_name_keep_their_own_numbers(trained, tmp_path, capsys):
    runs = [shutil.copytree(trained, tmp_path / which / "run") for which in ("a", "b")]
    rows = [json.loads(line) for line in (runs[1] / "metrics.jsonl").read_text().splitlines()]
    (runs[1] / "metrics.jsonl").write_text("".join(json.dumps(row | {"loss": 7.5}) + "\n" for row in rows))
    assert main(["compare", *map(str, runs), "--figure", str(tmp_path / "curves.png"), "--debug"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith(f"| {runs[0]} | 2 |")
    assert "7.5" not in lines[2]
    assert lines[3].startswith(f"| {runs[1]} | 2 | 7.5 |")
    assert main(["compare", str(runs[0]), str(runs[0])]) == 2
    assert "Name each once" in capsys.readouterr().err
    assert main(["compare", *map(str, runs), "--figure", str(tmp_path / "none" / "curves.png")]) == 2
    assert "Choose another place with --figure" in capsys.readouterr().err
    (runs[0] / "metrics.jsonl").write_text("")
    assert main(["plot", str(runs[0])]) == 2
    assert "Expected rows of metrics" in capsys.readouterr().err
    (runs[0] / "metrics.jsonl").write_text('{"step": 1}\n')
    assert main(["plot", str(runs[0])]) == 2
    assert "Expected rows with a loss" in capsys.readouterr().err


def test_resuming_a_finished_run_changes_nothing(trained, tmp_path):
    copy = shutil.copytree(trained, tmp_path / "copy")
    assert main(["train", "--resume", str(copy), "--debug"]) == 0
    assert (copy / "metrics.jsonl").read_text() == (trained / "metrics.jsonl").read_text()


def test_a_saved_config_trains_again_to_the_same_numbers(trained, tmp_path):
    assert main(["train", str(trained / "config.json"), "--output", str(tmp_path), "--debug"]) == 0
    again = _only_run(tmp_path)
    assert _without_wall_time(again / "metrics.jsonl") == _without_wall_time(trained / "metrics.jsonl")


def test_a_killed_run_resumes_to_the_same_metrics(tmp_path):
    """SIGKILL at a moment that depends on the machine; the metrics must not."""
    overrides = ["--train.num-steps", "300", "--train.log-every", "5", "--train.checkpoint-every", "10"]
    assert _train(tmp_path / "whole", *overrides, "reference:none") == 0
    whole = _only_run(tmp_path / "whole") / "metrics.jsonl"

    command = [sys.executable, "-m", "node_jax.cli", "train", DEBUG, "--output", str(tmp_path / "killed"), *overrides]
    process = subprocess.Popen([*command, "reference:none"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    killed = tmp_path / "killed"
    while time.monotonic() < deadline and process.poll() is None:
        files = list(killed.glob("*/metrics.jsonl"))
        if files and files[0].read_text().count("\n") >= 7:
            break
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    run = _only_run(killed)
    assert 7 <= len(read_metrics(run / "metrics.jsonl")) < 60
    assert not (run / "report.md").exists()

    assert main(["train", "--resume", str(run), "--debug"]) == 0
    assert _without_wall_time(run / "metrics.jsonl") == _without_wall_time(whole)
    evaluations = [json.loads((folder / "evaluation.json").read_text()) for folder in (run, whole.parent)]
    assert evaluations[0] == evaluations[1]


def test_rows_after_the_checkpoint_and_a_torn_line_are_cut_off(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste')
    MetricsFile(path, last_step=2).append({"step": 3, "loss": 1.0})
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n{"step": 3, "loss": 1.0}\n'


def test_a_damaged_checkpoint_is_one_message(trained, tmp_path):
    copy = shutil.copytree(trained, tmp_path / "copy")
    for file in (copy / "checkpoints" / "best").rglob("*"):
        if file.is_file() and file.parent.name == "d":
            file.write_bytes(b"not a checkpoint")
    command = [sys.executable, "-m", "node_jax.cli", "evaluate", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Expected a readable checkpoint" in done.stderr
    assert "Traceback" not in done.stderr


def _small_state(scale=1.0):
    parameters = {"w": scale * jnp.arange(3.0)}
    return TrainState(jnp.array(1), parameters, (), None, jnp.zeros(2, jnp.uint32), jnp.zeros(()))


def test_a_changed_value_in_a_checkpoint_is_noticed(tmp_path):
    state = _small_state()
    checkpoints = Checkpoints(tmp_path, state, [np.arange(2.0)])
    checkpoints.save("last", state, Standing(best_loss=0.5, num_worse=2))
    restored, standing = checkpoints.restore("last")
    assert standing == Standing(best_loss=0.5, num_worse=2)
    assert jnp.array_equal(restored.parameters["w"], state.parameters["w"])
    checkpoints.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("node_jax.train.checkpoint.zlib.crc32", lambda data, crc: 1)
        again = Checkpoints(tmp_path, state, [np.arange(2.0)])
        with pytest.raises(CheckpointError, match="differ from those that were saved"):
            again.restore("last")


def test_a_checkpoint_of_another_config_is_refused_with_the_difference(trained, tmp_path, capsys):
    copy = shutil.copytree(trained, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config["task"]["train_until"] = 1900.0
    (copy / "config.json").write_text(json.dumps(config))
    assert main(["evaluate", str(copy)]) == 1
    assert "config.task.train_until: 1904.0 in the checkpoint, 1900.0 now" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "configs/none.py"], 2, "does not exist"),
        (["train", DEBUG, "--optimizer.lrr", "1"], 2, "optimizer.lr"),
        (["train", DEBUG, "--seed", "x"], 2, "seed"),
        (["train"], 2, "needs a CONFIG or --resume"),
        (["train", "--resume", "/nowhere"], 2, "no such folder"),
        (["train", "--resume", str(ROOT / "configs")], 2, "a folder without config.json"),
        (["train", DEBUG, "--resume", "/nowhere"], 2, "no overrides"),
        (["evaluate", "/nowhere"], 2, "Expected a run directory"),
        (["fly"], 2, "invalid choice"),
        (["train", DEBUG, "--task.train-until", "1845"], 2, "at least 2 rows on each side"),
        (["train", DEBUG, "--task.segment-steps", "60"], 2, "segment_steps between 1 and 59"),
        (
            ["train", DEBUG, "data:csv-data", "--data.path", "/none.csv", "--data.columns", "a", "b"],
            2,
            "readable CSV",
        ),
    ],
)
def test_wrong_usage_is_one_message_and_code_2(arguments, code, message, capsys, tmp_path):
    overrides = ["--output", str(tmp_path)] if len(arguments) > 2 and arguments[1] == DEBUG else []
    try:
        ended = main([*arguments, *(overrides if "--resume" not in arguments else [])])
    except SystemExit as error:
        ended = error.code
    assert ended == code
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_training_stops_when_most_solves_fail(tmp_path, capsys):
    assert main(["train", DEBUG, "--output", str(tmp_path), "--max-steps", "1"]) == 1
    assert "100 % of the solves failed" in capsys.readouterr().err


def test_a_lost_best_checkpoint_is_made_from_the_last(trained, tmp_path):
    copy = shutil.copytree(trained, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints" / "best")
    assert main(["train", "--resume", str(copy), "--debug"]) == 0
    assert main(["evaluate", str(copy), "--debug"]) == 0


def test_a_file_in_place_of_the_checkpoints_is_named(trained, tmp_path, capsys):
    copy = shutil.copytree(trained, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints")
    (copy / "checkpoints").write_text("")
    assert main(["evaluate", str(copy)]) == 1
    assert "Expected a folder of checkpoints at" in capsys.readouterr().err


def test_an_empty_metrics_file_is_named(trained, tmp_path, capsys):
    copy = shutil.copytree(trained, tmp_path / "copy")
    (copy / "metrics.jsonl").write_text("")
    assert main(["evaluate", str(copy)]) == 2
    assert "got an empty file" in capsys.readouterr().err
    (copy / "metrics.jsonl").write_text('{"loss": 1.0}\n')
    assert main(["evaluate", str(copy)]) == 2
    assert "line 1" in capsys.readouterr().err


def test_an_output_that_is_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["train", DEBUG, "--output", str(tmp_path / "file")]) == 2
    assert "Expected to create a run directory" in capsys.readouterr().err


def test_a_missing_value_in_the_data_is_named(tmp_path, capsys):
    path = tmp_path / "data.csv"
    rows = [f"{i},{10 + i % 3},{'' if i == 7 else 5 + i % 2}" for i in range(40)]
    path.write_text("time,prey,predator\n" + "\n".join(rows))
    columns = ["--data.columns", "prey", "predator", "--task.train-until", "30", "--output", str(tmp_path / "runs")]
    assert main(["train", DEBUG, "data:csv-data", "--data.path", str(path), *columns]) == 2
    assert "got nan for 'predator' at time 7 (row 8)" in capsys.readouterr().err


def test_a_users_own_series_trains(tmp_path):
    path = tmp_path / "data.csv"
    rows = [f"{0.5 * i + 0.1 * (i % 2)},{10 + i % 3},{5 + i % 2}" for i in range(40)]
    path.write_text("time,prey,predator\n" + "\n".join(rows))
    columns = ["--data.columns", "prey", "predator", "--task.train-until", "15", "--output", str(tmp_path / "runs")]
    # As many steps as the forecast has; the figures ask for many more times.
    columns += ["--max-steps", "20", "controller:fixed-steps", "--controller.n", "2"]
    assert main(["train", DEBUG, "data:csv-data", "--data.path", str(path), *columns, "--debug"]) == 0
    report = (_only_run(tmp_path / "runs") / "report.md").read_text()
    # The rows are not evenly spaced, so there is no autoregression to compare with.
    assert "autoregression" not in report
