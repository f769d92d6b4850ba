import keras
import numpy as np
import pytest
from scipy.signal import correlate2d

from v1keras import layers
from v1keras.layers import GaborFilterBank
from v1keras.v1 import gabor_kernels, sample_gabors


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(20, 20), (17, 22)])
def test_cross_correlation_with_explicit_padding(stride, size):
    gabors = sample_gabors(5, seed=1)
    images = np.random.default_rng(0).uniform(-1, 1, (2, *size, 3)).astype("float32")
    bank = GaborFilterBank(gabors, image_size=20, kernel_size=7, stride=stride)
    responses = np.asarray(bank(images))
    kernels, _ = gabor_kernels(gabors, image_size=20, visual_degrees=2.0, kernel_size=7)
    for n in range(5):
        image = images[1, :, :, gabors.channel_q0[n]]
        expected = correlate2d(np.pad(image, 3), kernels[n], mode="valid")
        expected = expected[::stride, ::stride]
        np.testing.assert_allclose(responses[1, :, :, n], expected, atol=1e-5)
    assert bank.trainable_weights == [] and bank.count_params() == 5 * 49
    assert responses.shape[1] == (size[0] - 1) // stride + 1


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("size", [(32, 32), (29, 35)])
def test_half_precision_is_the_same_convolution(stride, size):
    """There, the pixels of one stride become channels."""
    gabors = sample_gabors(6, seed=1)
    images = np.random.default_rng(0).uniform(-1, 1, (2, *size, 3)).astype("float32")
    settings = {"image_size": 32, "kernel_size": 9, "stride": stride}
    single = np.asarray(GaborFilterBank(gabors, **settings)(images))
    half = GaborFilterBank(gabors, dtype="mixed_bfloat16", **settings)(images)
    half = keras.ops.convert_to_numpy(keras.ops.cast(half, "float32"))
    # bfloat16 keeps eight bits of images, kernels and responses.
    assert np.abs(half - single).max() < 2.0**-7 * np.abs(single).max()


class PartsOfBank(GaborFilterBank):
    def call(self, images, parts):
        return self.responses_of(images, parts)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("width", [3, 50])
def test_parts_are_those_filters_alone(width, dtype):
    """Narrow parts are cut out of the whole, wide ones convolved by themselves."""
    gabors = sample_gabors(400, seed=1)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 20, 20, 3)).astype("float32")
    settings = {"image_size": 20, "kernel_size": 7, "stride": 2}
    bank = PartsOfBank(gabors, dtype=dtype, **settings)
    parts = [(2, 5, 5 + width), (0, 0, width), (2, 60, 60 + width)]
    found = bank(images, parts=parts)
    for (color, begin, end), response in zip(parts, found, strict=True):
        filters = np.flatnonzero(gabors.channel_q0 == color)[begin:end]
        alone = GaborFilterBank(gabors.select(filters), **settings)(images)
        response = keras.ops.convert_to_numpy(keras.ops.cast(response, "float32"))
        precision = 1e-5 if dtype == "float32" else 2.0**-7 * np.abs(alone).max()
        np.testing.assert_allclose(response, alone, atol=precision)


def test_gain_scales_each_filter():
    gabors = sample_gabors(4, seed=1)
    images = np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 3)).astype("float32")
    settings = {"kernel_size": 5, "image_size": 16}
    plain = np.asarray(GaborFilterBank(gabors, **settings)(images))
    gain = [1.0, 2.0, -3.0, 0.5]
    scaled = np.asarray(GaborFilterBank(gabors, gain=gain, **settings)(images))
    np.testing.assert_allclose(scaled, plain * gain, atol=1e-5)


def test_refusals():
    gabors = sample_gabors(2)
    with pytest.raises(ValueError, match="stride=0"):
        GaborFilterBank(gabors, stride=0)
    with pytest.raises(ValueError, match=r"\(batch, height, width, 3\)"):
        GaborFilterBank(gabors).build((None, 16, 16, 1))
    for name, value in (("image_size", 0), ("visual_degrees", float("nan"))):
        with pytest.raises(ValueError, match=f"must be positive.*{name}={value}"):
            GaborFilterBank(sample_gabors(4), **{name: value}).build((None, 64, 64, 3))
    with pytest.raises(ValueError, match="`image_size` must be given"):
        GaborFilterBank(gabors).build((None, None, None, 3))
    with pytest.raises(ValueError, match=r"floats in \[-1, 1\].*dtype=uint8"):
        GaborFilterBank(gabors)(np.zeros((1, 16, 16, 3), "uint8"))


@pytest.mark.parametrize(
    ("layer", "built", "other"),
    [
        (GaborFilterBank(sample_gabors(2)), (1, 32, 32, 3), (1, 32, 32, 4)),
        (layers.VOneBlock("no_noise"), (1, 32, 32, 3), (1, 3, 32, 32)),
        # Four images of half the size have as many pixels as one.
        (layers.SubcorticalBlock(noise="off"), (1, 64, 64, 3), (4, 32, 32, 3)),
        (layers.SubcorticalBlock(noise="off"), (1, 48, 64, 3), (1, 64, 48, 3)),
        (layers.ContrastNormalization(), (1, 64, 64, 3), (4, 32, 32, 3)),
        (layers.DivisiveNormalization(), (1, 64, 64, 3), (4, 32, 32, 3)),
    ],
)
def test_what_is_built_for_one_shape_takes_no_other(layer, built, other):
    layer(np.zeros(built, "float32"))
    with pytest.raises(ValueError, match="incompatible with the layer"):
        layer(np.zeros(other, "float32"))
