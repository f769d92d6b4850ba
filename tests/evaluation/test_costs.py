import keras
import numpy as np
import pytest

from v1keras.evaluation import Cost, Lineup, measure_cost
from v1keras.evaluation.costs import costs_of_lineup, measure_costs


def test_parameters_and_operations_are_those_by_hand():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False, dtype="float32")(inputs)
    outputs = keras.layers.Dense(5, use_bias=False)(keras.layers.Flatten()(x))
    cost = measure_cost(keras.Model(inputs, outputs))
    assert cost.parameters == 3 * 3 * 3 * 4 + 6 * 6 * 4 * 5
    assert cost.bytes == 4 * cost.parameters
    assert cost.operations == 2 * (6 * 6 * 4 * 27 + 6 * 6 * 4 * 5)
    assert cost.milliseconds > 0


def test_an_ensemble_costs_what_its_members_do():
    costs = {n: Cost(10, 40, 100 * (i + 1), 1.5, "CPU") for i, n in enumerate("abc")}
    lineup = Lineup(("a",), ensembles={"both": ("b", "c")})
    shown = costs_of_lineup(lineup, costs)
    assert shown == {"a": costs["a"], "both": Cost(20, 80, 500, 3.0, "CPU")}


def test_costs_are_measured_once_for_the_same_weights(tmp_path, make_model):
    class Models(dict):
        looked_up = ()

        def __getitem__(self, name):
            self.looked_up += (name,)
            return super().__getitem__(name)

    models = Models(a=make_model(0), b=make_model(1, noise=True))
    first = measure_costs(tmp_path, models, {"a": "1", "b": "2"})
    assert models.looked_up == ("a", "b")
    assert measure_costs(tmp_path, models, {"a": "1", "b": "2"}) == first
    assert models.looked_up == ("a", "b")
    measure_costs(tmp_path, models, {"a": "1", "b": "3"})
    assert models.looked_up == ("a", "b", "b")
    (tmp_path / "costs.json").write_text("{")
    with pytest.raises(ValueError, match=r"costs\.json is damaged .*: remove it"):
        measure_costs(tmp_path, models, {"a": "1", "b": "3"})


def test_a_measurement_leaves_the_model_as_it_was(make_model):
    model = make_model(0)
    before = [np.array(weight) for weight in model.weights]
    measure_cost(model)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
