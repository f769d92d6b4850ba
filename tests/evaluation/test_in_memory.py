import numpy as np
import pytest

from v1keras.evaluation import (
    CLEAN,
    CleanImages,
    Lineup,
    OnlineImages,
    corrupted_cells,
    evaluate_models,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
LABELS = RNG.integers(0, 5, 12)


@pytest.fixture
def models(make_model):
    return {name: make_model(seed) for seed, name in enumerate(("base", "a", "b"))}


def test_models_in_memory(tmp_path, models):
    images = OnlineImages(CleanImages(IMAGES, LABELS), corrupted_cells(["contrast"]))
    # A hidden member is measured, and not shown.
    lineup = Lineup(["base", "a"], baseline="base", ensembles={"both": ("a", "b")})
    table = evaluate_models(models, images, tmp_path, lineup=lineup, replicates=20)
    assert table.models == ("base", "a", "both") and table.lineup == lineup
    logits = sum(models[n].predict(IMAGES, verbose=0) for n in ("a", "b"))
    expected = np.mean(logits.argmax(axis=1) == LABELS)
    assert table.results["both", CLEAN].accuracy.value == pytest.approx(expected)
    assert (tmp_path / "summary.csv").is_file()
    again = evaluate_models(models, images, tmp_path, lineup=lineup, replicates=20)
    assert again.results == table.results


def test_the_lineup_must_be_of_the_models(tmp_path, models):
    images = CleanImages(IMAGES, LABELS)
    for lineup in (Lineup(["base", "typo"]), Lineup(["base", "a"])):
        with pytest.raises(ValueError, match="`lineup` must be of `models`"):
            evaluate_models(models, images, tmp_path / "out", lineup=lineup)
    assert not (tmp_path / "out").exists()
