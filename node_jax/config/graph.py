"""Oscillators on graphs, and fields on graphs."""

from dataclasses import dataclass
from typing import Any, Literal

from node_jax.config.checks import Activation, is_positive, require_at_least, require_network
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class OscillatorNetworkData:
    """Noisy trajectories of oscillators with springs between neighbours on random graphs, which make one graph of
    several components; graphs, starts and noise follow the seed of the run.
    """

    num_graphs: int = 3
    """Components, at least 1."""
    num_nodes: int = 5
    """Oscillators of each, at least 2."""
    mean_degree: float = 2.5
    """Mean number of neighbours, in [0, num_nodes - 1]."""
    duration: float = 10.0
    """From the first row to the last, > 0; an oscillator alone has the period 2 pi."""
    num_times: int = 101
    """Rows of each trajectory, evenly spaced, at least 3."""
    noise: float = 0.01
    """Standard deviation of the noise, as a share of that of each quantity, >= 0."""
    num_series: int = 4
    """Trajectories that are fitted, from different starts, at least 1."""
    num_held_out: int = 2
    """Trajectories without noise that validate, at least 0; 0 validates by the fitted ones."""

    def __post_init__(self) -> None:
        require(is_positive(self.duration), "data.duration", "a time > 0", self.duration, "Two periods are a start.")
        for name, least in (
            ("num_graphs", 1),
            ("num_nodes", 2),
            ("num_times", 3),
            ("noise", 0),
            ("num_series", 1),
            ("num_held_out", 0),
        ):
            require_at_least(getattr(self, name), least, f"data.{name}", "The defaults are a start.")
        is_fine = 0 <= self.mean_degree <= self.num_nodes - 1
        expected = f"a number in [0, {self.num_nodes - 1}]"
        require(is_fine, "data.mean_degree", expected, self.mean_degree, "2 to 3 is usual.")


@dataclass(frozen=True, kw_only=True)
class GraphMLPField:
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
        require(self.message_dim >= 1, "field.message_dim", "at least 1", self.message_dim, "16 is a start.")

    def check(self, run: Any) -> None:
        """What this field needs of its run."""
        has_graph = isinstance(run.data, OscillatorNetworkData)
        cure = "Choose data:oscillator-network-data, or another field."
        require(has_graph, "field, data", "data on a graph", type(run.data).__name__, cure)
        transform, cure = run.task.transform, "Each node is to have the same units: choose --task.transform none."
        require(transform == "none", "field, task.transform", "none", transform, cure)

    @property
    def max_dropout(self) -> float:
        """The largest share that is dropped anywhere in the field."""
        return 0.0
