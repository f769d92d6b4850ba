import csv
import json
import shutil

import numpy as np
import pytest
from stopping import StopIn, Stopped

from v1keras.data import load_dataset, training_batches
from v1keras.models import build_ensemble
from v1keras.training import DistillConfig, Run, distill, open_dataset, train
from v1keras.training.teacher import cached_logits

CLASSES = 12


@pytest.fixture
def lesson(tiny):
    """A student's configuration."""

    def make(**settings):
        common = {k: v for k, v in vars(tiny).items() if k != "variant"}
        return DistillConfig(**{**common, **settings})

    return make


def history(folder):
    with (folder / "history.csv").open() as file:
        return list(csv.DictReader(file))


def teacher_of(config):
    runs = [Run.open(path) for path in config.members]
    return build_ensemble([run.load_model() for run in runs]), runs


def test_cached_logits_teach_like_the_teacher_itself(members, lesson, tmp_path):
    # Without noise and augmentation, views do not differ. The rate is small because
    # training magnifies the rounding of the stored logits.
    common = {
        "members": (members["no_noise"],),
        "augmentation": "none",
        "epochs": 2,
        "learning_rate": 1e-4,
    }
    rows = []
    for views in (0, 1):
        out = tmp_path / f"student_{views}"
        distill(lesson(out=str(out), teacher_views=views, **common))
        rows.append(history(out))
        assert (out / "teacher").is_dir() == bool(views)
    for online, cached in zip(*rows, strict=True):
        assert set(online) == set(cached) >= {"teacher_agreement", "val_loss"}
        for name in set(online) - {"seconds"}:
            expected = pytest.approx(float(cached[name]), rel=5e-3, abs=0.02)
            assert float(online[name]) == expected


def test_views_are_stored_resumed_and_told_apart(members, lesson, tmp_path):
    cache = tmp_path / "logits"
    config = lesson(
        members=(members["standard"], members["no_noise"]), teacher_views=2, teacher_draws=2,
        epochs=1, teacher_cache=str(cache),
    )  # fmt: skip
    run = distill(config)
    assert run.is_finished and not (run.path / "teacher").exists()
    names = ("view_000", "view_001", "validation")
    stored = {name: np.load(cache / f"{name}.npy") for name in names}
    assert stored["view_000"].dtype == np.float16
    assert stored["view_000"].shape == (72, CLASSES)
    assert stored["validation"].shape == (24, CLASSES)
    assert (stored["view_000"] != stored["view_001"]).mean() > 0.9

    (cache / "view_001.npy").unlink()
    kept = (cache / "view_000.npy").stat().st_mtime_ns
    dataset = open_dataset(config)
    logits = cached_logits(cache, *teacher_of(config), config, dataset)
    assert (cache / "view_000.npy").stat().st_mtime_ns == kept
    # The noise depends on the view, not on what ran before.
    np.testing.assert_array_equal(logits.train[1], stored["view_001"])
    assert not list(cache.glob(".*"))

    other = lesson(**{**vars(config), "teacher_draws": 1, "out": str(tmp_path / "b")})
    with pytest.raises(FileExistsError, match="draws=2 instead of draws=1"):
        distill(other)
    content = json.loads((cache / "manifest.json").read_text())
    content["teacher"][0] = "0" * 64
    (cache / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(FileExistsError, match=r"teacher=\['0000"):
        distill(lesson(**{**vars(config), "out": str(tmp_path / "c")}))


def test_stored_logits_are_those_of_the_view_that_is_shown(members, lesson, tmp_path):
    config = lesson(members=(members["no_noise"],), teacher_views=2, epochs=1)
    dataset = open_dataset(config)
    teacher, runs = teacher_of(config)
    logits = cached_logits(tmp_path / "cache", teacher, runs, config, dataset)
    batches = training_batches(
        dataset.split("train"), batch_size=16, augment="paper",
        views=2, start_epoch=1, teacher_logits=logits.train,
    )  # fmt: skip
    for images, (_, taught) in batches.take(3):
        np.testing.assert_allclose(
            taught, teacher(images, training=False), rtol=2e-3, atol=2e-3
        )


def test_an_interrupted_student_goes_on(members, lesson, tmp_path, change):
    config = lesson(
        members=(members["no_noise"],), teacher_views=2, mixup=0.2, cutmix=1.0, epochs=3,
        schedule="cosine",
    )  # fmt: skip
    whole = distill(change(config, out=str(tmp_path / "whole")))
    with pytest.raises(Stopped):
        distill(config, callbacks=[StopIn(3)])
    resumed = distill(config)
    for a, b in zip(history(whole.path), history(resumed.path), strict=True):
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-3)
        assert float(a["val_loss"]) == pytest.approx(float(b["val_loss"]), rel=1e-3)


