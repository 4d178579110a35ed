"""A picture of a report, for docs: ``python tests/report_screenshot.py page.html picture.png``.

Further arguments: ``--dark``, ``--width PIXELS``, ``--height PIXELS`` (of what is shown).
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
"""Options of a chromium that keeps to itself."""


def save(html: Path, picture: Path, *, dark: bool, width: int, height: int) -> None:
    """The first ``height`` pixels of the page, once its plots are drawn."""
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)
        page = browser.new_page(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        page.goto(html.resolve().as_uri())
        for chart in page.locator(".chart:visible").all():
            chart.scroll_into_view_if_needed()
            chart.locator(".trace").first.wait_for(state="attached")
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=picture, clip={"x": 0, "y": 0, "width": width, "height": height})
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("html", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=1700)
    save(**vars(parser.parse_args()))
