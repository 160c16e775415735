"""Two CPU devices' worth of determinism: tests run on the CPU, in float32 unless they ask for float64."""

import gc
import os
from importlib.metadata import version

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most programs run a few times only: they compile in a third of the time without the backend's own optimizations. Flags
# that are set outside come last and win; where a test runs long it asks for full optimization. From 0.11 on jaxlib does
# not know the second flag, and ends the process at one that it does not know.
os.environ["XLA_FLAGS"] = " ".join(
    (
        "--xla_backend_optimization_level=0",
        "--xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") else "",
        os.environ.get("XLA_FLAGS", ""),
    )
)

import jax
import pytest

# Traces make many objects that live long, and Python would look through all of them again and again.
gc.set_threshold(200_000, 50, 50)


@pytest.fixture
def x64():
    """float64 for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=["float32", "float64"])
def precision(request):
    """Each precision in turn: its name."""
    with jax.enable_x64(request.param == "float64"):
        yield request.param
