import dataclasses

import pytest

from v1keras.training import TrainConfig, train

TINY = {
    "dataset": "shapes:96:24",
    "variant": "no_noise",
    "arch": "resnet18",
    "width": 16,
    "image_size": 32,
    "visual_degrees": 1.0,
    "stride": 8,
    "simple_channels": 8,
    "complex_channels": 8,
    "epochs": 3,
    "batch_size": 32,
    "validation_fraction": 0.25,
    "learning_rate": 0.05,
    "patience": 1,
}


@pytest.fixture(scope="session")
def tiny_settings():
    """All of `tiny` except its folder, for fixtures that last longer."""
    return TINY


@pytest.fixture
def tiny(tmp_path):
    """A training that takes seconds."""
    return TrainConfig(out=str(tmp_path / "run"), **TINY)


@pytest.fixture
def change():
    return dataclasses.replace


@pytest.fixture(scope="session")
def members(tmp_path_factory):
    """The folders of two runs of one epoch, by variant; they are only read."""
    folder = tmp_path_factory.mktemp("members")
    paths = {}
    for variant in ("no_noise", "standard"):
        settings = {**TINY, "variant": variant, "epochs": 1}
        run = train(TrainConfig(out=str(folder / variant), **settings))
        paths[variant] = str(run.path)
    return paths
