import dataclasses
import shutil

import keras
import numpy as np
import pytest

import v1keras
from v1keras.models import weights_of_model
from v1keras.training import DistillConfig, TrainConfig, distill, train
from v1keras.training.checkpoint import RunCheckpoint
from v1keras.training.held_out import held_out_by_all, open_run_dataset
from v1keras.training.initial import take_weights

SMALL = {
    "dataset": "shapes:96:24",
    "variant": "sf_low",
    "image_size": 32,
    "stride": 8,
    "width": 4,
    "arch": "resnet18",
    "epochs": 1,
    "augmentation": "none",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return train(TrainConfig(**SMALL, out=str(tmp_path_factory.mktemp("runs") / "a")))


@pytest.fixture
def photos(tmp_path):
    """A folder of two classes of shapes."""
    images, labels = v1keras.data.draw_shapes(96, image_size=32)
    for label in range(2):
        for split, chosen in (("train", slice(6)), ("val", slice(6, 8))):
            folder = tmp_path / "photos" / split / f"class_{label}"
            folder.mkdir(parents=True)
            for index, image in enumerate(images[labels == label][chosen]):
                keras.utils.save_img(folder / f"{index}.png", image)
    return str(tmp_path / "photos")


def test_frozen_layers_are_taken_once_and_stay(
    source, photos, tmp_path, monkeypatch, capsys
):
    gone = tmp_path / "source"
    shutil.copytree(source.path, gone)
    config = TrainConfig(
        **SMALL | {"dataset": photos, "epochs": 2, "validation_fraction": 0.5},
        init=str(gone),
        freeze="backbone",
        out=str(tmp_path / "run"),
    )
    write = RunCheckpoint.on_epoch_end

    def killed(self, epoch, logs=None):
        write(self, epoch, logs)
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(RunCheckpoint, "on_epoch_end", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    assert f"{gone}: 39 layers taken; begun anew: logits" in capsys.readouterr().out
    shutil.rmtree(gone)
    run = train(config)
    assert run.is_finished and len(run.history["loss"]) == 2
    assert "layers taken" not in capsys.readouterr().out

    before, after = (weights_of_model(r.load_model()) for r in (source, run))
    assert after["logits"]["kernel"].shape == (32, 2)
    for layer in before:
        same = [np.array_equal(before[layer][n], v) for n, v in after[layer].items()]
        assert all(same) == (layer not in ("logits", "bottleneck")), layer
    assert run.config["settings"]["init"] == str(gone)
    with pytest.raises(
        FileExistsError, match="freeze='backbone' instead of freeze=None"
    ):
        train(dataclasses.replace(config, freeze=None))


def test_other_weights_than_a_run_began_with_are_noticed(source, tmp_path):
    first = tmp_path / "source"
    shutil.copytree(source.path, first)
    config = TrainConfig(**SMALL, init=str(first), out=str(tmp_path / "run"))
    run = train(config)
    model = source.load_model()
    model.set_weights([2 * weight for weight in model.get_weights()])
    model.save(first / "model.keras")
    for epochs in (1, 2):
        with pytest.raises(FileExistsError, match=r"other weights than .*source now"):
            train(dataclasses.replace(config, epochs=epochs))
    shutil.rmtree(first)
    assert train(config) == run
    longer = train(dataclasses.replace(config, epochs=2))
    assert longer.config["init"] == run.config["init"] is not None


def test_images_that_others_have_seen_are_not_held_out(source, tmp_path, capsys):
    def trained(name, kind=TrainConfig, **settings):
        run = {TrainConfig: train, DistillConfig: distill}[kind](
            kind(**SMALL | settings, out=str(tmp_path / name))
        )
        warned = "Validation accuracy will be too high" in capsys.readouterr().out
        held_out = held_out_by_all([run], open_run_dataset(run))
        assert warned != held_out
        return run, held_out

    path = str(source.path)
    assert held_out_by_all([source], open_run_dataset(source))
    assert trained("same", init=path)[1]
    assert trained("other_data", init=path, dataset="shapes:120:24", split_seed=1)[1]
    other, held_out = trained("other_fold", init=path, split_seed=1)
    assert not held_out
    # Of its own fold, but behind it is one of another.
    assert not trained("later", init=str(other.path), split_seed=1)[1]
    members = (path,)
    assert trained("student", DistillConfig, members=members)[1]
    assert not trained("other", DistillConfig, members=members, split_seed=1)[1]
    untaught = {"members": members, "split_seed": 1, "alpha": 0.0}
    assert trained("untaught", DistillConfig, **untaught)[1]


def test_a_student_begins_with_weights_too(source, tmp_path, capsys):
    config = DistillConfig(
        **SMALL,
        members=(str(source.path),),
        init=str(source.path / "model.keras"),
        alpha=0.0,
        out=str(tmp_path / "student"),
    )
    distill(config)
    assert "40 layers taken\n" in capsys.readouterr().out


def test_cells_in_another_order_or_of_other_kinds(source, tmp_path):
    other = source.load_model()
    common = {"num_classes": 12, "width": 4, "stride": 8, "input_shape": (32, 32, 3)}
    same = v1keras.models.build_classifier(
        "resnet18", "sf_low", channel_order="sampled", **common
    )
    line = take_weights(same, str(source.path), source.class_names, frozen=False)
    assert line.endswith("40 layers taken")
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    for model in (same, other):
        v1keras.set_noise(model, "off")
    np.testing.assert_allclose(same(images), other(images), atol=1e-4)
    high = v1keras.models.build_classifier("resnet18", "sf_high", **common)
    line = take_weights(high, str(source.path), source.class_names, frozen=True)
    assert line.endswith("39 layers taken; begun anew: bottleneck")


def test_a_published_backbone_behind_v1(golden_dir, tmp_path):
    model = v1keras.models.build_classifier("resnet18", num_classes=3, width=2)
    path = str(golden_dir / "published" / "resnet18.pth")
    line = take_weights(model, path, ("a", "b", "c"), frozen=True)
    assert line.endswith("38 layers taken; begun anew: logits, bottleneck")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init": "missing.pth"}, "must be a file. Received: missing"),
        ({"init": "missing.keras"}, "Received: init=missing.keras"),
        ({"freeze": "backbone"}, "left out without --init"),
        ({"arch": "resnet50", "freeze": "backbone"}, "that is frozen. Received: init="),
        ({"width": 6}, "must fit a layer. Received: init="),
    ],
)
def test_bad_input_leaves_nothing(settings, message, source, tmp_path):
    given = {"init": str(source.path)} if settings != {"freeze": "backbone"} else {}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(TrainConfig(**SMALL | given | settings, out=str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()
