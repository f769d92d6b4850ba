import dataclasses
from pathlib import Path

import numpy as np

from v1keras.evaluation import CLEAN
from v1keras.evaluation.cautions import cautions
from v1keras.training import Run


def run(name, validation=None, source="fold", result=True):
    config = {
        "settings": {"validation_source": source},
        "data": {"sizes": {"validation": validation}} if validation else {},
        "result": {"best_epoch": 1} if result else None,
        "class_names": [f"c{index}" for index in range(5)],
    }
    return Run(Path(name), config)


def test_few_images_are_told_with_what_one_of_them_weighs(make_table):
    (told,) = cautions(make_table(images=60))
    assert told.startswith("Only 60 images a cell: one image is 1.7 points.")
    assert not list(cautions(make_table(images=1000)))


def test_a_largest_class_is_told_of(make_table):
    table = make_table(images=1000)
    labels = table.answers[CLEAN].labels.copy()
    labels[:600] = 0
    answers = {CLEAN: dataclasses.replace(table.answers[CLEAN], labels=labels)}
    share = np.mean(labels == 0)
    (told,) = cautions(dataclasses.replace(table, answers=answers))
    assert f"makes up {100 * share:.1f} %" in told and "guessing (20.0 %)" in told


def test_choices_on_few_images_are_told_together(make_table):
    runs = {
        "base": run("base", 24),
        "a": run("a", 24),
        "b": run("b", 5000),
        "student": run("student", result=False),
        "old": run("old", 10, source="test"),
    }
    told = list(cautions(make_table(images=1000), runs))
    assert len(told) == 3
    assert "training of student has not finished" in told[0]
    assert told[1] == (
        "The best epoch of base, a was chosen on 24 images: one image is 4.2 points."
    )
    assert "of old was chosen on the test images" in told[2]
