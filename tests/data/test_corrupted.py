import shutil

import cv2
import numpy as np
import pytest

from v1keras.corruptions import BENCHMARK
from v1keras.data import load_dataset, open_corrupted
from v1keras.data.images import ImageFiles

_CLASSES = ("n01", "n02")
_CIFAR10 = (
    "airplane automobile bird cat deer dog frog horse ship truck".split()  # noqa: SIM905
)


@pytest.fixture
def folder_set(tmp_path):
    """15 x 5 cells of 2 x 2 images; grey level = 3 x number of the cell + image."""
    root = tmp_path / "C"
    cells = [(name, severity) for name in BENCHMARK for severity in range(1, 6)]
    for number, (name, severity) in enumerate(cells):
        for label, class_name in enumerate(_CLASSES):
            folder = root / name / str(severity) / class_name
            folder.mkdir(parents=True)
            for index in range(2):
                grey = (3 * number + 2 * label + index) % 256
                image = np.full((8, 8, 3), grey, np.uint8)
                cv2.imwrite(str(folder / f"val_{label}{index}.png"), image)
    return root


def _expected(number):
    return (3 * number + np.arange(4)) % 256


def test_folders_are_read_cell_by_cell(folder_set):
    stored = open_corrupted(folder_set, _CLASSES, image_size=8)
    assert len(stored.cells) == 75
    assert stored.cells[:2] == (("gaussian_noise", 1), ("gaussian_noise", 2))
    for number in (0, 37, 74):
        split = stored.read(*stored.cells[number])
        assert split.images.shape == (4, 8, 8, 3)
        np.testing.assert_array_equal(split.images[:, 0, 0, 0], _expected(number))
        np.testing.assert_array_equal(split.labels, [0, 0, 1, 1])
        assert split.ids[2:] == ("n02/val_10.png", "n02/val_11.png")


def test_labels_follow_the_classes_of_the_model(folder_set):
    split = open_corrupted(folder_set, ("n02", "n01"), image_size=8).read("fog", 1)
    assert [name[:3] for name in split.ids] == ["n02", "n02", "n01", "n01"]
    np.testing.assert_array_equal(split.labels, [0, 0, 1, 1])


def test_a_fingerprint_is_of_its_cell_alone(folder_set):
    def fingerprints():
        stored = open_corrupted(folder_set, _CLASSES, image_size=8)
        return {cell: stored.fingerprint(*cell) for cell in stored.cells}

    before = fingerprints()
    assert len(set(before.values())) == len(before)
    file = next((folder_set / "fog" / "5").rglob("*.png"))
    # The last of a class, of the same size in bytes.
    file = sorted(file.parent.iterdir())[-1]
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    after = fingerprints()
    assert {cell for cell in before if before[cell] != after[cell]} == {("fog", 5)}


def test_folders_in_categories(folder_set, tmp_path):
    nested = tmp_path / "nested"
    for number, name in enumerate(BENCHMARK):
        shutil.copytree(folder_set / name, nested / f"part{number % 4}" / name)
    (nested / "extra").mkdir()
    shutil.copytree(folder_set / "fog", nested / "extra" / "speckle_noise")
    flat, deep = (
        open_corrupted(root, _CLASSES, image_size=8) for root in (folder_set, nested)
    )
    assert flat.cells == deep.cells
    np.testing.assert_array_equal(
        flat.read("snow", 4).images, deep.read("snow", 4).images
    )


def test_other_names_are_mapped(folder_set):
    (folder_set / "glass_blur").rename(folder_set / "frosted_glass_blur")
    stored = open_corrupted(folder_set, _CLASSES, image_size=8)
    assert ("glass_blur", 3) in stored.cells
    shutil.copytree(folder_set / "fog", folder_set / "glass_blur")
    with pytest.raises(ValueError, match=r"every cell once.*glass_blur 1 in"):
        open_corrupted(folder_set, _CLASSES, image_size=8)


def test_missing_cells_are_named(folder_set):
    shutil.rmtree(folder_set / "fog" / "2")
    shutil.rmtree(folder_set / "snow" / "5")
    with pytest.raises(ValueError, match="snow 5, fog 2"):
        open_corrupted(folder_set, _CLASSES, image_size=8)
    partial = open_corrupted(folder_set, _CLASSES, image_size=8, allow_partial=True)
    assert len(partial.cells) == 73
    with pytest.raises(ValueError, match=r"a stored cell.*'fog', severity=2"):
        partial.read("fog", 2)


@pytest.mark.parametrize(
    ("class_names", "message"),
    [
        (("n01",), "only there: n02"),
        (("n01", "n02", "n03"), "missing there: n03"),
        (("n01", "n04"), "missing there: n04; only there: n02"),
    ],
)
def test_classes_must_match(folder_set, class_names, message):
    with pytest.raises(ValueError, match=message):
        open_corrupted(folder_set, class_names, image_size=8)


