"""Points of scaling studies, measured by the stage."""

import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest
import torch
from mllog_rules import complaints
from tiny_runs import (
    CPU,
    ROOT,
    Trainee,
    run_ranks,
    simmim_recipe,
    tensors,
    tiny_batches,
    tiny_images,
    tiny_recipe,
)  # fmt: skip
from torch.utils._python_dispatch import TorchDispatchMode

from tests.six_bands import BANDS
from workflow_scripts import mllog
from workflow_scripts.errors import UserError
from workflow_scripts.files import exclusive, read_json
from workflow_scripts.loader.normalise import Normalise
from workflow_scripts.pretrain import launch, parallel, usage
from workflow_scripts.pretrain.construct import adamw, meta_objective
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.pretrain.parallel import layout
from workflow_scripts.pretrain.parallel.silent import SilentGroup
from workflow_scripts.pretrain.step import NORM, Step
from workflow_scripts.scaling import __main__ as stage
from workflow_scripts.scaling import measure
from workflow_scripts.scaling.rows import MEASURED
from workflow_scripts.scaling.sources import Invented, described, steps_of, warmup_of
from workflow_scripts.shards.corpus import Corpus

KEYS = {
    "study", "point", "encoder", "patch", "mode", "strategy", "nodes", "ranks_per_node", "ranks",
    "batch", "workers", "prefetch", "gather_ahead", "precision", "objective", "image_size",
    "channels", "tokens", "tokens_by_channel", "parameters", "encoder_parameters",
    "flops_per_image", "status", "error", *MEASURED,
}  # fmt: skip
OF_STAMP = {"schema_version", "stage", "recipe", "digests"}


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return tiny_images(tmp_path_factory.mktemp("corpus") / "tiny")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Two would only wait for each other here."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def point(mode="synthetic", ranks=1, **changes):
    reads = mode in ("real", "io")
    recipe = {
        "study": "s", "point": f"a_{mode}", "encoder": "a", "patch": None, "nodes": 1,
        "ranks_per_node": ranks, "batch": 4, "mode": mode, "channels": 3,
        "strategy": None if mode == "io" else "no_shard" if ranks == 1 else "full_shard",
        "workers": 0 if reads else None, "prefetch": None, "gather_ahead": None,
        "pretrain": tiny_recipe(batch=4 * ranks, split=None), "activation_checkpointing": False,
        "compile": False, "warmup": 1, "steps": 2, "repeats": 3,
    }  # fmt: skip
    return {**recipe, **changes}


def command(recipe, output, *more):
    ranks = str(recipe["nodes"] * recipe["ranks_per_node"])
    return [sys.executable, "-m", "workflow_scripts.scaling", "--recipe", json.dumps(recipe),
            "--output", str(output), "--ranks", ranks, *map(str, more)]  # fmt: skip


def here(recipe, folder, *more, index=None):
    """Measure in this process; returns the point's JSON."""
    output = folder / f"{recipe['point']}.json"
    options = ["--index", str(index)] if index else []
    words = [*command(recipe, output, *more)[3:], *options]
    stage.work(stage.parser().parse_args(words), recipe)
    return read_json(output)


@pytest.mark.parametrize("mode", ["real", "synthetic", "io"])
def test_a_point_says_what_it_is_of_and_what_was_measured(mode, index, tmp_path):
    reading = index if mode != "synthetic" else None
    found = here(point(mode), tmp_path, index=reading)
    assert found.keys() == KEYS | OF_STAMP
    assert (found["status"], found["error"], found["device"]) == ("done", None, "cpu")
    objective = meta_objective(tiny_recipe(), Corpus(index), None)
    trained = sum(p.numel() for p in objective.parameters() if p.requires_grad)
    assert found["parameters"] == trained
    assert (found["tokens"], found["tokens_by_channel"]) == (16, 48)
    assert found["digests"]["inputs"].keys() == ({"corpus"} if reading else set())
    assert (found["loss"] is None) == (mode == "io") == (found["tflops"] is None)
    speed, steps = found["images_per_s"], found["step_s"]
    assert len(speed["repeats"]) == 3
    assert speed["least"] <= speed["median"] <= speed["most"]
    assert speed["median"] == pytest.approx(4 / steps["median"], rel=1e-5)
    assert found["cores"] == len(os.sched_getaffinity(0))


