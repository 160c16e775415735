"""A field on a graph does not care how its nodes are numbered, nor about padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj

SENDERS, RECEIVERS = np.array([0, 1, 2, 3, 0, 2]), np.array([1, 0, 1, 2, 3, 0])


def draw(seed=0):
    """A graph with features, and a state."""
    random = np.random.default_rng(seed)
    edge_features, node_features = random.normal(size=(6, 2)), random.normal(size=(5, 1))
    graph = nj.fields.Graph(SENDERS, RECEIVERS, 5, edge_features=edge_features, node_features=node_features)
    return graph, jnp.asarray(random.normal(size=(5, 3)), jnp.float32)


def make(aggregation="sum", **settings):
    sizes = {"num_node_features": 1, "num_edge_features": 2, "message_dim": 4} | settings
    return nj.fields.GraphField(3, 8, 1, aggregation=aggregation, key=jax.random.key(0), **sizes)


@pytest.mark.parametrize("aggregation", ["sum", "mean"])
def test_a_graph_field_is_its_formula(aggregation):
    field, (graph, y) = make(aggregation), draw()
    expected = []
    for i in range(5):
        edges = [e for e in range(6) if RECEIVERS[e] == i]
        messages = [field.message(jnp.concatenate([y[i], y[SENDERS[e]], graph.edge_features[e]])) for e in edges]
        total = sum(messages, jnp.zeros(4)) / (max(1, len(edges)) if aggregation == "mean" else 1)
        expected.append(field.update(jnp.concatenate([y[i], graph.node_features[i], total])))
    np.testing.assert_allclose(field(0.0, y, graph), jnp.stack(expected), rtol=1e-4, atol=1e-5)


def test_another_numbering_of_the_nodes_numbers_the_result():
    field, (graph, y) = make(), draw()
    order = np.array([3, 0, 4, 2, 1])
    place = np.argsort(order)
    other = nj.fields.Graph(
        place[SENDERS],
        place[RECEIVERS],
        5,
        edge_features=graph.edge_features,
        node_features=np.asarray(graph.node_features)[order],
    )
    ts = [0.0, 1.0]
    expected = nj.odeint(field, y, ts, graph).ys[:, order]
    np.testing.assert_allclose(nj.odeint(field, y[order], ts, other).ys, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("aggregation", ["sum", "mean"])
def test_padding_changes_nothing(aggregation):
    field, (graph, y) = make(aggregation), draw()
    padded, start = graph.pad(8, 11), jnp.concatenate([y, jnp.full((3, 3), 7.0)])
    np.testing.assert_allclose(field(0.0, start, padded)[:5], field(0.0, y, graph), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(field(0.0, start, padded)[5:], 0.0)


def test_a_batch_of_graphs_is_solved_each_on_its_own():
    field = make()
    pairs = [draw(seed) for seed in range(3)]
    graphs, starts = jax.tree.map(lambda *leaves: jnp.stack(leaves), *pairs)
    sol = nj.odeint_batch(field, starts, [0.0, 1.0], graphs, in_axes=(0, None, 0), controller=nj.FixedSteps(4))
    for i, (graph, y) in enumerate(pairs):
        alone = nj.odeint(field, y, [0.0, 1.0], graph, controller=nj.FixedSteps(4)).ys
        np.testing.assert_allclose(sol.ys[i], alone, rtol=1e-4, atol=1e-5)


def test_batch_axes_come_first_and_flat_states_are_the_same_states():
    graph, y = draw()
    field = make(graph=graph)
    ys = jnp.stack([y, -y])
    np.testing.assert_allclose(field(0.0, ys)[1], field(0.0, -y), rtol=1e-4, atol=1e-5)
    flat = nj.fields.FlatGraphField(field, dim=3)
    np.testing.assert_array_equal(flat(0.0, ys.reshape(2, 15)), field(0.0, ys).reshape(2, 15))


def test_oscillators_keep_their_energy_but_for_damping(x64):
    graph, random = nj.data.random_graph(6, 2.0, seed=1).pad(7, 14), np.random.default_rng(0)
    y = jnp.asarray(random.normal(size=(2, 7, 2)))
    for damping in (0.0, 0.3):
        field = nj.fields.OscillatorNetwork(graph, frequency=1.3, coupling=0.7, cubic=0.4, damping=damping)
        slope = field(0.0, y)
        np.testing.assert_array_equal(slope[:, 6], 0.0)
        change = jax.vmap(lambda y, slope, field=field: jax.jvp(field.energy, (y,), (slope,))[1])(y, slope)
        np.testing.assert_allclose(change, -damping * jnp.sum(y[:, :6, 1] ** 2, axis=1), atol=1e-12)
    assert set(field.named_parameters()) == {"frequency", "coupling", "cubic", "damping"}


def test_graphs_have_the_degrees_of_their_kind():
    def degrees(graph):
        assert sorted(zip(graph.senders.tolist(), graph.receivers.tolist(), strict=True)) == sorted(
            zip(graph.receivers.tolist(), graph.senders.tolist(), strict=True)
        )
        return np.bincount(graph.receivers, minlength=graph.num_nodes)

    assert (degrees(nj.data.ring_graph(5)) == 2).all()
    assert (degrees(nj.data.complete_graph(4)) == 3).all()
    assert sorted(degrees(nj.data.grid_graph(3, 3))) == [2, 2, 2, 2, 3, 3, 3, 3, 4]
    assert degrees(nj.data.random_graph(10, 3.0)).sum() == 30
    hubs = degrees(nj.data.scale_free_graph(40, 2))
    assert hubs.sum() == 2 * 2 * 38
    assert hubs.max() >= 8
    joined = nj.data.join_graphs([nj.data.ring_graph(3), nj.data.complete_graph(4)])
    assert degrees(joined).tolist() == [2, 2, 2, 3, 3, 3, 3]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nj.fields.Graph([0, 3], [1, 0], 3), r"senders in \[0, 3\), the numbers of the nodes, got 3"),
        (lambda: nj.fields.Graph([0], [-1], 3), r"receivers in \[0, 3\), .*got -1"),
        (lambda: nj.fields.Graph([0.5], [1], 3), "senders to be integers, got float64"),
        (lambda: nj.fields.Graph([0, 1], [1], 3), r"of one shape \(edge,\), got \(2,\) and \(1,\)"),
        (lambda: nj.fields.Graph([0], [1], 0), "num_nodes to be an integer of at least 1"),
        (lambda: nj.fields.Graph([0], [1], 2, edge_features=[[1.0], [2.0]]), r"edge_features of shape \(1, feature\)"),
        (lambda: nj.fields.Graph([0], [1], 2, node_mask=[1, 0]), "node_mask of 2 booleans, got int64"),
        (lambda: nj.fields.Graph([0], [1], 2).pad(1, 1), "at least 2 nodes and 1 edges, got 1 and 1"),
        (lambda: nj.data.random_graph(3, 4.0), "mean degree between 0 and 2, with 3 nodes, got 4.0"),
        (lambda: nj.data.ring_graph(2), "at least 3 nodes, got 2"),
        (lambda: nj.data.scale_free_graph(3, 3), "num_links between 1 and 2, got 3"),
        (lambda: nj.data.join_graphs([draw()[0]]), "all without features"),
        (lambda: nj.fields.OscillatorNetwork(nj.data.ring_graph(3), coupling=0.0), "coupling to be positive"),
        (lambda: nj.fields.OscillatorNetwork(nj.data.ring_graph(3), damping=-1.0), "damping of 0 or more, got -1.0"),
        (lambda: nj.fields.OscillatorNetwork(nj.data.ring_graph(3))(0.0, jnp.ones((4, 2))), r"3, 2\).*\(4, 2\)"),
        (lambda: make("max"), "'sum' or 'mean', got 'max'"),
        (lambda: make(graph=nj.fields.Graph([0], [1], 2)), "a graph with 1 node_features, got 0"),
        (lambda: make()(0.0, jnp.ones((5, 3))), "a Graph as args of the solve, got NoneType"),
        (lambda: make()(0.0, jnp.ones((4, 3)), draw()[0]), r"shape \(..., 5, 3\).*got \(4, 3\)"),
        (lambda: nj.fields.FlatGraphField(make(), 3)(0.0, jnp.ones(4), draw()[0]), "multiple of the 3 features.*(4,)"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
