"""A sweep from the command line: a run for each point and seed, a table, an ensemble."""

import json
from pathlib import Path

import numpy as np

from node_jax.analysis import Prediction
from node_jax.cli import main
from node_jax.train import RunDirectory
from node_jax.train.sweep_report import describe_ensembles, describe_runs

DEBUG = str(Path(__file__).parents[2] / "configs" / "debug.py")


def test_a_sweep_leaves_a_folder_for_each_run_and_one_report(tmp_path, capsys):
    grid = ["--sweep.grid", "optimizer.lr=1e-3,1e-2", "--sweep.seeds", "2", "--sweep.mode", "together"]
    assert main(["train", DEBUG, "--output", str(tmp_path), *grid, "--debug"]) == 0
    (run,) = tmp_path.iterdir()
    for i in range(4):
        config = json.loads((run / f"run-{i:03d}" / "config.json").read_text())
        assert config["optimizer"]["lr"] == (1e-3, 1e-2)[i // 2]
        assert config["seed"] == i % 2
        assert (run / f"run-{i:03d}" / "report.md").exists()
    report = (run / "report.md").read_text()
    assert "| 003: optimizer.lr=0.01, seed=1 | 2 |" in report
    ensembles = json.loads((run / "ensembles.json").read_text())
    assert [found["members"] for found in ensembles] == [2, 2]
    assert 0 <= ensembles[0]["coverage_50%"] <= ensembles[0]["coverage_90%"] <= 1
    for figure in ("training.png", "ensemble-0.png", "ensemble-1.png"):
        assert (run / figure).read_bytes().startswith(b"\x89PNG")
        assert f"({figure})" in report
    capsys.readouterr()
    for command in ("evaluate", "inspect", "plot", "compare"):
        assert main([command, str(run)]) == 2
        assert f"{run}/run-000" in capsys.readouterr().err
    assert main(["train", "--resume", str(run), "--debug"]) == 0
    assert "| 003: optimizer.lr=0.01, seed=1 | 2 |" in capsys.readouterr().out


def test_a_sweep_with_a_run_that_cannot_be_is_refused_before_it_leaves_a_folder(tmp_path, capsys):
    grid = ["--sweep.grid", "task.segment_steps=5,1000"]
    assert main(["train", DEBUG, "--output", str(tmp_path / "runs"), *grid]) == 2
    assert "task.segment_steps=1000, seed=0: ForecastTask" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_trace_of_a_sweep_is_refused(tmp_path, capsys):
    assert main(["train", DEBUG, "--output", str(tmp_path / "runs"), "--sweep.seeds", "2", "--profile"]) == 2
    assert "--profile traces one run" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_table_of_runs_that_all_stopped_has_whole_lines(tmp_path):
    folders = [RunDirectory(tmp_path)]
    (tmp_path / "metrics.jsonl").write_text("")
    lines = describe_runs(["seed=0"], folders, {}).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert "stopped" in lines[-1]


def test_runs_that_forecast_different_data_make_no_ensemble(tmp_path):
    times, noise = np.arange(3.0), np.ones(1)
    members = [Prediction(times, np.full((3, 1), truth), np.ones((3, 1)), noise, ("x",), "1") for truth in (0.0, 1.0)]
    (note,), figures = describe_ensembles({(): members}, tmp_path)
    assert "make no ensemble" in note
    assert not figures
    assert describe_ensembles({(): members[:1]}, tmp_path) == ([], [])
    assert describe_ensembles({(): [members[0], members[0]]}, tmp_path)[1] == ["ensemble-0.png"]