def test_a_synthetic_point_trains_on_one_batch_from_the_seed(tmp_path):
    recipe = point()
    first = here(recipe, tmp_path)["loss"]
    assert here(recipe, tmp_path)["loss"] == first
    other = point(pretrain=tiny_recipe(batch=4, split=None, seed=4))
    assert here(other, tmp_path)["loss"] != first
    one = Invented(3).batch(recipe, cells=16, rank=1)
    assert not torch.equal(one["images"], Invented(3).batch(recipe, cells=16, rank=0)["images"])


def test_chips_are_counts_with_their_calibration(tmp_path):
    recipe = point(channels=len(BANDS), pretrain=simmim_recipe(batch=4), point="chips")
    found = here(recipe, tmp_path)
    assert (found["status"], found["channels"]) == ("done", len(BANDS))
    batch = Invented(len(BANDS)).batch(recipe, cells=16, rank=0)
    assert batch["images"].dtype == torch.uint16
    seen = Normalise(Invented(len(BANDS)).index, CPU)(batch)["images"]
    # Uniform in [0, 1], less 0.5, over 0.25.
    assert seen.std() == pytest.approx(4 / 12**0.5, rel=0.1)
    assert seen.mean() == pytest.approx(0, abs=0.1)


def test_a_corpus_shorter_than_the_point_is_read_again(index, tmp_path):
    recipe = point("real", steps=5)  # 16 steps of 4 images, of which there are 44
    recipe["pretrain"]["epochs"] = 1
    assert here(recipe, tmp_path, index=index)["status"] == "done"


@pytest.mark.parametrize("mode", ["real", "synthetic"])
def test_the_log_has_the_lines_of_mlperf(mode, index, tmp_path):
    here(point(mode), tmp_path, index=index if mode == "real" else None)
    path = tmp_path / f"a_{mode}.mllog"
    assert complaints(path) == []
    keys = [line["key"] for line in mllog.read(path)]
    order = ["init_start", "init_stop", "run_start", "staging_start", "staging_stop",
             "block_start", "block_stop", "run_stop"]  # fmt: skip
    assert [key for key in keys if key in order] == order
    assert mllog.times(mllog.read(path))["status"] == "success"


def test_initialisation_is_from_the_jobs_start_until_the_corpus_is_opened(
    index, tmp_path, monkeypatch
):
    opened = []

    def slow(*given):
        opened.append(time.time() * 1e3)
        time.sleep(0.05)
        return described(*given)

    monkeypatch.setattr(measure, "described", slow)
    monkeypatch.setenv("ORBWEAVER_STARTED", str(time.time() - 100))
    here(point("real"), tmp_path, index=index)
    lines = mllog.read(tmp_path / "a_real.mllog")
    (start,) = [line["time_ms"] for line in lines if line["key"] == "run_start"]
    assert start <= opened[0]
    assert mllog.times(lines)["init_s"] >= 100


@pytest.mark.parametrize(
    ("error", "status"),
    [(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), "out_of_memory"),
     (RuntimeError("it broke"), "failed")],
)  # fmt: skip
def test_a_point_that_fails_is_a_point_with_that_status(
    error, status, tmp_path, monkeypatch, caplog
):
    def fail(self, batch, rate):
        raise error

    monkeypatch.setattr(Step, "__call__", fail)
    monkeypatch.setattr(stage.log, "propagate", True)
    with pytest.raises(SystemExit):
        here(point(), tmp_path)
    log = tmp_path / "a.log"
    log.write_text("\n".join(caplog.messages))
    found = here(point(), tmp_path, "--ended", 1, "--log", log)
    assert found.keys() == KEYS | OF_STAMP
    assert (found["status"], found["error"].split(":")[-1].strip()[:8]) == (
        status, f"{error}".split(":")[-1][:8]
    )  # fmt: skip
    assert all(found[name] is None for name in MEASURED)
    assert found["parameters"] > 0
    assert mllog.times(mllog.read(tmp_path / "a_synthetic.mllog"))["status"] == "aborted"


def test_where_ranks_met_that_were_killed_is_not_left_among_the_results(tmp_path):
    place = tmp_path / ".a_synthetic"
    place.mkdir()
    (place / "meeting.json").write_text('{"host": "node7"}')
    with pytest.raises(UserError, match="no result of the study"):
        here(point(), tmp_path, "--ended", 1)
    assert list(tmp_path.iterdir()) == []


