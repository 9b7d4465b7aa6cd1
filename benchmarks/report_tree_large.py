"""Results of twenty runs, two hundred probes and a study, made up, for `report_load.py`.

The numbers mean nothing; their amount, and the sizes of pictures, are those of a large experiment.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.report_tree import make_images, make_probe, make_run, make_tree, pattern, probe_entry
from tests.study_results import published_points, write_study


def longer(history: Path, rows: int) -> None:
    """Give a run as many logged steps as a long one has, its last row again and again."""
    last = json.loads(history.read_text(encoding="utf-8").splitlines()[-1])
    noise = np.random.default_rng(0).normal(0, 0.01, rows)
    lines = [
        json.dumps({**last, "step": 5 * (step + 1), "loss": 0.4 + np.exp(-step / 200) + float(off)})
        for step, off in enumerate(noise)
    ]
    history.write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_study(results: Path) -> dict[str, Any]:
    """A study of the 115 published points; returns its entry in the report's recipe."""
    rows = published_points()
    return {
        **write_study(results, "large", rows),
        "modes": ["synthetic"], "readers": [], "patches": [], "batches": [32], "ahead": [],
        "ranks": list(dict.fromkeys(row["ranks"] for row in rows)),
        "strategies": list(dict.fromkeys(row["strategy"] for row in rows)),
    }  # fmt: skip


def make_large(root: Path, *, runs: int, benchmarks: int, rows: int = 2000) -> dict[str, Any]:
    """Results and data below `root`; returns the report's recipe."""
    recipe = make_tree(root)
    results, data = root / "results", root / "data"
    views = [pattern(i, 9, 64) / 255 for i in range(8)]
    classes = [f"class {number:02d}" for number in range(20)]
    names = [f"large-{number:02d}" for number in range(runs)]
    for name in names:
        make_run(results, name, objective="mae", bands=["red", "green", "blue"], pictures=views)
        longer(results / "runs" / name / "history.jsonl", rows)
    probes = []
    for number in range(benchmarks):
        benchmark = f"bench-{number:02d}"
        make_images(data, benchmark, classes)
        for place, name in enumerate(names):
            means = {"linear": 60.0 + place, "knn": 50.0 + place, "few_shot_5": 30.0 + place}
            make_probe(results, name, benchmark, classes, means)
            probes.append(probe_entry(name, benchmark))
    return {
        **recipe,
        "runs": [
            {"name": n, "label": n, "objective": "mae", "pinned": False, "corpus": "scenes"}
            for n in names
        ],
        "benchmarks": [
            {"name": f"bench-{n:02d}", "label": f"Benchmark {n}", "published": "ucm",
             "corpus": f"bench-{n:02d}"}
            for n in range(benchmarks)
        ],
        "probes": probes,
        "arp_baseline": names[0],
        "studies": [make_study(results)],
        "plans": [],
    }  # fmt: skip
