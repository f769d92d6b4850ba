import base64
import dataclasses
import itertools
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from hostile_names import HOSTILE

from v1keras.escaping import escape_line, printable
from v1keras.evaluation import (
    CLEAN,
    Cell,
    Cost,
    Estimate,
    Sample,
    confident_mistakes,
)
from v1keras.evaluation.comparison import Comparison
from v1keras.evaluation.report import (
    Bar,
    Bars,
    Heading,
    Panel,
    Panels,
    Section,
    Table,
    TableCell,
    comparison_section,
    picture,
    write_bar_chart,
    write_report,
)
from v1keras.evaluation.report.bars import gain_bars
from v1keras.evaluation.report.palette import STYLES, model_styles
from v1keras.evaluation.report.svg import spread
from v1keras.files import file_fingerprint
from v1keras.training import Run
from v1keras.v1 import NAMED_VARIANTS

TITLES = (
    "Models",
    "Summary",
    "Gain over base per category",
    "Gain over base per corruption and severity",
    "Accuracy against severity",
    "Errors",
    "Reliability",
    "Members and ensemble",
    "What the models were shown",
    "Filters",
    "Settings",
)
VOID = {"meta", "img", "path"}


class Elements(HTMLParser):
    """Collects what a browser would; refuses open elements and references outside."""

    # fmt: off
    ADDRESSES = frozenset((
        "action", "background", "cite", "data", "formaction", "href", "manifest", "ping",
        "poster", "src", "srcset", "xlink:href",
    ))
    # fmt: on

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open, self.ids, self.links = [], "", [], set(), set()
        self.feed(text)
        assert not self.open and self.links <= self.ids

    def handle_starttag(self, tag, attrs):
        assert tag not in ("base", "embed", "frame", "iframe", "link", "object"), tag
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert name[:2] != "on" and value != "refresh"
            if name in ("alt", "aria-label", "data-key", "title"):
                continue
            for address in [value] if name in self.ADDRESSES else self.in_style(value):
                assert address.startswith(("#", "data:image/")), (tag, name, value)
                self.links |= {address[1:]} if address[0] == "#" else set()
        self.ids |= {value for name, value in attrs if name == "id"}

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["style"]:
            assert not self.in_style(data) and "@import" not in data
        elif self.open[-1:] != ["script"]:
            self.text += data

    @staticmethod
    def in_style(style):
        return re.findall(r"(?:url|image-set)\(\s*[\"']?([^\"')]*)", style)


def samples(table):
    rng = np.random.default_rng(0)
    cells = [CLEAN, *(Cell(name, 3) for name in table.corruptions)]
    images = rng.integers(0, 256, (len(cells), 32, 32, 3), dtype=np.uint8)
    return {c: Sample(i, "3") for c, i in zip(cells, images, strict=True)}


@pytest.fixture
def page(make_table, tmp_path):
    table = make_table(students=["student"])
    path = write_report(
        tmp_path / "out",
        table,
        title="A <study>",
        samples=samples(table),
        sections=[Section("Filters", ("<p>as the caller likes</p>",))],
        settings={"seed": 0, "name": "<b>", "severities": (1, 3)},
    )
    return path.read_text()


def test_all_sections_are_there(page):
    elements = Elements(page)
    for text in (*TITLES, "A <study>", "<p>as the caller likes</p>", "<b>", "Partial"):
        assert (text in elements.text) == (text != "Partial"), text
    assert elements.tags.count("section") == len(TITLES)
    # Curves per category and their mean; a reliability diagram per model.
    assert elements.tags.count("svg") == 6 + 5
    assert elements.tags.count("img") == 7


