"""Measurements of node_jax beside diffrax, `jax.experimental.ode`, torchdiffeq and SciPy; see docs/benchmarks.md."""

import os

# equinox reads this when it is imported: diffrax's run-time checks then put NaN into results instead of calling back
# to the host, which would cost it milliseconds a call.
os.environ.setdefault("EQX_ON_ERROR", "nan")

import jax

if jax.default_backend() != "cpu":
    # node_jax evaluates fields so by itself. With products rounded to 10 bits most adaptive solves here do not end.
    jax.config.update("jax_default_matmul_precision", "highest")