def test_what_fails_after_a_point_was_measured_takes_nothing_from_it(tmp_path):
    found = here(point(), tmp_path)
    log = tmp_path / "a.log"
    log.write_text("2026-11-22 01:00:00 ERROR POINT ENDED failed: while leaving")
    assert here(point(), tmp_path, "--ended", 139, "--log", log) == found


def test_a_mistake_is_no_result(index, tmp_path):
    with pytest.raises(UserError, match="of 2 ranks but --ranks says 1"):
        stage.work(stage.parser().parse_args(command(point(), tmp_path / "a")[3:]), point(ranks=2))
    log = tmp_path / "a.log"
    log.write_text("2026-11-22 01:00:00 ERROR POINT ENDED no_result: no such file")
    with pytest.raises(UserError, match="no result of the study: no such file"):
        here(point("real"), tmp_path, "--ended", 1, "--log", log, index=index)
    assert not (tmp_path / "a_real.json").exists()


def test_steps_that_were_skipped_are_no_measure(tmp_path, monkeypatch):
    plain = Step.__call__

    def blown_up(self, batch, rate):
        terms = plain(self, batch, rate)
        return terms | {NORM: torch.tensor(float("inf"))}

    monkeypatch.setattr(Step, "__call__", blown_up)
    with pytest.raises(FloatingPointError):
        measure.measured(point(), index=None, ranks=Ranks(), progress=measure.Progress(),
                         mllog=None, patience_s=9.0)  # fmt: skip


@pytest.mark.distributed
@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, 1), ({"workers": 2, "prefetch": 4}, 9), ({"workers": 2}, 5),
        ({"workers": 1, "prefetch": 1, "warmup": 3}, 3), ({"workers": None}, 1),
    ],
)  # fmt: skip
def test_what_loader_processes_read_beforehand_is_not_measured(changes, steps):
    recipe = point("io", **changes)
    assert warmup_of(recipe) == steps
    assert steps_of(recipe) == steps + 2 * 3


def test_energy_is_that_of_the_repetitions_alone(tmp_path, monkeypatch):
    counted = iter([50.0, 62.0])  # after the warm-up, and at the end
    counter = SimpleNamespace(source="made up", every_s=0.0, joules=lambda: next(counted))
    monkeypatch.setattr(usage, "energy_of", lambda ranks, device: counter)
    found = here(point(), tmp_path)
    assert (found["energy_j"], found["energy_counter"]) == (12.0, "made up")
    seconds = sum(2 * one for one in found["step_s"]["repeats"])
    assert found["watts"] == pytest.approx(12.0 / seconds, rel=1e-3, abs=0.1)


def test_a_point_shorter_than_ten_values_of_the_counter_has_no_energy(tmp_path, monkeypatch):
    counter = SimpleNamespace(source="rocm-smi", every_s=30.0, joules=lambda: 50.0)
    monkeypatch.setattr(usage, "energy_of", lambda ranks, device: counter)
    found = here(point(), tmp_path)
    assert sum(2 * one for one in found["step_s"]["repeats"]) < 300
    assert [found[key] for key in ("energy_j", "watts", "energy_counter")] == [None] * 3


def test_the_time_of_a_repetition_is_that_of_the_slowest_rank(tmp_path):
    output = tmp_path / "pair.json"
    recipe = point("no_communication", ranks=2)
    subprocess.run(command(recipe, output, "--walltime-s", 300), cwd=ROOT, check=True)
    found, told = read_json(output), read_json(tmp_path / "pair.provenance.json")
    slowest = [max(pair) for pair in zip(*told["seconds_by_rank"], strict=True)]
    expected = [4 * 2 * 2 / seconds for seconds in slowest]
    assert found["images_per_s"]["repeats"] == pytest.approx(expected, rel=1e-5)
    assert found["cores"] == len(os.sched_getaffinity(0))  # ranks of a laptop share them
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "pair.json", "pair.mllog", "pair.provenance.json",
    ]  # fmt: skip


