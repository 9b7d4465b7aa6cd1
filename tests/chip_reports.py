"""Corpora of chips made for the report's tests, and what is read back from their figures."""

import base64
import datetime
import io
import xml.etree.ElementTree as ET

import numpy as np
from PIL import Image

from tests.report_tree import (
    OFFSET,
    SCALE,
    UNCITED,
    clouds,
    make_chip_index,
    make_day,
)
from workflow_scripts import dates
from workflow_scripts.report.collect import CorpusData, collect
from workflow_scripts.shards.corpus import Corpus

# h, c and k as the MODIS science team has them; wavenumber (cm⁻¹), tcs and tci of band 31.
H, C, K = 6.6260755e-34, 2.9979246e8, 1.380658e-23
BAND_31 = {"Terra": (908.0884, 0.9995608, 0.1302699), "Aqua": (907.6813, 0.9995270, 0.1343433)}
SVG = "{http://www.w3.org/2000/svg}"


def kelvin(radiance, platform):
    """Brightness temperature in band 31, written out once more."""
    wavenumber, tcs, tci = BAND_31[platform]
    length = 0.01 / wavenumber
    radiance = np.asarray(radiance, np.float64) * 1e6
    star = H * C / (K * length) / np.log(2 * H * C**2 / (radiance * length**5) + 1)
    return (star - tci) / tcs


def physical(number):
    return (clouds(number) - OFFSET) * SCALE[:, None, None]


def report_recipe(corpora, days):
    """A recipe of corpora of chips and nothing else."""
    return {
        "title": "t", "name": "n", "config_digest": "f" * 64, "config_yaml": "", "digests": {},
        "datasets": [{"name": name, "label": name, "kind": "x", **UNCITED} for name in days],
        "corpora": [
            {"name": name, "label": name, "kind": "chips", "cut_from": list(days)}
            for name in corpora
        ],
        "benchmarks": [], "runs": [], "probes": [], "studies": [], "plans": [],
        "arp_baseline": None,
        "energy": {"grid_g_co2_per_kwh": 473.0, "grid_source": "a source", "pue": 1.0},
        "days": {name: dates.compress(found) for name, found in days.items()},
    }  # fmt: skip


def one_corpus(root, chips, *, name="modis", date="2026-01-01", quantity="radiance", **index):
    """A corpus of one day, and the recipe of its report."""
    data = root / "data"
    file = make_day(data, name, date, chips, quantity=quantity, classes=index.get("classes"))
    make_chip_index(data, name, {file: len(chips)}, datasets=[name], **index)
    return report_recipe([name], {name: [date]})


def corpus_of(root, name="modis"):
    path = root / "data" / "shards" / name / "index.json"
    samples = Corpus(path)
    return CorpusData(name=name, label=name, index=samples.index, samples=samples, cut_from=[name])


def figure_text(root, name):
    found = ET.parse(root / "results" / "figures" / f"{name}.svg")
    return [" ".join("".join(t.itertext()).split()) for t in found.iter(f"{SVG}text")]


def pictures(root, name):
    """The pictures inside a figure, in the order they were drawn, colour bars left out."""
    found = ET.parse(root / "results" / "figures" / f"{name}.svg")
    shown = []
    for image in found.iter(f"{SVG}image"):
        data = image.get("{http://www.w3.org/1999/xlink}href").partition("base64,")[2]
        shown.append(np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")))
    return [picture for picture in shown if picture.shape[:2] == (64, 64)]


def days_from(first, count):
    start = datetime.date.fromisoformat(first)
    return [f"{start + datetime.timedelta(days=i)}" for i in range(count)]


def collected(root, recipe):
    folders = {name: root / name for name in ("results", "data")}
    return collect(recipe, **folders, records=root / "results" / "records")
