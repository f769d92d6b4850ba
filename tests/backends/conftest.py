"""Tests of what JAX and PyTorch compute, in environments without TensorFlow.

`KERAS_BACKEND=jax python -m pytest tests/backends` runs them; `.ci/run` does, for both.
With TensorFlow, the other tests are there.
"""

import os
import tempfile

# Before JAX is imported: most of the time is that of its compiler, on the same programs.
_CACHE = tempfile.TemporaryDirectory()
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _CACHE.name)

import keras  # noqa: E402
import pytest  # noqa: E402


def pytest_collection_modifyitems(items):
    if keras.backend.backend() == "tensorflow":
        skip = pytest.mark.skip(reason="KERAS_BACKEND names jax or torch for these")
        for item in items:
            if item.path.parent.name == "backends":
                item.add_marker(skip)
