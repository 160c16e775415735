"""A step that went wrong, kept to be looked at."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from node_jax.errors import UsageError
from node_jax.status import Status, is_success
from node_jax.tasks import Inspection, Phase
from node_jax.train.run_directory import write_text_whole


@dataclass(frozen=True)
class Failure:
    """The step at which training stopped.

    Arguments:
        step: optimizer steps done before it.
        reason: one sentence.
        gradient_norm: of that step; not finite where that was the reason.
        stage, fraction, multiplier: where training stood; see `Phase`.
    """

    step: int
    reason: str
    gradient_norm: float
    stage: int
    fraction: float
    multiplier: float

    @property
    def phase(self) -> Phase:
        """Where training stood."""
        return Phase(self.stage, jnp.asarray(self.fraction), jnp.asarray(self.multiplier))

    def save(self, folder: Path, parameters: Any, inspection: Inspection) -> None:
        """Write `batch.npz`, `parameters.eqx` and, last, `failure.json` into `folder`."""
        folder.mkdir(exist_ok=True)
        arrays: Any = {name: value for name, value in vars(inspection).items() if name != "figures"}
        arrays |= {f"figure {name}": values for name, values in inspection.figures.items()}
        np.savez(folder / "batch.npz", **arrays)
        eqx.tree_serialise_leaves(folder / "parameters.eqx", parameters)
        write_text_whole(folder / "failure.json", json.dumps(vars(self), indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path, like: Any) -> tuple["Failure", Any]:
        """What `save` wrote: the facts, and the parameters, which have the structure of `like`.

        Raises:
            UsageError: if it cannot be read.
        """
        try:
            facts = json.loads((folder / "failure.json").read_text())
            return cls(**facts), eqx.tree_deserialise_leaves(folder / "parameters.eqx", like)
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise UsageError(f"Expected a failure that training saved in {folder}, got: {error}.") from error


def describe(inspection: Inspection, most: int = 20) -> str:
    """A Markdown table of the solves of a batch, those that failed first.

    Arguments:
        inspection: the batch.
        most: solves that are listed.
    """
    failed = ~np.asarray(is_success(jnp.asarray(inspection.statuses)))
    order = np.argsort(~failed, kind="stable")[:most]
    names = " | ".join(inspection.figures)
    lines = [f"| solve | ended | reached t | {names} |", f"|---|---|---|{'---|' * len(inspection.figures)}"]
    for i in order:
        is_reached = np.isfinite(inspection.states[i]).all(axis=-1)
        reached = inspection.times[i][is_reached][-1] if is_reached.any() else np.nan
        cells = [f"{values[i]:.5g}" for values in inspection.figures.values()]
        status = Status(int(inspection.statuses[i])).name
        lines.append(f"| {i} | {status} | {reached:.5g} | {' | '.join(cells)} |")
    lines.append(f"\n{int(failed.sum())} of {len(failed)} solves failed.")
    return "\n".join(lines)


def locate(metrics: dict[str, Any]) -> int:
    """Which step of a dispatch to look at: the first that was skipped, else the one with most failed solves."""
    skipped = np.asarray(jax.device_get(metrics["skipped_share"]))
    if skipped.any():
        return int(np.argmax(skipped > 0))
    return int(np.argmax(np.asarray(jax.device_get(metrics["failed_share"]))))
