"""A config of a population says what fits together, and becomes a task with people and samples held out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import node_jax as nj
from node_jax.config import (
    ClearanceCorrection,
    Compartments,
    MLPField,
    Population,
    Regularize,
    Run,
    SimulatedData,
    SubjectsData,
    Trajectory,
)
from node_jax.config.builders.population import build_population
from node_jax.config.codec import from_json, to_json
from node_jax.config.load import load_config

_CONFIGS = Path(__file__).parents[2] / "configs" / "physics"
_FIELD = Compartments(clearance=0.05, elimination=0.1, absorption=1.5)


def _run(**changed):
    return Run(**({"name": "some", "task": Population(), "data": SubjectsData(), "field": _FIELD} | changed))


@pytest.mark.parametrize("name", ["theophylline", "theophylline_hybrid", "remifentanil", "remifentanil_hybrid"])
def test_the_configs_of_populations_are_read_and_stored(name):
    run = load_config(_CONFIGS / f"{name}.py")
    assert from_json(to_json(run), Run, "here") == run


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _run(data=SimulatedData()), "task, data: expected SubjectsData"),
        (lambda: _run(field=MLPField()), "task, field: expected Compartments"),
        (lambda: _run(task=Trajectory()), "Choose a task Population"),
        (lambda: _run(task=Population(random=("flow_1",))), "parameters of the field"),
        (lambda: _run(task=Population(effects=("weight",))), "parameter:covariate"),
        (lambda: _run(task=Population(additive=None)), "at least one part"),
        (lambda: _run(task=Population(tolerance=0.0)), "task.tolerance"),
        (lambda: _run(regularize=Regularize(l2=1.0)), "no regularizers with a Population"),
        (lambda: Compartments(volume=1.0, elimination=1.0), "one of the two"),
        (lambda: Compartments(volume=1.0, flows=(1.0,)), "as many as volumes"),
        (lambda: Compartments(volume=-1.0), "a number > 0"),
        (lambda: SubjectsData(num_folds=3, fold=3), "at least 0 and below 3"),
        (lambda: SubjectsData(held_out_samples=1.0), r"a share in \[0, 1\)"),
        (lambda: ClearanceCorrection(scale=0.0), "field.correction.scale"),
    ],
)
def test_what_does_not_fit_together_is_refused(make, message):
    with pytest.raises(nj.UsageError, match=message):
        make()


def test_people_and_samples_are_held_out_once():
    run = load_config(_CONFIGS / "theophylline_hybrid.py")
    try:
        tasks = [
            build_population(run.task, replace(run.data, fold=fold), run.field, nj.Integrator()) for fold in range(4)
        ]
    except nj.DataError as error:
        pytest.skip(f"Theoph cannot be had: {error}")
    new = [i for task in tasks for i in task.others.ids]
    assert sorted(new, key=int) == [str(i) for i in range(1, 13)]
    for task in tasks:
        assert not np.any(task.data.mask & task.held_out.mask)
        assert np.sum(task.data.mask) + np.sum(task.held_out.mask) == 9 * 11
        assert set(task.data.ids).isdisjoint(task.others.ids)