def test_the_page_refers_to_itself_alone(page):
    # The parser refuses everything else.
    assert len(Elements(page).links) > len(TITLES)
    policy = re.search(r'Security-Policy" content="([^"]*)"', page).group(1)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_any_name_is_text_and_nothing_else(make_table, tmp_path):
    sections = []
    for name in HOSTILE:
        bar = Bar(name, name, 1.0, 0.5, 2.0, "accent")
        cell = TableCell(name, name, name, tip=name)
        contents = (
            Bars((bar,), 0.0, 2.0, ((0.0, "0"),)),
            Table((name, name), ((cell, name),)),
            (picture(np.zeros((2, 2, 3), np.uint8), name),),
        )
        panels = tuple(Panel(name, content, name) for content in contents)
        sections.append(Section(name, (name, Heading(name), Panels(panels))))
    names = tuple(map(escape_line, HOSTILE))  # as those of runs
    comparisons = [Comparison(name, "fog", 0.5, 0.6, 0.2, 9) for name in names]
    sections.append(comparison_section(comparisons, HOSTILE[0]))
    ensemble = "<b>&amp;"
    table = make_table(("base", *names), ensembles={ensemble: names})
    table = dataclasses.replace(table, class_names=HOSTILE[:5])
    black = np.zeros((8, 8, 3), np.uint8)
    mistakes = [(m, black) for m in confident_mistakes(table.answers, ensemble)]
    page = write_report(
        tmp_path / "report.html",
        table,
        title=HOSTILE[0],
        mistakes=mistakes,
        sections=sections,
        settings=dict(zip(HOSTILE, HOSTILE, strict=True)),
    ).read_text()
    elements = Elements(page)
    for name in HOSTILE:
        assert elements.text.count(printable(name)) >= 12, name
    for name in (*names, ensemble):
        assert elements.text.count(name) > 15, name
    assert not {"script", "style", "b"} & set(
        elements.tags[elements.tags.index("h1") : -1]
    )
    assert elements.tags.count("img") == len(HOSTILE) + len(mistakes)
    write_bar_chart(tmp_path / "bar_chart.png", table)


def test_an_ensemble_may_be_the_baseline(make_table, tmp_path):
    ensembles = {"ensemble": ("a", "b"), "control": ("base", "student")}
    table = make_table(ensembles=ensembles, baseline="control")
    page = write_report(tmp_path / "report.html", table, title="Controls").read_text()
    assert "Gain over control per category" in Elements(page).text
    write_bar_chart(tmp_path / "bar_chart.png", table)


def test_colours_follow_the_theme(page):
    elements = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert all("currentColor" in svg for svg in elements)
    assert not re.search(r"#[0-9a-f]{6}|rgb\(", "".join(elements))
    light, dark = page.split("</style>")[0].split(
        "@media (prefers-color-scheme: dark)"
    )[-2:]
    for name in set(re.findall(r'class="(?:swatch |bar )?((?:model|step)-\d+)', page)):
        assert f".{name} {{" in light and f".{name} {{" in dark


def test_numbers_of_the_table_are_on_the_page(make_table, tmp_path):
    table = make_table()
    page = write_report(tmp_path / "report.html", table, title="t").read_text()
    text = Elements(page).text
    gain = table.groups["ensemble", "mean"].gain.value
    assert f"relative gain of {100 * gain:+.0f}\N{NO-BREAK SPACE}%" in text
    value = table.groups["b", "noise"].accuracy.value
    assert f'data-key="{value}">{100 * value:.1f}<small>' in page


def test_the_headline_is_no_better_than_the_result(make_table, tmp_path):
    def headline(**options):
        table = make_table(**options)
        file = write_report(
            tmp_path / "h.html", table, title="", samples=samples(table)
        )
        page = file.read_text()
        return page[page.index('class="lead') : page.index("Measured on")]

    # Skill grows with the place among the models.
    assert "alone reaches more" in headline(models=("base", "a", "b", *"cdefghijk"))
    assert "alone reaches more" not in headline(models=("base", "a", "b"))
    clear = headline(images=300)
    assert "may be chance" not in clear and "muted" not in clear
    doubtful = headline(ensembles={"ensemble": ("base",)})
    assert "may be chance" in doubtful and "muted" in doubtful


def test_models_are_described_with_costs_and_training(make_table, tmp_path, golden_dir):
    names = ("base", "member", "student")
    folder = golden_dir / "saved_by_0.1.0" / "runs"
    runs = {name: Run.open(folder / name) for name in names}
    costs = {n: Cost(1000, 4000, 2_000_000, 1.5, "CPU") for n in names}
    costs["ensemble"] = Cost(8000, 32000, 16_000_000, 12.0, "CPU")
    table = make_table(
        names, students=["student"], ensembles={"ensemble": ("base", "member")}
    )
    out = tmp_path / "r.html"
    page = write_report(out, table, title="t", runs=runs, costs=costs).read_text()
    text = re.sub(r"\s+", " ", Elements(page).text)
    # An eighth of the operations, in the headline and in the table.
    assert "It takes 12 % of the operations of ensemble." in text
    low, high = runs["member"].v1["variant"].sf_range
    for words in ("plain CNN", "taught by an ensemble", f"V1 of {low:g}–{high:g}"):
        assert words in text
    for words in ("mean of the logits of 2: base, member", "V1 settings in force"):
        assert words in text
    assert page.count('aria-label="val_accuracy against epoch"') == 1
    # Hidden members of ensembles have no colour and no line.
    shown = make_table(
        ("base", "student"), students=["student"], ensembles={}, variants={}
    )
    page = write_report(tmp_path / "s.html", shown, title="t", runs=runs).read_text()
    assert ">member" not in page


