"""A field on the nodes of a graph."""

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from node_jax.fields.base import AbstractField
from node_jax.fields.checks import check_sizes
from node_jax.fields.graph import Graph
from node_jax.fields.network import Network
from node_jax.types import Key

Aggregation = Literal["sum", "mean"]


class GraphField(AbstractField):
    r"""A graph neural ODE: messages along edges, summed at their ends, update the nodes.

        dx_i/dt = update([x_i, n_i, Σ_{e: j -> i} message([x_i, x_j, e_ij])]),

    with x_i the state of node i, n_i its constant features, e_ij those of the edge; both networks are shared by all
    nodes and edges. Numbering the nodes otherwise numbers the result otherwise (permutation equivariance), and a field
    that was fitted on one graph is one on every other. Padding changes nothing: masked edges send no message, and
    masked nodes stay as they are.

    Arguments:
        dim: features of the state of a node. States have shape (*batch, node, dim).
        width, depth: of both networks.
        message_dim: size of a message; `None` is `width`.
        num_node_features, num_edge_features: constant features of a node and of an edge.
        aggregation: "sum", or "mean" over the edges that end at a node. A force from each neighbour adds up; a mean
            does not grow with the number of neighbours. A node without edges gets 0.
        graph: on which the field lives; `None` takes it from `args` of each solve, another one for each trajectory if
            you like.
        activation, final_scale, key: as of `MLP`; `final_scale` is of the update.

    Raises:
        ValueError: for sizes that are none, states and graphs that do not fit.

    Reference: Poli et al. (2019), Graph neural ordinary differential equations, arXiv:1911.07532; message passing:
    Battaglia et al. (2018), arXiv:1806.01261.

    Example:
        >>> import jax, jax.numpy as jnp, node_jax as nj
        >>> field = nj.fields.GraphField(dim=2, width=8, depth=1, key=jax.random.key(0))
        >>> ring = nj.fields.Graph([0, 1, 2], [1, 2, 0], num_nodes=3)
        >>> nj.odeint(field, jnp.ones((3, 2)), [0.0, 1.0], ring).ys.shape
        (2, 3, 2)
    """

    message: Network
    update: Network
    graph: Graph | None
    dim: int = eqx.field(static=True)
    num_node_features: int = eqx.field(static=True)
    num_edge_features: int = eqx.field(static=True)
    aggregation: Aggregation = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        width: int,
        depth: int,
        *,
        message_dim: int | None = None,
        num_node_features: int = 0,
        num_edge_features: int = 0,
        aggregation: Aggregation = "sum",
        graph: Graph | None = None,
        activation: Callable[[Array], Array] = jax.nn.softplus,
        final_scale: float = 1.0,
        key: Key,
    ) -> None:
        message_dim = width if message_dim is None else message_dim
        features = {"num_node_features": (num_node_features, 0), "num_edge_features": (num_edge_features, 0)}
        check_sizes("GraphField", dim=(dim, 1), message_dim=(message_dim, 1), **features)
        if aggregation not in ("sum", "mean"):
            raise ValueError(f"GraphField: expected aggregation to be 'sum' or 'mean', got {aggregation!r}.")
        key_message, key_update = jax.random.split(key)
        self.message = Network(
            2 * dim + num_edge_features, (message_dim,), width, depth, activation=activation, key=key_message
        )
        self.update = Network(
            dim + num_node_features + message_dim,
            (dim,),
            width,
            depth,
            activation=activation,
            final_scale=final_scale,
            key=key_update,
        )
        self.dim, self.num_node_features, self.num_edge_features = dim, num_node_features, num_edge_features
        self.aggregation = aggregation
        self.graph = graph
        if graph is not None:
            self._check_graph(graph)

    def __call__(self, t: Any, y: Float[Array, "*batch node dim"], args: Any = None) -> Float[Array, "*batch node dim"]:
        """The derivative at (t, y).

        Arguments:
            t: not used.
            y: shape (*batch, node, dim).
            args: the `Graph`, where the field has none of its own.
        """
        del t
        graph = args if self.graph is None else self.graph
        if not isinstance(graph, Graph):
            raise ValueError(
                f"GraphField: expected a Graph as args of the solve, got {type(graph).__name__}. Pass "
                "nj.fields.Graph(senders, receivers, num_nodes), or give the field one of its own."
            )
        self._check_graph(graph)
        y = jnp.asarray(y)
        if y.ndim < 2 or y.shape[-2:] != (graph.num_nodes, self.dim):
            raise ValueError(
                f"GraphField: expected a state of shape (..., {graph.num_nodes}, {self.dim}), nodes and their "
                f"features, got {y.shape}. Reshape a flat state, or use nj.fields.FlatGraphField."
            )
        return self._slope(y, graph)

    def _slope(self, y: Float[Array, "*batch node dim"], graph: Graph) -> Float[Array, "*batch node dim"]:
        batch = y.shape[:-2]

        def beside(features: Array | None, count: int) -> list[Array]:
            return [] if features is None else [jnp.broadcast_to(features, (*batch, count, features.shape[-1]))]

        ends = [y[..., graph.receivers, :], y[..., graph.senders, :]]
        messages = self.message(jnp.concatenate([*ends, *beside(graph.edge_features, len(graph.senders))], axis=-1))
        messages = jnp.where(graph.edge_mask[:, None], messages, 0)
        received = _sum_at(graph.receivers, messages, graph.num_nodes)
        if self.aggregation == "mean":
            degrees = _sum_at(graph.receivers, graph.edge_mask[:, None].astype(y.dtype), graph.num_nodes)
            received = received / jnp.maximum(degrees, 1)
        slope = self.update(jnp.concatenate([y, *beside(graph.node_features, graph.num_nodes), received], axis=-1))
        return jnp.where(graph.node_mask[:, None], slope, 0)

    def _check_graph(self, graph: Graph) -> None:
        for name, features, num in (
            ("node_features", graph.node_features, self.num_node_features),
            ("edge_features", graph.edge_features, self.num_edge_features),
        ):
            came = 0 if features is None else features.shape[-1]
            if came != num:
                raise ValueError(
                    f"GraphField: expected a graph with {num} {name}, got {came}. Set num_{name} of the field."
                )


