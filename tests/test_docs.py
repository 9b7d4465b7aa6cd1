"""What the guides show is run as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tiny_runs import tiny_images

ROOT = Path(__file__).resolve().parent.parent


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)


def test_the_loop_of_the_loaders_page_runs_and_has_ten_lines(tmp_path):
    tiny_images(tmp_path / "data" / "shards" / "scenes-train", count=130)
    (code,) = blocks("loader.md")
    assert len([line for line in code.splitlines() if line]) <= 10
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True,
    )  # fmt: skip
    shown = done.stdout.splitlines()
    assert len(shown) == 4  # two epochs of 130 samples in batches of 64
    assert all(line.startswith("torch.Size([64, 64, 64, 3]) torch.uint8 tensor(") for line in shown)
