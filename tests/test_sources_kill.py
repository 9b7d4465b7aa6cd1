"""A dataset that is fetched, unpacked and listed, killed at random moments of all of it."""

import io
import os
import random
import signal
import subprocess
import tarfile
import time

import pytest
from source_cases import command, hub_source, named, recipe, run_fetch, surroundings
from source_servers import Hub, zipped

TRIALS = int(os.environ.get("ORBWEAVER_KILL_TRIALS", "4"))


def packed(count):
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz", compresslevel=1) as archive:
        for n in range(count):
            data = random.Random(n).randbytes(2000)
            member = tarfile.TarInfo(f"top/sea/{n}.jpg")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return held.getvalue()


@pytest.mark.kill
def test_a_killed_start_leaves_what_the_next_one_ends_well(store, own_settings, tmp_path):
    archives = {
        "a.tar.gz": packed(400),
        "b.zip": zipped({f"top/sand/{n}.jpg": b"%d" % n * 500 for n in range(400)}),
    }
    with Hub(store, lfs=archives) as hub:
        told = recipe(source=hub_source(*map(named, archives)), root="top")
        (tmp_path / "whole").mkdir()
        done = run_fetch(told, {}, tmp_path / "whole", HF_ENDPOINT=hub.url)
        assert done.returncode == 0, done.stderr
        hub.slow_s = store.slow_s = 0.01
        chance = random.Random(int(os.environ.get("ORBWEAVER_KILL_SEED", "0")))
        for trial in range(TRIALS):
            place = tmp_path / f"trial{trial}"
            place.mkdir()
            started = 0
            while not (place / "data/manifests/places.json").exists() and started < 3:
                started += 1
                killed_at(chance.uniform(0, 0.7), told, place, HF_ENDPOINT=hub.url)
            done = run_fetch(told, {}, place, HF_ENDPOINT=hub.url)
            assert done.returncode == 0, done.stderr
            for name in ("places.json", "places.jsonl"):
                one, two = (at / "data/manifests" / name for at in (place, tmp_path / "whole"))
                assert one.read_bytes() == two.read_bytes()


def killed_at(seconds, told, place, **environment):
    """Start the stage and kill it so long after its work began."""
    process = subprocess.Popen(
        command(told, {}), cwd=place, env=surroundings(**environment),
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + 20
    while not (place / "data").exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    time.sleep(seconds)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
