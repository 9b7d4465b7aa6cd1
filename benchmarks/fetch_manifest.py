"""How fast a manifest is made, against reading and hashing the same files with `sha256sum`.

Ours is the whole stage as a process of its own: start of the interpreter, walk, hashing, split by
fraction, manifest and summary written, nothing known of the files. The other is two processes of
`sha256sum`: `find … -print0 | xargs -0 -P2 -n500 sha256sum`. Both in turn over the same files, 10
to 30 kB each as images of benchmarks are, in the page cache. Then ours again over unchanged files,
of which it reads none; and, with --memory, the largest process over a million tiny files.

    python benchmarks/fetch_manifest.py [--quick] [--files N] [--rounds N] [--folder F] [--memory]
"""

import argparse
import json
import os
import platform
import random
import shlex
import sqlite3
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from workflow_scripts.threads import usable_cores

CLASSES = 50
SPLIT = {"by": "fraction", "train": 0.8, "val": 0.0, "test": 0.2, "seed": 0}
AGE_S = 3600  # files are made an hour old: a file just written is not believed unchanged


def make_files(folder: Path, count: int, *, least: int, most: int) -> None:
    """Files of random bytes in folders of classes."""
    rng = random.Random(0)
    then = time.time() - AGE_S
    for number in range(count):
        place = folder / f"class{number % CLASSES:02d}"
        if number < CLASSES:
            place.mkdir(parents=True)
        path = os.path.join(place, f"image{number:07d}.jpg")
        with open(path, "wb", buffering=0) as file:
            file.write(rng.randbytes(rng.randint(least, most)))
        os.utime(path, (then, then))


def manifest(files: Path, out: Path) -> tuple[float, float]:
    """Seconds of the stage over the files, and peak memory of its largest process in MB."""
    recipe = {
        "dataset": "files", "kind": "image-folder", "path": str(files), "listing_digest": None,
        "split": SPLIT, "obtain": "",
    }  # fmt: skip
    command = [sys.executable, "-m", "workflow_scripts.fetch", "--recipe", json.dumps(recipe),
               "--manifest", str(out)]  # fmt: skip
    start = time.perf_counter()
    job = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    told = job.stderr.read()
    _, status, usage = os.wait4(job.pid, 0)  # of this child and of those it waited for
    taken = time.perf_counter() - start
    job.returncode = os.waitstatus_to_exitcode(status)
    if job.returncode:
        raise SystemExit(told.decode())
    return taken, usage.ru_maxrss / 1024


def sums(files: Path, out: Path) -> float:
    """Seconds of two processes of sha256sum over the files."""
    command = f"find {shlex.quote(str(files))} -type f -print0 | xargs -0 -P2 -n500 sha256sum"
    start = time.perf_counter()
    with out.open("wb") as file:
        subprocess.run(["sh", "-c", command], stdout=file, check=True)
    return time.perf_counter() - start


def agree(sums_file: Path, manifest_file: Path) -> None:
    """Both must have found the same."""
    theirs = sorted(line[:64] for line in sums_file.read_text().splitlines())
    lines = manifest_file.read_text(encoding="utf-8").splitlines()
    if theirs != sorted(json.loads(line)["sha256"] for line in lines):
        raise SystemExit("sha256sum and the manifest differ")


def measure(
    quick: bool, *, files: int | None = None, rounds: int | None = None, folder: Path | None = None
) -> dict[str, dict[str, float]]:
    """Make files, measure both, and print a table.

    Args:
        quick: Half of the files and fewer rounds.
        files: How many; 100,000, or 50,000 if quick, by default.
        rounds: How many; 7, or 3 if quick, by default.
        folder: Where files are made, and removed at the end; the one for temporary files by
            default.

    Returns:
        `figures` and `ratios`.
    """
    count = files or (50_000 if quick else 100_000)
    found: dict[str, list[float]] = {"sha256sum, two processes": [], "manifest": [], "again": []}
    peaks = []
    with tempfile.TemporaryDirectory(prefix="manifest-benchmark-", dir=folder) as name:
        place = Path(name)
        make_files(place / "files", count, least=10_000, most=30_000)
        sums(place / "files", place / "sums")  # into the page cache
        for number in range(rounds or (3 if quick else 7)):
            out = place / f"{number}" / "files.jsonl"
            found["sha256sum, two processes"].append(sums(place / "files", place / "sums"))
            taken, peak = manifest(place / "files", out)
            found["manifest"].append(taken)
            peaks.append(peak)
            agree(place / "sums", out)
            before = out.read_bytes()
            found["again"].append(manifest(place / "files", out)[0])
            if out.read_bytes() != before:
                raise SystemExit("a second run over unchanged files gave another manifest")
    print(f"{count} files of 10 to 30 kB, page cache warm: median seconds (least … most)")
    for what, times in found.items():
        median = statistics.median(times)
        print(f"  {what:26s}{median:6.2f}  ({min(times):.2f} … {max(times):.2f})"
              f"{count / median:9.0f} files/s")  # fmt: skip
    medians = {what: statistics.median(times) for what, times in found.items()}
    return {
        "figures": {
            "files": count,
            "sha256sum_s": round(medians["sha256sum, two processes"], 3),
            "manifest_s": round(medians["manifest"], 3),
            "manifest_again_s": round(medians["again"], 3),
            "manifest_peak_mb": round(statistics.median(peaks), 1),
        },
        "ratios": {"manifest": round(medians["sha256sum, two processes"] / medians["manifest"], 3)},
    }


def memory(count: int, folder: Path | None) -> dict[str, float]:
    """Peak memory in MB, and seconds, over so many tiny files, all different."""
    with tempfile.TemporaryDirectory(prefix="manifest-benchmark-", dir=folder) as name:
        place = Path(name)
        make_files(place / "files", count, least=24, most=40)
        taken, peak = manifest(place / "files", place / "files.jsonl")
        again, peak_again = manifest(place / "files", place / "files.jsonl")
        print(f"{count} files of 24 to 40 bytes: {taken:.1f} s, {peak:.0f} MB; again "
              f"{again:.1f} s, {peak_again:.0f} MB", flush=True)  # fmt: skip
    return {
        "tiny_files": count,
        "tiny_s": round(taken, 1),
        "tiny_peak_mb": round(peak, 1),
        "tiny_again_s": round(again, 1),
        "tiny_again_peak_mb": round(peak_again, 1),
    }


def main() -> None:
    """Measure, print the table, and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer files, fewer rounds")
    parser.add_argument("--files", type=int, help="how many files are made")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--folder", type=Path, help="where files are made for the time")
    parser.add_argument("--memory", action="store_true", help="a million tiny files too (minutes)")
    arguments = parser.parse_args()
    folder = arguments.folder
    found = measure(
        arguments.quick, files=arguments.files, rounds=arguments.rounds, folder=folder
    )  # fmt: skip
    if arguments.memory:
        found["figures"] |= memory(1_000_000, folder)
    print(json.dumps({
        "benchmark": "fetch_manifest",
        "machine": f"{platform.machine()}, {usable_cores()} cores",
        "versions": {
            "python": platform.python_version(), "openssl": ssl.OPENSSL_VERSION,
            "sqlite": sqlite3.sqlite_version,
        },
        **found,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
