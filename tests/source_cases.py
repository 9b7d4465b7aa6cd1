"""Recipes of datasets that come from somewhere, and what came."""

import json
import os
import subprocess
import sys
from pathlib import Path

from source_servers import REVISION, sha256

from workflow_scripts.fetch.manifest import read_manifest
from workflow_scripts.fetch.obtain import obtain
from workflow_scripts.stored import read_stored

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "hf_a-token-that-nobody-may-see"
QUICK = {"retries": 3, "timeout_s": 5.0, "longest_wait_s": 0.02}


def recipe(**changes):
    return {
        "dataset": "places", "kind": "image-folder", "path": None, "source": None, "obtain": "Ask.",
        "root": None, "parquet": None, "expected": None, "listing_digest": None,
        "split": {"by": "none"}, **changes,
    }  # fmt: skip


def named(name, data=None, **changes):
    """A file of a source, with what is known of it."""
    size, total = (len(data), sha256(data)) if data is not None else (None, None)
    return {"name": name, "bytes": size, "sha256": total, "md5": None, **changes}


def hub_source(*files):
    return {"kind": "hub", "repo": "torchgeo/ucmerced", "revision": REVISION, "files": list(files)}


def https_source(*files):
    return {"kind": "https", "files": list(files)}


def stac_source(api, **changes):
    return {
        "kind": "stac", "api": api.url, "collection": "naip", "asset": "image", "bbox": None,
        "first": None, "last": None, "query": {}, "most": None, **changes,
    }  # fmt: skip


def command(told, transfer):
    """The stage's command line."""
    return [
        sys.executable, "-m", "workflow_scripts.fetch", "--recipe", json.dumps(told),
        "--manifest", "data/manifests/places.jsonl", "--raw", "data/raw/places",
        "--transfer", json.dumps({**QUICK, **transfer}), "--log", "fetch.log", "--workers", "2",
    ]  # fmt: skip


def surroundings(**environment):
    """Its environment."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **environment}


def run_fetch(told, transfer, cwd, **environment):
    """Run the stage to its end."""
    return subprocess.run(
        command(told, transfer), cwd=cwd, env=surroundings(**environment), capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip


def manifest_of(cwd):
    return list(read_manifest(cwd / "data/manifests/places.jsonl"))


def contents_of(cwd, monkeypatch):
    monkeypatch.chdir(cwd)
    return {one.key: read_stored(one.path) for one in manifest_of(cwd)}


def written_below(folder):
    """All bytes of all files, to look for secrets in."""
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def obtained(told, transfer, raw):
    """What came, as bytes by key."""
    files = obtain(told, {**QUICK, **transfer}, raw).files()
    return {file.key: read_stored(str(file.path)) for file in files}
