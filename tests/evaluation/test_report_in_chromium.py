"""The reports as a browser shows them: light and dark, laptop, phone and paper.

A headless Chromium (Debian's package; `.ci/run` sees to it) is spoken to over a pipe in its own
protocol, which needs no other package.
"""

import base64
import json
import os
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recipes import files
from recipes.evaluation import write_comparison, write_report
from recipes.evaluation.metrics import classification_metrics
from tuning.search_page import write_search_report

PHONE, LAPTOP = 390, 1280
# A4 without margins of 14 mm, at 96 dots an inch.
PAPER = 688
LEAST_CONTRAST = 4.5
SECONDS = 60
# The browser reads its commands from descriptor 3 and answers on 4.
LAUNCH = """
import fcntl, os, sys
pair = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
for place, number in zip((3, 4), pair):
    os.dup2(number, place)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find() -> str | None:
    """Return the path of the browser, or `None` where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Chromium:
    """One page of one browser; what goes wrong in it and what it asks for is recorded.

    Args:
        profile: New folder for the browser's own files.

    Attributes:
        problems: Texts of warnings and errors of the console, and of exceptions.
        requests: Addresses that the page asked for.
    """

    def __init__(self, profile: Path):
        commands, self._write = os.pipe()
        self._read, answers = os.pipe()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", LAUNCH, str(commands), str(answers), find()),
                *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *("--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run"),
                *("--disable-extensions", "--disable-component-update", "--disable-sync"),
                *(f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"),
            ],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._buffer, self._number, self._session = b"", 0, None
        self._events: list[dict] = []
        self.problems: list[str] = []
        self.requests: list[str] = []
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict:
        """Send a command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._note(answer)

    def open(self, path: Path, *, width: int, scheme: str = "light", media: str = "screen") -> None:
        """Show a file at a width in CSS pixels, in a colour scheme, as on a screen or on paper."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.send(
            "Emulation.setEmulatedMedia",
            media=media,
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        self._events.clear()
        self.send("Page.navigate", url=path.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._note(self._next())

    def evaluate(self, script: str) -> Any:
        """Run JavaScript in the page and return its value."""
        answer = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self) -> bytes:
        """Return the whole page as PNG."""
        answer = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    def pdf(self) -> bytes:
        """Return the page printed on A4."""
        answer = self.send(
            "Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=True
        )
        return base64.b64decode(answer["data"])

    def close(self) -> None:
        """End the browser."""
        self._session = None
        try:
            self.send("Browser.close")
            self._process.wait(10)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def _next(self):
        end = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"the browser has not answered for {SECONDS} s"
            content = os.read(self._read, 1 << 20)
            assert content, "the browser has ended"
            self._buffer += content
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event):
        self._events.append(event)
        method, found = event.get("method"), event.get("params", {})
        if method == "Log.entryAdded" and found["entry"]["level"] in ("warning", "error"):
            self.problems.append(found["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and found["type"] in ("warning", "error"):
            self.problems.append(str(found["args"]))
        elif method == "Runtime.exceptionThrown":
            self.problems.append(found["exceptionDetails"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"])


pytestmark = pytest.mark.skipif(
    find() is None, reason="Chromium is not installed (Debian: apt-get install chromium)"
)
NAMES = [
    "<script>alert(1)</script>",
    'a" onmouseover="alert(1)',
    "an-unbreakable-name-" * 6,
    "日本語 🙂 שלום",
    "two words",
    "w",
]
# Of every visible text, its contrast by the formula of WCAG 2, the layers behind it blended.
PROBE = """
((limit) => {
  const parse = (text) => {
    const n = text.match(/[\\d.]+/g).map(Number);
    const scale = text.startsWith("color(") ? 255 : 1;
    return [n[0] * scale, n[1] * scale, n[2] * scale, n.length > 3 ? n[3] : 1];
  };
  const blend = (top, under) =>
    [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const light = (color) => color.slice(0, 3).reduce((sum, value, i) => {
    const c = value / 255;
    return sum + [0.2126, 0.7152, 0.0722][i] *
      (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  }, 0);
  const ground = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(getComputedStyle(e).backgroundColor);
    const white = [255, 255, 255, 1];
    return layers.reverse().map(parse).reduce((under, top) => blend(top, under), white);
  };
  const faint = [], beyond = [];
  let texts = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility({ visibilityProperty: true })) continue;
    if (element.tagName === "title") continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    if (!box.width) continue;
    texts += 1;
    const style = getComputedStyle(element), under = ground(element);
    const color = blend(parse(element.closest("svg") ? style.fill : style.color), under);
    const pair = [light(color), light(under)].sort((a, b) => b - a);
    const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (contrast < LEAST) faint.push([contrast.toFixed(2), node.data.trim().slice(0, 40)]);
    if (!element.closest(".scroll") && (box.right > limit + 0.5 || box.left < -0.5))
      beyond.push([box.left, box.right, node.data.trim().slice(0, 40)]);
  }
  return {
    texts, faint, beyond,
    width: document.documentElement.scrollWidth,
    cut: [...document.querySelectorAll(".scroll")]
      .filter((e) => e.scrollWidth > e.clientWidth + 1 && e.checkVisibility())
      .map((e) => e.innerText.slice(0, 60)),
    pictures: document.images.length,
    decoded: [...document.images].filter((e) => e.complete && e.naturalWidth > 0).length,
    background: getComputedStyle(document.body).backgroundColor,
  };
})
""".replace("LEAST", str(LEAST_CONTRAST))


def probe(browser, width):
    """Return what is wrong with the page that is shown at a width."""
    return browser.evaluate(f"{PROBE.strip()}({width})")


@pytest.fixture(name="browser", scope="module")
def fixture_browser(tmp_path_factory):
    browser = Chromium(tmp_path_factory.mktemp("chromium") / "profile")
    yield browser
    browser.close()


def blur(directory, seed):
    """Make the run another: its predictions are those of a worse model, its metrics agree."""
    with np.load(directory / "predictions.npz") as arrays:
        arrays = dict(arrays)
    noise = np.random.default_rng(seed).dirichlet(np.ones(len(NAMES)), len(arrays["labels"]))
    arrays["probabilities"] = 0.6 * arrays["probabilities"] + 0.4 * noise
    np.savez_compressed(directory / "predictions.npz", **arrays)
    metrics = files.read_json(directory / "metrics.json")
    metrics["test"] = classification_metrics(arrays["probabilities"], arrays["labels"], NAMES)
    files.write_json(directory / "metrics.json", metrics)
    return directory


@pytest.fixture(name="pages", scope="module")
def fixture_pages(write_run, tmp_path_factory):
    """Return the report of a run with hostile names, and the comparison of five such runs."""
    folder = tmp_path_factory.mktemp("pages")
    runs = [write_run(folder / "a run", names=NAMES, images=240)]
    for seed in range(3):
        runs.append(blur(write_run(folder / f"run-{seed}", names=NAMES, images=240), seed))
    # One of other test images, which is shown but not paired.
    other = write_run(folder / ("long-name-" * 6), names=NAMES, images=180)
    files.write_json(
        other / "data.json", files.read_json(other / "data.json") | {"fingerprint": "77" * 32}
    )
    comparison = write_comparison([*runs, other], folder / "compared")
    return {"report": write_report(runs[0]), "comparison": comparison}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, LAPTOP])
@pytest.mark.parametrize("name", ["report", "comparison"])
@pytest.mark.sampled(2)
def test_page_fits_reads_and_asks_for_nothing(browser, pages, name, width, scheme):
    browser.problems.clear()
    browser.requests.clear()
    browser.open(pages[name], width=width, scheme=scheme)
    browser.evaluate("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    found = probe(browser, width)
    assert browser.problems == []
    asked = [address for address in browser.requests if not address.startswith("data:image/")]
    assert asked == [pages[name].as_uri()]
    assert found["texts"] > 200
    assert found["faint"] == [], f"contrast under {LEAST_CONTRAST}"
    assert found["width"] <= width
    assert found["beyond"] == []
    assert found["decoded"] == found["pictures"]
    assert (found["pictures"] > 0) == (name == "report")
    dark = sum(map(int, re.findall(r"\d+", found["background"])[:3])) < 3 * 128
    assert dark == (scheme == "dark")


@pytest.fixture(name="searches", scope="module")
def fixture_searches(search_folder, tmp_path_factory):
    """Return the reports of a search of a recipe, and of one of a model with hostile names."""
    write = {"recipe": search_folder.write_search, "own": search_folder.write_own_search}
    return {
        name: write_search_report(write[name](tmp_path_factory.mktemp(f"a search {name}")))
        for name in write
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, LAPTOP])
@pytest.mark.parametrize("name", ["recipe", "own"])
def test_search_fits_reads_and_asks_for_nothing(browser, searches, name, width, scheme):
    browser.problems.clear()
    browser.requests.clear()
    browser.open(searches[name], width=width, scheme=scheme)
    browser.evaluate("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    found = probe(browser, width)
    assert browser.problems == []
    assert browser.requests == [searches[name].as_uri()]
    assert found["texts"] > 200
    assert found["faint"] == [], f"contrast under {LEAST_CONTRAST}"
    assert found["width"] <= width
    assert found["beyond"] == []
    dark = sum(map(int, re.findall(r"\d+", found["background"])[:3])) < 3 * 128
    assert dark == (scheme == "dark")
    assert not re.search(r"https?:|url\(|@import|<script|<link", searches[name].read_text())


@pytest.mark.parametrize("name", ["recipe", "own"])
def test_printed_search_cuts_nothing(browser, searches, name):
    browser.open(searches[name], width=PAPER, scheme="dark", media="print")
    found = probe(browser, PAPER)
    assert found["background"] == "rgb(255, 255, 255)"
    assert (found["faint"], found["cut"], found["beyond"]) == ([], [], [])


@pytest.mark.parametrize("name", ["report", "comparison"])
def test_printed_page_is_light_and_cuts_no_table(browser, pages, name):
    browser.open(pages[name], width=PAPER, scheme="dark", media="print")
    found = probe(browser, PAPER)
    assert found["background"] == "rgb(255, 255, 255)"
    assert found["faint"] == []
    assert found["cut"] == []
    assert found["beyond"] == []
    assert browser.pdf().startswith(b"%PDF-")


@pytest.mark.parametrize("name", ["report", "comparison"])
def test_files_name_no_other_address(pages, name):
    text = pages[name].read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(|@import|<script|<link|<iframe", text)


def test_probe_finds_what_is_wrong(browser, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        "<!DOCTYPE html><meta name=viewport content='width=device-width'>"
        "<body style='background:#fff;margin:0'>"
        "<p style='color:#777'>just too faint: 4.48</p><p style='color:#767676'>enough: 4.54</p>"
        "<p style='width:500px;white-space:nowrap'><span style='margin-left:450px'>out</span></p>"
        "<img src='data:image/png;base64,AAAA'><script>console.error('loud')</script>"
    )
    browser.problems.clear()
    browser.open(page, width=PHONE)
    found = probe(browser, PHONE)
    assert found["faint"] == [["4.48", "just too faint: 4.48"]]
    assert found["width"] >= 500
    assert [text for *_, text in found["beyond"]] == ["out"]
    assert (found["pictures"], found["decoded"]) == (1, 0)
    assert len(browser.problems) == 1
