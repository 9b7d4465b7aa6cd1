"""Shards packed side by side: equal bytes, what survives a kill, libraries that crash."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from image_sets import RECIPE, pack, photos, write_dataset
from pictures import encoded, picture

from workflow_scripts.errors import UserError
from workflow_scripts.pack.images import most_set_aside

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def manifests(tmp_path):
    return [write_dataset(tmp_path, "places", photos(range(12), "train"))]


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".h5"}


@pytest.mark.parametrize("shard_bytes", [2000, 2**28])
def test_any_number_of_workers_gives_the_same_bytes(manifests, tmp_path, shard_bytes):
    found = []
    for workers in (0, 1, 2, 4):
        folder = tmp_path / f"{workers}"
        body, _ = pack(manifests, folder, workers=workers, shard_bytes=shard_bytes)
        found.append((body, files_of(folder)))
    assert len(found[0][1]) == (1 if shard_bytes == 2**28 else len(found[0][0]["shards"]))
    assert (len(found[0][1]) > 3) == (shard_bytes == 2000)
    assert all(one == found[0] for one in found)


def test_nothing_temporary_is_left(manifests, tmp_path):
    pack(manifests, tmp_path / "out", shard_bytes=2000)
    hidden = {path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")}
    # The facts of shards stay until the index is written, which is the stage's part.
    assert {name.split("-")[0] for name in hidden} == {".shard"}


def stage(folder, **changes):
    recipe = json.dumps({**RECIPE, "shard_bytes": 1, **changes})
    command = [sys.executable, "-m", "workflow_scripts.pack", "--recipe", recipe, "--index",
               "out/index.json", "--manifests", "places.jsonl", "--workers", "2"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.kill
def test_what_a_killed_job_finished_is_used_again_and_the_bytes_are_the_same(tmp_path):
    write_dataset(tmp_path, "places", photos(range(400), "train"))
    out = tmp_path / "out"
    job = stage(tmp_path)
    for _ in range(6000):
        if len(list(out.glob(".shard-*.json"))) > 20:
            break
        time.sleep(0.01)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert not (out / "index.json").exists()
    time.sleep(0.5)  # its workers die with it
    times = {path.name: path.stat().st_mtime_ns for path in out.glob(".shard-*.json")}
    kept = {name: (out / f"{name[1:-5]}.h5").stat().st_mtime_ns for name in times}
    assert 20 < len(kept) < 400
    again = stage(tmp_path)
    _, told = again.communicate()
    assert again.returncode == 0, told
    assert {n: (out / f"{n[1:-5]}.h5").stat().st_mtime_ns for n in times} == kept
    assert not [
        path.name for path in out.iterdir() if path.name.startswith((".shard", "..", ".pack"))
    ]
    fresh = tmp_path / "fresh"
    body, _ = pack([("places", tmp_path / "places.jsonl")], fresh, shard_bytes=1)
    index = json.loads((out / "index.json").read_text())
    assert files_of(fresh) == files_of(out)
    assert index["shards"] == body["shards"]


@pytest.mark.parametrize("change", ["recipe", "items", "code", "shard", "missing"])
def test_a_finished_shard_serves_only_what_it_was_made_from(
    manifests, tmp_path, monkeypatch, change
):
    out = tmp_path / "out"
    before, _ = pack(manifests, out, max_side=9)
    shard = out / "shard-00000.h5"
    good = shard.read_bytes()
    made = shard.stat().st_mtime_ns
    pack(manifests, out, max_side=9)
    assert shard.stat().st_mtime_ns == made
    settings = {"max_side": 9}
    if change == "recipe":
        settings["quality"] = 50
    elif change == "items":
        settings["exclude"] = ["places/river/000.jpg"]
    elif change == "code":
        monkeypatch.setattr("workflow_scripts.pack.images.code_digest", lambda stage: "other")
    elif change == "shard":
        shard.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    else:
        shard.unlink()
    after, _ = pack(manifests, out, **settings)
    assert shard.stat().st_mtime_ns != made
    if change in ("recipe", "items"):
        assert hashlib.sha256(good).hexdigest() != after["shards"][0]["sha256"]
    else:
        assert shard.read_bytes() == good
        assert after == before


def test_raising_the_allowed_share_uses_what_was_finished(manifests, tmp_path):
    data = {f"river/b{n}.jpg": (b"broken %d" % n, "train", "river") for n in range(4)}
    sets = [write_dataset(tmp_path, "places", photos(range(12), "train") | data)]
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"2 images cannot be used so far and at most 1 may be"):
        pack(sets, out, shard_bytes=1, max_set_aside=0.1)
    finished = {path.name for path in out.glob(".shard-*.json")}
    assert finished
    assert not (out / "index.json").exists()
    body, corpus = pack(sets, out, shard_bytes=1, max_set_aside=0.5)
    assert body["set_aside"] == {"not a known image format": 4}
    assert len(corpus) == 12
    assert len(body["shards"]) == 12  # a shard of which nothing can be used is no file


def test_an_image_on_which_a_library_crashes_is_set_aside(tmp_path):
    bad = encoded(picture(3), "JPEG") + b"crash"
    files = photos(range(6), "train") | {"river/bad.jpg": (bad, "train", "river")}
    write_dataset(tmp_path, "places", files)
    script = tmp_path / "crashing.py"
    script.write_text(
        "import os, signal, runpy, sys\n"
        "from workflow_scripts.pack import image_shard\n"
        "whole = image_shard.encode_file\n"
        "def encode_file(source, settings, *, scratch):\n"
        "    if source.endswith(b'crash'):\n"
        "        os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    return whole(source, settings, scratch=scratch)\n"
        "image_shard.encode_file = encode_file\n"
        "if __name__ == '__main__':\n"
        "    from image_sets import pack\n"
        "    from pathlib import Path\n"
        "    body, corpus = pack([('places', Path('places.jsonl'))], Path('out'), workers=2,\n"
        "                        max_set_aside=0.5)\n"
        "    print(body['set_aside_items'], len(corpus))\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    reason = "a library crashed on it"
    assert done.stdout.strip() == f"[{{'key': 'places/river/bad.jpg', 'reason': '{reason}'}}] 6", (
        done.stderr
    )


@pytest.mark.parametrize(
    ("share", "count", "most"),
    [(0.29, 100, 29), (0.1, 30, 3), (0.07, 100, 7), (0.01, 99, 0), (0.5, 3, 1), (1.0, 7, 7)],
)
def test_the_share_that_may_be_set_aside_is_not_rounded_away(share, count, most):
    assert most_set_aside(share, count) == most