def test_cells_must_have_equal_counts(folder_set):
    (folder_set / "frost" / "3" / "n02" / "val_11.png").unlink()
    with pytest.raises(ValueError, match="1 of class n02 in frost 3, 2 in others"):
        open_corrupted(folder_set, _CLASSES, image_size=8)
    # An image of the other class in its place makes the sums equal again.
    cell = folder_set / "frost" / "3"
    shutil.copy(cell / "n01" / "val_00.png", cell / "n01" / "val_09.png")
    with pytest.raises(ValueError, match="3 of class n01 in frost 3, 2 in others"):
        open_corrupted(folder_set, _CLASSES, image_size=8)


def test_files_that_are_no_images_do_not_count(folder_set):
    for cell in folder_set.glob("*/*/n01"):
        (cell / "readme.txt").write_text("not an image")
    (folder_set / "fog" / "1" / "n02" / ".hidden.png").write_bytes(b"")
    assert len(open_corrupted(folder_set, _CLASSES, image_size=8).read("fog", 1)) == 4


def test_large_cells_stay_on_disk(folder_set):
    stored = open_corrupted(folder_set, _CLASSES, image_size=8, memory_limit=0.0)
    images = stored.read("fog", 1).images
    assert isinstance(images, ImageFiles)
    here = open_corrupted(folder_set, _CLASSES, image_size=8).read("fog", 1).images
    np.testing.assert_array_equal(np.asarray(images), here)


def test_tiny_imagenet_c_as_published(folder_set):
    """frost has further classes, extra corruptions and archives lie beside the others."""
    plain = open_corrupted(folder_set, _CLASSES, image_size=8)
    before = plain.read("frost", 2)
    assert plain.defect == ""
    for severity in range(1, 6):
        for name in ("n00", "n03", "n04"):
            source = folder_set / "frost" / str(severity) / "n01"
            shutil.copytree(source, folder_set / "frost" / str(severity) / name)
    for name in ("gaussian_blur", "saturate", "spatter", "speckle_noise"):
        shutil.copytree(folder_set / "fog", folder_set / name)
    (folder_set / "Tiny-ImageNet-C-extra.tar").write_bytes(b"")
    (folder_set / ".DS_Store").write_bytes(b"")
    (folder_set / "fog" / "1" / "n01" / "._val_00.png").write_bytes(b"")
    (folder_set / "__MACOSX" / "fog" / "1" / "n01").mkdir(parents=True)
    stored = open_corrupted(folder_set, _CLASSES, image_size=8)
    assert stored.cells == plain.cells
    assert "frost holds 3 classes that other corruptions lack" in stored.defect
    assert "\n" not in stored.defect
    after = stored.read("frost", 2)
    assert after.ids == before.ids
    np.testing.assert_array_equal(after.images, before.images)
    np.testing.assert_array_equal(after.labels, before.labels)
    # Only there, and only more: anything else is another data set.
    with pytest.raises(ValueError, match="only there: n02"):
        open_corrupted(folder_set, ("n01",), image_size=8)
    shutil.copytree(folder_set / "frost" / "1" / "n03", folder_set / "fog/1/n03")
    with pytest.raises(ValueError, match=r"fog.1, only there: n03"):
        open_corrupted(folder_set, _CLASSES, image_size=8)
    shutil.rmtree(folder_set / "fog" / "1" / "n03")
    shutil.rmtree(folder_set / "frost" / "4" / "n02")
    with pytest.raises(ValueError, match=r"frost.4, missing there: n02"):
        open_corrupted(folder_set, _CLASSES, image_size=8)


def test_frost_alone_must_have_the_classes(folder_set, tmp_path):
    shutil.copytree(folder_set / "frost", tmp_path / "alone" / "frost")
    with pytest.raises(ValueError, match="only there: n02"):
        open_corrupted(tmp_path / "alone", ("n01",), image_size=8, allow_partial=True)