def test_temperatures_of_runs_are_shown(make_table, tmp_path, golden_dir):
    runs = golden_dir / "saved_by_0.1.0" / "runs"
    shutil.copytree(runs / "base", tmp_path / "base")
    entry = {"temperature": 1.456, "images": 60, "before": {}, "after": {}}
    record = {
        "model": file_fingerprint(tmp_path / "base" / "model.keras"),
        "noise": {"off": entry},
    }
    (tmp_path / "base" / "calibration.json").write_text(json.dumps(record))
    table = make_table(("base", "student"), ensembles={}, variants={})
    folders = {"base": tmp_path / "base", "student": runs / "student"}
    opened = {name: Run.open(folder) for name, folder in folders.items()}
    page = write_report(tmp_path / "r.html", table, title="t", runs=opened).read_text()
    assert (
        page.count("; temperature 1.46 (noise off)") == page.count("temperature 1") == 1
    )


def test_models_at_chance_are_grey_and_chance_is_a_line(make_table, tmp_path):
    # Without skill; chance is 20 % of five classes.
    table = make_table(skill={"b": -9.0}, ensembles={})
    path = write_report(tmp_path / "r.html", table, title="t")
    page = path.read_text()
    assert "Chance level: <strong>20.0" in page and "(5 classes)" in page
    assert table.at_chance("b", "mean") and not table.at_chance("a", "mean")
    # Five categories, mean and clean: bars of b, and no others.
    assert page.count('class="bar chance"') == 7
    assert 'class="bar model-2"' not in page and 'class="bar model-1"' in page
    low, high = gain_bars(table, "noise").low, gain_bars(table, "noise").high
    base = table.groups["base", "noise"].accuracy.value
    line = (0.2 / base - 1 - low) / (high - low)
    found = re.findall(r'left: ([\d.]+)%" class="guess"', page)
    assert len(found) == 7
    assert any(abs(float(x) - 100 * line) < 0.01 for x in found)


def test_seeds_of_a_variant_share_a_bar(make_table, tmp_path):
    variants = {"base": "base", "a": "v1", "b": "v1"}
    for baseline, measure in (("base", "gain"), (None, "accuracy")):
        table = make_table(variants=variants, baseline=baseline, students=["student"])
        bars = {bar.name: bar for bar in gain_bars(table, "noise").bars}
        assert list(bars)[:3] == ["ensemble", "student", "v1" if baseline else "base"]
        assert not {"a", "b"} & set(bars)
        a, b = (getattr(table.groups[m, "noise"], measure).value for m in "ab")
        spread = abs(a - b) / np.sqrt(2)
        found = bars["v1"]
        assert found[2:5] == pytest.approx(
            ((a + b) / 2, (a + b) / 2 - spread, (a + b) / 2 + spread)
        )
        student = getattr(table.groups["student", "noise"], measure)
        assert bars["student"][2:5] == student
    page = write_report(tmp_path / "r.html", table, title="t").read_text()
    assert "one standard deviation over seeds" in re.sub(r"\s+", " ", page)


def test_a_leader_at_chance_makes_no_bold_headline(make_table, tmp_path):
    table = make_table(skill=dict.fromkeys(("base", "a", "b", "student"), -0.1))
    page = write_report(tmp_path / "r.html", table, title="t").read_text()
    head = page[page.index('class="lead') : page.index("Chance level")]
    assert "muted" in head and "may be guessing" in head


