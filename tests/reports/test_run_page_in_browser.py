"""report.html in a real browser: it asks for nothing, complains of nothing, and obeys the keys.

AUTOTUNE_REQUIRE_BROWSER=1 makes a missing browser a failure; AUTOTUNE_SCREENSHOTS names a folder
that keeps the pictures for people.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune.reports import build_report, hardware_page, run_page

from .browser import Browser, open_browser
from .hardware_record import report as hardware_report
from .long_record import MISTAKES, chosen, long_context, long_events

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if sys.platform == "win32" or shutil.which("chromium") is None:
        reason = "there is no chromium here (Debian: apt-get install chromium)"
        if os.environ.get("AUTOTUNE_REQUIRE_BROWSER") == "1":
            pytest.fail(f"{reason}; AUTOTUNE_REQUIRE_BROWSER asks for it")
        pytest.skip(reason)
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    events = long_events()
    report = build_report(long_context(), events)
    path.write_text(run_page(report, events, run="results/one", mistakes=MISTAKES), "utf-8")
    return path


def _keep(browser: Browser, name: str) -> None:
    if folder := os.environ.get("AUTOTUNE_SCREENSHOTS"):
        browser.picture(Path(folder) / f"{name}.png")


VIEWS = {"light": (1000, False), "dark": (1000, True), "narrow": (420, False)}


@pytest.mark.parametrize("view", VIEWS)
def test_it_loads_in_a_moment_without_request_complaint_or_sideways_scrolling(
    view: str, browser: Browser, page: Path
) -> None:
    width, dark = VIEWS[view]
    began = time.monotonic()
    browser.open(page, width=width, dark=dark)
    assert time.monotonic() - began < 10  # two seconds on a machine that does nothing else
    assert browser.value("performance.now()") < 5000
    _keep(browser, f"run-{view}")
    assert browser.requested() == [page.as_uri()]
    assert browser.complaints() == []
    assert browser.value("document.documentElement.scrollWidth <= innerWidth")
    ground = browser.value("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(21, 23, 27)" if dark else "rgb(255, 255, 255)")


def test_whoever_has_keys_only_reaches_every_model_and_its_command(
    browser: Browser, page: Path
) -> None:
    browser.open(page)
    svg = "document.querySelector('#front svg[role=group]')"
    for _ in range(60):
        browser.press("Tab")
        if browser.value(f"document.activeElement === {svg}"):
            break
    assert browser.value(f"document.activeElement === {svg}")
    browser.press("ArrowRight")
    tip = "document.querySelector('#front .tip').innerText"
    assert browser.value(tip).startswith(f"{chosen().name} (chosen)")
    seen = set()
    for _ in range(60):
        seen.add(browser.value("document.querySelector('#front .tip pre').innerText"))
        browser.press("ArrowRight")
    assert seen == {f"autotune export results/one --trial {number}" for number in range(60)}
    browser.press("End")
    last = browser.value(tip)
    browser.press("ArrowRight")  # goes round
    assert browser.value(tip).startswith(f"{chosen().name} (chosen)")
    assert last != browser.value(tip)
    _keep(browser, "run-keys")
    assert browser.complaints() == []


def test_pointing_at_a_step_tells_what_it_was(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.value("document.querySelector('#timeline').scrollIntoView()")
    place = browser.value(
        "(() => { const r = document.querySelector('#timeline .lane-train rect')"
        ".getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
    )
    browser.point(*place)
    told = browser.value("document.querySelector('#timeline .tip').innerText")
    assert "train to 100% of the steps, 40.0 s, measured" in told
    assert browser.complaints() == []


def test_everything_is_printed_folded_tables_included(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.value("document.querySelectorAll('details[open]').length") == 0
    browser.value("dispatchEvent(new Event('beforeprint'))")
    assert browser.value("[...document.querySelectorAll('details')].every((one) => one.open)")
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.value("getComputedStyle(document.querySelector('.tip')).display") == "none"
    printed = browser.call("Page.printToPDF", printBackground=True)["data"]
    assert len(printed) > 50_000


def test_the_page_of_a_hardware_report_is_as_quiet(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "hardware.html"
    path.write_text(hardware_page(hardware_report()), "utf-8")
    browser.open(path)
    assert browser.requested() == [path.as_uri()]
    assert browser.complaints() == []