@pytest.mark.distributed
def test_a_killed_rank_ends_the_point_and_is_its_result(tmp_path):
    output, log = tmp_path / "a.json", tmp_path / "a.log"
    recipe = point(ranks=2, steps=10**6)
    with log.open("wb") as file:
        job = subprocess.Popen(command(recipe, output), cwd=ROOT, stderr=file)
    started = time.monotonic()
    lines = tmp_path / "a.mllog"
    while "block_start" not in (lines.read_text() if lines.exists() else ""):
        assert time.monotonic() < started + 600
        time.sleep(0.1)
    ranks = {one.environ()[launch.RANK]: one for one in psutil.Process(job.pid).children()}
    ranks["1"].kill()
    assert job.wait(300) == 1
    assert not output.exists()
    done = subprocess.run([*command(recipe, output), "--ended", "1", "--log", str(log)], cwd=ROOT)
    assert done.returncode == 0
    assert read_json(output)["status"] == "failed"
    assert read_json(output)["error"] == "rank 1 of 2 was ended by SIGKILL (out of memory, perhaps)"


def test_a_point_is_measured_by_one_at_a_time(tmp_path, monkeypatch):
    """What another process measures is left to it, and that is no result."""
    monkeypatch.setattr(stage, "_WAIT_S", 0.0)
    recipe = point()
    output = tmp_path / f"{recipe['point']}.json"
    with exclusive(output), pytest.raises(UserError, match="is being made by process"):
        here(recipe, tmp_path)
    assert not output.exists()
    assert here(recipe, tmp_path)["status"] == "done"


# --- what is measured without communication, and ahead of time -----------------------------------


class _Block:
    def set_modules_to_forward_prefetch(self, blocks):
        self.forward = blocks

    def set_modules_to_backward_prefetch(self, blocks):
        self.backward = blocks


def test_blocks_are_gathered_in_the_order_in_which_they_run():
    a, b, c, d = blocks = [_Block() for _ in range(4)]
    layout._gather_ahead(blocks, 2)
    assert [one.forward for one in blocks] == [[b, c], [c, d], [d], []]
    assert [one.backward for one in blocks] == [[], [a], [b, a], [c, b]]


class _Copies(TorchDispatchMode):
    """Counts copies between tensors."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten.copy_.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("rank", [0, 5, 63])
@pytest.mark.parametrize("in_place", [True, False])
def test_a_silent_gathering_repeats_ones_own_part_in_two_copies_at_most(rank, in_place):
    output, part = torch.full((64, 3), -1.0), torch.tensor([1.0, 2.0, 3.0])
    own = output[rank].copy_(part) if in_place else part
    with _Copies() as copies:
        SilentGroup(rank, 64).all_gather_single(output.view(-1), own)
    assert output.equal(part.expand(64, 3))
    assert copies.count <= 2


def losses(index, strategy, ranks, share, **how):
    """Losses of three steps of one rank, on the batches of `share` (rank, ranks)."""
    one = Trainee(index, strategy, ranks, tiny_recipe(batch=8), **how)
    rank, world = share
    found = []
    step = Step(one.model, adamw(one.objective, one.recipe["optim"]),
                Normalise(one.corpus.index, CPU), clip=None, precision="fp32",
                samples=8 // world)  # fmt: skip
    source = tiny_batches(one.corpus, one.recipe, cells=one.objective.cells, rank=rank, ranks=world)
    for number in range(3):
        found.append(float(step(tensors(source[number]), 1e-3)["loss"]))
    return found


def silent_and_ahead(ranks, folder, index):
    parallel.join(ranks, timeout_s=100)
    share = (ranks.rank, ranks.world)
    told = {}
    for strategy in ("ddp", "no_shard", "hybrid_shard_2", "full_shard"):
        told[strategy] = losses(index, strategy, ranks, share, silent=True)
    told |= {ahead: losses(index, "full_shard", ranks, share, gather_ahead=ahead)
             for ahead in (0, 1, 9)}  # fmt: skip
    torch.save(told, folder / f"{ranks.rank}.pt")
    parallel.leave()


@pytest.mark.distributed
def test_silence_leaves_each_rank_alone_and_gathering_ahead_changes_nothing(index, tmp_path):
    run_ranks(2, silent_and_ahead, tmp_path, index)
    for rank in range(2):
        told = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        alone = losses(index, "no_shard", Ranks(), (rank, 2))
        for whole in ("ddp", "no_shard"):  # parameters are whole: as if there were no other rank
            assert told[whole] == pytest.approx(alone, rel=1e-5)
        for cut in ("hybrid_shard_2", "full_shard"):  # its part of the weights, again and again
            assert torch.tensor(told[cut]).isfinite().all()
            assert told[cut] != pytest.approx(alone, rel=1e-5)
        assert told[1] == told[0]
        assert told[9] == told[0]
