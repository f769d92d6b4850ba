import csv
import os
import re

import numpy as np
import pytest
import yaml
from hostile_names import HOSTILE
from markdown_it import MarkdownIt

from export.card import read_robustness, write_card
from v1keras.escaping import escape_markdown
from v1keras.evaluation import CLEAN, LogitCache
from v1keras.evaluation.cache import LOGITS
from v1keras.files import file_fingerprint
from v1keras.training import Run

METADATA = {
    "input": {"shape": [None, 32, 32, 3], "colors": "RGB", "resize": "central square"},
    "class_names": ["n01", "n02"],
    "version": 1795477666,
    "created": "2026-11-25T12:00:00+00:00",
    "warnings": [],
    "min_accuracy": 0.4,
    "max_loss": 0.02,
    "formats": ["savedmodel", "tflite"],
    "quantize": "int8",
    "noise": {"mode": "fixed", "seed": 7},
    "checked_on": "validation",
    "images": 256,
    "accuracy": {
        "keras": {"clean": 0.5, "contrast/3": 0.25},
        "litert": {"clean": 0.49, "contrast/3": 0.24},
    },
    "milliseconds": {"litert": 1.25},
    "bytes": {"savedmodel": 12_340_000, "tflite": 3_400_000},
    "license": "CC-BY-4.0",
    "versions": {"keras": "3.15"},
}
COLUMNS = [
    "model",
    "role",
    "corruption",
    "severity",
    "accuracy",
    "low",
    "high",
    "negative_log_likelihood",
    "brier_score",
    "expected_calibration_error",
    "images",
    "noise_samples",
]
CELLS = [
    ("student", "student", "clean", 0, 0.5, 0.45, 0.55, 1.5, 0.6, 0.1, 2500, 1),
    ("student", "student", "fog", 1, 0.4, 0.35, 0.46, 1.9, 0.7, 0.2, 2500, 1),
    ("student", "student", "fog", 2, 0.3, 0.25, 0.36, 2.1, 0.8, 0.4, 2500, 1),
    ("ensemble", "ensemble", "clean", 0, 0.6, 0.58, 0.62, 1.2, 0.5, 0.05, 2500, 1),
]


def config(name, **settings):
    return {
        "kind": "student",
        "name": name,
        "settings": {"out": "/home/me/secret", "epochs": 6, "arch": "resnet18"}
        | settings,
        "variant": {
            "name": "no_noise",
            "v1": True,
            "sf_min": 0.0,
            "sf_max": 11.3,
            "simple_channels": 256,
            "complex_channels": 256,
            "noise_gain": 0.0,
        },
        "data": {"name": "/home/me/tiny", "fingerprint": "feed", "sizes": {"train": 9}},
        "class_names": ["n01", "n02"],
        "display_names": ["goldfish, Carassius auratus", "crane"],
    }


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "student"
    folder.mkdir()
    return Run(folder, config("student", members=["/home/me/sf_low"]))


