"""From a MODIS granule to its chips: ours against bare reading, satpy, and plain numpy.

All read the same full-size granules (2030 × 1354, six bands, one process) in turn, several times:

* `bare_read`: pyhdf reads the planes of counts and uncertainty and the 5 km arrays, nothing else;
* `ours`: the tile stage on a day of one granule: checksum, reading, masks, dead detectors, chips,
  the day's file with all its columns, and its checksum;
* `satpy`: the reader `modis_l1b` loads the bands as radiance, and the same chips are cut in memory;
* `plain`: what one writes by hand: pyhdf and numpy, band by band in double precision as in the
  examples of hdfeos.org, `np.savez`;
* `plain_whole`: the same by somebody who reads each array whole and once.

Every way must find the same chips. Ratios are median seconds of the other over ours (higher is
better for ours); `bare_read` is at most 1, as nothing can be faster than reading.

    python benchmarks/modis.py [--quick] [--texture picture.jpeg] [--rounds N]
"""

import argparse
import contextlib
import io
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image
from pyhdf.SD import SD

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from workflow_scripts.config_modis import Tile
from workflow_scripts.digests import file_sha256
from workflow_scripts.fetch.manifest import Item, write_manifest
from workflow_scripts.fetch.samples.full_granule import write_full_granule
from workflow_scripts.modis.companions import Companions
from workflow_scripts.modis.l1b import read_counts
from workflow_scripts.shards.writer import write_chip_shard
from workflow_scripts.threads import usable_cores
from workflow_scripts.tile.chips import cut_chips
from workflow_scripts.tile.day import tile_day

SIZE = 128
RECIPE = {
    "dataset": "modis", "date": "2026-01-05", "synthetic": True, **Tile().model_dump(mode="json"),
}  # fmt: skip
BANDS = RECIPE["bands"]
# Band: SDS and plane there.
PLANES = {
    "6": ("EV_500_Aggr1km_RefSB", 3), "7": ("EV_500_Aggr1km_RefSB", 4),
    "20": ("EV_1KM_Emissive", 0), "28": ("EV_1KM_Emissive", 7), "29": ("EV_1KM_Emissive", 8),
    "31": ("EV_1KM_Emissive", 10),
}  # fmt: skip
WAYS = ("bare_read", "ours", "satpy", "plain", "plain_whole")
VERSIONS = ("h5py", "numpy", "pyhdf", "satpy", "dask")


def bare_read(path: Path) -> None:
    """The planes and arrays that ours needs, and nothing done with them."""
    file = SD(str(path))
    for sds in ("EV_500_Aggr1km_RefSB", "EV_1KM_Emissive"):
        for name in (sds, f"{sds}_Uncert_Indexes"):
            data = file.select(name)
            lines, pixels = data.info()[2][1:]
            for plane in [plane for home, plane in PLANES.values() if home == sds]:
                data.get(start=[plane, 0, 0], count=[1, lines, pixels])
            data.endaccess()
    for name in ("Latitude", "Longitude", "SolarZenith"):
        data = file.select(name)
        data.get()
        data.endaccess()
    file.end()


def ours(path: Path, folder: Path) -> int:
    """A day of one granule through the tile stage, in this process."""
    manifest = list_day([path], folder)
    recipe = RECIPE | {"platform": "Terra" if path.name.startswith("MOD") else "Aqua"}
    return tile_day(recipe, manifest, folder / "2026-01-05.h5", workers=0)["chips_kept"]


def whole_chips(bands: np.ndarray) -> np.ndarray:
    """(n, bands, SIZE, SIZE) chips without a missing value, of (bands, lines, pixels)."""
    lines, pixels = bands.shape[1:]
    cut = [
        bands[:, row : row + SIZE, column : column + SIZE]
        for row in range(0, lines - SIZE + 1, SIZE)
        for column in range(0, pixels - SIZE + 1, SIZE)
    ]
    return np.stack([chip for chip in cut if not np.isnan(chip).any()])


