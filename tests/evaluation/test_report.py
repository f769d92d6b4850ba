import base64
import dataclasses
import html.parser
import re

import cv2
import numpy as np
import pytest

from v1keras.evaluation import CLEAN, Cell, Section, picture, write_report
from v1keras.evaluation.charts import _spread, write_bar_chart

TITLES = (
    "Summary",
    "Gain over base per category",
    "Gain over base per corruption and severity",
    "Accuracy against severity",
    "Reliability",
    "Members and ensemble",
    "What the models were shown",
    "Filters",
    "Settings",
)
VOID = {"meta", "img", "br", "path", "use", "link"}


class Elements(html.parser.HTMLParser):
    """Collects what a browser would, and checks that elements are closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def samples(table):
    rng = np.random.default_rng(0)
    cells = [CLEAN, *(Cell(name, 3) for name in table.corruptions)]
    return {c: rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for c in cells}


@pytest.fixture
def page(make_table, tmp_path):
    table = make_table(students=["student"])
    path = write_report(
        tmp_path / "out",
        table,
        title="A <study>",
        samples=samples(table),
        sections=[Section("Filters", "<p>as the caller likes</p>")],
        settings={"seed": 0, "name": "<b>", "severities": (1, 3)},
    )
    return path.read_text()


def test_all_sections_are_there(page):
    elements = Elements(page)
    assert not elements.open
    for title in (*TITLES, "A <study>", "as the caller likes", "Partial"):
        assert (title in elements.text) == (title != "Partial"), title
    assert elements.tags.count("section") == len(TITLES)
    # Bars per category, mean and clean; curves; a reliability diagram per model.
    assert elements.tags.count("svg") == 7 + 6 + 5
    assert elements.tags.count("img") == 7


def test_nothing_outside_the_file_is_referred_to(page):
    for name, value in Elements(page).attributes:
        if name in ("src", "href", "xlink:href", "data", "action"):
            assert value.startswith(("data:", "#")), (name, value)
    rest = re.sub(r"data:image/[^\"]*", "", page)
    assert not re.search(r"https?:|//\w|@import|url\((?!#)", rest)
    identifiers = set(re.findall(r'\bid="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= identifiers
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= identifiers


def test_colours_follow_the_theme(page):
    svg = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert "currentColor" in svg
    assert not re.search(r"#[0-9a-f]{6}", svg)
    used = set(re.findall(r"var\((--[\w-]+)\)", page))
    light, dark = page.split(':root[data-theme="dark"]', 1)
    assert used <= set(re.findall(r"(--[\w-]+):", light + dark))


def test_numbers_of_the_table_are_on_the_page(make_table, tmp_path):
    table = make_table()
    page = write_report(tmp_path / "report.html", table, title="t").read_text()
    gain = table.groups["ensemble", "mean"].gain.value
    assert (
        f"{100 * gain:+.0f}\N{NO-BREAK SPACE}%" in page
        or f"{100 * gain:+.0f} %" in page
    )
    value = table.groups["b", "noise"].accuracy.value
    assert f'<td data-value="{value:.6f}">{100 * value:.1f}' in page


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


@pytest.mark.parametrize(
    "content",
    [
        '<img src="https://example.org/a.png">',
        "<img src=filters.png>",
        '<div style="background:url(a.png)"></div>',
    ],
)
def test_sections_that_refer_outside_are_refused(make_table, tmp_path, content):
    with pytest.raises(ValueError, match="outside"):
        write_report(
            tmp_path / "out",
            make_table(),
            title="t",
            sections=[Section("Filters", content)],
        )


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
    assert not Elements(page).open
    assert (
        "nan" not in Elements(re.sub(r"(?s)<script.*?</script>", "", page)).text.lower()
    )
    write_bar_chart(tmp_path / "bar_chart.png", table)


def test_bar_chart_is_a_picture(make_table, tmp_path):
    write_bar_chart(tmp_path / "bar_chart.png", make_table())
    image = cv2.imread(str(tmp_path / "bar_chart.png"))
    assert image.shape[1] > 1500
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 20


def test_pictures_carry_their_pixels():
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    data = re.search(r"base64,([^\"]+)", picture(image, 'a "name"')).group(1)
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), 1)
    np.testing.assert_array_equal(decoded[..., ::-1], image)
    with pytest.raises(ValueError, match="uint8 RGB"):
        picture(image / 255, "wrong")


def test_labels_are_moved_apart_but_not_more_than_needed():
    assert _spread([0, 50, 100], 10, 0, 100) == [0, 50, 100]
    moved = _spread([50, 51, 52], 10, 0, 100)
    assert moved == [41, 51, 61]
    edge = _spread([99, 100], 10, 0, 100)
    assert edge == [90, 100]
