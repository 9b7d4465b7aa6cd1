"""How the ranks that srun or torchrun started find each other, and that rank 0 decides for all."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from srun_ranks import in_step, srun_variables, task
from tiny_runs import ROOT, arguments, curve, run_ranks, tiny_images, tiny_recipe, train_here

from workflow_scripts.errors import UserError
from workflow_scripts.files import exclusive
from workflow_scripts.pretrain import address, launch, meeting, parallel
from workflow_scripts.pretrain.parallel.arrival import Arrival

TOLD = "*.meeting-*"
RUN_MODULE = "import runpy, sys\ntry:\n    runpy.run_module('workflow_scripts.pretrain', " \
    "run_name='__main__')\nfinally:\n    print('torch' in sys.modules)"  # fmt: skip


def told(run, process):
    """What rank 0 has told, as soon as it has."""
    end = time.monotonic() + 300
    while not (file := run / ".meeting-4711.0.json").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.005)
    return json.loads(file.read_text())


# Real processes


@pytest.mark.distributed
def test_two_nodes_of_srun_meet_and_train_as_one_process_does(tmp_path):
    index, recipe, run = tiny_images(tmp_path / "c"), tiny_recipe(), tmp_path / "run"
    run.mkdir()
    (run / ".meeting-4000.0.40001.json").write_text("of a job that died")
    job = [task(rank, recipe, index, run, "--strategy", "full_shard", "--log-every", "1")
           for rank in (1, 0)]  # fmt: skip
    assert told(run, job[1])["host"] == "frontier00001"
    for process in job:
        assert process.wait(600) == 0, process.communicate()[1]
    assert not list(run.glob(TOLD))
    train_here(recipe, index, tmp_path / "alone", "--log-every", "1")
    ours, alone = curve(run), curve(tmp_path / "alone")
    assert [step for step, _ in ours] == list(range(1, 11))
    assert [loss for _, loss in ours] == pytest.approx([x for _, x in alone], abs=1e-4)
    assert job[0].communicate()[1] == "", "a rank that had nothing to say has spoken"
    nothing_is_left_to_train(recipe, index, run)


def nothing_is_left_to_train(recipe, index, run):
    """With other ranks, on which the batch could not be shared: they leave without torch."""
    for rank in (0, 1):
        done = subprocess.run(
            [sys.executable, "-c", RUN_MODULE,
             *arguments(recipe, index, run, "--ranks", "3", number=2)],
            env={**os.environ, **srun_variables(rank, nodes=3, job="4712")}, cwd=ROOT, text=True,
            capture_output=True,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
        assert ("nothing to train" in done.stderr) == (rank == 0)
    assert json.loads((run / "segments" / "2.json").read_text())["reason"] == "done"


@pytest.mark.distributed
def test_rank_0_names_the_ranks_and_nodes_that_do_not_come(tmp_path):
    index = tiny_images(tmp_path / "c")
    job = [
        task(rank, tiny_recipe(), index, tmp_path / "run", "--meet-s", "6", ranks=4,
             variables=srun_variables(rank, per_node=2))
        for rank in (0, 1)
    ]  # fmt: skip
    text = job[0].communicate(timeout=300)[1]
    assert job[0].returncode == 1
    assert "rank 0 of 4 (on frontier00001, job 4711) waits at " in text
    assert "for 2 of 4 ranks, which after 6 s have not come" in text
    assert ": 2-3 (no rank of frontier00002)" in text
    assert "GLOO_SOCKET_IFNAME" in text
    assert not list((tmp_path / "run").glob(TOLD))
    # The other leaves it to rank 0 to say so; srun would have ended it by now.
    text = job[1].communicate(timeout=300)[1]
    assert job[1].returncode == 1
    assert "ERROR" not in text


@pytest.mark.distributed
def test_a_rank_whose_rank_0_died_says_where_it_looked_for_it(tmp_path):
    index, run = tiny_images(tmp_path / "c"), tmp_path / "run"
    job = [task(rank, tiny_recipe(), index, run, "--meet-s", "5", ranks=4,
                variables=srun_variables(rank, nodes=4)) for rank in (0, 1)]  # fmt: skip
    word = told(run, job[0])
    job[0].kill()
    job[0].communicate()
    text = job[1].communicate(timeout=300)[1]
    assert job[1].returncode == 1
    assert f"rank 0 on frontier00001 at {word['address']}:{word['port']}" in text
    assert "rank 1 of 4 (on frontier00002, job 4711)" in text
    assert "died" in text


@pytest.mark.distributed
def test_ranks_that_cannot_connect_name_the_setting_of_the_network(tmp_path, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "nosuch0")
    index = tiny_images(tmp_path / "c")
    job = [task(rank, tiny_recipe(), index, tmp_path / "run") for rank in (0, 1)]
    for rank, process in enumerate(job):
        text = process.communicate(timeout=300)[1]
        assert process.returncode == 1
        assert f"rank {rank} of 2 (on frontier0000{rank + 1}, job 4711) cannot connect" in text
        assert "Set GLOO_SOCKET_IFNAME" in text
        assert "Traceback" not in text


STUCK = """
import sys, time
from workflow_scripts.logs import start_logging
from workflow_scripts.pretrain import parallel
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.pretrain.parallel.arrival import Arrival

