"""What the tests of several packages share."""

import importlib.util
import os
import signal
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

# Before TensorFlow is imported anywhere: its start-up messages hide the results.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# A test runs what JAX has compiled a few times only: compiling is what takes long.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

_BESIDE_REPOSITORY = Path(__file__).resolve().parents[2] / "shared"
_REAL_DATA = ("tiny-imagenet-50", "tiny-imagenet-50-c")


def pytest_configure(config):
    """Lets children be stopped, and gives TensorFlow two logical CPUs for replicas."""
    # A shell has what runs in the background ignore SIGINT, `nohup` SIGHUP. Children
    # would inherit that; a function they do not inherit.
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    if importlib.util.find_spec("tensorflow") is None:
        return  # an environment for tests/backends
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    halves = [tf.config.LogicalDeviceConfiguration() for _ in range(2)]
    tf.config.set_logical_device_configuration(cpu, halves)


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """The folder of the golden values, `*.npz`, and of files saved by old versions."""
    return Path(__file__).with_name("golden")


@pytest.fixture(scope="session")
def real_data_dir() -> Path:
    """The folder that holds `tiny-imagenet-50` and `tiny-imagenet-50-c`.

    The environment variable `V1KERAS_DATA` names it; else the archives in
    `shared/data` beside the repository are unpacked once into the user's cache.
    """
    named = os.environ.get("V1KERAS_DATA")
    if named:
        folder = Path(named)
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(cache) / "v1keras"
        for name in _REAL_DATA:
            archive = _BESIDE_REPOSITORY / "data" / f"{name}.tar.xz"
            if archive.is_file() and not (folder / name).is_dir():
                _unpack(archive, folder / name)
    if not all((folder / name).is_dir() for name in _REAL_DATA):
        pytest.skip(f"no real images in {folder}; V1KERAS_DATA may name a folder")
    return folder


@pytest.fixture
def read_only():
    """A function that makes a folder one that cannot be written, by root either."""
    mounted, changed = [], []

    def make(folder: Path) -> Path:
        if os.geteuid() == 0:
            bind = ["mount", "--bind", folder, folder]
            if subprocess.run(bind, capture_output=True).returncode:
                pytest.skip("this root may not mount")
            mounted.append(folder)
            again = ["mount", "-o", "remount,ro,bind", folder]
            subprocess.run(again, check=True)
        else:
            changed.append(folder)
            folder.chmod(0o555)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)
    for folder in changed:
        folder.chmod(0o755)


def _unpack(archive: Path, target: Path) -> None:
    """Unpacks beside `target`, then renames: an interrupted run leaves no half."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        with tarfile.open(archive) as content:
            content.extractall(temporary, filter="data")
        try:
            (Path(temporary) / target.name).rename(target)
        except OSError:
            # Another process of the tests was faster.
            if not target.is_dir():
                raise


@pytest.fixture
def write_tfds(tmp_path):
    """A function that writes a prepared data set and gives its `data_dir`."""
    tfds = pytest.importorskip("tensorflow_datasets")

    def write(name, splits, features, shards=None):
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version="1.0.0",
            data_dir=tmp_path,
            config=None,
            split_datasets={
                name: list(enumerate(rows)) for name, rows in splits.items()
            },
            features=tfds.features.FeaturesDict(features),
            download_config=tfds.download.DownloadConfig(num_shards=shards),
        )
        return tmp_path

    return write
