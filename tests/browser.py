"""The machine's own Chromium, for tests that look at pages as a reader does."""

import os
import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """Path of the browser; skips where there is none, but fails where nothing may skip."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        reason = f"no browser here (looked for {', '.join(NAMES)}); apt-get install chromium"
        if os.environ.get("CI") or os.environ.get("ORBWEAVER_REQUIRE_SLURM"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found
