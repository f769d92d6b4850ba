"""What tests of studies and of choices share."""

import pytest

from v1keras.training import TrainConfig, train


@pytest.fixture
def small(tmp_path):
    """A study of every part, as small as it can be."""
    return {
        "out": str(tmp_path / "study"),
        "dataset": "shapes:120:24",
        "variants": ("base", "no_noise", "sf_low"),
        "arch": "resnet18",
        "width": 4,
        "image_size": 32,
        "visual_degrees": 1.0,
        "stride": 8,
        "simple_channels": 8,
        "complex_channels": 8,
        "epochs": 1,
        "batch_size": 32,
        # One epoch of 60 images teaches nothing, but on 60 others a guess or two is right.
        "validation_fraction": 0.5,
        "min_accuracy": 0.001,
        "schedule": "cosine",
        "max_images": 12,
    }


@pytest.fixture(scope="session")
def run_settings():
    return {
        "dataset": "shapes:160:24",
        "arch": "resnet18",
        "width": 4,
        "image_size": 32,
        "visual_degrees": 1.0,
        "stride": 8,
        "epochs": 1,
        "batch_size": 32,
        "validation_fraction": 0.3,
    }


@pytest.fixture(scope="session")
def runs(run_settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("choice")
    for name, settings in {
        "base": {"variant": "base"},
        "no_noise": {"variant": "no_noise"},
        "standard": {"variant": "standard"},
        "other_fold": {"variant": "base", "split_seed": 5},
    }.items():
        train(TrainConfig(**run_settings, **settings, out=str(folder / name)))
    return folder
