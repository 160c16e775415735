"""Configs round-trip, and everything that does not fit is named with its path and the nearest name."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

import node_jax as nj
from node_jax.config import (
    LBFGS,
    Adam,
    ConstantStep,
    CosineSchedule,
    CsvData,
    DiffraxSolver,
    Forecast,
    HareLynxData,
    Hybrid,
    HybridLotkaVolterra,
    LotkaVolterraField,
    MLPField,
    PendulumField,
    PIController,
    Regularize,
    Run,
    SimulatedData,
    Sweep,
    Train,
    Trajectory,
)
from node_jax.config.codec import from_json, to_json
from node_jax.config.load import load_config, override
from node_jax.config.quick import shorten
from node_jax.config.sweep import expand, program_of
from node_jax.errors import UsageError

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").rglob("*.py"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_loads_round_trips_and_says_what_it_asks(path):
    config = load_config(path)
    assert shorten(config).name == f"{config.name}-quick"
    assert from_json(to_json(config), Run, "config") == config
    assert hash(config) == hash(from_json(to_json(config), Run, "config"))
    text = path.read_text()
    for heading in ("Question:", "Expected:", "Cost:", f"Command: node-jax train {path.relative_to(ROOT)}"):
        assert heading in text


def test_leaves_and_variants_are_overridden_in_any_order():
    config = load_config(ROOT / "configs" / "debug.py")
    changed = override(config, ["--optimizer.lr", "3e-4", "controller:constant-step", "--controller.dt", "0.5"], "test")
    assert changed.optimizer == dataclasses.replace(config.optimizer, lr=3e-4)
    assert changed.controller == ConstantStep(dt=0.5)
    assert override(config, ["optimizer:adam", "--seed", "3"], "test").optimizer == Adam()


@pytest.mark.parametrize("arguments", [["--optimiser.lr", "1"], ["--seed", "many"], ["optimizer:adamm"]])
def test_overrides_that_do_not_fit_end_with_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        override(load_config(ROOT / "configs" / "debug.py"), arguments, "test")
    assert ended.value.code == 2
    assert arguments[0].split(".")[0].lstrip("-")[:5] in capsys.readouterr().err


def _saved():
    return json.loads(to_json(load_config(ROOT / "configs" / "debug.py")))


def _change(path, value, delete=False):
    saved = _saved()
    node = saved
    *parents, last = path
    for key in parents:
        node = node[key]
    if delete:
        del node[last]
    else:
        node[last] = value
    return json.dumps(saved)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_change(["optimizer", "lrr"], 1.0), "config.json.optimizer: unknown key 'lrr'; did you mean 'lr'?"),
        (_change(["optimizer", "kind"], "Adamm"), "config.json.optimizer: unknown kind 'Adamm'; did you mean 'Adam'?"),
        (_change(["task", "transform"], "logg"), "unknown value 'logg'; did you mean 'log'?"),
        (_change(["seed"], "0"), "config.json.seed: expected int, got '0' \\(str\\)"),
        (_change(["seed"], True), "config.json.seed: expected int, got True"),
        (_change(["task"], 3), "expected one of .*Forecast, .*, got 3"),
        (_change(["optimizer", "kind"], ["x"]), "unknown kind \\['x'\\]"),
        (_change(["task", "kind"], "Forecasts"), "unknown kind 'Forecasts'; did you mean 'Forecast'"),
        (_change(["train", "num_steps"], None, delete=True), "expected the key 'num_steps', which is missing"),
        (_change(["train", "num_steps"], 0), "train.num_steps: expected at least 1, got 0"),
        ("{", "expected JSON"),
    ],
)
def test_a_saved_config_that_does_not_fit_is_refused(text, message):
    with pytest.raises(nj.UsageError, match=message):
        from_json(text, Run, "config.json")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Train(log_every=3, checkpoint_every=10), "multiple of train.log_every = 3, got 10"),
        (lambda: Adam(lr=0.0), "optimizer.lr"),
        (lambda: Adam(b1=2.0), "optimizer.b1"),
        (lambda: MLPField(final_scale=float("nan")), "field.final_scale"),
        (lambda: PIController(dt0=-1.0), "controller.dt0"),
        (lambda: PIController(rtol=float("inf")), "controller.rtol"),
        (lambda: Run(name="a", seed=2**40, task=Forecast(train_until=1), field=MLPField()), "seed"),
        (lambda: MLPField(width=0), "field.width"),
        (lambda: HybridLotkaVolterra(death=-1.0), "field.death"),
        (lambda: PendulumField(period=0.0), "field.period"),
        (lambda: LotkaVolterraField(growth=0.0), "field.growth"),
        (lambda: Hybrid(acts_on=(1, 1)), "field.acts_on"),
        (lambda: HareLynxData(years=(1900.0, 1800.0)), "data.years"),
        (
            lambda: Run(name="a", task=Trajectory(transform="standard"), field=Hybrid(), data=SimulatedData()),
            "none with PendulumField",
        ),
        (
            lambda: Run(
                name="a", task=Trajectory(transform="none"), field=PendulumField(), data=SimulatedData(system="lorenz")
            ),
            "two quantities with PendulumField",
        ),
        (lambda: Forecast(train_until=1, segment_steps=0), "task.segment_steps"),
        (lambda: Run(name="a b", task=Forecast(train_until=1), field=MLPField()), "without slashes and spaces"),
        (
            lambda: Run(name="a", task=Forecast(train_until=1, transform="standard"), field=HybridLotkaVolterra()),
            "written for logarithms",
        ),
        (
            lambda: Run(
                name="a", task=Forecast(train_until=1), field=HybridLotkaVolterra(), data=CsvData(path="a.csv")
            ),
            "two series",
        ),
    ],
)
def test_values_that_cannot_work_are_refused(make, message):
    with pytest.raises(nj.UsageError, match=message):
        make()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CONFIG = 3", "expected a line CONFIG = Run"),
        ("import nonsense_that_is_not_there", "ModuleNotFoundError"),
        ("def broken(:", "SyntaxError"),
        (
            "from node_jax.config import *\n"
            "CONFIG = Run(name='a', seed='x', task=Forecast(train_until=1), field=MLPField())",
            "a config that can be read, got TypeError",
        ),
        (
            "from node_jax.config import *\n"
            "CONFIG = Run(name='a', max_steps=2.5, task=Forecast(train_until=1), field=MLPField())",
            "max_steps: expected int, got 2.5",
        ),
    ],
)
def test_a_config_file_that_is_none_is_refused(tmp_path, text, message):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(nj.UsageError, match=message):
        load_config(path)


def test_a_missing_config_shows_those_that_exist():
    with pytest.raises(nj.UsageError, match=r"does not exist.*debug\.py"):
        load_config(ROOT / "configs" / "debugg.py")


def test_help_and_config_need_no_jax():
    """Importing jax takes seconds on many machines; help must not."""
    code = (
        "import sys\nfrom node_jax.cli import main\n"
        "try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        "heavy = [m for m in ('jax', 'numpy', 'equinox', 'optax', 'orbax') if m in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    for arguments in (["--help"], ["train", "configs/debug.py", "--help"], ["config", "configs/debug.py"]):
        done = subprocess.run(
            [sys.executable, "-c", code.format(arguments=arguments)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_every_field_has_a_line_of_help():
    done = subprocess.run(
        [sys.executable, "-m", "node_jax.cli", "train", "configs/debug.py", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for words in ("in units of task.time_scale", "Learning rate, > 0", "in the data's time unit"):
        assert words.split()[0] in done.stdout
    assert "--optimizer.lr" in done.stdout


def _full_batch():
    return {"optimizer": LBFGS(), "task": Forecast(train_until=1904)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sweep": Sweep(grid=("optimizer.lrr=1",))}, "did you mean 'lr'"),
        ({"sweep": Sweep(grid=("optimizer=1",))}, "a number at 'optimizer'"),
        ({"sweep": Sweep(grid=("train.num_steps=1.5",))}, "whole numbers"),
        ({"sweep": Sweep(grid=("optimizer.lr=-1",))}, "optimizer.lr: expected a learning rate > 0"),
        ({"optimizer": LBFGS()}, "full batches with L-BFGS"),
        ({**_full_batch(), "regularize": Regularize(jacobian=0.1)}, "a loss without chance in it with L-BFGS"),
        ({**_full_batch(), "field": MLPField(dropout=0.1)}, "Choose a dropout of 0, or another optimizer"),
        (
            {"solver": DiffraxSolver(), "regularize": Regularize(kinetic=0.1, nfe_budget=20.0)},
            "does not count evaluations",
        ),
        ({"schedule": CosineSchedule(warmup_steps=2)}, "fewer than the 2 steps of the run"),
    ],
)
def test_contradictions_are_refused_with_the_cure(changes, message):
    config = load_config(ROOT / "configs" / "debug.py")
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(config, **changes)


def test_rows_held_out_lie_before_the_end_of_training():
    with pytest.raises(UsageError, match=r"a time before task\.train_until"):
        Forecast(train_until=1904, validate_after=1904)


@pytest.mark.parametrize("axis", ["optimizer.lr", "optimizer.lr=", "=1", "optimizer.lr=a", "optimizer.lr=nan"])
def test_an_axis_of_a_grid_that_is_none_is_refused(axis):
    with pytest.raises(UsageError, match="path=number,number"):
        Sweep(grid=(axis,))


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (("optimizer.lr=1e-3", "optimizer.lr=1e-2"), "each path once"),
        (("optimizer.lr=1e-3,0.001",), "each number once"),
        (("sweep.seeds=1,2",), "--sweep.seeds 5"),
    ],
)
def test_a_grid_that_repeats_itself_is_refused(grid, message):
    with pytest.raises(UsageError, match=message):
        Sweep(grid=grid)


def test_a_sweep_has_a_run_for_each_point_and_seed_and_knows_which_share_a_program():
    config = load_config(ROOT / "configs" / "debug.py")
    grid = ("optimizer.lr=1e-3,1e-2", "field.residual.width=4,8")
    members = expand(config, Sweep(grid=grid, seeds=3))
    assert len(members) == 12
    assert [member.run.seed for member in members[:4]] == [0, 1, 2, 0]
    assert members[3].values == {"optimizer.lr": 1e-3, "field.residual.width": 8}
    assert members[3].run.field.residual.width == 8
    assert len({program_of(member.run) for member in members}) == 2
