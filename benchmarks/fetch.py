"""How fast one large file is downloaded and verified, and how fast a manifest is made.

`large_file`: a file over the loopback from nginx, each way as whole processes, start included, in
turn: ours (Python, `transfer.download` with the SHA-256 known; SHA-256 while it comes, flushed to
the disk at the end), `curl -o` followed by `sha256sum`, and aria2 with its checksum on. The ratio
is the time of the faster of those two over ours. Beside them, told only: `curl` followed by
`openssl dgst`, which hashes with the code that Python has, and ours without the start of Python.
Neither curl nor aria2 flush. aria2 is told not to fill the file with zeros first.

`manifest`: see fetch_manifest.py, which measures it.

    python benchmarks/fetch.py [--quick] [--rounds N] [--mb N] [--folder F]
                               [--only large_file|manifest]
"""

import argparse
import hashlib
import json
import os
import platform
import random
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import fetch_manifest

from workflow_scripts.threads import usable_cores

OURS = """
import sys, time
from pathlib import Path
from workflow_scripts.transfer.client import Client
from workflow_scripts.transfer.download import download
from workflow_scripts.transfer.remote import Remote
from workflow_scripts.transfer.settings import Settings
url, folder, sha256 = sys.argv[1:]
start = time.perf_counter()
download([Remote(name="file", urls=(url,), sha256=sha256)], Path(folder), client=Client(Settings()),
         what="benchmark")
print(time.perf_counter() - start)
"""
NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ }}
http {{ access_log off; sendfile on; server {{ listen 127.0.0.1:{port}; root {folder}/served; }} }}
"""
PEERS = ("curl, then sha256sum", "aria2 with its checksum")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve `folder/served` by nginx; its address."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        raise SystemExit("nginx is not installed (Debian: apt-get install nginx-light)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
    server = subprocess.Popen(
        [program, "-e", folder / "error.log", "-p", folder, "-c", folder / "nginx.conf"]
    )
    try:
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def make_file(path: Path, size: int) -> str:
    """Random bytes; their SHA-256. It is in the page cache afterwards."""
    path.parent.mkdir(parents=True)
    rng, digest = random.Random(0), hashlib.sha256()
    with path.open("wb") as file:
        while size:
            block = rng.randbytes(min(size, 2**24))
            file.write(block)
            digest.update(block)
            size -= len(block)
    return digest.hexdigest()


def commands(url: str, folder: Path, sha256: str) -> dict[str, list[list[str]]]:
    """Each way, as processes one after the other, that put the file into the folder."""
    out = str(folder / "file")
    curl = ["curl", "--silent", "--show-error", "--fail", "--noproxy", "*", "-o", out, url]
    aria2 = ["aria2c", "--quiet", "--no-conf", "--file-allocation=none", "--dir", str(folder),
             "--out", "file", f"--checksum=sha-256={sha256}", "--all-proxy=", url]  # fmt: skip
    return {
        "ours": [[sys.executable, "-c", OURS, url, str(folder), sha256]],
        "curl, then sha256sum": [curl, ["sha256sum", out]],
        "aria2 with its checksum": [aria2],
        "curl, then openssl dgst": [curl, ["openssl", "dgst", "-sha256", out]],
    }


def take(steps: list[list[str]], folder: Path, sha256: str) -> tuple[float, str]:
    """Seconds of one way, and what its last process printed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.sync()  # what the way before left to write is not its own
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_PROXY": "*"}
    start = time.perf_counter()
    for step in steps:
        done = subprocess.run(step, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{step[0]} failed:\n{done.stdout}{done.stderr}")
    taken = time.perf_counter() - start
    if len(steps) > 1 and sha256 not in done.stdout:
        raise SystemExit(f"{steps[-1][0]} found another digest: {done.stdout}")
    return taken, done.stdout


def large_file(size: int, rounds: int, folder: Path | None) -> dict[str, dict[str, float]]:
    """Measure all ways in turn, and print a table; `figures` and `ratios`."""
    with tempfile.TemporaryDirectory(prefix="fetch-benchmark-", dir=folder) as name:
        place = Path(name)
        sha256 = make_file(place / "served" / "file", size)
        with served(place) as address:
            ways = commands(f"{address}/file", place / "got", sha256)
            found: dict[str, list[float]] = {way: [] for way in [*ways, "ours, started"]}
            for number in range(rounds + 1):
                for way, steps in ways.items():
                    taken, printed = take(steps, place / "got", sha256)
                    if number:  # the first round warms up
                        found[way].append(taken)
                        if way == "ours":
                            found["ours, started"].append(float(printed))
    medians = {way: statistics.median(times) for way, times in found.items()}
    print(f"{size / 1e6:.0f} MB over the loopback: median seconds (least … most)")
    for way, times in found.items():
        print(f"  {way:26s}{medians[way]:6.2f}  ({min(times):.2f} … {max(times):.2f})"
              f"{size / 1e6 / medians[way]:8.0f} MB/s")  # fmt: skip
    names = {
        "ours": "ours", "ours, started": "ours_started", "curl, then sha256sum": "curl",
        "aria2 with its checksum": "aria2", "curl, then openssl dgst": "curl_openssl",
    }  # fmt: skip
    figures = {f"{names[way]}_s": round(median, 3) for way, median in medians.items()}
    best = min(medians[way] for way in PEERS)
    return {
        "figures": {"megabytes": round(size / 1e6), **figures},
        "ratios": {"large_file": round(best / medians["ours"], 3)},
    }


def merge(found: dict[str, dict[str, float]], more: dict[str, dict[str, float]]) -> None:
    """Add the figures and ratios of one part to those of the others."""
    for kind, values in more.items():
        found[kind] |= values


def version_of(program: str) -> str:
    """What a program says first of itself."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return " ".join(done.stdout.split()[:4])


def main() -> None:
    """Measure, print the tables, and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="256 MB and fewer rounds")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--mb", type=int, help="size of the large file in MB (2000)")
    parser.add_argument("--folder", type=Path, help="where files are made for the time")
    parser.add_argument("--only", choices=("large_file", "manifest"), help="one of the two")
    arguments = parser.parse_args()
    quick, rounds, folder = arguments.quick, arguments.rounds, arguments.folder
    found: dict[str, dict[str, float]] = {"figures": {}, "ratios": {}}
    if arguments.only != "manifest":
        size = (arguments.mb or (256 if quick else 2000)) * 10**6
        merge(found, large_file(size, rounds or (3 if quick else 7), folder))
    if arguments.only != "large_file":
        merge(found, fetch_manifest.measure(quick, rounds=rounds, folder=folder))
    print(json.dumps({
        "benchmark": "fetch",
        "machine": f"{platform.machine()}, {usable_cores()} cores",
        "versions": {
            "python": platform.python_version(), "openssl": ssl.OPENSSL_VERSION,
            **{name: version(name) for name in ("requests", "urllib3")},
            **{name: version_of(name) for name in ("curl", "aria2c", "sha256sum")},
        },
        **found,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
