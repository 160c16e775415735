"""Oscillators on graphs, and fields on these, from a config."""

import numpy as np

from node_jax.config.builders.fields import ACTIVATIONS
from node_jax.config.data import OscillatorNetworkData
from node_jax.config.fields import GraphMLPField
from node_jax.data import Trajectories, complete_graph, join_graphs, random_graph, simulate
from node_jax.fields import FlatGraphField, Graph, GraphField, OscillatorNetwork
from node_jax.types import Key

SPREAD = 0.7
"""Standard deviation of displacements and velocities at the start. Stretches of 1 are usual then, where half of the
linear part of a spring's force is the size of the cubic one, and errors of a forecast grow slowly."""


def load_oscillators(config: OscillatorNetworkData, seed: int) -> tuple[Trajectories, Trajectories | None]:
    """What is fitted, and what validates: all components at once, displacement and velocity of each node in turn."""
    num_fitted, num_all = config.num_series, config.num_series + config.num_held_out
    graph = graph_of(config, seed)
    shape = (num_all, 2 * graph.num_nodes)
    starts = SPREAD * np.random.default_rng(seed).standard_normal(shape)
    ts = np.linspace(0.0, config.duration, config.num_times)
    names = tuple(f"{what}{node}" for node in range(graph.num_nodes) for what in ("x", "v"))
    field = FlatGraphField(OscillatorNetwork(graph), dim=2)
    fitted = simulate(field, starts[:num_fitted], ts, noise=config.noise, seed=seed, names=names)
    return fitted, simulate(field, starts[num_fitted:], ts, names=names) if config.num_held_out else None


def graph_of(config: OscillatorNetworkData, seed: int, edges: str = "graph") -> Graph:
    """The components as one graph; with `edges` "none" without edges, with "mean-field" each of them complete."""
    if edges == "none":
        return uncoupled(config.num_graphs * config.num_nodes)
    if edges == "mean-field":
        return join_graphs([complete_graph(config.num_nodes)] * config.num_graphs)
    seeds = np.random.SeedSequence(seed).generate_state(config.num_graphs)
    return join_graphs([random_graph(config.num_nodes, config.mean_degree, int(one)) for one in seeds])


def uncoupled(num_nodes: int) -> Graph:
    """Nodes without neighbours: one edge, which is masked, since a checkpoint has no place for empty arrays."""
    return Graph([0], [0], num_nodes, edge_mask=[False])


def build_graph_field(field: GraphMLPField, data: OscillatorNetworkData, seed: int, key: Key) -> FlatGraphField:
    """A fresh field on the graph of the data."""
    made = GraphField(
        2,
        field.width,
        field.depth,
        message_dim=field.message_dim,
        aggregation="mean" if field.edges == "mean-field" else "sum",
        graph=graph_of(data, seed, field.edges),
        activation=ACTIVATIONS[field.activation],
        final_scale=field.final_scale,
        key=key,
    )
    return FlatGraphField(made, dim=2)