def test_errors_are_those_of_the_leading_model(make_table, tmp_path):
    table = make_table(students=["student"], ensembles={}, images=200)
    mistakes = confident_mistakes(table.answers, table.leading)
    image = np.zeros((8, 8, 3), np.uint8)
    page = write_report(
        tmp_path / "r.html", table, title="t", mistakes=[(m, image) for m in mistakes]
    ).read_text()
    section = page[page.index("<h2>Errors</h2>") : page.index("<h2>Reliability</h2>")]
    section = section[: section.rindex("</section>")]
    text = Elements(section).text
    assert table.leading == "student" and "Of student." in text
    # By hand, from the answers: how often class 2 is taken for class 4 in fog.
    fog = [given for cell, given in table.answers.items() if cell.corruption == "fog"]
    shown = sum((given.labels == 2).sum() for given in fog)
    taken = sum(
        ((given.labels == 2) & (given.predictions["student"][0] == 4)).sum()
        for given in fog
    )
    counts = table.confusion("student", [c for c in table.cells if c[0] == "fog"])
    assert (counts[2].sum(), counts[2, 4]) == (shown, taken)
    recall = 100 * np.mean(
        np.concatenate(
            [
                given.predictions["student"][0][given.labels == 3] == 3
                for cell, given in table.answers.items()
                if cell != CLEAN
            ]
        )
    )
    assert f"{recall:.1f}" in text
    assert section.count("<img") == len(mistakes)


def test_what_a_sample_was_taken_for_stands_below_it(page, make_table):
    table = make_table(students=["student"])
    for cell in (CLEAN, Cell("fog", 3)):
        given = table.answers[cell]
        named = given.predictions[table.leading][0, 3]
        tick = "✓ " if named == given.labels[3] else ""
        assert f"{tick}{named}</small>" in page


def test_a_diagram_needs_images(make_table, tmp_path):
    few = write_report(tmp_path / "few.html", make_table(images=8), title="t")
    page = few.read_text()
    assert "too few images for a diagram of base, a, b, student, ensemble" in page
    assert "Reliability of" not in page


def test_one_model_leads_and_the_others_are_folded(make_table, tmp_path):
    table = make_table(models=("base", "a", "b", "c", "d"))
    page = write_report(tmp_path / "r.html", table, title="t").read_text()
    maps = page[page.index("per corruption and severity</h2>") :]
    first, folded = maps[: maps.index("</details>")].split("<details>")
    # The ensemble and the best single model, which skill makes the last.
    assert "<figcaption>ensemble" in first and "<figcaption>d" in first
    assert all(f"<figcaption>{name}" in folded for name in "abc")


def test_bars_begin_at_zero_and_end_at_their_value(make_table, tmp_path):
    def gains(scale):
        table = make_table(models=("base", "b"), ensembles={})
        groups = {
            place: dataclasses.replace(
                result, gain=result.gain._replace(value=scale, low=-3.0, high=1.5)
            )
            for place, result in table.groups.items()
        }
        table = dataclasses.replace(table, groups=groups)
        page = write_report(tmp_path / "report.html", table, title="t").read_text()
        found = re.findall(
            r'class="bar model-1" style="left: (.*)%; width: (.*)%', page
        )
        assert len(set(found)) == 1 and len(found) == 7
        zero = re.search(r'<i style="left: (.*)%" class="zero">', page).group(1)
        return np.array([zero, *found[0]], float)

    # No accuracy is less than nothing: the scale is -100 % to +150 %.
    np.testing.assert_allclose(gains(1.0), (40, 40, 40))
    np.testing.assert_allclose(gains(-0.5), (40, 20, 20))


def test_a_report_refuses_to_exist_without_a_measurement(make_table, tmp_path):
    table = make_table(missing=[Cell("fog", 3)])
    with pytest.raises(ValueError, match=r"base in fog-3"):
        write_report(tmp_path / "out", table, title="t")
    assert not (tmp_path / "out").exists()
    path = write_report(tmp_path / "out", table, title="t", allow_partial=True)
    assert "Partial report" in path.read_text()


def test_each_corruption_needs_a_sample(make_table, tmp_path):
    table = make_table()
    pictures = samples(table)
    del pictures[Cell("contrast", 3)]
    with pytest.raises(ValueError, match="sample of contrast"):
        write_report(tmp_path / "out", table, title="t", samples=pictures)


def test_calibration_is_required(make_table, tmp_path):
    table = make_table()
    known = {k: v for k, v in table.reliability.items() if k != ("b", "clean")}
    table = dataclasses.replace(table, reliability=known)
    with pytest.raises(ValueError, match="calibration of b, clean"):
        write_report(tmp_path / "out", table, title="t")


