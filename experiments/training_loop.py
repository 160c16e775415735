"""What does the loop around a training step cost, and what does a killed run lose?

Three measurements on the hare and lynx series (`configs/hare_lynx.py`):

- the loop with all that it does on the host (metrics to the disk, monitor, checkpoints, a line of the log) against the
  bare compiled program, dispatch by dispatch in turn;
- eight learning rates of a network of width 256 as one sweep, against eight runs by themselves, each compiled anew;
- runs that get SIGKILL at random moments and are resumed, against a run that nothing disturbs: metrics and the final
  evaluation must be the same, bit for bit.

Expected: an overhead of a few per cent; the sweep in less than 0.7 of the time; as many exact resumes as kills.

Cost: about 10 minutes on two cores; `--quick`, 1, with two kills.

    python -m experiments.training_loop [--quick] [--record] [--only NAME]

Prints a table and writes runs/training_loop/training_loop.json; `--record` writes to docs/results/training/.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from node_jax.config import MLPField, Train
from node_jax.config.build import build
from node_jax.config.codec import to_json
from node_jax.config.load import load_config
from node_jax.config.sweep import Sweep, expand
from node_jax.train import Candidate, RunDirectory, fit, fit_several, make_advance, read_metrics
from node_jax.train.trainer import Trainer

_ROOT = Path(__file__).parents[1]
CONFIG = replace(load_config(_ROOT / "configs" / "hare_lynx.py"), reference=None)
WALL_TIME = ("wall_s", "steps_per_s")


class Lines:
    """Progress as lines of a log file, which is what a run without a terminal writes."""

    def __init__(self, title: str = "", num_steps: int = 0, done: int = 0) -> None:
        del title, num_steps, done

    def __enter__(self) -> "Lines":
        self._file = Path(os.devnull).open("w")
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def warn(self, message: str) -> None:
        """A line."""
        print(message, file=self._file, flush=True)

    def advance(self, step: int, row: dict[str, Any]) -> None:
        """A line."""
        print(step, row["loss"], file=self._file, flush=True)


def measure_overhead(num_dispatches: int) -> dict[str, float]:
    """Seconds of dispatches by the loop and of the bare program, alternated."""
    config = replace(CONFIG, train=replace(CONFIG.train, num_steps=CONFIG.train.log_every * (num_dispatches + 1)))
    experiment = build(config)
    with tempfile.TemporaryDirectory() as folder:
        directory = RunDirectory(Path(folder))
        directory.prepare(to_json(config))
        trainer = Trainer(experiment.task, experiment.optimizer, experiment.settings, directory)
        trainer.resume()
        advance = make_advance(experiment.task, experiment.optimizer, trainer.rest, experiment.settings.step)
        program = jax.jit(advance, static_argnums=(2, 3), donate_argnums=0)
        arrays = jax.tree.leaves(eqx.filter(experiment.task, eqx.is_array))
        state = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), trainer.state)
        where = (config.train.log_every, 0, jnp.int32(0), jnp.int32(config.train.num_steps))
        loop, bare = [], []
        with Lines() as lines:
            for _ in range(num_dispatches + 1):
                started = time.perf_counter()
                trainer.dispatch(lines)
                loop.append(time.perf_counter() - started)
                started = time.perf_counter()
                state, _ = jax.block_until_ready(program(state, arrays, *where))
                bare.append(time.perf_counter() - started)
        trainer.close()
    # The first of each compiles.
    loop, bare = loop[1:], bare[1:]
    return {
        "bare_ms": 1e3 * float(np.median(bare)),
        "loop_ms": 1e3 * float(np.median(loop)),
        "overhead_of_a_dispatch": float(np.median(np.array(loop) / np.array(bare))) - 1,
        "overhead_of_all_with_checkpoints": sum(loop) / sum(bare) - 1,
    }


def measure_sweep(num_steps: int) -> dict[str, Any]:
    """Seconds of eight learning rates as a sweep, and by themselves; how often a training program was compiled."""
    train = Train(num_steps=num_steps, log_every=num_steps // 4, checkpoint_every=num_steps)
    wide = replace(CONFIG, field=MLPField(width=256, depth=2), train=train)
    rates = "optimizer.lr=" + ",".join(f"{rate:.3g}" for rate in np.geomspace(1e-4, 3e-3, 8))
    members = expand(wide, Sweep(grid=(rates,)))

    def candidates(folder: Path) -> list[Candidate]:
        found = []
        for i, member in enumerate(members):
            experiment = build(member.run)
            directory = RunDirectory(folder / str(i))
            directory.prepare(to_json(member.run))
            found.append(Candidate(str(i), experiment.task, experiment.optimizer, experiment.settings, directory))
        return found

    def timed(call: Callable[[Path], Any]) -> float:
        jax.clear_caches()
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            call(Path(folder))
            return time.perf_counter() - started

    def by_themselves(folder: Path) -> None:
        for c in candidates(folder):
            jax.clear_caches()
            fit(c.task, c.optimizer, c.settings, c.directory, partial(Lines, c.name))

    def swept(mode: str) -> Callable[[Path], None]:
        def call(folder: Path) -> None:
            fit_several(candidates(folder), Lines, mode, folder / "mode.json")
            if mode == "measure":
                choice = folder / "mode.json"
                found["chosen"] = json.loads(choice.read_text()) if choice.exists() else {"mode": "in-turn"}

        return call

    found: dict[str, Any] = {"num_steps": num_steps, "by_themselves_s": timed(by_themselves)}
    for mode in ("in-turn", "together", "measure"):
        found[f"{mode}_s"] = timed(swept(mode))
        found[f"{mode}_ratio"] = found[f"{mode}_s"] / found["by_themselves_s"]
    return found


def count_exact_resumes(num_kills: int, num_steps: int) -> dict[str, Any]:
    """Kill a run at random moments until it has been killed so often; compare with one that was left alone."""
    debug = _ROOT / "configs" / "debug.py"
    overrides = [f"--train.num-steps={num_steps}", "--train.log-every=20", "--train.checkpoint-every=100"]
    command = [sys.executable, "-m", "node_jax.cli", "train"]
    moments = random.Random(0)
    kills, exact, runs, seconds = 0, 0, 0, []
    with tempfile.TemporaryDirectory() as folder:
        start = [*command, str(debug), "reference:none", *overrides, "--train.ema-decay=0.9", "--train.patience=1000"]
        whole = Path(folder) / "whole"
        subprocess.run([*start, "--output", str(whole)], check=True, capture_output=True)
        expected = _outcome(next(whole.iterdir()))
        while kills < num_kills:
            output = Path(folder) / f"killed-{runs}"
            arguments, of_this = [*start, "--output", str(output)], 0
            while True:
                process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                delay = moments.uniform(3.0, 14.0) if kills < num_kills else None
                try:
                    process.wait(delay)
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    kills, of_this = kills + 1, of_this + 1
                    seconds.append(delay)
                started = [path for path in output.glob("*") if (path / "config.json").exists()]
                if process.returncode == 0:
                    break
                if started:
                    arguments = [*command, "--resume", str(started[0])]
            runs += 1
            if _outcome(started[0]) == expected:
                exact += of_this
    return {"kills": kills, "exact_resumes": exact, "runs": runs, "killed_after_s": [round(s, 1) for s in seconds]}


def _outcome(run: Path) -> Any:
    """What must not depend on kills: all metrics but wall times, and the evaluation."""
    rows = [{k: v for k, v in row.items() if k not in WALL_TIME} for row in read_metrics(run / "metrics.jsonl")]
    return rows, json.loads((run / "evaluation.json").read_text())


def describe(results: dict[str, Any]) -> str:
    """The results as a Markdown table."""
    loop, sweep, kills = results["overhead"], results["sweep"], results["kills"]
    lines = [
        "| what | measured |",
        "|---|---|",
        f"| a dispatch of 50 steps, bare | {loop['bare_ms']:.1f} ms |",
        f"| the same by the loop, logged and monitored | {loop['loop_ms']:.1f} ms, "
        f"{100 * loop['overhead_of_a_dispatch']:+.1f} % |",
        f"| all dispatches, a checkpoint every 10th | {100 * loop['overhead_of_all_with_checkpoints']:+.1f} % |",
        f"| eight learning rates, width 256, {sweep['num_steps']} steps, by themselves | "
        f"{sweep['by_themselves_s']:.1f} s |",
        f"| as a sweep, in turn | {sweep['in-turn_s']:.1f} s, {sweep['in-turn_ratio']:.2f}x |",
        f"| as a sweep, together | {sweep['together_s']:.1f} s, {sweep['together_ratio']:.2f}x |",
        f"| as a sweep, left to itself (it chose {sweep['chosen']['mode']}) | {sweep['measure_s']:.1f} s, "
        f"{sweep['measure_ratio']:.2f}x |",
        f"| SIGKILL at random moments | {kills['kills']} kills, {kills['exact_resumes']} exact resumes |",
    ]
    return "\n".join(lines)


def measurements(quick: bool) -> dict[str, Callable[[], Any]]:
    """What is measured, by name."""
    return {
        "overhead": lambda: measure_overhead(10 if quick else 100),
        "sweep": lambda: measure_sweep(20 if quick else 200),
        "kills": lambda: count_exact_resumes(2 if quick else 20, 2000),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few steps and kills: does it run?")
    parser.add_argument("--record", action="store_true", help="write to docs/results/training/")
    parser.add_argument("--only", choices=sorted(measurements(True)), help="measure this, and keep what else is there")
    options = parser.parse_args()
    if options.quick and options.record:
        parser.error("expected a full run to record, got --quick. Leave one of them out.")
    folder = _ROOT / "docs" / "results" / "training" if options.record else _ROOT / "runs" / "training_loop"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "training_loop.json"
    results = json.loads(file.read_text()) if options.only and file.exists() else {}
    chosen = measurements(options.quick)
    for name in [options.only] if options.only else chosen:
        results[name] = chosen[name]()
    file.write_text(json.dumps(results, indent=1) + "\n")
    if missing := chosen.keys() - results.keys():
        parser.exit(0, f"{file} is written; still to be measured: {', '.join(sorted(missing))}\n")
    sys.stdout.write(describe(results) + "\n")


if __name__ == "__main__":
    main()
