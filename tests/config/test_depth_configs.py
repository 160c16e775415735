"""Configs of classifications, of graphs and of time in networks become what they say, or are refused in a sentence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.config import (
    Classification,
    Collocation,
    ConcatSquashField,
    ConcentricSpheresData,
    Forecast,
    GalerkinMLPField,
    GraphMLPField,
    HyperMLPField,
    MLPField,
    OscillatorNetworkData,
    Run,
    SimulatedData,
    Trajectory,
)
from node_jax.config.build import build
from node_jax.config.builders.fields import build_field
from node_jax.config.builders.graphs import graph_of
from node_jax.config.codec import from_json, to_json
from node_jax.errors import UsageError

KEY = jax.random.key(0)
SMALL = ConcentricSpheresData(num_inner=4, num_outer=12, num_validation=8, num_test=8)
STAGES = (Collocation(num_steps=50),)


def run_of(task, data, field, **settings):
    return Run(name="test", task=task, data=data, field=field, **settings)


def test_a_classification_is_built_with_room_beside_an_encoded_point():
    task = Classification(encoder_dim=3, num_augmented=2, batch_size=None, criterion="huber", transform="standard")
    run = run_of(task, SMALL, MLPField(width=4, depth=1))
    assert from_json(to_json(run), Run, "test") == run
    made = build(run).task
    assert (len(made.data.train), len(made.data.validation), len(made.data.test)) == (16, 8, 8)
    model = made.init(KEY)
    assert model.start(made.data.train.inputs).shape == (16, 5)
    np.testing.assert_array_equal(model.start(made.data.train.inputs)[:, 3:], 0.0)
    assert made.criterion == "huber"
    shift = model.scaling.state_to_model(made.data.train.inputs).mean(axis=0)
    np.testing.assert_allclose(shift, 0.0, atol=1e-6)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (ConcatSquashField(width=4), nj.fields.ConcatSquashMLP),
        (GalerkinMLPField(basis="fourier", num=3, width=4, span=(0.0, 2.0)), nj.fields.GalerkinField),
        (HyperMLPField(hyper_width=3, width=4), nj.fields.HyperField),
    ],
)
def test_time_dependent_fields_are_built(config, kind):
    field = build_field(config, 2, KEY)
    assert isinstance(field, kind)
    assert field(0.3, jnp.ones(2)).shape == (2,)


@pytest.mark.parametrize("edges", ["graph", "none", "mean-field"])
def test_oscillators_on_several_graphs_are_one_graph_of_components(edges):
    data = OscillatorNetworkData(num_graphs=2, num_nodes=3, mean_degree=2.0)
    graph = graph_of(data, 0, edges)
    assert graph.num_nodes == 6
    assert graph.edge_mask.sum() == (0 if edges == "none" else 12)
    assert (graph.senders // 3 == graph.receivers // 3).all()


def test_a_field_on_a_graph_is_trained_on_flat_states():
    data = OscillatorNetworkData(num_graphs=2, num_nodes=3, mean_degree=2.0, num_times=11, num_series=1, num_held_out=1)
    task = build(run_of(Trajectory(stages=STAGES, transform="none"), data, GraphMLPField(width=4, depth=1))).task
    model = task.init(KEY)
    assert model.forecaster.field(0.0, task.starts(model)[0]).shape == (12,)
    assert task.data.names[:3] == ("x0", "v0", "x1")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Classification(batch_size=0), "task.batch_size: expected at least 1, got 0"),
        (lambda: Classification(num_augmented=-1), "task.num_augmented: expected at least 0, got -1"),
        (lambda: Classification(end_time=0.0), "task.end_time: expected a time > 0"),
        (lambda: ConcentricSpheresData(inner_radius=1.2), "three radii > 0 that grow"),
        (lambda: ConcentricSpheresData(num_test=0), "data.num_test: expected at least 4"),
        (lambda: OscillatorNetworkData(mean_degree=7.0), r"data.mean_degree: expected a number in \[0, 4\]"),
        (lambda: GalerkinMLPField(num=0), "field.num: expected at least 1"),
        (lambda: HyperMLPField(span=(1.0, 0.0)), "field.span: expected two times"),
        (lambda: ConcatSquashField(width=0), "field.width: expected at least 1"),
        (lambda: run_of(Classification(), SimulatedData(), MLPField()), "points with labels, got 'SimulatedData'"),
        (lambda: run_of(Trajectory(), SMALL, MLPField()), "series in time, got 'ConcentricSpheresData'"),
        (lambda: run_of(Forecast(train_until=1.0), OscillatorNetworkData(), MLPField()), "one measured series"),
        (lambda: run_of(Trajectory(), SimulatedData(), GraphMLPField()), "data on a graph, got 'SimulatedData'"),
        (lambda: run_of(Trajectory(), OscillatorNetworkData(), GraphMLPField()), "--task.transform none"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()