def test_imagenet_c_as_published(folder_set, tmp_path):
    """Categories, among them the extra corruptions, and archives that were kept."""
    categories = {
        "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
        "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
        "weather": ("snow", "frost", "fog", "brightness"),
        "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    }
    root = tmp_path / "ImageNet-C"
    for category, names in categories.items():
        for name in names:
            shutil.copytree(folder_set / name, root / category / name)
        (root / f"{category}.tar").write_bytes(b"")
    extra = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
    for name in extra:
        shutil.copytree(folder_set / "fog", root / "extra" / name)
    stored = open_corrupted(root, _CLASSES, image_size=8)
    flat = open_corrupted(folder_set, _CLASSES, image_size=8)
    assert stored.cells == flat.cells and stored.defect == ""
    for cell in (("snow", 1), ("jpeg_compression", 5)):
        np.testing.assert_array_equal(
            stored.read(*cell).images, flat.read(*cell).images
        )
    # One category may be all that was fetched.
    for category in ("blur", "weather", "digital"):
        shutil.rmtree(root / category)
    part = open_corrupted(root, _CLASSES, image_size=8, allow_partial=True)
    assert {name for name, _ in part.cells} == set(categories["noise"])


def test_stored_images_are_scaled_and_not_cropped(folder_set):
    """ImageNet-C's were cropped when they were made."""
    path = folder_set / "fog" / "3" / "n01" / "val_00.png"
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, :4] = 200
    cv2.imwrite(str(path), image)
    shown = open_corrupted(folder_set, _CLASSES, image_size=4).read("fog", 3).images[0]
    np.testing.assert_array_equal(shown, image[::2, ::2])


@pytest.fixture
def npy_set(tmp_path):
    """An archive like CIFAR-10-C with 20 images a severity."""
    rng = np.random.default_rng(0)
    for name in (*BENCHMARK, "saturate"):
        images = rng.integers(0, 256, (100, 6, 6, 3), np.uint8)
        np.save(tmp_path / f"{name}.npy", images)
    np.save(tmp_path / "labels.npy", np.tile(np.arange(20) % 10, 5))
    return tmp_path


