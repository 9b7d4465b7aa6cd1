"""Features as a stage: the same bytes through ranks, kills and damage; what is refused; reading."""

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from feature_cases import (
    AUGMENT,
    MEAN,
    RECIPE,
    STD,
    SWIN,
    arrays,
    benchmark,
    extract_here,
    left_over,
    model_folder,
    options,
)

from tests.conftest import ROOT
from workflow_scripts.errors import UserError
from workflow_scripts.features import extract
from workflow_scripts.features.device import device_of
from workflow_scripts.features.encoder import (
    Pooled,
    load_model,
)
from workflow_scripts.features.parts import PART, Parts
from workflow_scripts.features.samples import (
    Seen,
    Views,
    check_fits,
)
from workflow_scripts.features.store import open_set
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.shards.corpus import Corpus

TRIALS = int(os.environ.get("ORBWEAVER_KILL_TRIALS", "20"))
MEMORY = Path("/dev/shm")
NORMALISATION = {"mean": MEAN, "std": STD, "scale": "unit"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a benchmark of 300 images, a model, and what is extracted from them."""
    folder = tmp_path_factory.mktemp("features")
    benchmark(folder / "bench", count=300)
    model_folder(folder / "model")
    extract_here(RECIPE, *inputs(folder), folder / "out" / "result.json", "--threads", "1")
    return folder


def inputs(folder):
    return folder / "model", folder / "bench" / "index.json"


def stored(output, name):
    entry = json.loads(output.read_text())["sets"][name]
    return open_set(output.parent / "store", entry["digest"])


# --- the same bytes --------------------------------------------------------------------------


def test_threads_and_ranks_change_no_byte(place, tmp_path):
    whole = place / "out" / "result.json"
    for world in (2, 3):
        output = tmp_path / str(world) / "result.json"
        for rank in reversed(range(world)):  # the first joins what the others have made
            own = Ranks(rank=rank, world=world, local_rank=rank, local_world=world)
            extract_here(RECIPE, *inputs(place), output, "--threads", str(world), ranks=own)
        assert arrays(output) == arrays(whole)
        assert output.read_bytes() == whole.read_bytes()
        assert left_over(output) == []


@pytest.mark.distributed
def test_ranks_that_the_command_starts_itself_make_the_same_files(place, tmp_path):
    output = tmp_path / "result.json"
    command = [sys.executable, "-m", "workflow_scripts.features"]
    command += options(RECIPE, *inputs(place), output, "--ranks", "2", "--walltime-s", "60")
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == (place / "out" / "result.json").read_bytes()
    assert arrays(output) == arrays(place / "out" / "result.json")


@pytest.mark.distributed
def test_a_rank_that_fails_ends_the_others_and_names_the_sample(tmp_path):
    index = benchmark(tmp_path / "bench", count=300, spoiled=202)
    model = model_folder(tmp_path / "model")
    output = tmp_path / "result.json"
    command = [sys.executable, "-m", "workflow_scripts.features"]
    command += options(RECIPE, model, index, output, "--ranks", "2")
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=120)
    assert done.returncode == 1
    assert "shard-00001.h5 sample 102 (blots/202.png): not a readable image" in done.stderr
    assert "rank 1 of 2 failed" in done.stderr  # its part; the first would have waited for it
    assert not output.exists()


def test_the_first_rank_does_not_wait_for_ever(place, tmp_path):
    two = Ranks(world=2, local_world=2)
    with pytest.raises(UserError, match=r"1 of 2 parts are missing \(part 1 .*in 0\.2 s"):
        extract_here(
            RECIPE, *inputs(place), tmp_path / "result.json", "--patience-s", "0.2", ranks=two
        )


@pytest.mark.kill
@pytest.mark.distributed
def test_extractions_killed_at_any_moment_go_on_and_end_with_the_same_bytes():
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        seed = os.environ.get("ORBWEAVER_KILL_SEED", "0")
        script = ROOT / "tests" / "killed_features.py"
        done = subprocess.run(
            [sys.executable, str(script), folder, str(TRIALS), seed], text=True,
            capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    trials = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(trials) == TRIALS
    for trial in trials:
        assert trial["same"], (trial, done.stderr)
        assert trial["left"] == [], trial
        assert set(trial["codes"]) == {0}, (trial, done.stderr)
    assert any("part" in trial["met"] for trial in trials)  # kills left work to go on from


def test_parts_that_are_there_are_not_made_again(place, tmp_path, monkeypatch):
    output, seen = tmp_path / "result.json", []
    batch = Seen.batch

    def counted(self, rows):
        seen.append(len(rows))
        return batch(self, rows)

    second = Ranks(rank=1, world=2)
    extract_here(RECIPE, *inputs(place), output, "--threads", "1", ranks=second)
    monkeypatch.setattr(Seen, "batch", counted)
    extract_here(RECIPE, *inputs(place), output, "--threads", "1")
    assert sum(seen) == 2 * PART  # of 240 samples, of two encoders
    seen.clear()
    extract_here(RECIPE, *inputs(place), output, "--threads", "1")
    extract_here({**RECIPE, "seeds": [0, 3]}, *inputs(place), output, "--threads", "1")
    assert sum(seen) == 240  # of the one more encoder


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "part"])
def test_damaged_arrays_are_made_again_with_a_warning(place, tmp_path, caplog, monkeypatch, damage):
    output = tmp_path / "result.json"
    extract_here(RECIPE, *inputs(place), output, "--threads", "1")
    before, path = arrays(output), stored(output, "trained").path
    data = bytearray(path.read_bytes())
    if damage == "changed":
        data[-7] ^= 1
    path.write_bytes(data[:-8] if damage == "cut" else data)
    if damage in ("gone", "part"):
        path.unlink()
    if damage == "part":  # a power cut
        (path.parent / "set.json").unlink()
        (path.parent / "part-00001.npy").write_bytes(b"")
    monkeypatch.setattr(logging.getLogger("orbweaver"), "propagate", True)
    extract_here(RECIPE, *inputs(place), output, "--threads", "1")
    assert arrays(output) == before
    assert ("trained (scenes-mae on blots): extracted again" in caplog.text) == (damage != "part")


def test_what_another_process_finished_meanwhile_is_not_taken_for_damaged(place, tmp_path):
    output, finished = tmp_path / "result.json", Parts.finished
    extract_here(RECIPE, *inputs(place), output, "--threads", "1")
    before, path = arrays(output), stored(output, "trained").path
    made = path.stat().st_ino
    with pytest.MonkeyPatch.context() as patch:
        # Each set is looked at first as if it were not there yet.
        seen = set()
        patch.setattr(Parts, "finished", lambda parts: (
            finished(parts) if parts.digest in seen else seen.add(parts.digest)
        ))  # fmt: skip
        extract_here(RECIPE, *inputs(place), output, "--threads", "1")
    assert path.stat().st_ino == made
    assert arrays(output) == before
    assert left_over(output) == []


def test_a_full_disk_ends_it_and_the_next_start_goes_on(place, tmp_path, monkeypatch):
    output, save, left = tmp_path / "result.json", np.save, [3]

    def limited(file, *values, **how):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        save(file, *values, **how)

    monkeypatch.setattr(np, "save", limited)
    with pytest.raises(OSError, match="No space left"):
        extract_here(RECIPE, *inputs(place), output, "--threads", "1")
    assert [name for name in left_over(output) if name.endswith(".tmp")] == []
    extract_here(RECIPE, *inputs(place), output, "--threads", "1")
    assert arrays(output) == arrays(place / "out" / "result.json")


@pytest.mark.parametrize(("device", "most"), [("cpu", 2), ("cpu:0", 1)])
def test_a_device_encodes_one_batch_at_a_time_and_cores_one_each(place, device, most, tmp_path):
    """`cpu:0` stands for a device that is not the cores."""
    corpus = Corpus(inputs(place)[1])
    pooled = Pooled(load_model(place / "model")[1], poolings=["mean"], layers=1)
    counting, all_here, at_once = threading.Lock(), threading.Event(), [0, 0]

    def counted(images):
        with counting:
            at_once[0] += 1
            at_once[1] = max(at_once)
            if at_once[0] == 2:
                all_here.set()
        all_here.wait(30 if most == 2 else 0.02)
        with counting:
            at_once[0] -= 1
        return pooled(images)

    counted.to = pooled.to
    seen = Seen(corpus, normalisation=NORMALISATION, size=16, views=None)
    parts = Parts(store=tmp_path, digest="d", name="n", samples=32)
    work = extract.pooled_features(seen, counted, device)
    extract.extract(parts, work, np.arange(32), numbers=[0], batch=8, threads=2)
    assert at_once[1] == most
    expected = [pooled(seen.batch(np.arange(at, at + 8))) for at in range(0, 32, 8)]
    np.testing.assert_array_equal(np.load(parts.path(0)), np.concatenate(expected))


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"poolings": []}, r"poolings is \[\]"),
        ({"poolings": ["max"]}, r"poolings is \['max'\]; use some of mean, class"),
        ({"layers": 0}, "layers is 0"),
        ({"layers": 4}, "has 3 blocks"),
        ({"image_size": 20}, "multiple of 8"),
        ({"seeds": [1, 1]}, r"seeds is \[1, 1\]"),
        ({"views": {"count": 1, "augment": AUGMENT, "seeds": [4]}}, r"views.seeds is \[4\]"),
    ],
)
def test_recipes_that_cannot_work_are_refused(place, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        extract_here({**RECIPE, **change}, *inputs(place), tmp_path / "result.json")
    assert not (tmp_path / "result.json").exists()
    assert not (tmp_path / "store").exists()


def test_a_class_token_that_is_not_there_is_refused(place, tmp_path):
    model = model_folder(tmp_path / "swin", SWIN)
    with pytest.raises(UserError, match=r"poolings is \['mean', 'class'\].*no class token"):
        extract_here({**RECIPE, "layers": 1}, model, inputs(place)[1], tmp_path / "result.json")


def test_features_that_are_not_finite_are_refused_with_the_sample(place, tmp_path):
    def spoil(state):
        state["norm.bias"][0] = float("nan")

    model = model_folder(tmp_path / "nan", spoil=spoil)
    with pytest.raises(UserError, match=r"shard-00000\.h5 sample 0 \(blots/000\.png\).*not finite"):
        extract_here(RECIPE, model, inputs(place)[1], tmp_path / "result.json")


@pytest.mark.parametrize("views", [None, Views(augment=AUGMENT, number=0)])
def test_an_image_that_cannot_be_decoded_is_named(tmp_path, views):
    corpus = Corpus(benchmark(tmp_path, count=12, spoiled=7))
    seen = Seen(corpus, normalisation=NORMALISATION, size=16, views=views)
    with pytest.raises(UserError, match=r"shard-00001\.h5 sample 3 \(blots/007\.png\).*pack again"):
        seen.batch(np.arange(12))


def test_weights_of_another_architecture_are_refused(tmp_path):
    def spoil(state):
        del state["norm.bias"]

    with pytest.raises(UserError, match=r"norm\.bias"):
        load_model(model_folder(tmp_path, spoil=spoil))
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(UserError, match="no such file"):
        load_model(tmp_path)


def test_benchmarks_of_other_channels_are_refused_as_far_as_the_card_tells():
    index = {"channels": 3, "bands": ["red", "green", "blue"], "kind": "images"}
    run = {"channels": 3, "bands": ["1", "4", "3"], "normalisation": {"scale": "unit"}}
    elsewhere = {key: run[key] for key in ("channels", "normalisation")}
    names = {"run": "r", "benchmark": "b"}
    check_fits(elsewhere, index, **names)
    with pytest.raises(UserError, match="bands"):
        check_fits(run, index, **names)
    with pytest.raises(UserError, match="channels 4"):
        check_fits({**elsewhere, "channels": 4}, index, **names)
    with pytest.raises(UserError, match="takes physical values"):
        check_fits({**elsewhere, "normalisation": {"scale": "physical"}}, index, **names)


def test_devices_are_the_hosts(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto", Ranks()) == device_of("cpu", Ranks()) == "cpu"
    with pytest.raises(UserError, match="torch sees no GPU"):
        device_of("cuda", Ranks())
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    assert device_of("auto", Ranks(rank=5, local_rank=1, local_world=4)) == "cuda"
    assert taken == [1]


# --- reading ---------------------------------------------------------------------------------


def test_stored_features_are_read_by_rows_and_columns(place):
    found = stored(place / "out" / "result.json", "trained")
    whole = np.load(found.path)
    rows = np.array([200, 3, 3])
    assert found.features("class", 1).shape == (240, 16)
    np.testing.assert_array_equal(found.features("class", 1).take(rows), whole[rows, 48:])
    np.testing.assert_array_equal(found.features("mean", 2).take(rows), whole[rows, :32])
    both = found.features("mean+class", 1).take(slice(10, 20))
    np.testing.assert_array_equal(both, np.concatenate([whole[10:20, 16:32], whole[10:20, 48:]], 1))
    assert both.flags.c_contiguous
    assert both.flags.writeable
    both[:] = 0  # the caller's own
    np.testing.assert_array_equal(np.load(found.path), whole)
    for pooling, layers in (("max", 1), ("mean", 3), ("mean", 0)):
        with pytest.raises(UserError, match="holds mean, class of 2 layers"):
            found.features(pooling, layers)


def test_sets_that_are_gone_or_damaged_are_refused_when_read(place, tmp_path):
    with pytest.raises(UserError, match=r"no such file; delete the result of the stage `features`"):
        open_set(tmp_path, "0" * 64)
    output = tmp_path / "result.json"
    extract_here({**RECIPE, "seeds": []}, *inputs(place), output, "--threads", "1")
    found = stored(output, "trained")
    found.verify()
    data = found.path.read_bytes()
    found.path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(UserError, match="checksum"):
        stored(output, "trained").verify()
    found.path.write_bytes(data + b"0")
    with pytest.raises(UserError, match="expected"):
        stored(output, "trained")
