import csv
import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from v1keras.corruptions import corrupt
from v1keras.data import draw_shapes
from v1keras.evaluation import LogitCache, corrupted_cells
from v1keras.evaluation.cells import CLEAN
from v1keras.studies import RecommendConfig, format_recommendation, recommend
from v1keras.studies.recommendation import CORRUPTIONS

CELLS = (CLEAN, *corrupted_cells(CORRUPTIONS))


def write(folder, images):
    folder.mkdir()
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / f"{number}.png"), image[..., ::-1])
    return str(folder)


@pytest.fixture(scope="module")
def config(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recommendation")
    return RecommendConfig(
        photos=(write(folder / "photos", draw_shapes(40, image_size=32, seed=7)[0]),),
        models=(str(runs / "base"), str(runs / "no_noise")),
        out=str(folder / "out"),
        images=40,
        bootstrap=50,
    )


@pytest.fixture(scope="module")
def clear(config):
    return recommend(config)


def test_expected_accuracies_are_those_of_the_cells_in_their_shares(config, clear):
    cache = LogitCache.open(f"{config.out}/logits")
    likeness = clear.likeness
    assert likeness.cells == CELLS
    np.testing.assert_allclose(likeness.shares.sum(), 1.0)
    for candidate in clear.candidates:
        right = []
        for cell in CELLS:
            labels, _, logits = cache.read(cell)
            total = sum(logits[name].reshape(40, 12) for name in candidate.members)
            right.append(np.mean(total.argmax(1) == labels))
        assert candidate.clean == pytest.approx(right[0])
        assert candidate.accuracy == pytest.approx(np.dot(right, likeness.shares))
        assert candidate.low <= candidate.accuracy <= candidate.high
    members = [candidate.members for candidate in clear.candidates]
    assert sorted(members) == [("base",), ("base", "no_noise"), ("no_noise",)]
    assert sum(candidate.best for candidate in clear.candidates) == pytest.approx(1.0)
    accuracies = [candidate.accuracy for candidate in clear.candidates]
    assert accuracies == sorted(accuracies, reverse=True)
    with Path(config.out, "recommendation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["members"].split() for row in rows] == [list(m) for m in members]


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_photographs_look_like_what_has_happened_to_them(
    config, clear, corruption, tmp_path
):
    photos = corrupt(draw_shapes(40, image_size=32, seed=8)[0], corruption, 4, seed=0)
    photos = (write(tmp_path / "photos", photos),)
    found = recommend(dataclasses.replace(config, photos=photos)).likeness

    def share(likeness):
        of = [cell.corruption == corruption for cell in likeness.cells]
        return likeness.shares[of].sum()

    assert share(found) > max(0.6, share(clear.likeness) + 0.3)


def test_photographs_like_nothing_that_was_held_out_are_warned_of(
    config, clear, tmp_path
):
    assert clear.likeness.unlike <= 0.2
    assert "warning" not in format_recommendation(clear)
    skies = np.full((10, 32, 32, 3), (90, 140, 220), np.uint8)
    config = dataclasses.replace(config, photos=(write(tmp_path / "skies", skies),))
    strange = recommend(config)
    assert strange.likeness.unlike == 1.0
    assert "warning: 100% of the photographs" in format_recommendation(strange)


def test_photographs_are_looked_for_before_anything_is_measured(config, tmp_path):
    config = dataclasses.replace(
        config, photos=(str(tmp_path / "none"),), out=str(tmp_path / "out")
    )
    with pytest.raises(FileNotFoundError, match="none"):
        recommend(config)
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize(
    ("name", "value"), [("images", 15), ("bootstrap", 0), ("max_members", 0)]
)
def test_unusable_values_are_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        RecommendConfig(photos=("p",), models=("a",), **{name: value})
