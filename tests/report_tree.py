"""A small tree of results of every kind, made without running any stage, for the report's tests."""

import argparse
import io
import json
import os
from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import Image

from tests.probe_results import result
from workflow_scripts.digests import file_sha256
from workflow_scripts.files import write_json
from workflow_scripts.modis.calibration import planck_radiance
from workflow_scripts.probe.pictures import pictures as pictures_of
from workflow_scripts.probe.pictures import write as write_pictures
from workflow_scripts.probe.trial import InMemory
from workflow_scripts.report.__main__ import work
from workflow_scripts.results import provenance_path
from workflow_scripts.shards.corpus import content_digest
from workflow_scripts.shards.writer import (
    ChipSample,
    ImageSample,
    write_chip_shard,
    write_image_shard,
)

DAG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text>&amp; dag</text></svg>'
TRAP = "<script>alert('x')</script> $\\frac{1$ & \"q\""
BANDS = ["6", "7", "20", "28", "29", "31"]
SCALE = np.array([2.5e-3, 2.5e-3, 5e-4, 5e-4, 5e-4, 5e-4])  # W m⁻² sr⁻¹ µm⁻¹ a count
OFFSET = 1500.0  # counts
PROVENANCE = {
    "host": "node1", "machine": "Linux x86_64, 2 cores", "started": "2026-01-02T03:04:05+00:00",
    "seconds": 3.2, "peak_memory_bytes": 1, "git_commit": "0123456789abcdef" * 2 + "-dirty",
    "job": None, "versions": {"python": "3.11.2", "torch": "2.15.0"},
}  # fmt: skip

# What a recipe tells of a dataset that has nothing to be cited.
UNCITED = {
    "version": None, "licence": None, "citation": None, "homepage": None, "origin": "generated",
}  # fmt: skip


def pattern(label, seed, side=96):
    """An image whose stripes turn with its class."""
    y, x = np.mgrid[:side, :side] / side
    random = np.random.default_rng([label, seed])
    angle = np.pi * label / 8
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 30 + random.uniform(0, 6))
    base = random.uniform(60, 150, 3)
    noise = random.normal(0, 8, (side, side, 1))
    return np.clip(base + 45 * wave[..., None] + noise, 0, 255).astype(np.uint8)


def clouds(seed, side=64):
    """Six bands of blobs of cloud over warm sea, (6, side, side) counts of Terra.

    The emissive ones are what black bodies between 215 and 295 K send out.
    """
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    cloud = np.zeros((side, side))
    for _ in range(12):
        centre, width = random.uniform(0, side, 2), random.uniform(side / 16, side / 4.5)
        cloud += np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 2 / width**2)
    cloud *= random.uniform(0.5, 1) / cloud.max()
    kelvin = 295 - 80 * cloud
    radiance = [1 + 30 * cloud - 18 * cloud**3, 0.3 + 12 * cloud - 9 * cloud**3]
    radiance += [planck_radiance(kelvin, band=band, platform="Terra") for band in BANDS[2:]]
    return (np.stack(radiance) / SCALE[:, None, None] + OFFSET).round().astype(np.uint16)


def _index(folder, files, *, corpus, kind, bands, classes, counts, datasets=None, extra=None):
    body = {
        "schema_version": 1, "format_version": 1, "corpus": corpus, "kind": kind,
        "synthetic": True, "datasets": datasets or [corpus], "channels": len(bands),
        "count": sum(files.values()), "bands": bands, "classes": classes,
        "mean": [0.0] * len(bands), "std": [1.0] * len(bands), "class_counts": counts,
        "shards": [
            {"file": os.path.relpath(file, folder), "sha256": file_sha256(file), "count": count,
             "bytes": file.stat().st_size}
            for file, count in files.items()
        ],
        "set_aside": {"cannot be decoded": 1} if kind == "images" else {},
        "set_aside_items": [{"key": "train/broken.jpg", "reason": "cannot be decoded"}]
        if kind == "images" else [],
        **(extra or {}),
    }  # fmt: skip
    write_json(folder / "index.json", {**body, "content": content_digest(body)})
    write_json(folder / "index.provenance.json", PROVENANCE)


