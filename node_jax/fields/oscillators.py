"""Oscillators that are coupled along the edges of a graph."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.fields.base import AbstractEnergyField, AbstractParametricField
from node_jax.fields.checks import logarithms
from node_jax.fields.graph import Graph


class OscillatorNetwork(AbstractEnergyField, AbstractParametricField):
    r"""Damped oscillators on the nodes, springs with a cubic part along the edges; displacements x, velocities v:

        dx_i/dt = v_i,    dv_i/dt = -ω² x_i - γ v_i + Σ_{e: j -> i} [k (x_j - x_i) + β (x_j - x_i)³].

    On a graph with each edge in both directions the energy decreases at the rate γ Σ v_i², and is conserved without
    damping. All parameters are positive by construction, damping aside, which may be 0: the trainable leaves are
    the logarithms of the others.

    Arguments:
        graph: who is coupled to whom; masked edges do not couple, masked nodes stay as they are.
        frequency: ω, in 1/time.
        coupling, cubic: k in 1/time² and β in 1/(time² length²).
        damping: γ, in 1/time, 0 or more; a leaf of its own.

    A state is an array (*batch, node, 2) of x and v.

    Raises:
        ValueError: for parameters that are not positive, and states that do not fit the graph.

    Reference: the cubic spring is that of the β-model of Fermi, Pasta & Ulam (1955), doi:10.2172/4376203.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> pair = nj.fields.Graph([0, 1], [1, 0], num_nodes=2)
        >>> field = nj.fields.OscillatorNetwork(pair, damping=0.0)
        >>> field(0.0, jnp.array([[1.0, 0.0], [0.0, 0.0]])).tolist()
        [[0.0, -2.5], [0.0, 1.5]]
    """

    graph: Graph
    log_parameters: Float[Array, "3"]
    damping: Float[Array, ""]

    def __init__(
        self, graph: Graph, *, frequency: float = 1.0, coupling: float = 1.0, cubic: float = 0.5, damping: float = 0.05
    ) -> None:
        if not damping >= 0:
            raise ValueError(f"OscillatorNetwork: expected damping of 0 or more, got {damping!r}.")
        self.graph = graph
        self.log_parameters = logarithms("OscillatorNetwork", frequency=frequency, coupling=coupling, cubic=cubic)
        self.damping = jnp.asarray(damping, float)

    def __call__(self, t: Any, y: Float[Array, "*batch node 2"], args: Any = None) -> Float[Array, "*batch node 2"]:
        """The derivative of (x, v)."""
        del t, args
        y, graph = self._check_state(y), self.graph
        frequency, coupling, cubic = jnp.exp(self.log_parameters)
        x, v = y[..., 0], y[..., 1]
        stretch = self._stretches(x)
        pull = jnp.moveaxis(coupling * stretch + cubic * stretch**3, -1, 0)
        force = jnp.moveaxis(jax.ops.segment_sum(pull, graph.receivers, num_segments=graph.num_nodes), 0, -1)
        slope = jnp.stack([v, force - frequency**2 * x - self.damping * v], axis=-1)
        return jnp.where(graph.node_mask[:, None], slope, 0)

    def energy(self, y: Any, args: Any = None) -> Float[Array, "*batch"]:
        """Σ_i [v_i²/2 + ω² x_i²/2] + ½ Σ_e [k d_e²/2 + β d_e⁴/4], d_e the stretch, every edge in both directions."""
        del args
        y = jnp.where(self.graph.node_mask[:, None], self._check_state(y), 0)
        frequency, coupling, cubic = jnp.exp(self.log_parameters)
        x, v = y[..., 0], y[..., 1]
        stretch = self._stretches(x)
        springs = jnp.sum(coupling * stretch**2 / 2 + cubic * stretch**4 / 4, axis=-1) / 2
        return jnp.sum(v**2 + frequency**2 * x**2, axis=-1) / 2 + springs

    def named_parameters(self) -> dict[str, Float[Array, ""]]:
        """`frequency`, `coupling`, `cubic` and `damping`."""
        named = dict(zip(("frequency", "coupling", "cubic"), jnp.exp(self.log_parameters), strict=True))
        return named | {"damping": self.damping}

    def _stretches(self, x: Float[Array, "*batch node"]) -> Float[Array, "*batch edge"]:
        """x_j - x_i of each edge from j to i; 0 of masked edges."""
        graph = self.graph
        return jnp.where(graph.edge_mask, x[..., graph.senders] - x[..., graph.receivers], 0)

    def _check_state(self, y: Any) -> Float[Array, "*batch node 2"]:
        y = jnp.asarray(y)
        if y.ndim < 2 or y.shape[-2:] != (self.graph.num_nodes, 2):
            raise ValueError(
                f"OscillatorNetwork: expected a state of shape (..., {self.graph.num_nodes}, 2), displacement and "
                f"velocity of each node, got {y.shape}."
            )
        return y
