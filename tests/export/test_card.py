import csv
import html
import re
from html.parser import HTMLParser

import pytest

from export.card import Section, Table, to_html, to_markdown, write_card
from export.robustness import read_robustness
from v1keras.training import Run

METADATA = {
    "input": {"shape": [None, 32, 32, 3], "colors": "RGB", "resize": "central square"},
    "class_names": ["n01", "n02"],
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
    "sha256": {"model.tflite": "abc123"},
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


class Text(HTMLParser):
    """The texts of a page, and that its tags fit."""

    def __init__(self):
        super().__init__()
        self.cells = []

    def handle_data(self, data):
        self.cells.append(data.strip())


def card(folder, runs, robustness=None, **changes):
    metadata = {**METADATA, "runs": [run.config for run in runs], **changes}
    write_card(folder, "shop", metadata, robustness)
    markdown = (folder / "MODEL_CARD.md").read_text()
    page = (folder / "model_card.html").read_text()
    parser = Text()
    parser.feed(page)
    return re.sub(r"\\(.)", r"\1", markdown), page, parser.cells


def test_both_cards_hold_what_one_must_know(run, tmp_path):
    write_csv(run.path / "robustness.csv", COLUMNS, CELLS)
    robustness = read_robustness([run])
    markdown, _, cells = card(tmp_path, [run], robustness)
    for fact in (
        "50.0% [45.0%, 55.0%]",
        "40.0% [35.0%, 46.0%]",
        "12.34 MB",
        "LiteRT, int8",
        "1.2 ms",
        "abc123",
        "feed",
        "no_noise",
        "256 simple, 256 complex",
        "resnet18, width -",
        "epochs",
        "0.100",
        "0.300",
    ):
        assert fact in markdown
        assert fact in cells
    for fact in (
        "student was taught by sf_low",
        "seed 7",
        "CC-BY-4.0",
        "validation",
        "goldfish, Carassius auratus; crane",
        "(1 draw)",
    ):
        assert fact in markdown
        assert any(fact in cell for cell in cells)
    # Where things lay is nobody's business.
    assert "/home/me" not in markdown and "secret" not in markdown
    # The other model of the table is not in the card.
    assert "60.0%" not in markdown


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
    markdown, _, cells = card(tmp_path, [run], read_robustness([run], str(folder)))
    assert "| mean | 35.0% [31.0%, 39.0%] |" in markdown
    assert "35.0% [31.0%, 39.0%]" in cells


def test_an_ensemble_reads_its_own_row(run, tmp_path):
    write_csv(run.path / "robustness.csv", COLUMNS, CELLS)
    assert read_robustness([run, run]) is None
    found = read_robustness([run, run], str(run.path))
    assert [row["model"] for row in found.cells] == ["ensemble"]


def test_a_card_without_an_evaluation_says_so(run, tmp_path):
    assert read_robustness([run]) is None
    markdown, _, _ = card(tmp_path, [run], license=None)
    assert "Not evaluated" in markdown
    assert "no licence was stated" in markdown


def test_a_card_speaks_of_v1_noise_only_where_there_is_v1(run, tmp_path):
    plain = Run(run.path, config("base"))
    plain.config["variant"] |= {"name": "base", "v1": False}
    markdown, _, _ = card(tmp_path, [plain])
    assert "has no V1 front-end" in markdown and "seed 7" not in markdown
    markdown, _, _ = card(tmp_path, [plain, run])
    assert "has no V1 front-end" not in markdown and "seed 7" in markdown


def test_the_page_loads_nothing(run, tmp_path):
    _, page, _ = card(tmp_path, [run])
    assert not re.search(r"src=|href=|url\(|@import|<script", page)
    assert page.count("<table>") == page.count("</table>")


@pytest.mark.parametrize("nasty", ["a|b", "<script>alert(1)</script>", "*_`\\"])
def test_names_are_text_and_nothing_else(nasty):
    sections = [Section(nasty, (nasty, Table(("column",), ((nasty,),))))]
    page, markdown = to_html(nasty, sections), to_markdown(nasty, sections)
    assert page.count(html.escape(nasty)) >= 4
    assert "<script" not in page
    (row,) = [line for line in markdown.splitlines() if line.startswith("| ")][2:]
    unescaped = re.sub(r"\\.", "", row)
    assert unescaped.count("|") == 2 and not set("<>*_`") & set(unescaped)


def test_evaluations_that_do_not_fit_are_refused(run, tmp_path):
    with pytest.raises(FileNotFoundError):
        read_robustness([run], str(tmp_path / "nothing"))
    write_csv(tmp_path / "other" / "robustness.csv", COLUMNS, CELLS[3:])
    with pytest.raises(ValueError, match="says nothing about student"):
        read_robustness([run], str(tmp_path / "other"))
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="no table"):
        read_robustness([run], str(tmp_path / "notes.csv"))
