import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax

from export.requests import INPUT_NAMES, encode_example, encode_png, make_request
from export.saved_model import (
    SignedClassifier,
    write_labels,
    write_saved_model,
)
from v1keras.layers import NeuronalNoise


@pytest.fixture(scope="module")
def saved_model(classifier, labels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_model")
    write_saved_model(classifier, labels, folder)
    return folder


@pytest.fixture(scope="module")
def call(saved_model):
    """Calls signatures the way TensorFlow Serving does."""
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph)
    with graph.as_default():
        meta = tf.compat.v1.saved_model.loader.load(
            session, ["serve"], str(saved_model)
        )

    def function(signature, inputs):
        definition = meta.signature_def[signature]
        fetches = {key: info.name for key, info in definition.outputs.items()}
        feed = definition.inputs[INPUT_NAMES[signature]].name
        return session.run(fetches, {feed: inputs})

    yield function
    session.close()


@pytest.mark.parametrize("signature", INPUT_NAMES)
@pytest.mark.parametrize("batch", [1, 7])
def test_signatures_answer_like_keras(call, images, logits, labels, signature, batch):
    answer = call(signature, make_request(signature, images[:batch]))
    expected = logits[:batch]
    if signature == "serve_labels":
        assert set(answer) == {"classes", "scores"}
    else:
        np.testing.assert_allclose(answer["logits"], expected, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(
            answer["probabilities"], softmax(expected, axis=-1), atol=1e-5
        )
    best = np.argsort(-expected, axis=1)
    assert answer["classes"].shape == (batch, 5)
    assert [[name.decode() for name in row] for row in answer["classes"]] == [
        [labels[index] for index in row] for row in best
    ]
    np.testing.assert_allclose(
        answer["scores"], -np.sort(-softmax(expected, axis=-1), axis=1), atol=1e-5
    )


def test_files_of_any_size_are_fitted(call, classifier):
    picture = np.full((50, 90, 3), (10, 200, 90), np.uint8)
    encoded = [
        cv2.imencode(suffix, picture[..., ::-1])[1].tobytes()
        for suffix in (".png", ".jpg")
    ]
    answer = call("serve_bytes", np.array(encoded, object))
    expected = classifier.predict(
        np.full((1, 16, 16, 3), (10, 200, 90), np.float32), verbose=0
    )
    np.testing.assert_allclose(answer["logits"][:1], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(answer["logits"][1:], expected, rtol=0.05, atol=0.3)


@pytest.mark.parametrize(
    "signature,data,message",
    [
        ("serve_bytes", b"not an image", "image 1 of the request"),
        ("serve_examples", encode_example(b"not an image"), "image 1 of the request"),
        ("serve_examples", tf.train.Example().SerializeToString(), "image"),
        ("serve_examples", b"not an example", "Example"),
    ],
)
def test_a_broken_image_fails_its_request_and_no_other(
    call, images, signature, data, message
):
    good = make_request(signature, images[:1])
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        call(signature, np.array([good[0], data], object))
    assert call(signature, good)["logits"].shape == (1, 5)


def test_wrong_input_size_is_an_error(call):
    for signature, dtype in (
        ("serving_default", np.float32),
        ("serve_uint8", np.uint8),
    ):
        with pytest.raises(ValueError, match="shape"):
            call(signature, np.zeros((1, 17, 16, 3), dtype))


def test_pixels_are_sent_as_float32_or_uint8(saved_model):
    signatures = tf.saved_model.load(str(saved_model)).signatures
    found = {
        name: signatures[name].structured_input_signature[1]["images"]
        for name in ("serving_default", "serve_uint8")
    }
    assert found["serving_default"].dtype == tf.float32
    assert found["serve_uint8"].dtype == tf.uint8
    assert {tuple(spec.shape) for spec in found.values()} == {(None, 16, 16, 3)}


def test_labels_are_an_asset(saved_model, labels):
    for path in (saved_model / "assets/labels.txt", saved_model / "labels.txt"):
        assert tuple(path.read_text("utf-8").splitlines()) == labels


def test_top_k_is_at_most_the_number_of_classes(classifier, labels, tmp_path):
    write_labels(labels, tmp_path / "labels.txt")
    for top_k, expected in ((2, 2), (9, 5)):
        signed = SignedClassifier(classifier, labels, tmp_path / "labels.txt", top_k)
        assert signed.top_k == expected
    with pytest.raises(ValueError, match="top_k=0"):
        SignedClassifier(classifier, labels, tmp_path / "labels.txt", 0)


def test_examples_may_call_the_image_otherwise(
    classifier, labels, images, logits, tmp_path
):
    write_saved_model(classifier, labels, tmp_path, image_key="picture")
    serve = tf.saved_model.load(str(tmp_path)).signatures["serve_examples"]
    examples = [encode_example(encode_png(image), "picture") for image in images[:2]]
    answer = serve(examples=tf.constant(examples))
    np.testing.assert_allclose(answer["logits"], logits[:2], rtol=1e-5, atol=1e-4)
    with pytest.raises(tf.errors.InvalidArgumentError, match="picture"):
        serve(examples=tf.constant([encode_example(encode_png(images[0]))]))


def test_number_of_labels_must_match(classifier, tmp_path):
    with pytest.raises(ValueError, match="`labels` must hold one label for each"):
        write_saved_model(classifier, ("a", "b"), tmp_path)


@pytest.mark.parametrize("shape", [(None, None, 3), (16, 12, 3), (16, 16, 1)])
def test_model_must_take_square_rgb_of_a_fixed_size(shape, tmp_path):
    inputs = keras.Input(shape)
    outputs = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, outputs)
    with pytest.raises(ValueError, match="square RGB"):
        write_saved_model(model, "abc"[: shape[-1]], tmp_path)


def test_labels_must_be_told_apart(tmp_path):
    with pytest.raises(ValueError, match="must differ"):
        write_labels(["a", "a"], tmp_path / "labels.txt")
    with pytest.raises(ValueError, match="one line"):
        write_labels(["a\nb", "c"], tmp_path / "labels.txt")
    assert not (tmp_path / "labels.txt").exists()


@pytest.mark.parametrize("noise", ["fixed", "stochastic"])
def test_served_noise_is_a_constant_or_drawn_anew(noise, tmp_path):
    inputs = keras.Input((16, 16, 3))
    outputs = keras.layers.GlobalAveragePooling2D()(NeuronalNoise(noise=noise)(inputs))
    model = keras.Model(inputs, outputs)
    write_saved_model(model, "abc", tmp_path)
    definition = (tmp_path / "saved_model.pb").read_bytes()
    assert (b"RandomStandardNormal" in definition) == (noise == "stochastic")
    # Nothing that only some servers can compile, and no state that requests change.
    assert b"StatelessRandom" not in definition and b"Bitwise" not in definition
    assert b"noise_seed" not in definition
    pixels = np.full((2, 16, 16, 3), 100, np.float32)
    served = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    first, second = (served(images=pixels)["logits"].numpy() for _ in range(2))
    assert np.array_equal(first, second) == (noise == "fixed")
    # The model itself draws as before.
    calls = [model.predict(pixels, verbose=0) for _ in range(2)]
    assert np.array_equal(*calls) == (noise == "fixed")


def test_members_that_share_a_front_end_draw_their_own_noise(tmp_path):
    layer = NeuronalNoise()
    inputs = keras.Input((16, 16, 3))
    calls = [layer(inputs, stream=stream) for stream in range(2)]
    difference = keras.layers.Subtract()(calls)
    outputs = keras.layers.GlobalMaxPooling2D()(difference)
    write_saved_model(keras.Model(inputs, outputs), "abc", tmp_path)
    served = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    answer = served(images=np.full((2, 16, 16, 3), 100, np.float32))
    assert answer["logits"].numpy().min() > 0
