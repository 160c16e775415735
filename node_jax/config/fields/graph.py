"""Fields on graphs."""

from dataclasses import dataclass
from typing import Any, Literal

from node_jax.config.checks import Activation, require_at_least, require_network
from node_jax.config.data import OscillatorNetworkData
from node_jax.config.variants import FieldVariant, require_units
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class GraphMLPField(FieldVariant):
    """Networks for messages and nodes of a graph, shared by all of them (Poli et al. 2019). Needs data on a graph."""

    width: int = 32
    """Size of each hidden layer of both networks, at least 1."""
    depth: int = 2
    """Hidden layers of both networks, at least 0."""
    message_dim: int = 16
    """Size of a message, at least 1."""
    activation: Activation = "tanh"
    """Nonlinearity; all but relu are smooth, as an adaptive solver wants."""
    final_scale: float = 0.1
    """Factor of the initial weights of the nodes' last layer, > 0; small starts near a field of zero."""
    edges: Literal["graph", "none", "mean-field"] = "graph"
    """graph: the sum over neighbours; none: every node alone; mean-field: the mean over all nodes of a component."""

    def __post_init__(self) -> None:
        require_network(self.width, self.depth, self.final_scale)
        require_at_least(self.message_dim, 1, "field.message_dim", "16 is a start.")

    def check(self, run: Any) -> None:
        """What this field needs of its run."""
        has_graph = isinstance(run.data, OscillatorNetworkData)
        cure = "Choose data:oscillator-network-data, or another field."
        require(has_graph, "field, data", "data on a graph", type(run.data).__name__, cure)
        require_units(run, "none", "GraphMLPField", "Each node is to have the same units")
