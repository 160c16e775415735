"""A sweep from the command line: a run for each point and seed, a table, an ensemble."""

import json
from pathlib import Path

from node_jax.cli import main

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
    assert main(["train", "--resume", str(run), "--debug"]) == 0
    assert "| 003: optimizer.lr=0.01, seed=1 | 2 |" in capsys.readouterr().out