def make_images(data: Path, corpus: str, classes):
    folder = data / "shards" / corpus
    samples = []
    for label in range(len(classes)):
        for number in range(6):
            buffer = io.BytesIO()
            Image.fromarray(pattern(label, number)).save(buffer, "JPEG", quality=85)
            samples.append(
                ImageSample(
                    key=f"{label}/{number}", data=buffer.getvalue(), height=96, width=96,
                    label=label, split=0 if number < 4 else 2,
                )
            )  # fmt: skip
    write_image_shard(folder / "shard-00000.h5", samples, classes=classes)
    counts = {split: dict.fromkeys(classes, n) for split, n in (("train", 4), ("test", 2))}
    _index(
        folder, {folder / "shard-00000.h5": len(samples)}, corpus=corpus, kind="images",
        bands=["red", "green", "blue"], classes=classes, counts=counts,
    )  # fmt: skip
    write_json(
        data / "manifests" / f"{corpus}.json",
        {"dataset": corpus, "synthetic": True, "items": len(samples) + 1, "bytes": 123456,
         "classes": classes, "class_counts": counts, "duplicates": 2,
         "set_aside": [{"key": "x.txt", "reason": "no image"}], "source": "generated here"},
    )  # fmt: skip


def chip(number, *, platform="Terra", date="2026-01-01", place=(20.0, -40.0), night=False, **more):
    """One chip with every column; at night reflective bands hold fill."""
    counts = clouds(number)
    if night:
        counts[:2] = 65535
    latitude, longitude = place
    start = datetime.fromisoformat(f"{date}T10:05:00+00:00")
    fields = {
        "granule": f"M{'OY'[platform == 'Aqua']}D021KM.A2026001.1005.061.2026002000000.hdf",
        "row": 128 * number, "column": 128, "latitude": latitude, "longitude": longitude,
        "corner_latitude": np.array([0.6, 0.6, -0.6, -0.6]) + latitude,
        "corner_longitude": np.array([-0.6, 0.6, 0.6, -0.6]) + longitude,
        "time": int(start.timestamp()), "platform": platform,
        "cloud_share": np.float32(0.25 + number % 4 / 8), "water_share": np.float32(1),
        "solar_zenith": np.float32(120 if night else 30), "night": night, **more.pop("fields", {}),
    }  # fmt: skip
    return ChipSample(
        key=f"g:{number}:0", counts=counts, scale=SCALE, offset=np.full(6, OFFSET),
        fields=fields, **more,
    )  # fmt: skip


def summary(dataset, date, platform="Terra", **more):
    """A day's summary with every key."""
    kept = more.get("chips_kept", 8)
    return {
        "dataset": dataset, "date": date, "platform": platform, "synthetic": True, "bands": BANDS,
        "granules": [
            {"key": "MOD021KM.good.hdf", "chips": kept, "companions": ["MOD03"],
             "dead_detectors": {"6": [2, 5]}},
            {"key": "MOD021KM.bad.hdf", "chips": 0, "reason": "MOD021KM.bad.hdf: unreadable"},
        ],
        "granules_read": 1, "granules_set_aside": 1, "chips_kept": kept,
        "chips_dropped": {"saturated": 3, "night": 5}, "chips_by_platform": {platform: kept},
        "chips_without_mask": 2, "chips_night": 1, "chips_with_filled_lines": 4,
        "dead_detectors": {"6": {"2": 1, "5": 1}}, **more,
    }  # fmt: skip


def make_day(
    data: Path, dataset: str, date: str, chips, *, quantity="radiance", classes=None, **more
):
    """A day file with its summary and manifest; `more` goes over the summary."""
    folder = data / "chips" / dataset
    units = {"radiance": "W m-2 sr-1 µm-1", "counts": "1", "reflectance": "1"}[quantity]
    write_chip_shard(
        folder / f"{date}.h5", chips, bands=BANDS, size=64, classes=classes,
        attributes={"units": units, "quantity": quantity, "dataset": dataset, "date": date},
    )  # fmt: skip
    write_json(folder / f"{date}.json", summary(dataset, date, chips_kept=len(chips), **more))
    make_manifest(data, dataset, date)
    return folder / f"{date}.h5"


def make_manifest(data: Path, dataset: str, date: str):
    write_json(
        data / "manifests" / dataset / f"{date}.json",
        {"dataset": dataset, "synthetic": True, "items": 2, "bytes": 5000, "classes": [],
         "class_counts": {}, "duplicates": 0, "set_aside": [], "source": "generated here",
         "recipe": {"date": date}},
    )  # fmt: skip


