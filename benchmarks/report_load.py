"""How fast the report of a large experiment is loaded by a browser.

Twenty runs, ten benchmarks of twenty encoders and a study of 115 points, made up
(`report_tree_large.py`), are drawn and put on the page by the report's own stage; then a Chromium
without a window opens the file anew in each round, at the width of a desktop and at that of a
phone. Told are medians of: the time to the first contents on the screen, and the time to the `load`
event, at which everything that the page refers to was read; both since the navigation began, by the
browser's own clock (Navigation Timing and Paint Timing).

    python benchmarks/report_load.py [--quick] [--rounds N] [--page FILE] [--keep FOLDER]
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser, sync_playwright
from report_tree_large import make_large

from tests.browser import chromium
from workflow_scripts.report.__main__ import work
from workflow_scripts.threads import usable_cores

WIDTHS = {"desktop": 1280, "phone": 375}
# The first paint is reported a frame after `load`, where it comes later than that.
TIMES = """async () => {
  const painted = () => performance.getEntriesByName("first-contentful-paint")[0];
  while (!painted()) await new Promise(requestAnimationFrame);
  const load = performance.getEntriesByType("navigation")[0].loadEventEnd;
  return {first_contents_s: painted().startTime / 1000, load_s: load / 1000};
}"""


def build(folder: Path, *, runs: int, benchmarks: int) -> Path:
    """The page of made-up results in a folder, by the stage itself."""
    recipe = make_large(folder, runs=runs, benchmarks=benchmarks)
    results = folder / "results"
    work(
        argparse.Namespace(
            results=results, data=folder / "data", html=results / "report.html",
            json=results / "report.json", figures=results / "figures",
            tables=results / "tables", records=results / "records",
        ),
        recipe,
    )  # fmt: skip
    return results / "report.html"


def loaded(browser: Browser, page: Path, width: int) -> dict[str, float]:
    """One loading of the page in a context of its own, so that nothing is kept from the last."""
    context = browser.new_context(viewport={"width": width, "height": 800})
    try:
        tab = context.new_page()
        tab.goto(page.as_uri(), wait_until="load", timeout=120_000)
        return tab.evaluate(TIMES)
    finally:
        context.close()


def measured(page: Path, rounds: int) -> tuple[dict[str, float], str]:
    """Medians and the slowest of the rounds at each width, and the browser's version."""
    figures = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium())
        loaded(browser, page, 1280)  # the file and the browser's own files are read from the disk
        rows = {
            name: [loaded(browser, page, width) for _ in range(rounds)]
            for name, width in WIDTHS.items()
        }
        found = browser.version
        browser.close()
    for name, times in rows.items():
        for key in times[0]:
            values = [row[key] for row in times]
            figures[f"{name}_{key}"] = round(statistics.median(values), 3)
            figures[f"{name}_{key}_most"] = round(max(values), 3)
    return figures, found


def main() -> None:
    """Measure and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="four runs, two benchmarks")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--page", type=Path, help="a page that is there, instead of a made-up one")
    parser.add_argument("--keep", type=Path, help="where the made-up results stay")
    arguments = parser.parse_args()
    runs, benchmarks = (4, 2) if arguments.quick else (20, 10)
    with tempfile.TemporaryDirectory() as temporary:
        start = time.perf_counter()
        page = arguments.page or build(
            arguments.keep or Path(temporary), runs=runs, benchmarks=benchmarks
        )
        made_in = time.perf_counter() - start
        figures, browser = measured(page.resolve(), arguments.rounds)
        size = page.stat().st_size
    print(json.dumps({
        "benchmark": "report_load",
        "machine": f"{platform.machine()}, {usable_cores()} cores",
        "versions": {"python": platform.python_version(), "playwright": version("playwright"),
                     "chromium": browser},
        "figures": {**figures, "page_mb": round(size / 1e6, 1),
                    **({} if arguments.page else {"made_in_s": round(made_in, 1)}),
                    "load_average": round(os.getloadavg()[0], 1)},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
