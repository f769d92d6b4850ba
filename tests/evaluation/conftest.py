"""Small tables with known properties."""

import keras
import numpy as np
import pytest

from v1keras.evaluation import (
    CLEAN,
    Lineup,
    LogitCache,
    Sample,
    build_table,
    corrupted_cells,
)

CORRUPTIONS = (
    "gaussian_noise", "shot_noise", "defocus_blur", "fog", "contrast", "spatter",
)  # fmt: skip


@pytest.fixture
def make_table(tmp_path):
    """A function that gives the table of random logits of some skill."""

    def make(
        models=("base", "a", "b", "student"),
        *,
        images=40,
        missing=(),
        skill=None,
        **options,
    ):
        planned = (CLEAN, *corrupted_cells(CORRUPTIONS, (1, 3, 5)))
        cells = tuple(cell for cell in planned if cell not in missing)
        folder = tmp_path / f"logits{len(list(tmp_path.iterdir()))}"
        cache = LogitCache(folder, {"seed": 0}, dict.fromkeys(models, "x"))
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 5, images)
        for cell in cells:
            logits = {}
            for i, model in enumerate(models):
                draws = 2 if model == "a" else 1
                answer = rng.normal(size=(draws, images, 5))
                usual = 2.0 - 0.25 * cell.severity + 0.2 * i
                answer[:, np.arange(images), labels] += (skill or {}).get(model, usual)
                logits[model] = answer.astype(np.float32)
            sample = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            sample = Sample(sample, "3")
            cache.add(cell, labels, np.arange(images), logits, sample=sample)
        options = {"baseline": "base", "ensembles": {"ensemble": ("a", "b")}} | options
        lineup = Lineup(models, **options)
        return build_table(
            cache, lineup, planned=planned, cells=cells, replicates=200, alexnet=True
        )

    return make


@pytest.fixture
def make_model():
    """A function that gives a tiny classifier, with neuronal noise if wanted."""

    def make(seed, *, noise=False, classes=5, size=32):
        from v1keras.layers import NeuronalNoise

        inputs = keras.Input((size, size, 3))
        x = keras.layers.Rescaling(1 / 127.5, -1)(inputs)
        initial = keras.initializers.GlorotUniform(seed)
        x = keras.layers.Conv2D(4, 7, 4, kernel_initializer=initial)(x)
        if noise:
            x = NeuronalNoise(1.0)(x)
        x = keras.layers.Flatten()(x)
        outputs = keras.layers.Dense(classes, kernel_initializer=initial)(x)
        return keras.Model(inputs, outputs)

    return make