def make_chip_index(data: Path, corpus: str, files: dict, *, datasets, **extra):
    """The index of a corpus over day files (path → number of chips)."""
    (data / "shards" / corpus).mkdir(parents=True, exist_ok=True)
    total = sum(files.values())
    extra = {"classes": [], "counts": {"none": {"none": total}}, **extra}
    _index(
        data / "shards" / corpus, files, corpus=corpus, kind="chips", bands=BANDS,
        datasets=datasets, classes=extra.pop("classes"), counts=extra.pop("counts"), extra=extra,
    )  # fmt: skip


def make_chips(data: Path, corpus: str, date: str):
    """A day of eight chips of each satellite."""
    files = {}
    for dataset, platform, west in ((corpus, "Terra", -40), (f"{corpus}-aqua", "Aqua", -20)):
        chips = [
            chip(i, platform=platform, date=date, place=(10 + 3 * (i % 4), west + 2 * i))
            for i in range(8)
        ]
        files[make_day(data, dataset, date, chips, platform=platform)] = 8
    values = np.concatenate(
        [((clouds(i) - OFFSET) * SCALE[:, None, None]).reshape(6, -1) for i in range(8)], axis=1
    )
    mean, std = values.mean(axis=1), values.std(axis=1)
    make_chip_index(
        data, corpus, files, datasets=[corpus, f"{corpus}-aqua"], mean=mean.tolist(),
        std=std.tolist(), mean_2sigma=(mean + 2 * std).tolist(),
    )  # fmt: skip


