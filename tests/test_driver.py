"""Who drives, what is resumed, what the tables and pictures of the workflow say."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import networkx as nx
import psutil
import pytest

from workflow_scripts import driver, driver_notes, resume, stale, status
from workflow_scripts.dag_picture import MOST_JOBS, draw, job_graph, layers
from workflow_scripts.differences import differences
from workflow_scripts.errors import UserError
from workflow_scripts.jobs import Job
from workflow_scripts.planned import Planned, planned_jobs
from workflow_scripts.staleness import has_record

PLAN = """
[Sat Nov 21 02:04:31 2026]
rule pack:
    input: data/a.jsonl
    output: data/index.json, data/index.provenance.json
    jobid: 2
    reason: Missing output files: data/index.json; Input files updated by another job: data/a.jsonl
    wildcards: corpus=scenes
    resources: tmpdir=/tmp
[Sat Nov 21 02:04:31 2026]
localrule report:
    input: data/index.json, results/x.json
    output: results/report.html
    jobid: 0
    reason: Input files updated by another job: data/index.json
    resources: tmpdir=/tmp
"""


@pytest.fixture
def note(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(**changes):
        process = psutil.Process()
        found = {
            "pid": process.pid, "created": process.create_time(), "host": socket.gethostname(),
            "arguments": ["all", "--configfile", "my.yaml"], "noted": 0.0, **changes,
        }  # fmt: skip
        driver_notes.NOTES.mkdir(parents=True, exist_ok=True)
        (driver_notes.NOTES / f"{found['host']}-{found['noted']}.json").write_text(
            json.dumps(found)
        )

    return write


@pytest.fixture
def living():
    """A process that may be taken for a driver."""
    process = psutil.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield {"pid": process.pid, "created": process.create_time()}
    process.communicate()


@pytest.fixture
def go_on(monkeypatch):
    """What `make resume` does until it becomes the driver, where nothing is to be waited for."""
    waited = []
    monkeypatch.setattr(resume, "wait_for_all", lambda *runs, **_: waited.append(runs))

    def go(*, assume_dead=False):
        arguments = resume.resume(assume_dead=assume_dead)
        assert waited.pop() == (Path("results/runs"),)
        return arguments

    return go


def test_a_living_driver_is_not_doubled(note, living, go_on):
    note(**living)
    with pytest.raises(UserError, match=f"still runs \\(process {living['pid']}\\)"):
        go_on()


def test_the_folder_of_a_living_driver_is_not_unlocked(note, living):
    words = ["snakemake", "--unlock"]
    driver_notes.refuse_unlock()
    note(created=1.0)
    driver_notes.refuse_unlock()
    note(noted=1.0, **living)
    match = f"process {living['pid']}: snakemake all .*`kill -INT {living['pid']}`"
    with pytest.raises(UserError, match=match):
        driver.guard(None, words)  # before it asks for jobs


def test_make_resume_unlocks_the_folder_in_whose_driver_it_stands(note, monkeypatch):
    parent = psutil.Process(os.getppid())
    note(pid=parent.pid, created=parent.create_time())
    driver_notes.refuse_unlock()


def test_a_driver_that_began_while_resume_waited_is_not_doubled(note, living, monkeypatch):
    note(created=1.0)
    monkeypatch.setattr(resume, "wait_for_all", lambda *_, **__: note(noted=1.0, **living))
    with pytest.raises(UserError, match=f"still runs \\(process {living['pid']}\\)"):
        resume.resume(assume_dead=False)


def test_resume_tells_others_that_it_waits_and_can_be_resumed_itself(note, go_on):
    note(created=1.0, runs="results/runs", submits=True)
    go_on()
    ((path, found),) = driver_notes.notes()
    assert path.name == f"{socket.gethostname()}-{os.getpid()}.json"
    assert driver_notes.lives(found)
    assert found["arguments"] == ["all", "--configfile", "my.yaml"]
    assert found["submits"]


def test_of_two_resumes_at_once_one_goes_on(note, monkeypatch):
    note(created=1.0)
    found = resume.driver_to_resume()
    for path, _ in driver_notes.notes():
        path.unlink()  # as the other one does
    with pytest.raises(UserError, match="another `make resume` has just begun"):
        driver_notes.take_over(*found)
    assert driver_notes.notes() == []


def test_a_reused_process_number_is_not_the_driver(note, go_on):
    note(created=1.0)
    assert go_on() == ["all", "--configfile", "my.yaml"]


def test_the_last_of_several_dead_drivers_is_resumed_then_the_one_before(note, go_on):
    note(created=1.0, noted=1.0, arguments=["all"])
    note(created=1.0, noted=2.0, arguments=["probe_ucm", "--profile", "profiles/frontier"])
    assert go_on() == ["probe_ucm", "--profile", "profiles/frontier"]
    assert go_on() == ["all"]  # the first had nothing to do, or was refused


def test_status_says_how_a_driver_that_is_not_to_be_resumed_is_forgotten(note, living):
    note(created=1.0, noted=1.0)
    note(noted=2.0, **living)
    ended, lives = status.drivers()
    ((path, _), _) = driver_notes.notes()
    assert ended.endswith(f"snakemake all --configfile my.yaml (to forget it: rm {path})")
    assert lives == f"driver: process {living['pid']}, snakemake all --configfile my.yaml"


def test_there_may_be_nothing_to_resume(note):
    with pytest.raises(UserError, match="nothing to resume"):
        resume.resume(assume_dead=False)


def test_success_forgets_the_drivers_of_the_same_command(note, monkeypatch):
    note(noted=1.0, arguments=["all"])
    note(noted=2.0, arguments=["probe_ucm"])
    monkeypatch.setattr("sys.argv", ["snakemake", "all"])
    driver_notes.note_success()
    assert [found["arguments"] for _, found in driver_notes.notes()] == [["probe_ucm"]]


def test_a_driver_on_another_host_is_not_presumed_dead(note, go_on):
    note(host="login07")
    with pytest.raises(UserError, match="login07"):
        go_on()
    assert go_on(assume_dead=True)[0] == "all"


@pytest.mark.parametrize(
    ("words", "forced"),
    [
        (["all", "--forcerun", "a.json", "b.json", "-n"], ["a.json", "b.json"]),
        (["-R", "probe", "--configfile", "x.yaml"], ["probe"]),
        (["all", "-n"], []),
    ],
)
def test_forced_files_are_read_from_the_command_line(words, forced):
    assert driver._forced(words) == forced


def test_plan_is_read_from_what_snakemake_prints():
    pack, report = planned_jobs(PLAN)
    assert (pack.title, report.title) == ("pack scenes", "report")
    assert pack.outputs == {"data/index.json", "data/index.provenance.json"}
    assert report.inputs == {"data/index.json", "results/x.json"}


def test_a_reason_of_its_own_hides_what_follows_from_others():
    pack, report = planned_jobs(PLAN)
    assert stale.why(pack, {}) == "not made yet"
    assert stale.why(report, {}) == "follows: data/index.json"


def test_differences_name_the_field():
    stored = {"optim": {"base_lr": 0.1, "betas": [0.9, 0.95]}, "seed": 0, "old": 1}
    current = {"optim": {"base_lr": 0.2, "betas": [0.9, 0.95]}, "seed": 0, "new": 2}
    assert differences(stored, current) == [
        "new is new (2)", "old is gone (was 1)", "optim.base_lr 0.1 → 0.2"
    ]  # fmt: skip


def test_record_is_found_where_snakemake_puts_it(tmp_path):
    from snakemake.persistence.file import FilePersistence

    persistence = FilePersistence(path=tmp_path / ".snakemake")
    for name in ("results/a.json", f"results/{'long-' * 60}.json"):
        assert not has_record(name, tmp_path / ".snakemake" / "metadata")
        persistence._io_write(persistence._metadata_path, {}, name)
        assert has_record(name, tmp_path / ".snakemake" / "metadata")


def job(rule, name, inputs=(), outputs=()):
    return Planned(rule, (name,), frozenset(inputs), frozenset(outputs), "")


def test_graph_has_no_redundant_edge_and_no_target():
    jobs = [
        job("fetch", "a", (), ["m"]),
        job("pack", "a", ["m"], ["i"]),
        job("report", "", ["m", "i"], ["r"]),
        Planned("all", (), frozenset(["r"]), frozenset(), ""),
    ]
    graph = job_graph(jobs)
    assert set(graph.edges) == {
        (("fetch", "a"), ("pack", "a")), (("pack", "a"), ("report", ""))
    }  # fmt: skip


def test_many_jobs_are_drawn_as_their_rules():
    days = [job("tile", str(day), [], [f"{day}.h5"]) for day in range(MOST_JOBS + 1)]
    graph = job_graph([*days, job("pack", "modis", [f"{d}.h5" for d in range(9)], ["i"])])
    tiles = ("tile", f"{MOST_JOBS + 1} jobs")
    assert list(graph.edges) == [(tiles, ("pack", "1 job"))]


def test_points_of_a_study_are_one_node():
    points = [
        Planned("point", ("sample", f"p{n}"), frozenset(), frozenset([f"{n}.json"]), "")
        for n in range(MOST_JOBS + 1)
    ]
    study = job("study", "sample", [f"{n}.json" for n in range(MOST_JOBS + 1)], ["s"])
    node = ("point", "sample", f"{MOST_JOBS + 1} jobs")
    assert list(job_graph([*points, study]).edges) == [(node, ("study", "sample"))]


def test_long_edges_pass_between_the_boxes(tmp_path):
    graph = nx.DiGraph()
    nx.add_path(graph, [("a",), ("b",), ("c",)])
    graph.add_edge(("a",), ("c",))
    rows = layers(graph.copy())
    assert [[node[0] for node in row if node[0]] for row in rows] == [["a"], ["b"], ["c"]]
    assert len(rows[1]) == 2  # the box, and the place where the long edge passes
    draw(graph, tmp_path / "one.svg")
    draw(graph, tmp_path / "two.svg")
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    lines = (tmp_path / "one.csv").read_text().splitlines()[1:]
    sources = [node for node in graph if not graph.in_degree(node)]
    assert len(lines) == graph.number_of_edges() + len(sources)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert (tmp_path / "one.svg").read_text().count("<text") == 3  # boxes alone have a text


def test_stale_says_that_a_run_would_leave_its_checkpoints_behind(tmp_path):
    run, old = tmp_path / "mae", {"recipe": {"seed": 1}, "code": "a" * 64, "content": "b" * 64}
    place = run / "checkpoints" / ("d" * 16)
    (place / "step-000000400").mkdir(parents=True)
    (place / "identity.json").write_text(json.dumps({**old, "run_digest": "d" * 64}))
    outputs, missing = frozenset({"1.json"}), "Missing output files: 1.json"
    planned = Planned("pretrain", ("mae", "1"), frozenset(), outputs, missing)

    def reason(**changes):
        now = {**old, **changes}
        one = Job(
            rule="pretrain", names=("mae", "1"), result=run / "segments" / "1.json",
            recipe=now["recipe"], code=now["code"], inputs=lambda: {"corpus": now["content"]},
        )  # fmt: skip
        return stale.why(planned, {"1.json": one})

    assert reason() == "not made yet"
    assert reason(recipe={"seed": 2}, code="c" * 64) == (
        "not made yet; begins anew beside checkpoint dddddddddddddddd at step 400: "
        'seed 1 → 2, code aaaaaaaaaaaa → cccccccccccc; runs.mae.pinned: "dddddddddddddddd"'
    )
    assert "corpus bbbbbbbbbbbb → eeeeeeeeeeee" in reason(content="e" * 64)
