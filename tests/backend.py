"""The choices that are made for another backend, on the one that is there."""

import contextlib

import jax
import pytest


@contextlib.contextmanager
def use_backend(name):
    """What is traced within is traced as for `name`, and runs where it is. Programs traced before stay in caches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "default_backend", lambda: name)
        yield
