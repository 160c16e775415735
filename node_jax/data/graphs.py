"""Graphs to study fields on; every edge is in both directions."""

from collections.abc import Sequence

import numpy as np

from node_jax.errors import UsageError
from node_jax.fields import Graph


def _undirected(pairs: np.ndarray, num_nodes: int) -> Graph:
    pairs = np.asarray(pairs, int).reshape(-1, 2)
    return Graph(np.concatenate([pairs[:, 0], pairs[:, 1]]), np.concatenate([pairs[:, 1], pairs[:, 0]]), num_nodes)


def random_graph(num_nodes: int, mean_degree: float, seed: int = 0) -> Graph:
    """A graph with num_nodes mean_degree / 2 edges, any such set as likely as any other.

    Raises:
        UsageError: for more edges than there are pairs.

    Reference: Erdős & Rényi (1959), Publicationes Mathematicae 6, 290-297.

    Example:
        >>> import node_jax as nj
        >>> nj.data.random_graph(10, 3.0).senders.size
        30
    """
    pairs = np.argwhere(np.triu(np.ones((num_nodes, num_nodes), bool), 1))
    num_edges = round(num_nodes * mean_degree / 2)
    if not 0 <= num_edges <= len(pairs):
        raise UsageError(
            f"random_graph: expected a mean degree between 0 and {num_nodes - 1}, with {num_nodes} nodes, got "
            f"{mean_degree}."
        )
    return _undirected(np.random.default_rng(seed).permutation(pairs)[:num_edges], num_nodes)


def ring_graph(num_nodes: int) -> Graph:
    """Nodes in a circle, each coupled to the two beside it; at least 3."""
    if num_nodes < 3:
        raise UsageError(f"ring_graph: expected at least 3 nodes, got {num_nodes}.")
    nodes = np.arange(num_nodes)
    return _undirected(np.stack([nodes, (nodes + 1) % num_nodes], axis=1), num_nodes)


def grid_graph(num_rows: int, num_columns: int) -> Graph:
    """Nodes of a rectangular grid, row by row, each coupled to the up to four beside it."""
    nodes = np.arange(num_rows * num_columns).reshape(num_rows, num_columns)
    across = np.stack([nodes[:, :-1].ravel(), nodes[:, 1:].ravel()], axis=1)
    down = np.stack([nodes[:-1].ravel(), nodes[1:].ravel()], axis=1)
    return _undirected(np.concatenate([across, down]), nodes.size)


def complete_graph(num_nodes: int) -> Graph:
    """Every node coupled to every other."""
    return _undirected(np.argwhere(np.triu(np.ones((num_nodes, num_nodes), bool), 1)), num_nodes)


def scale_free_graph(num_nodes: int, num_links: int = 2, seed: int = 0) -> Graph:
    """Nodes that come one after the other, each with links to `num_links` others, rather to those that have many.

    A few nodes become hubs.

    Reference: Barabási & Albert (1999), doi:10.1126/science.286.5439.509.
    """
    if not 1 <= num_links < num_nodes:
        raise UsageError(f"scale_free_graph: expected num_links between 1 and {num_nodes - 1}, got {num_links}.")
    random = np.random.default_rng(seed)
    pairs, ends = [], list(range(num_links))
    for node in range(num_links, num_nodes):
        chosen: set[int] = set()
        while len(chosen) < num_links:
            chosen.add(int(random.choice(ends)))
        pairs += [(node, other) for other in sorted(chosen)]
        ends += [*sorted(chosen), *[node] * num_links]
    return _undirected(np.array(pairs), num_nodes)


def join_graphs(graphs: Sequence[Graph]) -> Graph:
    """Several graphs without features as one, nodes in order: what a field on it learns, it learns on each of them.

    Example:
        >>> import node_jax as nj
        >>> nj.data.join_graphs([nj.data.ring_graph(3), nj.data.ring_graph(4)]).num_nodes
        7
    """
    if not graphs or any(graph.edge_features is not None or graph.node_features is not None for graph in graphs):
        raise UsageError("join_graphs: expected at least one graph, all without features.")
    sizes = [graph.num_nodes for graph in graphs]
    starts = np.cumsum([0, *sizes[:-1]])

    def joined(name: str) -> np.ndarray:
        return np.concatenate([np.asarray(getattr(graph, name)) for graph in graphs])

    shift = np.repeat(starts, [graph.senders.size for graph in graphs])
    return Graph(
        joined("senders") + shift,
        joined("receivers") + shift,
        sum(sizes),
        edge_mask=joined("edge_mask"),
        node_mask=joined("node_mask"),
    )
