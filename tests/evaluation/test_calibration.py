import dataclasses
import json
import shutil

import numpy as np
import pytest
import scipy.optimize
from scipy.special import log_softmax, softmax

import v1keras
from v1keras.evaluation import calibrate, stored_calibrations
from v1keras.evaluation.calibration import measure_calibration
from v1keras.models import build_ensemble
from v1keras.training import Run
from v1keras.training.held_out import open_run_dataset


@pytest.fixture(scope="module")
def dataset(golden_dir):
    whole = open_run_dataset(Run.open(golden_dir / "saved_by_0.1.0/runs/student"))
    return dataclasses.replace(whole, validation_fraction=0.01)


@pytest.fixture
def run(golden_dir, tmp_path):
    folder = tmp_path / "student"
    shutil.copytree(golden_dir / "saved_by_0.1.0/runs/student", folder)
    return Run.open(folder)


def best_temperature(logits, labels):
    """Where the derivative of the likelihood by the temperature is 0."""

    def slope(temperature):
        mean = (softmax(logits / temperature, axis=-1) * logits).sum(axis=-1)
        return (logits[np.arange(len(labels)), labels] - mean).mean()

    return scipy.optimize.brentq(slope, 0.05, 40.0)


def test_each_half_is_measured_by_the_temperature_of_the_other():
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 1.5, (400, 5))
    labels = (honest + rng.gumbel(size=honest.shape)).argmax(axis=-1)
    logits = 2.5 * honest
    found = measure_calibration(logits, labels)
    assert found.images == 400
    assert found.temperature == pytest.approx(
        best_temperature(logits, labels), rel=1e-3
    )
    assert 2.0 < found.temperature < 3.1
    likelihoods = []
    for own, other in ((0, 1), (1, 0)):
        temperature = best_temperature(logits[other::2], labels[other::2])
        chances = log_softmax(logits[own::2] / temperature, axis=-1)
        likelihoods.append(chances[np.arange(200), labels[own::2]])
    expected = -np.mean(likelihoods)
    assert found.after["negative_log_likelihood"] == pytest.approx(expected, rel=1e-4)
    for name in ("negative_log_likelihood", "expected_calibration_error"):
        assert found.after[name] < found.before[name]


def test_it_is_fitted_on_held_out_images_and_kept_by_model_and_noise(run, dataset):
    assert stored_calibrations(run) == {}
    model = run.load_model()
    v1keras.set_noise(model, "off")
    found = calibrate([run], model, dataset)
    split = dataset.split("validation")
    logits = model.predict(np.asarray(split.images, np.float32), verbose=0)
    best = best_temperature(logits, split.labels)
    assert found.temperature == pytest.approx(best, rel=1e-2)
    assert found.images == len(split)
    assert stored_calibrations(run) == {"off": found}

    # What is stored is not fitted again.
    file = run.path / "calibration.json"
    record = json.loads(file.read_text())
    record["noise"]["off"]["temperature"] = 7.0
    file.write_text(json.dumps(record))
    assert calibrate([run], model) == dataclasses.replace(found, temperature=7.0)

    v1keras.set_noise(model, "fixed", 3)
    assert calibrate([run], model, dataset).temperature != 7.0
    assert stored_calibrations(run).keys() == {"off"}
    v1keras.set_noise(model, "stochastic")
    noisy = calibrate([run], model, dataset)
    assert stored_calibrations(run)["stochastic"] == noisy
    assert stored_calibrations(run)["off"].temperature == 7.0

    model.layers[-1].weights[0].assign(model.layers[-1].weights[0] * 3.0)
    model.save(run.path / "model.keras")
    assert stored_calibrations(run) == {}
    again = calibrate([run], model, dataset).temperature
    assert again > 2 * noisy.temperature


def test_an_ensemble_is_fitted_each_time_and_kept_nowhere(run, golden_dir, dataset):
    base = Run.open(golden_dir / "saved_by_0.1.0/runs/base")
    model = build_ensemble([run.load_model(), base.load_model()])
    assert calibrate([run, base], model, dataset).temperature > 0
    for each in (run, base):
        assert not (each.path / "calibration.json").exists()


def test_a_run_that_cannot_be_written_is_fitted_too(run, dataset, read_only):
    read_only(run.path)
    assert calibrate([run], run.load_model(), dataset).images == 48
    assert stored_calibrations(run) == {}


def test_what_was_not_held_out_is_refused(run, dataset):
    model = run.load_model()
    run.config["data"]["fingerprint"] = "another"
    with pytest.raises(ValueError, match=r"must have held out.*student"):
        calibrate([run], model, dataset)
    run.config["data"]["name"] = "no/such/folder"
    with pytest.raises(ValueError, match="has held out, and they are not there"):
        calibrate([run], model)
    few = dataclasses.replace(dataset, validation_fraction=0.003)
    run.config["data"]["fingerprint"] = few.fingerprint
    with pytest.raises(
        ValueError, match=r"at least 16 validation images\. Received: 12"
    ):
        calibrate([run], model, few)
