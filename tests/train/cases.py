"""A task whose training can be followed by hand: no solve, one parameter vector."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from node_jax.analysis import Prediction
from node_jax.status import Status
from node_jax.tasks import AbstractTask, Evaluation, Inspection
from node_jax.train import FitSettings, RunDirectory, Stage


class Point(eqx.Module):
    """The model: w and a bias."""

    w: jax.Array
    b: jax.Array


class Bowl(AbstractTask):
    """loss = ½ mean_i |w - target - noise_i|² + ½ b², with `num_evals` = 10 + 30 |w|² and a cost |w|² under the
    multiplier. From step `breaks_at` on the gradient is NaN.
    """

    target: jax.Array
    noise: float = eqx.field(static=True, default=0.0)
    cost: float = eqx.field(static=True, default=0.0)
    breaks_at: int | None = eqx.field(static=True, default=None)
    breaks_once: bool = eqx.field(static=True, default=False)
    failed: float = eqx.field(static=True, default=0.0)
    validation: str | None = eqx.field(static=True, default=None)

    def init(self, key):
        """The corner (3, 3)."""
        return Point(3.0 * jnp.ones((1, 2)), jnp.ones(2))

    def loss(self, model, key, phase):
        """See the class."""
        noise = self.noise * jax.random.normal(key, model.w.shape)
        size = jnp.sum(model.w**2)
        value = 0.5 * jnp.sum((model.w - self.target - noise) ** 2) + 0.5 * jnp.sum(model.b**2)
        value = value * (1 + phase.stage) + self.cost * phase.multiplier * size
        if self.breaks_at is not None:
            at = phase.fraction * 40
            is_broken = (abs(at - self.breaks_at) < 0.5) if self.breaks_once else at > self.breaks_at - 0.5
            value = value + jnp.where(is_broken, jnp.nan, 0.0) * size
        metrics = {"num_evals": 10 + 30 * size, "failed_share": jnp.asarray(self.failed)}
        return value, metrics

    def validate(self, model):
        """Falls all the way, rises all the way, or is not there."""
        if self.validation is None:
            return None
        sign = {"falls": 1.0, "rises": -1.0}[self.validation]
        return {"loss": sign * jnp.sum((model.w - self.target) ** 2)}

    def monitor(self, model):
        """The size of w."""
        return {"size": jnp.sum(model.w**2)}

    def inspect(self, model, key, phase):
        """Two solves, the second of which failed half-way."""
        states = np.ones((2, 4, 1))
        states[1, 2:] = np.nan
        statuses = np.array([Status.success, Status.max_steps])
        times = np.tile(np.arange(4.0), (2, 1))
        return Inspection(times, np.zeros((2, 4, 1)), states, statuses, {"evaluations": np.array([7, 9])})

    def predict(self, model):
        """w against the target."""
        times = np.arange(1.0)
        return Prediction(times, np.asarray(self.target), np.asarray(model.w), np.ones(2), ("a", "b"), "1")

    def evaluate(self, model, others, directory, log):
        """Nothing to compare with."""
        return Evaluation({}, "", (), "")

    def draw(self, model, others, directory):
        """Nothing to see."""
        return ()


def settings(*stages, **others):
    """Dispatches of 5, checkpoints every 10, one stage of 40 steps."""
    chosen = {"stages": stages or (Stage(40),), "log_every": 5, "checkpoint_every": 10, "seed": 0} | others
    return FitSettings(**chosen)


def directory(folder, config="{}"):
    """A run directory ready for `fit`."""
    found = RunDirectory(folder)
    found.prepare(config)
    return found


class Silent:
    """Progress that keeps what it is told."""

    def __init__(self, num_steps, done):
        self.warnings, self.rows = [], []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def advance(self, step, row):
        """One row."""
        self.rows.append(row)

    def warn(self, message):
        """One warning."""
        self.warnings.append(message)
