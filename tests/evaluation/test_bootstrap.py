import numpy as np
import pytest

from v1keras.evaluation.bootstrap import bootstrap_accuracies, interval


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    truth, hits, repeats = 0.3, 0, 200
    for repeat in range(repeats):
        scores = [(rng.random((1, 150)) < truth).astype(float)]
        draws = bootstrap_accuracies(
            scores, [np.arange(150)], replicates=200, seed=repeat
        )
        low, high = interval(draws[:, 0, 0])
        hits += low <= truth <= high
    # Three standard errors of 200 repeats at 95 % are 4.6 points.
    assert 0.89 <= hits / repeats <= 0.995


def test_width_is_that_of_the_binomial_distribution():
    scores = [np.repeat([0.0, 1.0], [300, 100])[None]]
    draws = bootstrap_accuracies(scores, [np.arange(400)], replicates=4000)
    assert draws.mean() == pytest.approx(0.25, abs=0.002)
    assert draws.std() == pytest.approx(np.sqrt(0.25 * 0.75 / 400), rel=0.05)


def test_cells_of_the_same_images_are_resampled_together():
    score = (np.random.default_rng(1).random((1, 100)) < 0.5).astype(float)
    same = bootstrap_accuracies([score, score], [np.arange(100)] * 2)
    np.testing.assert_array_equal(same[..., 0], same[..., 1])
    apart = bootstrap_accuracies([score, score], [np.arange(100), np.arange(100, 200)])
    correlation = np.corrcoef(apart[:, 0, 0], apart[:, 0, 1])[0, 1]
    assert abs(correlation) < 0.1


def test_order_of_the_images_in_a_cell_does_not_matter():
    rng = np.random.default_rng(2)
    score, order = rng.random((2, 50)), rng.permutation(50)
    straight = bootstrap_accuracies([score], [np.arange(50)])
    shuffled = bootstrap_accuracies([score[:, order]], [order])
    np.testing.assert_allclose(straight, shuffled, rtol=1e-5)


def test_models_are_compared_on_the_same_resamples():
    # A model that is right on ten images more is better in every resample.
    better = np.zeros((2, 100))
    better[0, :60], better[1, :50] = 1, 1
    draws = bootstrap_accuracies([better], [np.arange(100)])
    assert (draws[:, 0] >= draws[:, 1]).all()


def test_seed_fixes_the_draws():
    score = [np.random.default_rng(3).random((1, 30))]
    draw = [bootstrap_accuracies(score, [np.arange(30)], seed=s) for s in (0, 0, 1)]
    np.testing.assert_array_equal(draw[0], draw[1])
    assert not np.array_equal(draw[0], draw[2])


def test_replicates_without_any_image_of_a_cell_are_left_out():
    scores = [np.ones((1, 30)), np.ones((1, 1))]
    draws = bootstrap_accuracies(scores, [np.arange(30), [0]])
    assert np.isnan(draws[..., 1]).any()
    np.testing.assert_array_equal(interval(draws[:, 0]), np.ones((2, 2)))
