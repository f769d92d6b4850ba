import keras
import numpy as np
import pytest
import tensorflow as tf

from v1keras.models import Conv2D

RANDOM = np.random.default_rng(0)


def by_formula(maps, kernel, stride=1):
    """Products of a kernel with every window of padded maps, in float64."""
    size = kernel.shape[0]
    pads = [(0, 0), (size // 2,) * 2, (size // 2,) * 2, (0, 0)]
    padded = np.pad(maps.astype("float64"), pads)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))
    return np.einsum("byxcij,ijcf->byxf", windows[:, ::stride, ::stride], kernel)


def derivatives(maps, kernel, upstream, stride=1):
    """Of maps and kernel, one output at a time, in float64."""
    size, half = kernel.shape[0], kernel.shape[0] // 2
    _, height, width, _ = maps.shape
    padded = np.pad(maps, [(0, 0), (half, half), (half, half), (0, 0)])
    of_padded, of_kernel = np.zeros(padded.shape), np.zeros(kernel.shape)
    for y in range(upstream.shape[1]):
        for x in range(upstream.shape[2]):
            rows = slice(y * stride, y * stride + size)
            columns = slice(x * stride, x * stride + size)
            one = upstream[:, y, x]
            of_padded[:, rows, columns] += np.einsum("bf,ijcf->bijc", one, kernel)
            of_kernel += np.einsum("bf,bijc->ijcf", one, padded[:, rows, columns])
    return of_padded[:, half : half + height, half : half + width], of_kernel


def built(shape, filters, size, stride=1, **settings):
    layer = Conv2D(filters, size, strides=stride, **settings)
    layer.build((None, *shape[1:]))
    return layer


def normal(*shape):
    return RANDOM.normal(size=shape).astype("float32")


def operations(layer, shape, *, training):
    """What TensorFlow runs for one call."""
    function = tf.function(lambda maps: layer(maps, training=training))
    graph = function.get_concrete_function(tf.TensorSpec(shape, "float32")).graph
    return {operation.type for operation in graph.get_operations()}


def assert_close(own, expected):
    """To float32's rounding of sums of thousands of numbers."""
    np.testing.assert_allclose(own, expected, atol=1e-5 * np.abs(expected).max())


SMALL_MAPS = [(2, 2), (4, 4), (3, 6), (7, 7), (1, 5)]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("height,width", [(9, 8), (8, 11)])
def test_padding_by_formula(height, width, stride, size, training):
    maps = normal(2, height, width, 3)
    layer = built(maps.shape, 5, size, stride)
    outputs = layer(maps, training=training)
    assert_close(outputs, by_formula(maps, layer.get_weights()[0], stride))
    assert outputs.shape == layer.compute_output_shape(maps.shape)


@pytest.mark.parametrize(
    "shape,filters,stride",
    [((2, 9, 8, 3), 5, 1), ((2, 9, 8, 3), 5, 2)]
    + [((2, *pixels, 256), 288, 1) for pixels in SMALL_MAPS],
)
def test_training_by_formula(shape, filters, stride):
    maps = normal(*shape)
    layer = built(shape, filters, 3, stride, use_bias=False)
    kernel = layer.get_weights()[0]

    @tf.function  # where what is not needed is left out
    def step(maps, upstream):
        with tf.GradientTape() as tape:
            tape.watch(maps)
            outputs = layer(maps, training=True)
        sources = [maps, *layer.trainable_variables]
        return outputs, *tape.gradient(outputs, sources, upstream)

    expected = by_formula(maps, kernel, stride)
    upstream = normal(*expected.shape)
    outputs, of_maps, of_kernel = step(tf.constant(maps), tf.constant(upstream))
    assert_close(outputs, expected)
    expected_of_maps, expected_of_kernel = derivatives(maps, kernel, upstream, stride)
    assert_close(of_maps, expected_of_maps)
    assert_close(of_kernel, expected_of_kernel)


@pytest.mark.parametrize("height,width", SMALL_MAPS)
def test_winograd_trains_small_maps_of_many_channels(height, width):
    shape = (None, height, width, 256)
    layer = built(shape, 256, 3)
    assert "Conv2D" not in operations(layer, shape, training=True)
    assert "Conv2D" in operations(layer, shape, training=False)


@pytest.mark.parametrize(
    "shape,settings",
    [
        ((None, 8, 4, 256), {}),
        ((None, 4, None, 256), {}),
        ((None, 1, 1, 256), {}),
        ((None, 4, 4, 128), {}),
        ((None, 4, 4, 256), {"filters": 128}),
        ((None, 4, 4, 256), {"size": 5}),
        ((None, 4, 4, 256), {"stride": 2}),
        ((None, 4, 4, 256), {"dtype": "mixed_bfloat16"}),
    ],
)
def test_winograd_is_used_nowhere_else(shape, settings):
    layer = built(shape, **{"filters": 256, "size": 3, **settings})
    assert "Conv2D" in operations(layer, shape, training=True)


def test_winograd_under_xla_and_in_batches_of_any_size():
    layer = built((None, 4, 4, 256), 256, 3)
    compiled = tf.function(
        lambda maps: layer(maps, training=True),
        jit_compile=True,
        input_signature=[tf.TensorSpec((None, 4, 4, 256))],
    )
    for batch in (1, 3):
        maps = normal(batch, 4, 4, 256)
        assert_close(compiled(maps), by_formula(maps, layer.get_weights()[0]))


@pytest.mark.parametrize("channels", [3, 256])
def test_bias_and_activation(channels):
    maps = normal(2, 4, 4, channels)
    layer = built(
        maps.shape, channels, 3, activation="relu", bias_initializer="random_normal"
    )
    kernel, bias = layer.get_weights()
    expected = np.maximum(by_formula(maps, kernel) + bias, 0.0)
    assert np.all(bias != 0.0)
    for training in (False, True):
        assert_close(layer(maps, training=training), expected)


def test_half_precision():
    maps = normal(2, 8, 8, 16)
    layer = built(maps.shape, 16, 3, 2, dtype="mixed_bfloat16")
    outputs = layer(maps, training=True)
    assert outputs.dtype == tf.bfloat16
    expected = by_formula(maps, layer.get_weights()[0], 2)
    np.testing.assert_allclose(tf.cast(outputs, "float32"), expected, atol=0.05)


@pytest.mark.parametrize("size", [4, (3, 5)])
def test_kernels_without_a_middle(size):
    with pytest.raises(ValueError, match=r"one odd number\. Received: kernel_size="):
        Conv2D(4, size)


@pytest.mark.parametrize(
    "argument", ["padding", "data_format", "dilation_rate", "groups"]
)
def test_what_is_fixed_cannot_be_given(argument):
    with pytest.raises(TypeError, match=argument):
        Conv2D(4, 3, **{argument: None})


def test_saves_and_loads(tmp_path):
    inputs = keras.Input((9, 8, 3))
    layer = Conv2D(4, 5, strides=2, use_bias=False, name="conv")
    model = keras.Model(inputs, layer(inputs))
    model.save(tmp_path / "conv.keras")
    loaded = keras.models.load_model(tmp_path / "conv.keras")
    assert isinstance(loaded.layers[1], Conv2D)
    maps = normal(2, 9, 8, 3)
    np.testing.assert_array_equal(loaded(maps), model(maps))
