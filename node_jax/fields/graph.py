"""Graphs of fixed size, as data."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from node_jax.fields.checks import check_sizes


class Graph(eqx.Module):
    """Directed edges between numbered nodes, with masks for padding; an undirected edge is one in each direction.

    Arguments:
        senders, receivers: shape (edge,), integers in [0, num_nodes): where each edge starts and ends.
        num_nodes: number of nodes, with padding.
        edge_features: shape (edge, feature), such as a coupling, or `None`.
        node_features: shape (node, feature), what is constant of a node, such as its mass, or `None`.
        edge_mask, node_mask: False where an edge or a node is padding; `None` is none.

    Raises:
        ValueError: for indices out of range and for shapes that do not fit.

    Features are floating-point leaves: of a graph in `args` of a solve they are arguments, of one inside a field an
    optimizer may train them.

    Example:
        >>> import node_jax as nj
        >>> ring = nj.fields.Graph([0, 1, 2], [1, 2, 0], num_nodes=3)
        >>> ring.pad(num_nodes=5, num_edges=4).edge_mask.tolist()
        [True, True, True, False]
    """

    senders: Int[Array, " edge"]
    receivers: Int[Array, " edge"]
    edge_features: Float[Array, "edge feature"] | None
    node_features: Float[Array, "node feature"] | None
    edge_mask: Bool[Array, " edge"]
    node_mask: Bool[Array, " node"]

    def __init__(
        self,
        senders: Any,
        receivers: Any,
        num_nodes: int,
        *,
        edge_features: Any = None,
        node_features: Any = None,
        edge_mask: Any = None,
        node_mask: Any = None,
    ) -> None:
        check_sizes("Graph", num_nodes=(num_nodes, 1))
        ends = {"senders": np.asarray(senders), "receivers": np.asarray(receivers)}
        for name, index in ends.items():
            if index.ndim != 1 or index.shape != ends["senders"].shape:
                shapes = f"{ends['senders'].shape} and {ends['receivers'].shape}"
                raise ValueError(f"Graph: expected senders and receivers of one shape (edge,), got {shapes}.")
            if index.size and not np.issubdtype(index.dtype, np.integer):
                raise ValueError(f"Graph: expected {name} to be integers, got {index.dtype}.")
            wrong = index[(index < 0) | (index >= num_nodes)]
            if wrong.size:
                raise ValueError(
                    f"Graph: expected {name} in [0, {num_nodes}), the numbers of the nodes, got {wrong[0]}. Nodes are "
                    "counted from 0."
                )
        num_edges = ends["senders"].size
        self.senders, self.receivers = (jnp.asarray(index, jnp.int32) for index in ends.values())
        self.edge_features = _as_features("edge_features", edge_features, num_edges)
        self.node_features = _as_features("node_features", node_features, num_nodes)
        self.edge_mask = _as_mask("edge_mask", edge_mask, num_edges)
        self.node_mask = _as_mask("node_mask", node_mask, num_nodes)

    @property
    def num_nodes(self) -> int:
        """Nodes, with padding."""
        return self.node_mask.shape[-1]

    def pad(self, num_nodes: int, num_edges: int) -> "Graph":
        """The same graph with so many nodes and edges, so that graphs of different sizes share a program.

        Edges that are added run from the last node to itself, and are masked.

        Raises:
            ValueError: for fewer than there are.
        """
        num_old_nodes, num_old_edges = self.num_nodes, self.senders.size
        if num_nodes < num_old_nodes or num_edges < num_old_edges:
            raise ValueError(
                f"Graph.pad: expected at least {num_old_nodes} nodes and {num_old_edges} edges, got {num_nodes} and "
                f"{num_edges}."
            )
        more_nodes, more_edges = num_nodes - num_old_nodes, num_edges - num_old_edges

        def padded(leaf: Array | None, more: int, value: Any) -> np.ndarray | None:
            if leaf is None:
                return None
            return np.pad(np.asarray(leaf), [(0, more), *[(0, 0)] * (leaf.ndim - 1)], constant_values=value)

        return Graph(
            padded(self.senders, more_edges, num_nodes - 1),
            padded(self.receivers, more_edges, num_nodes - 1),
            num_nodes,
            edge_features=padded(self.edge_features, more_edges, 0),
            node_features=padded(self.node_features, more_nodes, 0),
            edge_mask=padded(self.edge_mask, more_edges, False),
            node_mask=padded(self.node_mask, more_nodes, False),
        )


def _as_features(name: str, features: Any, num: int) -> Float[Array, "row feature"] | None:
    if features is None:
        return None
    features = jnp.asarray(features, float)
    if features.ndim != 2 or len(features) != num:
        raise ValueError(f"Graph: expected {name} of shape ({num}, feature), got {features.shape}.")
    return features


def _as_mask(name: str, mask: Any, num: int) -> Bool[Array, " row"]:
    mask = np.ones(num, bool) if mask is None else np.asarray(mask)
    if mask.shape != (num,) or mask.dtype != bool:
        raise ValueError(f"Graph: expected {name} of {num} booleans, got {mask.dtype} of shape {mask.shape}.")
    return jnp.asarray(mask)
