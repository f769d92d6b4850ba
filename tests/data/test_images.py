import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from v1keras.data.decoding import decode_image
from v1keras.data.images import ImageFiles, fit_image, read_image, read_many


@pytest.fixture
def image():
    """A smooth RGB image whose channels differ."""
    ramp = np.linspace(0, 255, 24)
    return np.stack(
        [
            np.tile(ramp, (24, 1)),
            np.tile(ramp[:, None], (1, 24)),
            np.full((24, 24), 90.0),
        ],
        axis=-1,
    ).astype(np.uint8)


def _write(path, image):
    assert cv2.imwrite(str(path), image)
    return path


def test_channels_come_as_rgb(tmp_path, image):
    path = _write(tmp_path / "a.png", image[..., ::-1])
    np.testing.assert_array_equal(read_image(path), image)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_grey_images_become_rgb(tmp_path, image, suffix):
    grey = image[..., 0]
    result = read_image(_write(tmp_path / f"a{suffix}", grey))
    assert result.shape == (24, 24, 3)
    assert (result == result[..., :1]).all()
    np.testing.assert_allclose(result[..., 0], grey, atol=3)


def test_sixteen_bits_are_reduced_to_eight(tmp_path, image):
    path = _write(tmp_path / "a.png", image[..., ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(path), image)


def test_opaque_alpha_is_dropped_and_transparency_refused(tmp_path, image):
    opaque = np.dstack([image[..., ::-1], np.full((24, 24), 255, np.uint8)])
    np.testing.assert_array_equal(
        read_image(_write(tmp_path / "opaque.png", opaque)), image
    )
    opaque[3, 4, 3] = 100
    path = _write(tmp_path / "glass.png", opaque)
    with pytest.raises(ValueError, match=r"transparent pixels in .*glass\.png"):
        read_image(path)


def test_floating_point_images_are_refused(tmp_path, image):
    path = _write(tmp_path / "a.tiff", image.astype(np.float32))
    with pytest.raises(ValueError, match=r"Received: float32 pixels in .*a\.tiff"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.7])
def test_truncated_files_are_refused(tmp_path, image, suffix, keep):
    path = _write(tmp_path / f"broken{suffix}", image)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(ValueError, match=rf"broken\{suffix} is damaged"):
        read_image(path)


def test_reductions_average_over_areas():
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    expected = image.reshape(10, 4, 10, 4, 3).mean((1, 3))
    np.testing.assert_allclose(fit_image(image, 10), expected, atol=0.51)


@pytest.mark.parametrize("shape", [(30, 50), (50, 30)])
def test_the_centre_is_cropped(shape):
    image = np.zeros((*shape, 3), np.uint8)
    image[10:-10, 10:-10] = 200
    result = fit_image(image, 30)
    start_y, start_x = (shape[0] - 30) // 2, (shape[1] - 30) // 2
    np.testing.assert_array_equal(
        result, image[start_y : start_y + 30, start_x : start_x + 30]
    )


@pytest.mark.parametrize("shape", [(512, 640), (640, 512)])
def test_a_share_of_the_shorter_side_is_kept(shape):
    """ImageNet's way: the central 224 of 256 pixels."""
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    height, width = shape[0] // 2, shape[1] // 2
    halved = image.reshape(height, 2, width, 2, 3).mean((1, 3))
    top, left = (height - 224) // 2, (width - 224) // 2
    expected = halved[top : top + 224, left : left + 224]
    fitted = fit_image(image, 224, crop_fraction=0.875)
    np.testing.assert_allclose(fitted, expected, atol=0.51)


@pytest.mark.parametrize("shape", [(7, 500), (501, 7), (7, 7), (19, 21)])
def test_every_shape_fits(shape):
    assert fit_image(np.zeros((*shape, 3), np.uint8), 16).shape == (16, 16, 3)


def test_image_files_read_like_an_array(tmp_path, write_classes):
    folder = write_classes(tmp_path, ("a", "b"), count=40)
    files = ImageFiles(sorted(folder.glob("*/*.png")), 20)
    images = np.asarray(files)
    assert files.shape == images.shape == (80, 20, 20, 3)
    assert files.nbytes == images.nbytes
    np.testing.assert_array_equal(files[7:9], images[7:9])
    np.testing.assert_array_equal(files[5], images[5])
    chosen = np.array([3, 50, 3])
    np.testing.assert_array_equal(files[chosen], images[chosen])
    np.testing.assert_array_equal(np.asarray(files.subset(chosen)), images[chosen])


def test_image_files_keep_their_crop(tmp_path, image):
    path = _write(tmp_path / "a.png", image)
    files = ImageFiles([path], 12, 0.5).subset(np.array([0]))
    np.testing.assert_array_equal(files[0], image[6:18, 6:18, ::-1])


def test_errors_leave_the_threads():
    def read(index):
        if index == 150:
            raise ValueError("image 150")
        return index

    with pytest.raises(ValueError, match="image 150"):
        read_many(read, np.zeros(400))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_exif_data_say(image, kind, orientation):
    wide = np.concatenate([image, 255 - image], axis=1)
    exif = Image.Exif()
    exif[274] = orientation
    stored = io.BytesIO()
    lossless = {"lossless": True} if kind == "WEBP" else {}
    Image.fromarray(wide).save(stored, kind, exif=exif, **lossless)
    with Image.open(stored) as opened:
        upright = np.asarray(ImageOps.exif_transpose(opened))
    read = decode_image(stored.getvalue(), "a")
    np.testing.assert_allclose(read, upright, atol=3)