def test_archives_hold_the_severities_one_after_the_other(npy_set):
    stored = open_corrupted(npy_set, _CIFAR10, image_size=6)
    assert len(stored.cells) == 75
    whole = np.load(npy_set / "contrast.npy")
    split = stored.read("contrast", 4)
    np.testing.assert_array_equal(split.images, whole[60:80])
    np.testing.assert_array_equal(split.labels, np.arange(20) % 10)
    assert split.ids == stored.read("fog", 1).ids
    enlarged = open_corrupted(npy_set, _CIFAR10, image_size=12).read("fog", 2)
    assert enlarged.images.shape == (20, 12, 12, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
@pytest.mark.parametrize("classes", [10, 100])
def test_cifar_c_as_published(tmp_path, dtype, classes):
    """19 archives, labels of all severities (50,000 of them), 10 or 100 classes."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(2 * classes) % classes)
    for name in (*BENCHMARK, "gaussian_blur", "saturate", "spatter", "speckle_noise"):
        # The grey level tells severity and label.
        levels = np.concatenate([labels + 20 * severity for severity in range(1, 6)])
        images = np.empty((len(levels), 6, 6, 3), np.uint8)
        images[:] = levels[:, None, None, None]
        np.save(tmp_path / f"{name}.npy", images)
    np.save(tmp_path / "labels.npy", np.tile(labels, 5).astype(dtype))
    for name in ("._fog.npy", ".DS_Store", "CIFAR-C.tar", "README.txt"):
        (tmp_path / name).write_bytes(b"")
    names = _CIFAR10 if classes == 10 else [f"class {i:02d}" for i in range(classes)]
    stored = open_corrupted(tmp_path, names, image_size=6)
    assert len(stored.cells) == 75
    for severity in (1, 3, 5):
        split = stored.read("frost", severity)
        assert split.labels.dtype == np.int32
        np.testing.assert_array_equal(split.labels, labels)
        shown = split.images[:, 0, 0, 0]
        np.testing.assert_array_equal(shown, labels + 20 * severity)


def test_archives_must_have_the_same_labels_at_all_severities(npy_set):
    labels = np.tile(np.arange(20) % 10, 5)
    labels[25] = 9
    np.save(npy_set / "labels.npy", labels)
    stored = open_corrupted(npy_set, _CIFAR10, image_size=6)
    stored.read("fog", 1)
    with pytest.raises(ValueError, match="1 of class dog in fog 2, 2 in others"):
        stored.read("fog", 2)


def test_archives_hold_indices_of_cifars_classes(npy_set):
    open_corrupted(npy_set, [str(index) for index in range(10)], image_size=6)
    with pytest.raises(ValueError, match="CIFAR's classes in alphabetical order"):
        open_corrupted(npy_set, _CIFAR10[::-1], image_size=6)
    with pytest.raises(ValueError, match=r"2 names, .* of 10 classes"):
        open_corrupted(npy_set, _CLASSES, image_size=6)


def test_archives_must_fit_their_labels(npy_set):
    np.save(npy_set / "fog.npy", np.zeros((95, 6, 6, 3), np.uint8))
    with pytest.raises(ValueError, match=r"fog\.npy is damaged .*\(100, n, n, 3\)"):
        open_corrupted(npy_set, _CIFAR10, image_size=6)
    (npy_set / "labels.npy").unlink()
    with pytest.raises(ValueError, match=r"labels\.npy"):
        open_corrupted(npy_set, _CIFAR10, image_size=6)


def test_sets_of_tensorflow_datasets(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")

    class SmallCorrupted(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = tuple(
            tfds.core.BuilderConfig(name=f"{corruption}_{severity}")
            for corruption in ("fog", "frosted_glass_blur")
            for severity in range(1, 6)
        )

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(6, 6, 3)),
                "label": tfds.features.ClassLabel(num_classes=10),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {"test": self._generate_examples()}

        def _generate_examples(self):
            severity = int(self.builder_config.name[-1])
            for index in range(10):
                image = np.full((6, 6, 3), 20 * index + severity, np.uint8)
                yield index, {"image": image, "label": index}

    arguments = {"image_size": 6, "data_dir": tmp_path}
    with pytest.raises(ValueError, match=r"15 x 5 cells.*snow 1"):
        open_corrupted("tfds:small_corrupted", _CIFAR10, **arguments)
    stored = open_corrupted(
        "tfds:small_corrupted", _CIFAR10, allow_partial=True, **arguments
    )
    assert len(stored.cells) == 10 and ("glass_blur", 5) in stored.cells
    split = stored.read("glass_blur", 5)
    np.testing.assert_array_equal(split.images[:, 0, 0, 0], 20 * split.labels + 5)
    assert sorted(split.labels) == list(range(10))


def test_imagenet_c_of_tensorflow_datasets(tmp_path):
    """Named classes in their own order, names of files, and validation images alone."""
    tfds = pytest.importorskip("tensorflow_datasets")

    class NamedCorrupted(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("0.1.0")
        BUILDER_CONFIGS = tuple(
            tfds.core.BuilderConfig(name=f"{corruption}_{severity}")
            for corruption in ("gaussian_noise", "saturate", "elastic_transform")
            for severity in range(1, 6)
        )

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(8, 8, 3), encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=["n02", "n01"]),
                "file_name": tfds.features.Text(),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {"validation": self._generate_examples()}

        def _generate_examples(self):
            for index in range(6):
                image = np.full((8, 8, 3), 100 * (index % 2), np.uint8)
                label = ("n02", "n01")[index % 2]
                name = f"val_{index}.JPEG"
                yield name, {"image": image, "label": label, "file_name": name}

    stored = open_corrupted(
        "named_corrupted", _CLASSES, image_size=8, data_dir=tmp_path, allow_partial=True
    )
    assert {name for name, _ in stored.cells} == {"gaussian_noise", "elastic_transform"}
    split = stored.read("elastic_transform", 4)
    is_first = split.labels == 0
    assert is_first.sum() == 3
    np.testing.assert_array_equal(split.images[:, 0, 0, 0], 100 * is_first)


def test_published_sets_of_tensorflow_datasets_have_all_cells(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    for name in ("cifar10_corrupted", "tfds:imagenet2012_corrupted"):
        stored = open_corrupted(name, _CIFAR10, image_size=32, data_dir=tmp_path)
        assert len(stored.cells) == 75


@pytest.mark.parametrize("name", ["./nowhere", "/no/where", "A B"])
def test_a_missing_folder(name):
    with pytest.raises(FileNotFoundError, match="which is no folder"):
        open_corrupted(name, _CLASSES, image_size=8)


def test_an_unknown_name():
    with pytest.raises(ValueError, match=r"layout of ImageNet-C.*nothing_of_that_name"):
        open_corrupted("tfds:nothing_of_that_name", _CLASSES, image_size=8)


def test_a_folder_that_is_no_corrupted_set(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match="no cell of a benchmark"):
        open_corrupted(tmp_path, _CLASSES, image_size=8)


def test_real_tiny_imagenet_c(real_data_dir):
    clean = load_dataset(real_data_dir / "tiny-imagenet-50")
    stored = open_corrupted(
        real_data_dir / "tiny-imagenet-50-c", clean.class_names, image_size=64
    )
    assert len(stored.cells) == 75
    test = clean.split("test")
    position = {name: index for index, name in enumerate(test.ids)}
    change = {}
    for severity in (1, 5):
        split = stored.read("brightness", severity)
        assert len(split) == 250
        chosen = [position[name] for name in split.ids]
        np.testing.assert_array_equal(split.labels, test.labels[chosen])
        difference = split.images.astype(float) - test.images[chosen]
        change[severity] = difference.mean()
    # The images are those of the clean set, brighter and brighter.
    assert 10 < change[1] < change[5]