def satpy_way(path: Path) -> int:
    """Satpy's reader with its own defaults, and the chips cut in memory."""
    import dask
    import satpy

    scene = satpy.Scene(reader="modis_l1b", filenames=[str(path)])
    scene.load(BANDS, calibration="radiance", resolution=1000, generate=False)
    return len(whole_chips(np.stack(dask.compute(*(scene[name].data for name in BANDS)))))


def radiance(counts: np.ndarray, uncertainty: np.ndarray, about: dict, plane: int) -> np.ndarray:
    """Counts of a band in physical units and double precision, NaN without a value."""
    values = counts.astype(np.double)
    values[(counts > 32767) | (uncertainty >= 15)] = np.nan
    return (values - about["radiance_offsets"][plane]) * about["radiance_scales"][plane]


def plain_way(path: Path, folder: Path) -> int:
    """Band by band as in the examples of hdfeos.org, chips saved with `np.savez`."""
    file = SD(str(path))
    bands = []
    for sds, plane in PLANES.values():
        data = file.select(sds)
        uncertainty = file.select(f"{sds}_Uncert_Indexes")[plane, :, :]
        bands.append(radiance(data[plane, :, :], uncertainty, data.attributes(), plane))
    return save_chips(file, bands, folder)


def plain_whole(path: Path, folder: Path) -> int:
    """The same, but each SDS read once and whole: for who knows that this is faster."""
    file = SD(str(path))
    stored = {}
    for sds in {sds for sds, _ in PLANES.values()}:
        data = file.select(sds)
        stored[sds] = data.get(), file.select(f"{sds}_Uncert_Indexes").get(), data.attributes()
    bands = [
        radiance(counts[plane], uncertainty[plane], about, plane)
        for (counts, uncertainty, about), plane in (
            (stored[sds], plane) for sds, plane in PLANES.values()
        )
    ]
    return save_chips(file, bands, folder)


def save_chips(file: SD, bands: list[np.ndarray], folder: Path) -> int:
    """The end of both: positions, chips, one file."""
    latitude, longitude = file.select("Latitude").get(), file.select("Longitude").get()
    file.end()
    chips = whole_chips(np.stack(bands))
    np.savez(folder / "chips.npz", chips=chips, latitude=latitude, longitude=longitude)
    return len(chips)


def list_day(paths: list[Path], folder: Path) -> Path:
    """The manifest of a day of those granules (their checksums are taken before the clock runs)."""
    manifest = folder / "2026-01-05.jsonl"
    items = [
        Item(key=path.name, path=str(path), sha256=CHECKSUMS[path], bytes=path.stat().st_size)
        for path in paths
    ]
    write_manifest(manifest, items)
    return manifest


CHECKSUMS: dict[Path, str] = {}


def seconds(work: Callable[[], object]) -> float:
    """How long it took, what it prints and warns of kept back."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        work()
        return time.perf_counter() - start


def shares_of_ours(path: Path, folder: Path) -> dict[str, float]:
    """Seconds of the parts of `ours`, run one after the other."""
    found: dict[str, object] = {}

    def keep(name: str, work: Callable[[], object]) -> float:
        return seconds(lambda: found.update({name: work()}))

    chips = folder / "parts.h5"
    return {
        "checksum of the granule, in a thread beside": keep("sum", lambda: file_sha256(path)),
        "reading": keep("counts", lambda: read_counts(path, BANDS)),
        "masks, detectors, cutting": keep(
            "cut", lambda: cut_chips(found["counts"], Companions(), RECIPE)
        ),
        "writing the day's file": keep(
            "file",
            lambda: write_chip_shard(
                chips, found["cut"].kept, bands=BANDS, size=SIZE, attributes={}
            ),
        ),
        "checksum of the day's file": keep("last", lambda: file_sha256(chips)),
    }


def by_workers(paths: list[Path], folder: Path) -> dict[int, float]:
    """Seconds of a day with one and with two worker processes, their start included."""
    manifest = list_day(paths, folder)
    recipe = RECIPE | {"platform": "Terra"}
    return {
        workers: seconds(
            lambda workers=workers: tile_day(recipe, manifest, folder / "day.h5", workers=workers)
        )
        for workers in (1, 2)
    }


_STAGE = """
import runpy
try:
    runpy.run_module("workflow_scripts.tile", run_name="__main__")
