"""A curriculum from a config: its stages follow one another, and a run that is stopped in one goes on in it."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from node_jax.cli import main
from node_jax.config import (
    Collocation,
    CsvData,
    Forecast,
    GrowingHorizon,
    MultipleShooting,
    Regularize,
    RollOut,
    SimulatedData,
    Train,
    Trajectory,
)
from node_jax.config.build import build
from node_jax.config.codec import to_json
from node_jax.config.load import load_config
from node_jax.errors import UsageError
from node_jax.tasks import Phase
from node_jax.train import RunDirectory, fit, read_metrics
from tests.train.cases import Silent

PREDATOR_PREY = load_config(Path(__file__).parents[2] / "configs" / "predator_prey.py")
STAGES = (
    Collocation(num_steps=20, batch_size=8),
    MultipleShooting(num_steps=20, segment_steps=5, batch_size=3),
    GrowingHorizon(num_steps=10, start_steps=5),
    RollOut(num_steps=10),
)
SMALL = dataclasses.replace(
    PREDATOR_PREY,
    task=dataclasses.replace(PREDATOR_PREY.task, stages=STAGES),
    data=SimulatedData(duration=3.0, num_times=21),
    field=dataclasses.replace(PREDATOR_PREY.field, width=8, dropout=0.1),
    regularize=Regularize(kinetic=1e-3, l2=1e-4),
    train=Train(log_every=5, checkpoint_every=10),
    # Just as many as the longest solve has; the figure of the report asks for five times as many times.
    max_steps=20,
)


def _rows(folder):
    return [{k: v for k, v in row.items() if k not in ("wall_s", "steps_per_s")} for row in read_metrics(folder)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of all four stages."""
    folder = tmp_path_factory.mktemp("runs")
    config = folder / "config.json"
    config.write_text(to_json(dataclasses.replace(SMALL, output=str(folder / "out"))))
    assert main(["train", str(config), "--debug"]) == 0
    (found,) = (folder / "out").iterdir()
    return found


def test_every_stage_has_its_steps_and_its_metrics(run):
    rows = _rows(run / "metrics.jsonl")
    assert [row["stage"] for row in rows] == [0] * 4 + [1] * 4 + [2] * 2 + [3] * 2
    assert "jump" in rows[5]
    assert "jump" not in rows[9]
    assert rows[1]["num_evals"] == 0
    assert rows[-1]["num_evals"] > 0
    assert "kinetic" in rows[-1]
    assert all("validation_loss" in row for row in rows if row["step"] % 10 == 0)
    assert all(row["dt_max"] >= row["dt_min"] > 0 for row in rows)
    assert "fit.png" in (run / "report.md").read_text()
    assert json.loads((run / "evaluation.json").read_text())["relative_rmse_truth"] > 0


def test_a_run_killed_in_a_stage_resumes_in_it_to_the_same_numbers(run, tmp_path):
    experiment = build(SMALL)
    directory = RunDirectory(tmp_path)
    directory.prepare(to_json(SMALL))

    class Killed(Silent):
        def advance(self, step, row):
            if step == 35:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(experiment.task, experiment.optimizer, experiment.settings, directory, Killed)
    fit(experiment.task, experiment.optimizer, experiment.settings, directory, Silent)
    assert _rows(directory.metrics) == _rows(run / "metrics.jsonl")


def test_a_curriculum_run_can_be_inspected_and_evaluated_again(run, capsys):
    before = (run / "report.md").read_text()
    assert main(["inspect", str(run), "--debug"]) == 0
    assert "0 of 1 solves failed" in capsys.readouterr().out
    assert main(["evaluate", str(run), "--debug"]) == 0
    assert (run / "report.md").read_text() == before


def test_a_measured_series_is_split_into_what_is_fitted_and_what_validates(tmp_path):
    path = tmp_path / "data.csv"
    times = np.linspace(0, 6, 31)
    path.write_text("time,value\n" + "\n".join(f"{t},{np.sin(t)}" for t in times))
    task = Trajectory(stages=(RollOut(num_steps=10),), train_until=4.0)
    config = dataclasses.replace(SMALL, data=CsvData(path=str(path)), task=task, max_steps=30)
    built = build(config).task
    assert built.data.times.shape == (1, 21)
    assert built.validation.times.shape == (1, 10)
    assert build(dataclasses.replace(config, task=dataclasses.replace(task, train_until=None))).task.validation is None


def test_declared_missing_values_are_masked_and_undeclared_ones_named(tmp_path):
    path = tmp_path / "data.csv"
    rows = [f"{t},{np.sin(t)},{'' if i in (3, 4, 11) else np.cos(t)}" for i, t in enumerate(np.linspace(0, 6, 31))]
    path.write_text("time,a,b\n" + "\n".join(rows))
    data = CsvData(path=str(path), columns=("a", "b"), has_missing=True)
    task = Trajectory(stages=(RollOut(num_steps=10),))
    built = build(dataclasses.replace(SMALL, data=data, task=task, max_steps=64)).task
    assert built.data.mask.sum() == 2 * 31 - 3
    assert not built.data.mask[0, 3, 1]
    loss, _ = built.loss(built.init(jax.random.key(0)), jax.random.key(1), Phase(0, jnp.zeros(())))
    assert np.isfinite(float(loss))
    with pytest.raises(UsageError, match=r"got nan for 'b' at time 0.6 \(row 4\).*declare missing values"):
        build(dataclasses.replace(SMALL, data=dataclasses.replace(data, has_missing=False), task=task))
    with pytest.raises(UsageError, match="Choose a task Trajectory, which masks"):
        dataclasses.replace(SMALL, data=data, task=Forecast(train_until=3))


def test_too_few_steps_for_the_report_are_refused_before_training():
    with pytest.raises(UsageError, match="max_steps of at least 20"):
        build(dataclasses.replace(SMALL, max_steps=19))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Trajectory(stages=()), "task.stages: expected at least one stage"),
        (lambda: RollOut(num_steps=0), "A stage must end"),
        (lambda: RollOut(num_steps=10, patience=0), r"stage.patience"),
        (lambda: MultipleShooting(num_steps=10, continuity=(1.0,)), "two weights > 0"),
        (lambda: SimulatedData(num_series=2), "one trajectory of lotka-volterra"),
        (lambda: SimulatedData(noise=-1.0), "data.noise"),
        (
            lambda: dataclasses.replace(SMALL, task=Trajectory(stages=(RollOut(num_steps=7),))),
            r"task.stages\[0\].num_steps: expected a multiple of train.log_every = 5, got 7",
        ),
        (lambda: dataclasses.replace(SMALL, task=Forecast(train_until=3)), "a task Trajectory for simulated data"),
        (
            lambda: dataclasses.replace(SMALL, train=Train(log_every=5, checkpoint_every=5, patience=3)),
            "Give the last stage a patience",
        ),
        (
            lambda: dataclasses.replace(SMALL, task=Trajectory(stages=(RollOut(num_steps=5),), train_until=1.0)),
            "num-held-out",
        ),
    ],
)
def test_curricula_that_cannot_be_are_refused_with_the_cure(make, message):
    with pytest.raises(UsageError, match=message):
        make()
