"""How long the plan of a year takes: 210,816 granules of both satellites, 732 tile jobs.

`snakemake -n all` on listings of 2024 (and, with `--companions`, MOD03 and MOD35_L2 beside each
granule); wall time and peak memory of the Snakemake process. There is no peer to compare with: the
target is 10 s and 500 MB.

    python benchmarks/plan.py [--quick] [--companions] [--rounds N]
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIG = """
all: {runs: [six], benchmarks: []}
datasets:
  terra: {kind: modis-l1b, platform: Terra, path: /archive/terra, listing: terra.txt}
  aqua: {kind: modis-l1b, platform: Aqua, path: /archive/aqua, listing: aqua.txt}
corpora:
  clouds: {datasets: [terra, aqua]}
runs:
  six:
    objective: mae
    corpus: clouds
    encoder: {family: vit, image_size: 128, patch: 16, width: 192, depth: 12, heads: 3}
"""


def write_year(folder: Path, products: tuple[str, ...]) -> int:
    """The configuration and one listing a satellite; how many files they name."""
    (folder / "year.yaml").write_text(CONFIG)
    times = [datetime(2024, 1, 1) + timedelta(minutes=5 * number) for number in range(366 * 288)]
    for satellite, prefix in (("terra", "MOD"), ("aqua", "MYD")):
        with (folder / f"{satellite}.txt").open("w") as file:
            for at in times:
                for product in products:
                    name = f"{prefix}{product}.A{at:%Y%j.%H%M}.061.{at:%Y%j}120000.hdf"
                    file.write(f"{at:%Y/%j}/{name}\n")
    return 2 * len(products) * len(times)


def plan(folder: Path) -> tuple[float, dict[str, int]]:
    """Seconds of one dry run, and its number of jobs by rule."""
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "all", "-n",
               "--quiet", "rules", "--configfile", "year.yaml",
               "--workflow-profile", str(ROOT / "profiles" / "default")]  # fmt: skip
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    taken = time.perf_counter() - start
    rows = [line.split() for line in done.stdout.splitlines()]
    return taken, {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def main() -> None:
    """Measure, print, and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two rounds")
    parser.add_argument("--companions", action="store_true", help="list MOD03 and MOD35_L2 too")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    products = ("021KM", "03", "35_L2") if arguments.companions else ("021KM",)
    with tempfile.TemporaryDirectory(prefix="plan-benchmark-") as name:
        folder = Path(name)
        files = write_year(folder, products)
        found = [plan(folder) for _ in range(2 if arguments.quick else arguments.rounds)]
    times = [taken for taken, _ in found]
    jobs = found[0][1]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    median = statistics.median(times)
    print(f"{files} files listed, {jobs['tile']} tile jobs of {jobs['total']}")
    print(f"median {median:.2f} s ({min(times):.2f} … {max(times):.2f}), peak {peak:.0f} MB")
    figures = {"seconds": round(median, 3), "peak_mb": round(peak), "tile_jobs": jobs["tile"],
               "jobs": jobs["total"], "files": files}  # fmt: skip
    print(json.dumps({
        "benchmark": "plan",
        "machine": f"{platform.machine()}",
        "versions": {"python": platform.python_version(), "snakemake": version("snakemake")},
        "figures": figures,
        "ratios": {},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