def test_a_student_without_a_teacher(members, lesson, tiny, change, tmp_path):
    settings = {"mixup": 0.5, "epochs": 1}
    student = distill(
        lesson(
            members=(members["no_noise"],),
            alpha=0.0,
            out=str(tmp_path / "student"),
            **settings,
        )
    )
    plain = train(change(tiny, out=str(tmp_path / "plain"), **settings))
    (a,), (b,) = history(student.path), history(plain.path)
    assert "teacher_agreement" not in a and not (student.path / "teacher").exists()
    for name in ("loss", "val_loss", "accuracy", "val_accuracy"):
        assert float(a[name]) == pytest.approx(float(b[name]), rel=1e-4)


def test_feature_matching_by_flags(members, lesson, tmp_path):
    run = distill(
        lesson(
            members=(members["no_noise"], members["standard"]), epochs=1, mixed_precision=True,
            out=str(tmp_path / "student"), feature_layer="layer4_1_relu2",
            feature_weight=0.1,
        )
    )  # fmt: skip
    assert float(history(run.path)[0]["feature_loss"]) > 0


@pytest.mark.parametrize("disagreement", [0.0, 1.0])
def test_a_noisy_teacher_goes_on_where_it_was(
    disagreement, members, lesson, change, tmp_path
):
    config = lesson(
        members=(members["no_noise"], members["standard"]), epochs=2,
        disagreement=disagreement,
    )  # fmt: skip
    whole = distill(change(config, out=str(tmp_path / "whole")))
    with pytest.raises(Stopped):
        distill(config, callbacks=[StopIn(2)])
    resumed = distill(config)
    weights = (run.load_model().get_weights() for run in (whole, resumed))
    assert all(map(np.array_equal, *weights))


def test_a_run_of_an_older_version_goes_on(tiny, change):
    run = train(change(tiny, epochs=1))
    before = (run.path / "model.keras").stat().st_mtime_ns
    config = json.loads((run.path / "config.json").read_text())
    for name in ("mixup", "cutmix"):
        del config["settings"][name]
    (run.path / "config.json").write_text(json.dumps(config))
    train(change(tiny, epochs=1))
    assert (run.path / "model.keras").stat().st_mtime_ns == before
    with pytest.raises(FileExistsError, match=r"mixup=0\.0 instead of mixup=0\.2"):
        train(change(tiny, epochs=1, mixup=0.2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher_views": -1}, "teacher_views=-1"),
        ({"teacher_draws": 0}, "teacher_draws=0"),
        ({"mixup": -0.1}, "mixup=-0.1"),
        ({"feature_layer": "pool"}, "feature_weight=0.0"),
        ({"feature_weight": 1.0}, "feature_weight=1.0"),
        (
            {"feature_layer": "pool", "feature_weight": 1.0, "teacher_views": 2},
            "0 with --feature_layer",
        ),
        ({"disagreement": -1.0}, "disagreement=-1.0"),
        ({"disagreement": 1.0, "alpha": 0.0}, "0 with --alpha=0"),
        ({"disagreement": 1.0, "teacher_views": 2}, "0 with --disagreement"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(ValueError, match=message):
        DistillConfig(out="x", members=("a",), **settings)


def test_two_replicas_read_the_same_logits(members, lesson, tmp_path):
    config = lesson(
        members=(members["no_noise"],), teacher_views=1, epochs=1, strategy="mirrored",
        out=str(tmp_path / "student"),
    )  # fmt: skip
    run = distill(config)
    stored = np.load(run.path / "teacher" / "validation.npy")
    teacher, _ = teacher_of(config)
    images = (
        load_dataset("shapes:96:24", image_size=32, validation_fraction=0.25)
        .split("validation")
        .images.astype("float32")
    )
    np.testing.assert_allclose(stored, teacher(images), rtol=2e-3, atol=2e-3)


def test_a_member_that_is_not_finished_is_refused(members, lesson, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(members["no_noise"], broken)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**config, "result": None}))
    student = tmp_path / "student"
    with pytest.raises(ValueError, match="broken, not finished"):
        distill(lesson(members=(str(broken), members["standard"]), out=str(student)))
    assert not student.exists()


def test_logits_that_are_not_finite_do_not_teach(members, lesson, tmp_path):
    config = lesson(members=(members["no_noise"],), teacher_views=1, epochs=1)
    dataset = open_dataset(config)
    teacher, runs = teacher_of(config)
    bias = teacher.trainable_variables[-1]
    before = bias.numpy()
    bias.assign(before + 1e5)  # finite, but not in float16
    with pytest.raises(ValueError, match=r"finite logits.*in teacher: view 1 of 1"):
        cached_logits(tmp_path / "cache", teacher, runs, config, dataset)
    assert not list((tmp_path / "cache").glob("*.npy"))
    bias.assign(before)
    cached_logits(tmp_path / "cache", teacher, runs, config, dataset)
    file = tmp_path / "cache" / "view_000.npy"
    stored = np.load(file)
    stored[-1, -1] = np.nan
    np.save(file, stored)
    with pytest.raises(ValueError, match=r"finite logits.*in .*view_000\.npy"):
        cached_logits(tmp_path / "cache", teacher, runs, config, dataset)
