"""What the guides show is run as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml
from tiny_runs import tiny_images

from tests.test_config import changed
from tests.test_own_benchmark import examples
from workflow_scripts import recipes
from workflow_scripts.config_check import check_config

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


def test_the_sources_of_ones_own_data_are_as_the_guide_shows_them():
    kinds = []
    for text in examples("your-own-data.md", "Where the data comes from"):
        ((name, entry),) = yaml.safe_load(text)["datasets"].items()
        config = check_config(changed(f"datasets.{name}", entry))
        recipe, how = recipes.fetch(config, name), recipes.transfer(config, name)
        kinds.append(entry.get("source", {"kind": "path"})["kind"])
        assert (recipe["path"] is None) == (recipe["source"] is not None)
        assert bool(how) == (kinds[-1] in ("https", "hub", "stac"))
    assert kinds == ["path", "https", "hub", "stac", "manual"]
