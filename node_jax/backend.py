"""What the loops must know of the machine that they run on."""

import jax


def on_cpu() -> bool:
    """Whether the default backend is a CPU: matrix products of few rows are efficient, and caches are small."""
    return jax.default_backend() == "cpu"


def on_gpu() -> bool:
    """Whether the default backend is a GPU: a kernel takes its launch's time however little it does, and the host must
    wait for the condition of a loop before each pass, some ten launches' time.
    """
    return jax.default_backend() == "gpu"
