import csv

import numpy as np
import pytest

from v1keras.evaluation import CLEAN, Cell, CellAnswers, confident_mistakes
from v1keras.evaluation.answers import class_scores, confusion_matrix, prediction_rows
from v1keras.evaluation.tables import write_tables

FOG, SNOW = Cell("fog", 3), Cell("snow", 1)


def answers(predictions, confidences, labels=(0, 1, 2, 2)):
    shape = (-1, len(labels))
    return CellAnswers(
        np.array([f"i{n}" for n in range(len(labels))]),
        np.array(labels),
        {"m": np.reshape(predictions, shape)},
        {"m": np.reshape(confidences, shape).astype("float32")},
    )


GIVEN = {
    CLEAN: answers([0, 1, 2, 1, 0, 0, 2, 2], [0.9, 0.8, 0.7, 0.6] * 2),
    FOG: answers([1, 1, 0, 0], [0.5, 0.9, 0.4, 0.6]),
    SNOW: answers([0, 2, 2, 2], [0.5, 0.99, 0.4, 0.6]),
}


def test_confusions_count_every_draw():
    clean = confusion_matrix(GIVEN, "m", [CLEAN], 3)
    np.testing.assert_array_equal(clean, [[2, 0, 0], [1, 1, 0], [0, 1, 3]])
    both = confusion_matrix(GIVEN, "m", [CLEAN, FOG], 3)
    np.testing.assert_array_equal(both - clean, [[0, 1, 0], [0, 1, 0], [2, 0, 0]])


def test_recall_and_precision_of_classes():
    scores = class_scores(np.array([[2, 0, 0], [1, 1, 0], [0, 0, 0]]))
    counts, recall, precision = scores
    np.testing.assert_array_equal(counts, [2, 2, 0])
    np.testing.assert_allclose(recall, [1, 0.5, np.nan])
    np.testing.assert_allclose(precision, [2 / 3, 1, np.nan])
    assert scores.balanced_accuracy == 0.75


def test_the_surest_mistakes_come_first_one_for_each_corruption():
    mistakes = confident_mistakes(GIVEN, "m")
    found = [(m.cell, m.id, m.label, m.prediction) for m in mistakes]
    assert found == [
        (CLEAN, "i3", 2, 1),
        (SNOW, "i1", 1, 2),
        (FOG, "i3", 2, 0),
    ]
    assert mistakes[1].confidence == pytest.approx(0.99)
    assert len(confident_mistakes(GIVEN, "m", count=1)) == 2


def test_predictions_image_by_image():
    first, *_, last = prediction_rows(GIVEN, ("ant", "bee", "cat"))
    assert first == {
        "corruption": "clean", "severity": 0, "id": "i0", "label": "ant",
        "prediction:m": "ant", "confidence:m": 0.9,
    }  # fmt: skip
    assert (last["corruption"], last["id"], last["prediction:m"]) == (
        "snow",
        "i3",
        "cat",
    )


def test_tables_of_answers_agree_with_the_accuracies(make_table, tmp_path):
    table = make_table()
    write_tables(tmp_path, table)
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40 * len(table.cells)
    fog = [row for row in rows if (row["corruption"], row["severity"]) == ("fog", "3")]
    right = np.mean([row["label"] == row["prediction:b"] for row in fog])
    assert right == pytest.approx(table.results["b", Cell("fog", 3)].accuracy.value)
    with (tmp_path / "classes.csv").open() as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if (row["model"], row["images"]) == ("b", "clean")
        ]
    counts = np.array([int(row["answers"]) for row in rows])
    recall = np.array([float(row["recall"]) for row in rows])
    assert counts.sum() == 40
    clean = table.groups["b", "clean"].accuracy.value
    assert counts @ recall / 40 == pytest.approx(clean, abs=1e-5)