finally:
    print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def peak_mb(paths: list[Path], folder: Path) -> float:
    """Peak memory of the tile stage as a process of its own that cuts in itself, in MB.

    (The resource usage of a child counts what its parent held when it was started.)
    """
    options = {
        "--recipe": json.dumps(RECIPE | {"platform": "Terra"}),
        "--manifest": str(list_day(paths, folder)),
        "--chips": str(folder / "peak.h5"),
        "--workers": "0",
    }
    command = [sys.executable, "-c", _STAGE, *(word for pair in options.items() for word in pair)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) / 1024


def make_granules(folder: Path, count: int, texture: Path | None) -> list[Path]:
    """Terra granules of full size, five minutes apart."""
    picture = None if texture is None else np.asarray(Image.open(texture))
    start = datetime(2026, 1, 5, 14)
    return [
        write_full_granule(
            folder, platform="Terra", time=start + index * timedelta(minutes=5), rng_seed=index,
            texture=picture,
        )[0]
        for index in range(count)
    ]  # fmt: skip


def measure(paths: list[Path], folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds a granule of each way, in turn, after one round that is not counted."""
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    counts = []
    for number in range(rounds + 1):
        path = paths[number % len(paths)]
        ways = {
            "bare_read": lambda path=path: bare_read(path),
            "ours": lambda path=path: counts.append(ours(path, folder)),
            "satpy": lambda path=path: counts.append(satpy_way(path)),
            "plain": lambda path=path: counts.append(plain_way(path, folder)),
            "plain_whole": lambda path=path: counts.append(plain_whole(path, folder)),
        }
        counts.clear()
        for name, work in ways.items():
            taken = seconds(work)
            if number:
                found[name].append(taken)
        if len(set(counts)) != 1:
            raise SystemExit(f"{path.name}: the ways found {counts} chips; they must agree")
    return found


def main() -> None:
    """Measure, print the table, and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one granule, two rounds")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--texture", type=Path, help="a picture of clouds for realistic pixels")
    arguments = parser.parse_args()
    rounds, count = (2, 1) if arguments.quick else (arguments.rounds, 4)
    folder = Path(tempfile.mkdtemp(prefix="modis-benchmark-"))
    try:
        paths = make_granules(folder, count, arguments.texture)
        CHECKSUMS.update({path: file_sha256(path) for path in paths})
        times = measure(paths, folder, rounds)
        parts = [shares_of_ours(paths[number % count], folder) for number in range(rounds)]
        workers = by_workers(paths, folder)
        peak = peak_mb(paths, folder)
        size = paths[0].stat().st_size / 1e6
    finally:
        shutil.rmtree(folder)
    median = {name: statistics.median(values) for name, values in times.items()}
    print(f"seconds a granule of {size:.0f} MB, {rounds} rounds: median (least … most)")
    for name, values in times.items():
        print(f"  {name:<10} {median[name]:6.3f}  ({min(values):.3f} … {max(values):.3f})")
    print("where the time of ours goes, median seconds")
    shares = {name: statistics.median(part[name] for part in parts) for name in parts[0]}
    for name, value in shares.items():
        print(f"  {name:<44} {value:6.3f}")
    print(f"a day of {count}: one worker {workers[1]:.2f} s, two {workers[2]:.2f} s; "
          f"peak of a worker {peak:.0f} MB")  # fmt: skip
    ratios = {name: round(median[name] / median["ours"], 3) for name in times if name != "ours"}
    figures = {f"{name}_s": round(value, 4) for name, value in median.items()}
    figures |= {"worker_peak_mb": round(peak), "two_workers_speedup": workers[1] / workers[2]}
    print(json.dumps({
        "benchmark": "modis",
        "machine": f"{platform.machine()}, {usable_cores()} cores",
        "versions": {"python": platform.python_version(), **{n: version(n) for n in VERSIONS}},
        "figures": figures | {"parts_s": {name: round(v, 4) for name, v in shares.items()}},
        "ratios": ratios,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
