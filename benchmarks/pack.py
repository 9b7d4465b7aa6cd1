"""How much memory packing takes as a corpus grows, and how many images it packs a second.

UC Merced at 1, 4 and 16 times its size (copies made unique by bytes behind the end of the JPEG)
through the pack stage, as a process of its own. Peak memory is the largest VmHWM of the stage and
of its workers, read from /proc while they run. There is no peer to compare with: the target is that
memory does not grow with the corpus.

    python benchmarks/pack.py [--quick] [--images FOLDER] [--rounds N]
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from workflow_scripts.fetch.manifest import Item, write_manifest
from workflow_scripts.threads import usable_cores

VERSIONS = ("h5py", "numpy", "pillow", "pyvips", "simplejpeg")
RECIPE = {
    "corpus": "ucm", "kind": "images", "datasets": ["ucm"], "synthetic": False, "splits": None,
    "max_side": None, "large": "scale", "quality": 95, "bands": None, "value_range": None,
    "max_set_aside": 0.0, "exclude": [], "duplicates": "keep",
    "across_splits": "protect",
    "benchmark_test": {"handling": "exclude", "benchmarks": {}},
}  # fmt: skip


def write_copies(source: list[Path], folder: Path, times: int) -> Path:
    """So many copies of each image, all different; their manifest."""
    items = []
    for path in source:
        data = path.read_bytes()
        for number in range(times):
            copy = data + b"%06d" % number  # a decoder stops at the end of the image
            place = folder / path.parent.name / f"{path.stem}-{number:03d}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(copy)
            items.append(
                Item(
                    key=place.relative_to(folder).as_posix(), path=str(place), bytes=len(copy),
                    sha256=sha256(copy).hexdigest(), label=path.parent.name,
                )
            )  # fmt: skip
    write_manifest(folder / "ucm.jsonl", items)
    return folder / "ucm.jsonl"


def peaks(pid: int) -> dict[int, int]:
    """VmHWM in kB of a process and of all below it, by process."""
    found = {}
    try:
        text = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it ended meanwhile
        return {}
    line = next((line for line in text.splitlines() if line.startswith("VmHWM")), None)
    if line:
        found[pid] = int(line.split()[1])
    for child in children:
        found |= peaks(int(child))
    return found


def pack(manifest: Path, index: Path, *, workers: int, shard_bytes: int) -> tuple[float, float]:
    """Seconds of one packing, and peak memory of its largest process in MB."""
    shutil.rmtree(index.parent, ignore_errors=True)
    recipe = json.dumps(RECIPE | {"shard_bytes": shard_bytes})
    command = [sys.executable, "-m", "workflow_scripts.pack", "--recipe", recipe, "--index",
               str(index), "--manifests", str(manifest), "--workers", str(workers)]  # fmt: skip
    start = time.perf_counter()
    job = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE
    )
    largest: dict[int, int] = {}
    while job.poll() is None:
        for pid, peak in peaks(job.pid).items():
            largest[pid] = max(peak, largest.get(pid, 0))
        time.sleep(0.01)
    taken = time.perf_counter() - start
    if job.returncode:
        raise SystemExit(job.stderr.read().decode())
    return taken, max(largest.values()) / 1024


def main() -> None:
    """Measure, print the table, and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the images, one round")
    parser.add_argument(
        "--images", type=Path, default=ROOT.parent / "shared" / "data" / "ucm",
        help="UC Merced as <class>/<image>.jpg",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    source = sorted(arguments.images.glob("*/*.jpg"))
    if not source:
        raise SystemExit(f"{arguments.images}: holds no <class>/<image>.jpg; give --images")
    source, rounds = (source[::10], 1) if arguments.quick else (source, arguments.rounds)
    memory: dict[int, float] = {}
    speed: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory(prefix="pack-benchmark-") as name:
        folder = Path(name)
        shard_bytes = sum(path.stat().st_size for path in source) // 3
        print("images    shards  peak MB of a process (two workers)")
        for times in (1, 4, 16):
            manifest = write_copies(source, folder / f"{times}", times)
            index = folder / "out" / "index.json"
            runs = [
                pack(manifest, index, workers=2, shard_bytes=shard_bytes) for _ in range(rounds)
            ]
            memory[times] = statistics.median(peak for _, peak in runs)
            shards = len(json.loads(index.read_text())["shards"])
            print(f"{times * len(source):6d}    {shards:6d}  {memory[times]:6.1f}")
        for _ in range(rounds):
            for workers, found in speed.items():
                taken, _ = pack(manifest, index, workers=workers, shard_bytes=shard_bytes)
                found.append(16 * len(source) / taken)
    print(f"images a second, {16 * len(source)} of them, start included: median (least … most)")
    median = {workers: statistics.median(found) for workers, found in speed.items()}
    for workers, found in speed.items():
        print(f"  {workers} worker{'s' * (workers > 1)}: {median[workers]:7.0f}  "
              f"({min(found):.0f} … {max(found):.0f})")  # fmt: skip
    figures = {f"peak_mb_{times}x": round(peak, 1) for times, peak in memory.items()}
    figures |= {f"images_per_s_{n}_workers": round(value) for n, value in median.items()}
    print(json.dumps({
        "benchmark": "pack",
        "machine": f"{platform.machine()}, {usable_cores()} cores",
        "versions": {"python": platform.python_version(), **{n: version(n) for n in VERSIONS}},
        "figures": figures | {"images_1x": len(source)},
        "ratios": {"memory_1x_to_16x": round(memory[1] / memory[16], 3),
                   "two_workers_to_one": round(median[2] / median[1], 3)},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