def write_csv(path, columns, rows):
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def parse(markdown):
    """The texts of inline elements as a reader of GitHub sees them, and their kinds."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    texts, kinds = [], set()
    for token in parser.parse(markdown):
        kinds |= {token.type, *(child.type for child in token.children or ())}
        if token.type == "inline":
            texts.append("".join(child.content for child in token.children))
    return texts, kinds


def card(folder, runs, robustness=None, name="shop", **changes):
    metadata = {**METADATA, "runs": [run.config for run in runs], **changes}
    write_card(folder, name, metadata, robustness)
    _, front, text = (folder / "MODEL_CARD.md").read_text().split("---\n", 2)
    texts, kinds = parse(text)
    return yaml.safe_load(front), texts, kinds


def test_the_card_holds_what_one_must_know(run, tmp_path):
    write_csv(run.path / "robustness.csv", COLUMNS, CELLS)
    front, texts, _ = card(tmp_path, [run], read_robustness([run]))
    for fact in (
        "shop",
        "50.0% [45.0%, 55.0%]",
        "40.0% [35.0%, 46.0%]",
        "12.34 MB",
        "LiteRT, int8",
        "1.2 ms",
        "feed",
        "no_noise",
        "256 simple, 256 complex",
        "resnet18, width -",
        "epochs",
        "0.100",
        "0.300",
    ):
        assert fact in texts
    whole = "\n".join(texts)
    for fact in (
        "The run student was taught by sf_low.",
        "seed 7",
        "CC-BY-4.0",
        "validation",
        "goldfish, Carassius auratus; crane",
        "(1 draw)",
    ):
        assert fact in whole
    # Where things lay is nobody's business.
    assert "/home/me" not in whole + str(front) and "secret" not in whole
    # The other model of the table is not in the card.
    assert "60.0%" not in whole


def test_the_front_matter_is_what_model_hubs_read(run, tmp_path):
    write_csv(run.path / "robustness.csv", COLUMNS, CELLS)
    front, _, _ = card(tmp_path, [run], read_robustness([run]))
    (index,) = front.pop("model-index")
    assert front == {
        "license": "cc-by-4.0",
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "robustness", "primary-visual-cortex"],
        "metrics": ["accuracy"],
    }
    (result,) = index["results"]
    assert index["name"] == "shop" and result["task"]["type"] == "image-classification"
    assert result["dataset"] == {"type": "tiny", "name": "tiny", "split": "test"}
    assert [metric["value"] for metric in result["metrics"]] == [0.5]
    front, _, _ = card(tmp_path, [run], license="My own: terms")
    assert (front["license"], front["license_name"]) == ("other", "My own: terms")
    (result,) = front["model-index"][0]["results"]
    assert result["dataset"]["split"] == "validation"


def test_the_card_begins_with_what_counts_and_ends_with_settings(run, tmp_path):
    write_csv(run.path / "robustness.csv", COLUMNS, CELLS)
    accuracy = {**METADATA["accuracy"], "baseline": {"clean": 0.4, "contrast/3": 0.2}}
    _, texts, _ = card(
        tmp_path,
        [run],
        read_robustness([run]),
        accuracy=accuracy,
        warnings=["24 images only"],
    )
    head = [
        text
        for text in texts[1 : texts.index("Accuracy, robustness and calibration")]
        if text
    ]
    verdict = (
        "fit to be served: every file answers like the Keras model and is right about "
        "40.0% of clean images or more, and none is worse than the baseline by more than "
        "2 points beyond chance"
    )
    assert head[:15] == [
        "verdict",
        verdict,
        "warning",
        "24 images only",
        "version",
        "1795477666",
        "date",
        "2026-11-25T12:00:00+00:00",
        "classes",
        "2",
        "chance",
        "50.0%",
        "accuracy on 2500 test images, clean",
        "50.0% [45.0%, 55.0%]",
        "accuracy of the files",
    ]
    assert head[15] == "litert 49.0% of 256 validation images"
    assert texts.index("Training") > texts.index("Licence") > texts.index("Data")
    assert "epochs" in texts[texts.index("Training") :]


def test_means_have_intervals_where_the_evaluation_has_them(run, tmp_path):
    folder = tmp_path / "evaluation"
    write_csv(folder / "robustness.csv", COLUMNS, CELLS)
    write_csv(
        folder / "summary.csv",
        [
            "model",
            "role",
            "clean",
            "clean_low",
            "clean_high",
            "mean",
            "mean_low",
            "mean_high",
        ],
        [("student", "student", 0.5, 0.45, 0.55, 0.35, 0.31, 0.39)],
    )
    front, texts, _ = card(tmp_path, [run], read_robustness([run], str(folder)))
    in_head = "accuracy on 2500 test images, mean over corruptions"
    for name in (in_head, "mean"):
        assert texts[texts.index(name) + 1] == "35.0% [31.0%, 39.0%]"
    (result,) = front["model-index"][0]["results"]
    assert [metric["value"] for metric in result["metrics"]] == [0.5, 0.35]


def test_an_ensemble_reads_its_own_row(run, tmp_path):
    write_csv(run.path / "robustness.csv", COLUMNS, CELLS)
    assert read_robustness([run, run]) is None
    found = read_robustness([run, run], str(run.path))
    assert [row["model"] for row in found.cells] == ["ensemble"]


def evaluation_of(folder, weights):
    """An evaluation of models that have these weights, each clean accuracy its own."""
    rows = [
        (name, "member", "clean", 0, share, 0.0, 1.0, 1, 1, 1, 8, 1)
        for share, name in zip((0.125, 0.25, 0.5), weights, strict=False)
    ]
    rows.append(("ensemble", "ensemble", "clean", 0, 0.75, 0.0, 1.0, 1, 1, 1, 8, 1))
    write_csv(folder / "robustness.csv", COLUMNS, rows)
    cache = LogitCache(folder / LOGITS, {}, weights)
    cache.add(
        CLEAN,
        np.zeros(8, int),
        np.arange(8),
        {name: np.zeros((1, 8, 2)) for name in weights},
    )
    return str(folder)


def test_an_evaluation_is_of_weights_and_not_of_names(tmp_path):
    runs = []
    for name, content in (("a/m", b"1"), ("b/m", b"2"), ("c/x", b"3")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "model.keras").write_bytes(content)
        runs.append(Run(tmp_path / name, config("m")))
    first, second, third = runs
    weights = {
        name: file_fingerprint(run.find_model())
        for name, run in zip(("a/m", "b/m", "x"), runs, strict=True)
    }
    found = read_robustness([second], evaluation_of(tmp_path / "all", weights))
    assert [row["accuracy"] for row in found.cells] == [0.25]
    found = read_robustness(runs, str(tmp_path / "all"))
    assert [row["accuracy"] for row in found.cells] == [0.75]
    for others in ([first, second], [second, third]):
        with pytest.raises(ValueError, match="says nothing about an ensemble"):
            read_robustness(others, str(tmp_path / "all"))
    # Of the same name, and trained again since.
    (second.path / "model.keras").write_bytes(b"4")
    with pytest.raises(ValueError, match="says nothing about m"):
        read_robustness([second], str(tmp_path / "all"))


def test_a_table_alone_goes_by_the_end_of_the_path(tmp_path):
    for name in ("a/m", "b/m"):
        (tmp_path / name).mkdir(parents=True)
    rows = [
        (name, *CELLS[0][1:4], share, *CELLS[0][5:])
        for name, share in (("a/m", 0.1), ("b/m", 0.2))
    ]
    write_csv(tmp_path / "robustness.csv", COLUMNS, rows)
    found = read_robustness([Run(tmp_path / "b/m", config("m"))], str(tmp_path))
    assert [row["accuracy"] for row in found.cells] == [0.2]


def test_a_card_without_an_evaluation_says_so(run, tmp_path):
    assert read_robustness([run]) is None
    front, texts, _ = card(tmp_path, [run], license=None)
    assert "Not evaluated" in "".join(texts)
    assert "no licence was stated" in "".join(texts)
    assert front["license"] == "unknown" and "license_name" not in front


def test_a_card_speaks_of_v1_noise_only_where_there_is_v1(run, tmp_path):
    plain = Run(run.path, config("base"))
    plain.config["variant"] |= {"name": "base", "v1": False}
    text = "".join(card(tmp_path, [plain])[1])
    assert "has no V1 front-end" in text and "seed 7" not in text
    text = "".join(card(tmp_path, [plain, run])[1])
    assert "has no V1 front-end" not in text and "seed 7" in text


@pytest.mark.parametrize("hostile", HOSTILE)
def test_names_are_text_and_nothing_else(run, tmp_path, hostile):
    plain, _, expected = card(tmp_path, [run])
    run.config["name"] = run.config["settings"]["arch"] = hostile
    run.config["settings"]["members"] = [hostile]
    run.config["variant"]["name"] = hostile
    run.config["data"]["name"] = f"/data/{hostile.replace('/', '')}"
    run.config["display_names"] = [hostile, hostile]
    front, texts, kinds = card(tmp_path, [run], name=hostile, license=hostile)
    assert kinds == expected and front.keys() - plain.keys() == {"license_name"}
    # Space is one space; what cannot be shown has a character in its place.
    shown = " ".join(re.sub(r"[^ -~\n\t＝]", "\ufffd", hostile).split())
    assert texts[0] == shown
    assert sum(text == shown for text in texts) >= 3
    assert f"Classes: {shown}; {shown}." in texts
    assert front["model-index"][0]["name"].split() == shown.split()


@pytest.mark.parametrize("address", ["https://example.org", "www.example.org"])
def test_bare_addresses_do_not_become_links(address):
    # By GitHub's extension, which looks for these.
    assert not re.search(r"://|www\.", escape_markdown(address))
    assert parse(escape_markdown(address))[0] == [address]


def test_a_table_of_an_earlier_model_is_left_out(run, capsys):
    file = run.path / "robustness.csv"
    write_csv(file, COLUMNS, CELLS)
    (run.path / "model.keras").touch()
    os.utime(file, (0, 0))
    assert read_robustness([run]) is None
    said = capsys.readouterr().out
    assert f"{file} is older than the model" in said and said.count("\n") == 1
    assert read_robustness([run], str(file)) is not None


def test_evaluations_that_do_not_fit_are_refused(run, tmp_path):
    with pytest.raises(FileNotFoundError):
        read_robustness([run], str(tmp_path / "nothing"))
    write_csv(tmp_path / "other" / "robustness.csv", COLUMNS, CELLS[3:])
    with pytest.raises(ValueError, match="says nothing about student"):
        read_robustness([run], str(tmp_path / "other"))
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"notes\.csv.*no column .*must be a table"):
        read_robustness([run], str(tmp_path / "notes.csv"))
