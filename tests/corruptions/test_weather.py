import cv2
import numpy as np
import pytest

from v1keras.corruptions import corrupt
from v1keras.corruptions.ice import ice_textures, load_textures
from v1keras.corruptions.weather import _plasma_fractals


def generators(count):
    return [np.random.default_rng(number) for number in range(count)]


@pytest.mark.parametrize(("size", "side"), [(32, 32), (33, 64), (64, 64), (224, 256)])
def test_plasma_fractals_fill_zero_to_one(size, side):
    maps = _plasma_fractals(size, 2.0, generators(3))
    assert maps.shape == (3, side, side)
    np.testing.assert_array_equal(maps.min(axis=(1, 2)), 0)
    np.testing.assert_array_equal(maps.max(axis=(1, 2)), 1)


def diamond_square(size, decay, uniform):
    """One height map, point by point: squares, then diamonds, at every scale."""
    height = np.zeros((size, size))
    step, wobble = size, 100.0
    while step > 1:
        half = step // 2
        # The middles of squares; then of the diamonds on horizontal and vertical edges.
        for top, left, around in (
            (half, half, ((-half, -half), (-half, half), (half, -half), (half, half))),
            (0, half, ((0, -half), (0, half), (-half, 0), (half, 0))),
            (half, 0, ((0, -half), (0, half), (-half, 0), (half, 0))),
        ):
            for y in range(top, size, step):
                for x in range(left, size, step):
                    near = [height[(y + v) % size, (x + h) % size] for v, h in around]
                    height[y, x] = sum(near) / 4 + wobble**2 * (2 * next(uniform) - 1)
        step, wobble = half, wobble / decay
    height -= height.min()
    return height / height.max()


@pytest.mark.parametrize("decay", [1.4, 3.0])
def test_plasma_fractals_equal_the_algorithm_point_by_point(decay):
    draws = iter(np.random.default_rng(0).random(32 * 32 - 1, dtype=np.float32))
    expected = diamond_square(32, decay, draws)
    (result,) = _plasma_fractals(32, decay, generators(1))
    np.testing.assert_allclose(result, expected, atol=1e-5)
    assert next(draws, None) is None


def test_plasma_fractals_are_smoother_with_more_decay():
    rough, smooth = (
        np.abs(np.diff(_plasma_fractals(128, decay, generators(8)))).mean()
        for decay in (1.4, 3.0)
    )
    assert rough > 2 * smooth


def test_fog_keeps_the_brightest_value_as_its_limit(images):
    limited = images // 2
    foggy = corrupt(limited, "fog", 5, seed=0)
    brightest = limited.max(axis=(1, 2, 3))
    assert np.all(foggy.max(axis=(1, 2, 3)) <= brightest)
    assert foggy.std() < limited.std()


def test_brightness_keeps_hue_and_saturation():
    colours = np.zeros((1, 32, 32, 3), np.uint8)
    colours[..., 0], colours[..., 1], colours[..., 2] = 100, 50, 20
    brighter = corrupt(colours, "brightness", 1, seed=0)[0, 0, 0]
    np.testing.assert_allclose(brighter, [125, 62, 25], atol=1)


def test_brightness_turns_black_to_grey():
    black = np.zeros((1, 32, 32, 3), np.uint8)
    assert np.unique(corrupt(black, "brightness", 3, seed=0)) == int(0.3 * 255)


def test_snow_whitens_and_is_symmetric_in_its_flakes():
    black = np.zeros((3, 64, 64, 3), np.uint8)
    snowy = corrupt(black, "snow", 5, seed=0).astype(int)
    # A black image turns to the same grey everywhere, plus the flakes.
    np.testing.assert_allclose(snowy, snowy[:, ::-1, ::-1], atol=1)
    assert snowy.min() >= int((1 - 0.6) * 0.5 * 255)


def test_our_ice_is_five_textures_of_fitting_size():
    large, small = ice_textures("imagenet"), ice_textures("tiny")
    assert len(large) == len(small) == 5
    for texture, shrunk in zip(large, small, strict=True):
        assert texture.dtype == shrunk.dtype == np.uint8
        assert min(texture.shape[:2]) >= 299
        assert shrunk.shape[0] == round(0.3 * texture.shape[0])
    # Measured on the photographs: turquoise first, white second, dark last.
    means = np.array([texture.mean(axis=(0, 1)) for texture in large])
    np.testing.assert_allclose(means[0], [77.7, 149.1, 165.7], atol=2)
    assert means[1].min() > 195
    assert means[4].max() < 140


def test_frost_takes_a_folder_of_textures(tmp_path, images):
    cv2.imwrite(
        str(tmp_path / "blue.png"), np.full((300, 300, 3), (200, 0, 0), "uint8")
    )
    (tmp_path / "notes.txt").write_text("not an image")
    frosted = corrupt(images, "frost", 1, seed=0, frost_textures=tmp_path).astype(int)
    expected = np.minimum(images + 0.3 * np.array([0, 0, 200]), 255).astype(int)
    np.testing.assert_allclose(frosted, expected, atol=1)


def test_small_textures_are_repeated(tmp_path, make_images):
    cv2.imwrite(str(tmp_path / "small.png"), make_images(1, 50, 60)[0])
    images = make_images(2, 150, 128)
    frosted = corrupt(images, "frost", 3, seed=0, frost_textures=tmp_path)
    assert frosted.shape == images.shape


def test_broken_texture(tmp_path, images):
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"readable images. Received: .*broken\.png"):
        corrupt(images, "frost", 1, seed=0, frost_textures=tmp_path)


def test_mud_is_brown_and_water_is_light():
    grey = np.full((6, 64, 64, 3), 120, np.uint8)
    water = corrupt(grey, "spatter", 3, seed=0).astype(int) - 120
    mud = corrupt(grey, "spatter", 5, seed=0).astype(int) - 120
    assert water.min() >= 0
    assert water.max() > 20
    assert mud.max() <= 0
    covered = mud[np.all(mud < -50, axis=-1)]
    np.testing.assert_allclose(np.median(covered, axis=0), [-57, -78, -100], atol=8)


@pytest.mark.parametrize("height", [0, 2**24])
def test_a_damaged_texture_is_named(tmp_path, height):
    data = bytearray(cv2.imencode(".bmp", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    data[22:26] = height.to_bytes(4, "little")
    (tmp_path / "ice.bmp").write_bytes(data)
    with pytest.raises(ValueError, match=r"readable images.*ice\.bmp"):
        load_textures(str(tmp_path), "tiny")
