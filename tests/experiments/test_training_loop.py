"""The script on the cost of the training loop measures what it says."""

import dataclasses

from experiments import training_loop
from node_jax.config import MLPField, Train


def test_the_loop_and_the_bare_program_are_measured_and_shown(monkeypatch):
    small = dataclasses.replace(training_loop.CONFIG, field=MLPField(width=4, depth=1), train=Train(log_every=2))
    small = dataclasses.replace(small, train=dataclasses.replace(small.train, checkpoint_every=2))
    monkeypatch.setattr(training_loop, "CONFIG", small)
    overhead = training_loop.measure_overhead(2)
    assert overhead["bare_ms"] > 0
    assert overhead["loop_ms"] > 0
    sweep = {"num_steps": 20, "by_themselves_s": 2.0, "chosen": {"mode": "together"}}
    sweep |= {f"{mode}_{unit}": 1.0 for mode in ("in-turn", "together", "measure") for unit in ("s", "ratio")}
    table = training_loop.describe(
        {"overhead": overhead, "sweep": sweep, "kills": {"kills": 2, "exact_resumes": 1, "runs": 1}}
    )
    assert "| SIGKILL at random moments | 2 kills, 1 exact resumes |" in table
    assert "it chose together" in table