def make_run(results: Path, name: str, *, objective: str, bands, pictures, measured=False):
    """What an exported run leaves; `measured`: 0.05 kWh, 1.5 kW, on GPUs at 40 % of their peak."""
    energy = {"energy_j": 90_000.0, "energy_counter": "node"} if measured else {}
    speed = {"tflops": 76.6, "mfu": 0.4} if measured else {}
    folder = results / "runs" / name
    folder.mkdir(parents=True)
    physical = len(bands) == 6
    write_json(
        folder / "model.json",
        {"architecture": "vit_base_patch16_224", "family": "vit", "channels": len(bands),
         "image_size": 64,
         "bands": bands, "synthetic": True, "corpus": "modis" if physical else "scenes",
         "normalisation": {"scale": "physical" if physical else "unit"}},
    )  # fmt: skip
    steps = np.arange(1, 121)
    loss = 0.4 + 0.6 * np.exp(-steps / 30) + np.random.default_rng(0).normal(0, 0.02, 120)
    rows = [
        {"step": int(s) * 5, "epoch": 0, "samples": int(s) * 160, "loss": float(v),
         **({"reconstruction": float(v) + 0.8, "cosine": -0.8} if objective == "gfm" else {}),
         "lr": 1e-3 * min(s / 20, 1) * (1 + np.cos(np.pi * s / 120)) / 2, "grad_norm": 1.0,
         "images_per_s": 600 + 30 * float(np.sin(s)), "data_wait": 0.0, "seconds": float(s)}
        for s, v in zip(steps, loss, strict=True)
    ]  # fmt: skip
    (folder / "history.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    samples = [
        {"seconds": 5.0 * n, "step": 25 * n, "watts": 1500 + 50 * float(np.sin(n)),
         "utilisation": 0.9, "memory_bytes": 7 * 10**9}
        for n in range(1, 25)
    ] if measured else []  # fmt: skip
    (folder / "power.jsonl").write_text("".join(json.dumps(row) + "\n" for row in samples))
    write_json(
        folder / "summary.json",
        {"run": name, "objective": objective, "synthetic": True, "parameters": 1234567,
         "encoder_parameters": 987654, "steps": 600, "epochs": 40, "batch": 32,
         "samples_seen": 19200, "samples_skipped": 0, "bad_steps": 3,
         "loss_first": 1.0, "loss_last": 0.41,
         "terms_last": {"reconstruction": 1.2} if objective == "gfm" else {},
         "corpus": {"name": "scenes", "content": "c" * 64, "count": 48}, "run_digest": "d" * 64,
         "recipe": {"seed": 0, "mask": {"ratio": 0.75, "norm_pix": objective == "mae"},
                    "optim": {"base_lr": 1.5e-4, "lr_reference_batch": 256}}},
    )  # fmt: skip
    write_json(
        folder / "summary.provenance.json",
        {
            **PROVENANCE,
            "segments": [
                {
                    "strategy": "full_shard",
                    "ranks": 2,
                    "device": "cpu",
                    "start_step": start,
                    "end_step": end,
                    "images_per_s": rate,
                    "rank_peak_memory_bytes": 700_000_000,
                    "device_peak_memory_bytes": None,
                    **speed,
                    **energy,
                }
                for start, end, rate in ((0, 450, 600.0), (450, 600, 640.0))
            ],
            **({"energy_j": 180_000.0, "watts": 1500.0} if measured else {}),
        },
    )
    given = np.asarray(pictures, np.float32)
    noise = np.random.default_rng(1)
    count, side = given.shape[0], given.shape[1] if given.ndim == 4 else 64
    cells = noise.random((count, side // 8, side // 8)) < 0.75
    mask = np.kron(cells, np.ones((8, 8), bool)).astype(bool).reshape(count, side, side)
    blurred = given.mean(axis=(1, 2), keepdims=True) + 0.4 * (
        given - given.mean(axis=(1, 2), keepdims=True)
    )
    predicted = np.where(mask[..., None], blurred, given)
    np.savez(
        folder / "reconstructions.npz", input=given, masked=given, prediction=predicted, mask=mask,
        keys=np.array([f"k{i}" for i in range(count)]),
    )  # fmt: skip


def make_probe(results: Path, encoder: str, benchmark: str, classes, means, **more):
    """The result of a probe and what its pictures are made of; the corpus is of `make_images`."""
    path = results / "probes" / encoder / f"{benchmark}.json"
    found = result(encoder, benchmark, means, classes=classes, synthetic=True, **more)
    write_json(path, found)
    write_json(provenance_path(path), PROVENANCE)
    count = len(classes)
    rows = np.sort(np.concatenate([np.arange(4, 6 * count, 6), np.arange(5, 6 * count, 6)]))
    labels = rows // 6
    random = np.random.default_rng(len(encoder))
    features = random.normal(size=(len(rows), 8)) + 3 * labels[:, None] * random.normal(size=8)
    scores = random.normal(size=(len(rows), count)) + np.eye(count)[labels]
    arrays = pictures_of(
        scores.astype(np.float32), labels, rows, InMemory(features.astype(np.float32)), count, 0,
        places=np.arange(len(rows)),
    )  # fmt: skip
    write_pictures(path.with_suffix(".npz"), arrays)


def make_finetuned(results: Path, encoder: str, benchmark: str, classes, mean, **more):
    """The result of fine-tuning."""
    path = results / "finetune" / encoder / f"{benchmark}.json"
    means = {"finetune": mean}
    write_json(path, result(encoder, benchmark, means, classes=classes, synthetic=True, **more))
    write_json(provenance_path(path), PROVENANCE)


def probe_entry(encoder, benchmark, *, run=True, features=True, finetune=False):
    """An encoder on a benchmark in the report's recipe."""
    name, _, step = encoder.partition("@")
    return {
        "encoder": encoder, "label": f"{name}, step {step}" if step else name,
        "run": name if run else None, "step": int(step) if step else None,
        "benchmark": benchmark, "features": features, "finetune": finetune,
    }  # fmt: skip


def make_tree(root: Path, *, class_names=None, title="Orbweaver on its built-in sample") -> dict:
    """Results and data below `root`; returns the report's recipe."""
    data, results = root / "data", root / "results"
    classes = sorted(class_names or ["airfield", "farmland", "forest", "harbour", "orchard",
                                     "river", "suburb", "tank farm"])  # fmt: skip
    make_images(data, "scenes", classes)
    make_chips(data, "modis", "2026-01-01")
    rgb = ["red", "green", "blue"]
    views = [pattern(i, 9, 64) / 255 for i in range(8)]
    chips = [((clouds(i) - OFFSET) * SCALE[:, None, None]).transpose(1, 2, 0) for i in range(8)]
    make_run(results, "scenes-mae", objective="mae", bands=rgb, pictures=views, measured=True)
    make_run(results, "scenes-gfm", objective="gfm", bands=rgb, pictures=views)
    make_run(results, "modis-simmim", objective="simmim", bands=BANDS, pictures=chips)
    empty = np.zeros((0, 64, 64, 3))
    make_run(results, "scenes-teacher", objective="supervised", bands=rgb, pictures=empty)
    means = {"linear": 78.0, "knn": 61.5, "few_shot_5": 44.0}
    make_probe(results, "scenes-mae", "scenes", classes, means)
    make_finetuned(results, "scenes-mae", "scenes", classes, 93.0)
    make_probe(results, "scenes-gfm", "scenes", classes, {"linear": 52.0, "knn": 40.0})
    make_probe(results, "scenes-mae@300", "scenes", classes, {**means, "linear": 60.0})
    for place, row in {
        "fetch/scenes": "4.2\t0:00:04\t120.5\t200\t100\t110\t0\t1\t80\t3.9",
        "pretrain/scenes-mae/1": "215.9\t0:03:35\t812.0\t900\t700\t750\t0\t1\t170\t400.1",
        "pack/scenes": "0.9\t0:00:00\tNA\tNA\tNA\tNA\tNA\tNA\tNA\tNA",
        "probe/scenes-mae/scenes": "31.0\t0:00:31\t640.0\t-\t-\t-\t-\t-\t-\t-",
        "pack/of-another-config": "1\t0\t1\t1\t1\t1\t1\t1\t1\t1",
    }.items():
        file = results / "records" / f"{place}.tsv"
        file.parent.mkdir(parents=True, exist_ok=True)
        names = "s h:m:s max_rss max_vms max_uss max_pss io_in io_out mean_load cpu_time"
        file.write_text(names.replace(" ", "\t") + "\n" + row + "\n")
    told = {"synthetic": True, "kind": "x", **UNCITED}
    objectives = {"scenes-teacher": "supervised", "scenes-mae": "mae", "scenes-gfm": "gfm",
                  "modis-simmim": "simmim"}  # fmt: skip
    return {
        "title": title, "name": "sample", "config_digest": "f" * 64, "samples_per_class": 4,
        "config_yaml": "name: sample\nruns:\n  scenes-mae: {epochs: 40}\n", "synthetic_note": "",
        "datasets": [
            {"name": "scenes", "label": "Sample scenes", **told},
            {"name": "modis", "label": "Sample MODIS", **told},
            {"name": "modis-aqua", "label": "Sample Aqua", **told},
        ],
        "corpora": [
            {"name": "scenes", "label": "sample scenes", "kind": "images", "cut_from": []},
            {"name": "modis", "label": "sample MODIS chips", "kind": "chips",
             "cut_from": ["modis", "modis-aqua"]},
        ],
        "benchmarks": [
            {"name": "scenes", "label": "Sample scenes", "published": "ucm", "corpus": "scenes"}
        ],
        "energy": {"grid_g_co2_per_kwh": 473.0, "grid_source": "Ember 2025", "pue": 1.1},
        "arp_baseline": "scenes-gfm",
        "runs": [
            {"name": n, "label": n, "objective": o, "pinned": n == "scenes-gfm", "corpus": "scenes"}
            for n, o in objectives.items()
        ],
        "probes": [
            probe_entry("scenes-mae", "scenes", finetune=True),
            probe_entry("scenes-gfm", "scenes"),
            probe_entry("scenes-mae@300", "scenes"),
        ],
        "studies": [], "plans": [],
        "days": {"modis": "2026-01-01", "modis-aqua": "2026-01-01"},
        "digests": {"runs": {"scenes-gfm": {"current": "a" * 64, "stored": "b" * 64}}},
    }  # fmt: skip


def make_page(root: Path, recipe: dict, *, dag=True) -> str:
    """Run the report's stage on a tree; returns the page."""
    results = root / "results"
    figures = results / "figures"
    figures.mkdir(exist_ok=True, parents=True)
    if dag:
        (figures / "dag.svg").write_text(DAG)
    work(
        argparse.Namespace(
            results=results, data=root / "data", html=results / "report.html",
            json=results / "report.json", figures=figures, tables=results / "tables",
            records=results / "records",
        ),
        recipe,
    )  # fmt: skip
    return (results / "report.html").read_text()
