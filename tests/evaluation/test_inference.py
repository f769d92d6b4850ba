import csv
import shutil

import keras
import numpy as np
import pytest

from v1keras.evaluation import (
    CLEAN,
    Cell,
    CleanImages,
    EvaluateConfig,
    LogitCache,
    OnlineImages,
    evaluate,
)
from v1keras.evaluation.adaptation import with_batch_statistics
from v1keras.evaluation.inference import MeanOfDraws
from v1keras.layers import BatchNormalization

RNG = np.random.default_rng(0)


def test_a_batch_is_normalised_by_itself_and_moves_nothing():
    inputs = keras.Input((4, 4, 3))
    outputs = BatchNormalization(epsilon=1e-3)(inputs)
    model = keras.Model(inputs, outputs)
    gamma, beta = np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, -1.0])
    model.set_weights([gamma, beta, np.full(3, 9.0), np.full(3, 4.0)])
    adapted = with_batch_statistics(model)
    images = RNG.normal(5, 2, (6, 4, 4, 3)).astype("float32")
    mean, variance = images.mean((0, 1, 2)), images.var((0, 1, 2))
    expected = gamma * (images - mean) / np.sqrt(variance + 1e-3) + beta
    answer = np.array(adapted(images, training=False))
    np.testing.assert_allclose(answer, expected, atol=1e-4)
    for one, other in zip(adapted.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_draws_are_averaged_in_groups(tmp_path):
    cache = LogitCache(tmp_path / "logits", {}, {"noisy": "x", "quiet": "y"})
    noisy = RNG.normal(size=(6, 5, 3)).astype("float32")
    quiet = RNG.normal(size=(1, 5, 3)).astype("float32")
    labels = np.arange(5) % 3
    cache.add(CLEAN, labels, np.arange(5), {"noisy": noisy, "quiet": quiet})
    _, _, logits = MeanOfDraws(cache, 3, "logits").read(CLEAN, ["noisy", "quiet"])
    expected = noisy.reshape(2, 3, 5, 3).mean(1)
    np.testing.assert_allclose(logits["noisy"], expected, rtol=1e-6)
    np.testing.assert_array_equal(logits["quiet"], quiet)


def test_shuffled_images_are_the_same_in_another_order():
    images = RNG.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    online = OnlineImages(CleanImages(images, np.arange(20) % 5), [Cell("fog", 2)])
    shuffled = online.shuffled(1)
    assert shuffled.settings != online.settings
    orders = []
    for cell in online.cells:
        (before,), (after,) = (each.batches(cell, 99) for each in (online, shuffled))
        order = np.argsort(after.ids.astype(int))
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other[order])
        orders.append(after.ids.tolist())
    assert orders[0] == orders[1] != [str(i) for i in range(20)]


def test_other_inference_stands_apart(tmp_path, golden_dir):
    shutil.copytree(golden_dir / "saved_by_0.1.0" / "runs", tmp_path / "runs")
    settings = {
        "models": tuple(str(tmp_path / "runs" / n) for n in ("base", "member")),
        "dataset": "shapes:24:24",
        "corruptions": ("contrast",),
        "severities": (3,),
        "bootstrap": 20,
        "noise_samples": 2,
    }
    usual = evaluate(EvaluateConfig(out=str(tmp_path / "usual"), **settings))
    assert not (tmp_path / "usual" / "inference.csv").exists()
    out = tmp_path / "out"
    config = EvaluateConfig(out=str(out), noise_draws=2, adapted_batch=12, **settings)
    table = evaluate(config)
    for place, result in usual.groups.items():
        assert table.groups[place].accuracy == result.accuracy
    with (out / "inference.csv").open() as file:
        rows = list(csv.DictReader(file))
    accuracy = {
        (row["inference"], row["model"], row["group"]): float(row["value"])
        for row in rows
    }
    draws, adapted = "mean of 2 noise draws", "adapted to 12 images"
    assert {row["inference"] for row in rows} == {"usual", draws, adapted}
    # No noise, no difference; other statistics make one.
    base = [accuracy[way, "base", "mean"] for way in ("usual", draws)]
    assert base[0] == base[1]
    page = (out / "report.html").read_text()
    section = page[page.index("<h2>Other inference</h2>") :]
    assert draws in section and "statistics of 12 test images" in section
    head = page[: page.index("<h2>Other inference</h2>")]
    assert "adapted" not in head[head.index("<main>") :]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise_draws": 2, "noise_samples": 3}, "divide --noise_samples=3"),
        ({"noise_draws": 0}, "noise_draws=0"),
        ({"adapted_batch": 1}, "adapted_batch=1"),
        ({"adapted_batch": -4}, "adapted_batch=-4"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        EvaluateConfig(out="x", models=("a",), **settings)
