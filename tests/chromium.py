"""A real browser for the tests of the page: the Chromium of the system, without a window."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
SOFTWARE_GL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser; skips where there is none."""
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("there is no Chromium here: sudo apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(SOFTWARE_GL))
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A page that is looked at, and all that goes wrong in it."""

    def __init__(self, browser: Any, url: str, width: int = 1280, height: int = 800) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": height})
        self.page.set_default_timeout(40_000)
        self.faults: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("requestfailed", lambda request: self.faults.append(request.url))
        self.page.on("response", self._on_response)
        self.page.goto(url)

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(message.text)

    def _on_response(self, response: Any) -> None:
        if response.status >= 400:
            self.faults.append(f"{response.status} {response.url}")

    def wait_for_head(self) -> None:
        """Until the head is drawn."""
        self.page.wait_for_selector("body[data-head=drawn]")

    def head(self) -> np.ndarray:
        """What the canvas shows, (H, W, 3) int."""
        png = self.page.locator("#head").screenshot()
        return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR).astype(int)

    def text(self, selector: str) -> str:
        """What one reads there."""
        return str(self.page.locator(selector).inner_text())

    def wait_for_text(self, selector: str, text: str) -> None:
        """Until one reads it there."""
        self.page.locator(selector, has_text=text).wait_for()

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))

    def ask(self, text: str) -> None:
        """Type something and send it."""
        self.page.fill("#text", text)
        self.page.click("#ask button")