def test_equal_tables_give_equal_pages(make_table, tmp_path):
    table = make_table()
    pages = [
        write_report(tmp_path / name, table, title="t").read_text() for name in "ab"
    ]
    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    "options",
    [{"baseline": None}, {"ensembles": {}}, {"models": ("base",), "ensembles": {}}],
)
def test_reports_of_less(make_table, tmp_path, options):
    table = make_table(**options)
    page = write_report(tmp_path / "out", table, title="t").read_text()
    assert "nan" not in Elements(page).text.lower()
    write_bar_chart(tmp_path / "bar_chart.png", table)


def test_nothing_is_gained_over_a_baseline_that_is_never_right(make_table, tmp_path):
    table = make_table(variants={"a": "v", "b": "v"})
    unknown = Estimate(np.nan, np.nan, np.nan)
    for results in (table.results, table.groups):
        for place, result in results.items():
            results[place] = dataclasses.replace(result, gain=unknown)
    page = write_report(tmp_path / "out", table, title="t").read_text()
    text = Elements(page).text
    assert "nan" not in text.lower() and "relative gain of" not in text
    write_bar_chart(tmp_path / "bar_chart.png", table)


def test_bar_chart_is_a_picture(make_table, tmp_path):
    write_bar_chart(tmp_path / "bar_chart.png", make_table())
    image = cv2.imread(str(tmp_path / "bar_chart.png"))
    assert image.shape[1] > 1500
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 20


def test_pictures_carry_their_pixels():
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    data = picture(image, "a name").source.partition("base64,")[2]
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), 1)
    np.testing.assert_array_equal(decoded[..., ::-1], image)
    with pytest.raises(ValueError, match="uint8 RGB"):
        picture(image / 255, "wrong")


def test_labels_are_moved_apart_but_not_more_than_needed():
    for places, moved in (
        ([0, 50, 100], [0, 50, 100]),
        ([50, 51, 52], [41, 51, 61]),
        ([99, 100], [90, 100]),
        ([0, 1, 70], [0, 10, 70]),
    ):
        np.testing.assert_allclose(spread(places, 10, 0, 100), moved)


def test_a_variant_has_one_style_and_no_other_has_it(make_table):
    options = {"students": ["student"], "ensembles": {"all": ("sf_low", "x")}}
    first = model_styles(make_table(("base", "sf_low", "x", "student"), **options))
    second = model_styles(
        make_table(
            ("plain", "a/0", "a/1", *map(str, range(20))),
            baseline="plain",
            ensembles={},
            variants={"plain": "base", "a/0": "sf_low", "a/1": "sf_low"},
        )
    )
    assert first["base"] == second["plain"] == STYLES["base"]
    assert first["sf_low"] == second["a/0"] == second["a/1"] == STYLES["sf_low"]
    assert first["all"] == STYLES["ensemble"]
    assert first["student"] == STYLES["student"]
    assert len(set(first.values())) == 5 and len(set(second.values())) == 22
    assert set(NAMED_VARIANTS) <= set(STYLES)


def linear(colours):
    """Linear sRGB of shape (colours, 3)."""
    values = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours])
    values = values / 255
    return np.where(
        values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4
    )


def lab(rgb):
    """CIELAB of linear sRGB, white point D65."""
    to_xyz = [
        [0.4124, 0.3576, 0.1805],
        [0.2126, 0.7152, 0.0722],
        [0.0193, 0.1192, 0.9505],
    ]
    xyz = rgb @ np.transpose(to_xyz) / (0.9505, 1.0, 1.089)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


# Machado et al. 2009, severity 1.0.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize(("theme", "page"), [(0, "#ffffff"), (1, "#171b1f")])
def test_colours_can_be_told_apart_and_seen(sight, theme, page):
    rgb = linear([style[theme] for style in STYLES.values()])
    light = [[0.2126, 0.7152, 0.0722] @ c for c in (*rgb, *linear([page]))]
    contrast = [(max(c, light[-1]) + 0.05) / (min(c, light[-1]) + 0.05) for c in light]
    assert min(contrast[:-1]) >= 3
    seen = lab(np.clip(rgb @ np.transpose(SIGHT[sight]), 0, 1))
    for (a, one), (b, other) in itertools.combinations(
        zip(STYLES, seen, strict=True), 2
    ):
        patterns = STYLES[a].pattern, STYLES[b].pattern
        assert patterns[0] != patterns[1] or np.linalg.norm(one - other) > 13, (a, b)


def test_numbers_need_neither_templates_nor_charts():
    code = (
        "import sys, v1keras.evaluation as e; e.build_table, e.evaluate_models;"
        "assert not {'v1keras.evaluation.report', 'jinja2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
