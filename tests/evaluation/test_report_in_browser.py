"""The report in a real browser: headless Chromium, if there is one."""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import time

import numpy as np
import pytest

from v1keras.evaluation import CLEAN, Cell
from v1keras.evaluation.report import Section, Table, TableCell, write_report

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium or Chrome is installed"
)
PHONE, DESKTOP = 390, 1200
FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Offline: no name has an address.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
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
FIRST_COLUMN = (
    '[...document.querySelectorAll("table.sortable tbody tr")]'
    ".map((row) => row.cells[0].dataset.key)"
)


class Browser:
    """Headless Chromium, spoken to over a pipe in its DevTools protocol."""

    def __init__(self, profile):
        there, self._write = os.pipe()
        self._read, back = os.pipe()
        # The protocol's pipe is file descriptors 3 and 4.
        ours = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (there, back)]
        self._pid = os.posix_spawn(
            CHROMIUM,
            [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            {**os.environ, "HOME": str(profile)},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, ours[0], 3),
                (os.POSIX_SPAWN_DUP2, ours[1], 4),
            ],
            setpgroup=0,
        )
        for fd in (there, back, *ours):
            os.close(fd)
        self._received, self._number, self._session = b"", 0, None
        self.events = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method, **parameters):
        """Calls a method and gives its result; events that come are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def open(self, path, *, width=DESKTOP, height=900, theme="light"):
        """Opens a file and waits until it has loaded."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width == PHONE,
        )
        feature = {"name": "prefers-color-scheme", "value": theme}
        self.send("Emulation.setEmulatedMedia", features=[feature])
        self.events.clear()
        self.send("Page.navigate", url=path.as_uri())
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self._next())

    def evaluate(self, expression):
        """The value of a JavaScript expression in the page."""
        answer = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def click(self, selector):
        """Clicks on the middle of an element with the mouse."""
        quoted = json.dumps(selector)
        x, y = self.evaluate(
            f"(() => {{ const e = document.querySelector({quoted});"
            "e.scrollIntoView({block: 'center'});"
            "const box = e.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                button="left",
                clickCount=1,
            )

    def screenshot(self):
        """The whole page as PNG."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def close(self):
        """Ends Chromium with all its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._read)
        os.close(self._write)

    def _next(self, seconds=60):
        deadline = time.monotonic() + seconds
        while b"\0" not in self._received:
            left = max(deadline - time.monotonic(), 0)
            ready, _, _ = select.select([self._read], [], [], left)
            part = os.read(self._read, 1 << 20) if ready else b""
            if not part:
                raise TimeoutError("Chromium gives no answer")
            self._received += part
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


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
        samples={c: rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for c in cells},
        # Tints as strong as they come.
        sections=[
            Section(
                "Equal", (Table((), (("a", TableCell("100", share=1.0)),), "matrix"),)
            )
        ],
        settings={"models": ("/a/path/that/is/quite/long/indeed/" * 4,), "seed": 0},
    )


def test_opens_offline_without_requests_or_errors(browser, report):
    browser.open(report)
    requests = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    assert requests[0] == report.as_uri()
    assert all(url.startswith("data:image/") for url in requests[1:])
    told = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
    assert [e for e in browser.events if e.get("method") in told] == []
    pictures = browser.evaluate("[...document.images].map((i) => i.naturalWidth)")
    assert set(pictures) == {32}


def test_a_click_on_a_column_sorts_by_its_numbers(browser, report):
    browser.open(report)
    before = browser.evaluate(FIRST_COLUMN)
    for order, sign in (("descending", -1), ("ascending", 1)):
        browser.click("table.sortable th:nth-child(2) button")
        values = browser.evaluate(
            '[...document.querySelectorAll("table.sortable tbody td:nth-child(2)")]'
            ".map((cell) => parseFloat(cell.textContent))"
        )
        assert values == sorted(values, key=lambda value: sign * value)
        head = 'document.querySelector("table.sortable th:nth-child(2)")'
        assert browser.evaluate(f"{head}.ariaSort") == order
    browser.click("table.sortable th:first-child button")
    browser.click("table.sortable th:first-child button")
    names = browser.evaluate(FIRST_COLUMN)
    assert names[0] == "base" and sorted(names) == sorted(before)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_readable_in_both_themes(browser, report, theme):
    browser.open(report, theme=theme)
    red = "parseInt(getComputedStyle(document.body).backgroundColor.slice(4))"
    assert (browser.evaluate(red) < 128) == (theme == "dark")
    ratios = browser.evaluate(CONTRAST)
    assert len(ratios) > 400
    assert [(text, ratio) for text, ratio in ratios if ratio < 4.5] == []


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_nothing_sticks_out_or_is_cut_off(browser, report, width):
    browser.open(report, width=width)
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(STICKING_OUT) == []
    assert browser.evaluate(CUT_OFF) == []
