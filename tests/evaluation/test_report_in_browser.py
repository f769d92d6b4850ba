"""The report in a real browser: headless Chromium, if there is one."""

import re
import shutil

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from v1keras.evaluation import CLEAN, Cell, Sample
from v1keras.evaluation.report import Section, Table, TableCell, write_report

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
SIZES = {390: 844, 1200: 900}
# Text, its colour and what lies behind it, as contrast ratios of WCAG 2.1.
CONTRAST = """(() => {
  const context = document.createElement("canvas").getContext("2d",
    {willReadFrequently: true});
  const rgba = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map(
    (i) => top[3] * top[i] + (1 - top[3]) * below[i]);
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map(
      (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    if (!element) return [255, 255, 255];
    return over(rgba(getComputedStyle(element).backgroundColor),
                behind(element.parentElement));
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const result = [];
  while (texts.nextNode()) {
    const text = texts.currentNode.textContent.trim();
    const element = texts.currentNode.parentElement;
    if (!text || element.closest("script")) continue;
    const style = getComputedStyle(element);
    const ground = behind(element);
    const ink = over(rgba(element.closest("svg") ? style.fill : style.color), ground);
    const [dark, light] = [luminance(ink), luminance(ground)].sort((a, b) => a - b);
    result.push([text, (light + 0.05) / (dark + 0.05)]);
  }
  return result;
})()"""
# Whatever sticks out of the window, unless it is in a part that scrolls by itself.
STICKING_OUT = """[...document.body.querySelectorAll("*")].filter((element) =>
  !element.closest(".scroll, script")
  && (element.getBoundingClientRect().right > innerWidth + 0.5
      || element.getBoundingClientRect().left < -0.5)
).map((element) => `${element.tagName} ${element.textContent.slice(0, 40)}`)"""
CUT_OFF = """[...document.querySelectorAll("svg text")].filter((text) => {
  const [inner, outer] = [text, text.closest("svg")].map(
    (e) => e.getBoundingClientRect());
  return inner.left < outer.left - 1 || inner.right > outer.right + 1
    || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1;
}).map((text) => text.textContent)"""


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        # The system's, or what `playwright install chromium` has put down.
        own = playwright.chromium.executable_path
        path = next(filter(None, map(shutil.which, (*CHROMIUM, own))), None)
        if path is None:
            pytest.skip("no Chromium or Chrome is installed")
        started = playwright.chromium.launch(executable_path=path)
        yield started
        started.close()


@pytest.fixture
def open_page(browser):
    """A function that opens a file offline, in a window of some width and theme."""
    contexts = []

    def open_file(path, *, width=1200, theme="light", listen=lambda page: None):
        context = browser.new_context(
            viewport={"width": width, "height": SIZES[width]},
            color_scheme=theme,
            offline=True,
            is_mobile=width < 600,
        )
        contexts.append(context)
        page = context.new_page()
        listen(page)
        page.goto(path.as_uri())
        return page

    yield open_file
    for context in contexts:
        context.close()


@pytest.fixture
def report(make_table, tmp_path):
    """A report with all its parts and names as long as they come."""
    members = ("standard", "sf_low", "only_complex", "no_noise/seed-0", "low_noise")
    models = ("base", *members, "student")
    table = make_table(
        models,
        students=["student"],
        ensembles={"standard_ensemble": members},
        variants={"standard": "v", "sf_low": "v"},
    )
    rng = np.random.default_rng(0)
    cells = [CLEAN, *(Cell(name, s) for name in table.corruptions for s in (1, 3, 5))]
    return write_report(
        tmp_path / "out",
        table,
        title="Robustness on tiny-imagenet-50",
        samples={
            c: Sample(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8), "3")
            for c in cells
        },
        # Tints as strong as they come.
        sections=[
            Section(
                "Equal", (Table((), (("a", TableCell("100", share=1.0)),), "matrix"),)
            )
        ],
        settings={"models": ("/a/path/that/is/quite/long/indeed/" * 4,), "seed": 0},
    )


def test_opens_offline_without_requests_or_errors(open_page, report):
    requests, told = [], []

    def listen(page):
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(error))

    page = open_page(report, listen=listen)
    assert requests[0] == report.as_uri()
    assert all(url.startswith("data:image/") for url in requests[1:])
    assert told == []
    assert set(page.evaluate("[...document.images].map((i) => i.naturalWidth)")) == {32}


def test_a_click_on_a_column_sorts_by_its_numbers(open_page, report):
    page = open_page(report)
    table = page.locator("table.sortable").first
    names = table.locator("tbody th")
    before = names.all_text_contents()
    for order, sign in (("descending", -1), ("ascending", 1)):
        table.locator("thead button").nth(1).click()
        cells = table.locator("tbody td:nth-child(2)").all_text_contents()
        values = [float(re.match(r"[\d.]+", cell).group()) for cell in cells]
        assert values == sorted(values, key=lambda value: sign * value)
        head = table.locator("thead th").nth(1)
        assert head.get_attribute("aria-sort") == order
    for _ in range(2):
        table.locator("thead button").first.click()
    after = names.all_text_contents()
    assert after[0].startswith("base") and sorted(after) == sorted(before)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_readable_in_both_themes(open_page, report, theme):
    page = open_page(report, theme=theme)
    red = "parseInt(getComputedStyle(document.body).backgroundColor.slice(4))"
    assert (page.evaluate(red) < 128) == (theme == "dark")
    ratios = page.evaluate(CONTRAST)
    assert len(ratios) > 400
    assert [(text, ratio) for text, ratio in ratios if ratio < 4.5] == []


@pytest.mark.parametrize("width", SIZES)
def test_nothing_sticks_out_or_is_cut_off(open_page, report, width):
    page = open_page(report, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(STICKING_OUT) == []
    assert page.evaluate(CUT_OFF) == []


def test_the_key_column_stays_in_sight_on_a_phone(open_page, report):
    page = open_page(report, width=390)
    places = page.evaluate(
        """[...document.querySelectorAll("table.summary, table.matrix")].map((table) => {
          const frame = table.closest(".scroll");
          frame.scrollLeft = 9999;
          const left = table.rows[1] ? table.rows[1].cells[0].getBoundingClientRect().left
            : frame.getBoundingClientRect().left;
          return [frame.scrollLeft, left];
        })"""
    )
    assert max(scrolled for scrolled, _ in places) > 100
    assert all(0 <= left < 60 for _, left in places)
    # The mean stands beside the names.
    head = page.locator("table.sortable").first.locator("thead th")
    assert head.nth(1).text_content() == "mean"
    page.evaluate("document.querySelectorAll('.scroll').forEach(e => e.scrollLeft = 0)")
    box = head.nth(1).bounding_box()
    assert box["x"] + box["width"] <= 390
