"""Runs that tests of choices share."""

import pytest

from v1keras.training import TrainConfig, train


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