class FlatGraphField(AbstractField):
    """A field on states (*batch, node, dim) as one on states (*batch, node * dim), the features of a node in a row.

    It is what a task for vectors takes, such as `TrajectoryTask`.

    Arguments:
        field: the field on nodes, such as a `GraphField`.
        dim: features of a node.

    Raises:
        ValueError: for states that no number of nodes gives.

    Example:
        >>> import jax, jax.numpy as jnp, node_jax as nj
        >>> ring = nj.fields.Graph([0, 1, 2], [1, 2, 0], num_nodes=3)
        >>> field = nj.fields.GraphField(dim=2, width=8, depth=1, graph=ring, key=jax.random.key(0))
        >>> nj.fields.FlatGraphField(field, dim=2)(0.0, jnp.ones(6)).shape
        (6,)
    """

    field: AbstractField
    dim: int = eqx.field(static=True)

    def __call__(self, t: Any, y: Float[Array, "*batch flat"], args: Any = None) -> Float[Array, "*batch flat"]:
        """The derivative, in the shape of y."""
        y = jnp.asarray(y)
        if y.ndim < 1 or y.shape[-1] % self.dim:
            raise ValueError(
                f"FlatGraphField: expected a state whose last axis is a multiple of the {self.dim} features of a node, "
                f"got shape {y.shape}."
            )
        nodes = y.reshape(*y.shape[:-1], -1, self.dim)
        return jnp.asarray(self.field(t, nodes, args)).reshape(y.shape)


def _sum_at(receivers: Int[Array, " edge"], values: Float[Array, "*batch edge size"], num_nodes: int) -> Array:
    """Sums over the edges that end at each node, shape (*batch, node, size)."""
    moved = jnp.moveaxis(values, -2, 0)
    return jnp.moveaxis(jax.ops.segment_sum(moved, receivers, num_segments=num_nodes), 0, -2)
