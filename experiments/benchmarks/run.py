"""Run the benchmarks one after the other.

python -m experiments.benchmarks.run [--quick] [--only NAME ...] [--record]
"""

import argparse
import importlib
import time

from experiments.benchmarks.report import record, say, show, write

NAMES = (
    "small_system",
    "gradient",
    "batches",
    "ensembles",
    "adjoints",
    "memory",
    "large_parameters",
    "work_precision",
    "training",
)
"""Files of this folder with a function `run(quick) -> Results`."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Run the benchmarks; results go to runs/benchmarks/<date>/.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, sides and cases: all in about ten minutes")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--record", action="store_true", help="keep the results in docs/benchmarks")
    options = parser.parse_args()
    for name in options.only:
        start = time.perf_counter()
        results = importlib.import_module(f"experiments.benchmarks.{name}").run(options.quick)
        path = write(results)
        show(results)
        if options.record:
            record(path)
        say(f"{name}: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
