import keras
import numpy as np
import pytest
import tensorflow as tf

from v1keras import RandomCorruption
from v1keras.corruptions import corrupt


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "bfloat16"])
def test_fixed_corruption_equals_the_function(images, dtype):
    layer = RandomCorruption("fog", severities=3, seed=5)
    result = layer(tf.cast(images, dtype), index=np.arange(5))
    assert result.dtype == dtype
    expected = corrupt(images.astype("float32"), "fog", 3, seed=5)
    expected = tf.cast(tf.cast(expected, dtype), "float32")
    np.testing.assert_array_equal(tf.cast(result, "float32"), expected)


def test_random_choice_depends_on_the_index_only(images):
    same = np.repeat(images[:1], 12, axis=0)
    layer = RandomCorruption(["contrast", "brightness"], seed=0)
    index = np.arange(12)
    result = np.array(layer(same, index=index))
    assert len({image.tobytes() for image in result}) > 4
    other = RandomCorruption(["contrast", "brightness"], seed=0)
    np.testing.assert_array_equal(other(same[::-1], index=index[::-1]), result[::-1])


def test_images_are_numbered_without_an_index(images):
    layer = RandomCorruption("gaussian_noise", severities=2)
    first, second = layer(images[:2]), layer(images[2:])
    expected = corrupt(images, "gaussian_noise", 2, seed=0)
    np.testing.assert_array_equal(np.concatenate([first, second]), expected)


def test_parallel_tf_data_is_reproducible(images):
    layer = RandomCorruption(severities=(2, 5), seed=1)
    many = np.tile(images, (4, 1, 1, 1))
    dataset = tf.data.Dataset.from_tensor_slices((np.arange(20), many))
    single = dataset.map(
        lambda index, image: layer(image, index=index), num_parallel_calls=4
    )
    batched = dataset.batch(6).map(
        lambda index, image: layer(image, index=index), num_parallel_calls=4
    )
    assert batched.element_spec.shape == (None, 64, 64, 3)
    assert batched.element_spec.dtype == tf.uint8
    single = np.stack(list(single.as_numpy_iterator()))
    batched = np.concatenate(list(batched.as_numpy_iterator()))
    np.testing.assert_array_equal(single, batched)
    np.testing.assert_array_equal(single, layer(many, index=np.arange(20)))


def test_corrupt_itself_works_in_tf_data(images):
    def corrupted(index, image):
        function = lambda i, x: corrupt(x, "snow", 4, seed=0, index=i)  # noqa: E731
        return tf.numpy_function(function, [index, image], tf.uint8)

    dataset = tf.data.Dataset.from_tensor_slices((np.arange(5), images)).batch(2)
    dataset = dataset.map(corrupted, num_parallel_calls=tf.data.AUTOTUNE)
    np.testing.assert_array_equal(
        np.concatenate(list(dataset.as_numpy_iterator())),
        corrupt(images, "snow", 4, seed=0),
    )


def test_in_a_model_and_through_a_file(images, tmp_path):
    inputs = keras.Input((64, 64, 3))
    outputs = RandomCorruption("contrast", severities=5)(inputs)
    model = keras.Model(inputs, outputs)
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    expected = corrupt(images.astype("float32"), "contrast", 5, seed=0)
    np.testing.assert_array_equal(restored.predict(images, verbose=0), expected)


def test_names_and_numbers_are_normalised():
    layer = RandomCorruption(["elastic"], np.array([1, 2]), 3, "imagenet")
    assert layer.get_config()["corruptions"] == ["elastic_transform"]
    assert layer.get_config()["severities"] == [1, 2]
    assert RandomCorruption("fog", np.int64(2)).severities == (2,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"corruptions": "rain"}, "must be one of gaussian_noise"),
        ({"corruptions": ()}, "must name at least one"),
        ({"severities": 6}, "must be integers in 1..5"),
        ({"severities": ()}, "must be integers in 1..5"),
        ({"severities": [1, 2.5]}, "must be integers in 1..5"),
        ({"seed": -1}, "must be at least 0"),
        ({"seed": 1.5}, "`seed` must be an integer"),
        ({"seed": True}, "`seed` must be an integer"),
        ({"scale": "cifar"}, "must be one of imagenet, tiny"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=f"{message}.*Received: "):
        RandomCorruption(**arguments)


def test_there_is_an_index_for_each_image(images):
    with pytest.raises(ValueError, match="each of the 5 images"):
        RandomCorruption("fog")(images, index=np.arange(3))
