import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import rel_entr, softmax

from export.config import ExportConfig
from export.diagnosis import CORRUPTIONS, DRAWS, Diagnoser, Observer
from export.pipeline import export_run
from export.requests import encode_png
from export.source import open_source
from v1keras.corruptions import corrupt
from v1keras.evaluation import stored_calibrations
from v1keras.training import Run


def ask(diagnoser, images):
    answer = diagnoser.diagnose(tf.constant(images, tf.float32))
    return {name: values.numpy() for name, values in answer.items()}


def test_members_disagree_by_their_divergence_from_the_mean(
    diagnosed, held_out, diagnosis
):
    source, (_, images) = diagnosed, held_out
    answer = ask(Diagnoser(source.members, diagnosis), images)
    pixels = images.astype(np.float32)
    np.testing.assert_allclose(
        answer["logits"], source.model.predict(pixels, verbose=0), atol=1e-4
    )
    each = softmax([m.predict(pixels, verbose=0) for m in source.members], axis=-1)
    divergence = rel_entr(each, each.mean(axis=0)).sum(axis=-1).mean(axis=0)
    np.testing.assert_allclose(
        answer["disagreement"], divergence / np.log(2), atol=1e-4
    )
    calibrated = softmax(answer["logits"] / diagnosis.temperature, axis=-1)
    np.testing.assert_allclose(answer["confidence"], calibrated.max(axis=-1), atol=1e-5)
    np.testing.assert_allclose(answer["corruption_probabilities"].sum(1), 1, atol=1e-5)


def test_one_model_disagrees_with_itself_only_where_it_draws_noise(
    runs, held_out, diagnosis
):
    _, images = held_out
    for name, mode, shown in (("no_noise", "off", 0), ("standard", "stochastic", 1)):
        alone = open_source([str(runs / name)], noise=mode)
        observer = Observer(alone.members)
        observed = observer.observe(tf.constant(images, tf.float32))
        assert ("opinions" in observed) == bool(shown)
        if shown:
            opinions = observed["opinions"].numpy()
            assert opinions.shape == (len(images), DRAWS, 12)
            np.testing.assert_array_equal(opinions[:, 0], observed["logits"])
            # The draws of an image differ, and images are not mixed up.
            quiet = open_source([str(runs / name)], noise="off").model
            expected = quiet.predict(images.astype(np.float32), verbose=0)
            spread_of_draws = opinions.std(axis=1)
            assert (spread_of_draws > 0).all()
            off = np.abs(opinions.mean(axis=1) - expected)
            assert off.mean() < 3 * spread_of_draws.mean()


def test_a_corrupted_camera_is_noticed(diagnosed, held_out, diagnosis):
    dataset, _ = held_out
    diagnoser = Diagnoser(diagnosed.members, diagnosis)
    images = dataset.split("test").spread(12).images
    clean = ask(diagnoser, images)["corruption_probabilities"].mean(axis=0)
    assert CORRUPTIONS[clean.argmax()] == "clean"
    for name in ("fog", "gaussian_noise", "defocus_blur"):
        answer = ask(diagnoser, corrupt(images, name, 5, seed=1))
        shares = answer["corruption_probabilities"].mean(axis=0)
        assert shares[0] < clean[0] - 0.2
        assert answer["severity"].mean() > 2


def test_the_temperature_is_that_of_the_run(runs, diagnosis):
    fitted = stored_calibrations(Run.open(runs / "no_noise"))["off"]
    assert diagnosis.temperature == fitted.temperature
    assert diagnosis.figures["temperature"] == fitted.temperature
    assert diagnosis.figures["calibration"] == {
        "images": 16,
        "before": fitted.before,
        "after": fitted.after,
    }


@pytest.mark.parametrize(
    ("names", "noise"),
    [
        (("no_noise",), "off"),
        pytest.param(("standard",), "stochastic", marks=pytest.mark.slow),
        pytest.param(("standard", "base"), "stochastic", marks=pytest.mark.slow),
    ],
)
def test_the_signature_is_there_when_it_is_asked_for(
    runs, held_out, tmp_path, names, noise
):
    config = ExportConfig(
        run=tuple(str(runs / name) for name in names),
        noise=noise,
        out=str(tmp_path / "out"),
        min_accuracy=0.01,
        images=8,
        formats=("savedmodel",),
        corruptions=("fog",),
        diagnose=True,
        diagnosis_images=16,
    )
    result = export_run(config)
    assert "diagnose" in {item.endpoint for item in result.parity}
    _, images = held_out
    encoded = tf.constant([encode_png(image) for image in images[:3]])
    answer = tf.saved_model.load(str(result.path)).signatures["diagnose"](
        image_bytes=encoded
    )
    outputs = {
        "logits", "probabilities", "classes", "scores", "confidence", "corruption",
        "corruption_probabilities", "severity",
    }  # fmt: skip
    assert set(answer) - {"disagreement"} == outputs
    assert ("disagreement" in answer) == (noise == "stochastic")
    assert {values.shape[0] for values in answer.values()} == {3}
    metadata = (result.path / "metadata.json").read_text()
    assert '"temperature"' in metadata and '"alarms"' in metadata


def test_what_cannot_be_diagnosed_is_refused_before_the_work(runs, tmp_path):
    settings = {"run": (str(runs / "base"),), "out": str(tmp_path), "min_accuracy": 0.1}
    with pytest.raises(ValueError, match="`formats` must be with savedmodel"):
        ExportConfig(**settings, formats=("tflite",), diagnose=True)
    with pytest.raises(ValueError, match="`diagnosis_images` must be at least 16"):
        ExportConfig(**settings, diagnosis_images=15)
    other = dataclasses.replace(
        ExportConfig(**settings, diagnose=True), dataset="shapes:60:40"
    )
    with pytest.raises(ValueError, match=r"`diagnose` must be False.*held out"):
        export_run(other)
    assert not list(tmp_path.iterdir())