start_logging()
rank = int(sys.argv[1])
ranks = Ranks(rank=rank, world=2, local_rank=rank, local_world=2, rendezvous=sys.argv[2])
if rank:
    Arrival(ranks, patience_s=60).all_came()
    time.sleep(100)
parallel.join(ranks, timeout_s=600, patience_s=2)
"""


@pytest.mark.distributed
def test_a_rank_that_comes_and_does_not_connect_is_named(tmp_path):
    job = [
        subprocess.Popen(
            [sys.executable, "-c", STUCK, str(rank), f"file://{tmp_path}/store"],
            cwd=ROOT, text=True, stderr=subprocess.PIPE,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    text = job[0].communicate(timeout=300)[1]
    job[1].kill()
    job[1].communicate()
    assert job[0].returncode == 1
    assert "waits for 1 of 2 ranks, which after 2 s have not come or are not connected: 1." in text


@pytest.mark.distributed
def test_under_torchrun_rank_0_decides_too(tmp_path):
    index, run = tiny_images(tmp_path / "c"), tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
               "-m", "--", "workflow_scripts.pretrain"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}

    def under_torchrun(batch, number):
        return subprocess.run(
            [*command, *arguments(tiny_recipe(batch=batch), index, run, "--ranks", "2",
                                  number=number)],
            cwd=ROOT, env=environment, text=True, capture_output=True, timeout=600,
        )  # fmt: skip

    refused = under_torchrun(7, 1)
    assert refused.returncode != 0
    assert refused.stderr.count("a batch of 7 samples cannot be shared") == 1
    trained = under_torchrun(8, 1)
    assert trained.returncode == 0, trained.stderr
    assert json.loads((run / "segments" / "1.json").read_text())["reason"] == "done"
    again = under_torchrun(8, 2)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("nothing to train") == 1


# In this process


@pytest.fixture
def at_once(monkeypatch):
    """Ranks that leave the last words to rank 0 do not wait for its end."""
    monkeypatch.setattr(launch, "_LAST_WORDS", 0.0)


def test_if_rank_0_gets_no_lock_the_others_leave_without_a_word(tmp_path, monkeypatch, at_once):
    index, run = tiny_images(tmp_path / "c"), tmp_path / "run"
    with (
        exclusive(run / "run.json"),
        in_step(monkeypatch, 0),
        pytest.raises(UserError, match=r"run run is being made by process"),
    ):
        train_here(tiny_recipe(), index, run, "--ranks", "2", "--wait-s", "0.1")
    with in_step(monkeypatch, 1), pytest.raises(SystemExit) as left:
        train_here(tiny_recipe(), index, run, "--ranks", "2", "--wait-s", "0.1")
    assert left.value.code == 1


def test_a_rank_that_finds_rank_0_gone_after_its_word_leaves_without_one(tmp_path, at_once):
    class Gone:
        """Of a stage: the verdict has come, and its server has ended since."""

        def wait(self, *_):
            pass

        def get(self, _):
            raise RuntimeError("Connection reset by peer")

    ranks = launch.Ranks(rank=1, world=2, rendezvous=f"file://{tmp_path}/store")
    with pytest.raises(SystemExit):
        Arrival(ranks, patience_s=1.0)._await_verdict(Gone())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ranks", "4"), "srun started 2 ranks but --ranks says 4"),
        (("--ranks", "2", "--strategy", "hybrid_shard_4"), "hybrid_shard_4"),
    ],
)
def test_what_cannot_be_trained_is_said_by_rank_0_alone(
    tmp_path, monkeypatch, at_once, options, message
):
    index, run = tiny_images(tmp_path / "c"), tmp_path / "run"
    with in_step(monkeypatch, 0), pytest.raises(UserError, match=message):
        train_here(tiny_recipe(), index, run, *options)
    with in_step(monkeypatch, 1), pytest.raises(SystemExit):
        train_here(tiny_recipe(), index, run, *options)


def test_the_next_start_removes_what_was_told_before(tmp_path, monkeypatch):
    index, run = tiny_images(tmp_path / "c"), tmp_path / "run"
    run.mkdir()
    (run / ".meeting-4000.0.json").write_text('{"over": true}')
    (run / "..meeting-4000.1.json.tmp").write_text("{")
    train_here(tiny_recipe(), index, run)
    assert not list(run.glob(TOLD))


def test_a_rank_that_has_heard_nothing_says_who_has_the_lock(tmp_path):
    ranks, run = launch.place(2, srun_variables(1)), tmp_path / "run"
    with pytest.raises(UserError, match="nobody has taken the run's lock"):
        meeting.word_of_first(ranks, run, patience_s=0.0)
    with exclusive(run / "run.json"), pytest.raises(UserError) as caught:
        meeting.word_of_first(ranks, run, patience_s=0.0)
    text = str(caught.value)
    assert "rank 1 of 2 on frontier00002 has waited 0 s for rank 0 of job 4711, which has " in text
    assert f"last taken by process {os.getpid()} on {socket.gethostname()}" in text


def test_a_word_that_a_dead_rank_0_of_the_same_step_told_is_removed_first(tmp_path, monkeypatch):
    ranks = launch.place(2, srun_variables(0))
    (tmp_path / ".meeting-4711.0.json").write_text('{"over": true}')
    with meeting.held(ranks, tmp_path):
        assert not list(tmp_path.glob(TOLD))


def test_ports_are_the_kernels_choice_or_the_launchers():
    with address.listen({}) as one, address.listen({}) as other:
        ports = [here.getsockname()[1] for here in (one, other)]
        assert ports[0] != ports[1]
        with pytest.raises(UserError, match=f"MASTER_PORT is {ports[0]}, which on .* unset it"):
            address.listen({"MASTER_PORT": str(ports[0])})
    with address.listen({"MASTER_PORT": str(ports[0])}) as given:
        assert given.getsockname()[1] == ports[0]
    for text in ("http", "70000"):
        with pytest.raises(UserError, match="must be a port"):
            address.listen({"MASTER_PORT": text})


def named(monkeypatch, **known):
    """Names that resolve here, and to what; all else does not."""

    def resolve(host, port, **_):
        if host[0].isdigit():
            return [(socket.AF_INET, socket.SOCK_DGRAM, 0, "", (host, port))]
        if host not in known:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_DGRAM, 0, "", (one, port)) for one in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "gethostname", lambda: "here")


def step(**changes):
    return launch.place(2, srun_variables(0, **changes)).step


def test_the_address_told_is_one_that_other_nodes_reach(monkeypatch):
    named(monkeypatch)
    assert address.own_address(step(nodes=1, per_node=2), {}) == "127.0.0.1"
    # The other node is this host: what reaches it is what it reaches.
    named(monkeypatch, frontier00002=["127.0.1.1"], here=["10.9.9.9"])
    assert address.own_address(step(), {}) == "127.0.0.1"
    # Its name is unknown: as `hostname -i` says, less what only this host reaches.
    named(monkeypatch, here=["127.0.1.1", "10.9.9.9"])
    assert address.own_address(step(), {}) == "10.9.9.9"
    # This host's name is unknown as well, or of no use: the way to anywhere.
    named(monkeypatch, here=["127.0.1.1"])
    way = address.own_address(step(), {})
    named(monkeypatch)
    assert address.own_address(step(), {}) == way
    with socket.create_server((way, 0)):  # is an address of this host
        pass


def test_a_host_without_any_network_is_alone(monkeypatch):
    named(monkeypatch)
    monkeypatch.setattr(address, "_NOBODY", "240.0.0.1:not an address")
    assert address.own_address(step(), {}) == "127.0.0.1"


def test_an_address_that_is_given_is_told_and_doubted_if_it_is_anothers(monkeypatch, caplog):
    monkeypatch.setattr("workflow_scripts.logs.log.propagate", True)
    assert address.own_address(step(), {"MASTER_ADDR": "127.0.0.1"}) == "127.0.0.1"
    assert not caplog.text
    assert address.own_address(step(), {"MASTER_ADDR": "203.0.113.7"}) == "203.0.113.7"
    assert "MASTER_ADDR is 203.0.113.7, which is no address of frontier00001" in caplog.text


def test_a_rank_may_have_as_many_connections_as_its_hard_limit_allows(tmp_path):
    code = (
        "import resource as r; from workflow_scripts.pretrain.parallel import groups; "
        "r.setrlimit(r.RLIMIT_NOFILE, (64, r.getrlimit(r.RLIMIT_NOFILE)[1])); "
        "groups._limit_connections(); soft, hard = r.getrlimit(r.RLIMIT_NOFILE); "
        "assert soft == hard > 64"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.distributed
def test_of_several_ranks_a_few_are_connected_to_each_other(tmp_path):
    run_ranks(4, few_connections, tmp_path)


def few_connections(ranks, folder):
    parallel.join(ranks, timeout_s=300)
    before = sockets()
    group = parallel.host_group()
    # One that listens and one for each neighbour; all to all would be four with it.
    assert sockets() - before <= 3
    assert group is not None
    parallel.leave()


def sockets():
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists the folder
            found += str(descriptor.readlink()).startswith("socket:")
    return found
