"""Two CPU devices' worth of determinism: tests run on the CPU, in float32 unless they ask for float64."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest


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
