"""Energy from Slurm's accounting: only of all attempts of a run, each a step of its own."""

import json

import pytest
from test_export import export_here
from tiny_runs import tiny_images, tiny_recipe, train_here

from tests.fake_slurm import program
from workflow_scripts.energy.accounting import NAME, counted_joules
from workflow_scripts.export.__main__ import _whole_run
from workflow_scripts.files import write_json
from workflow_scripts.pretrain import attempts


def attempt(job, step):
    return {"job": job, "step": step}


@pytest.fixture
def sacct(tmp_path, monkeypatch):
    """An accounting that knows two steps."""
    program(tmp_path / "bin", "sacct", "echo '7.0|3000000'; echo '8.2|600000'")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")


def test_attempts_that_were_all_counted_are_added_up(sacct):
    assert counted_joules([attempt("7", "0"), attempt("8", "2")]) == 3.6e6
    assert counted_joules([attempt("7", "0")]) == 3e6


@pytest.mark.parametrize(
    "tried",
    [
        [],
        [{"job": None}],  # not by Slurm, and of a version that kept no step
        [attempt("7", "0"), attempt("9", "0")],  # one that the accounting does not know
        [attempt("7", "0"), attempt("7", None)],  # one that shared its step with other work
        [attempt("7", "0"), attempt("7", "0")],  # a requeued job numbers its steps again
    ],
)
def test_a_run_of_which_a_part_was_not_counted_is_not_measured(sacct, tried):
    assert counted_joules(tried) is None


def test_a_run_whose_counter_did_not_move_is_not_measured():
    last = {"seconds": 9.0, "energy_j": 0.0}
    assert _whole_run(last, []) == {"seconds": 9.0, "energy_j": None, "watts": None}
    assert _whole_run({**last, "energy_j": 18.0}, [])["watts"] == 2.0


def test_the_export_asks_the_accounting_where_no_counter_was_read(tmp_path, sacct):
    index, run = tiny_images(tmp_path / "corpus"), tmp_path / "run"
    train_here(tiny_recipe(), index, run)
    (folder,) = (run / "checkpoints").iterdir()
    (row,) = attempts.read(folder)
    provenance = run / "summary.provenance.json"
    export_here(tiny_recipe(), index, run)
    facts = json.loads(provenance.read_text())
    measured_here = facts["energy_j"] is not None  # on a machine whose counters can be read
    assert ("energy_counter" in facts) is False
    assert (facts["watts"] is None) != measured_here
    write_json(folder / "attempts.json", [{**row, "job": "7", "step": "0", "seconds": 1000.0}])
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    lines = "".join(json.dumps({**row, "energy_j": None}) + "\n" for row in rows)
    (folder / "history.jsonl").write_text(lines)
    export_here(tiny_recipe(), index, run)
    facts = json.loads(provenance.read_text())
    assert (facts["energy_j"], facts["energy_counter"]) == (3e6, NAME)
    assert facts["watts"] == 3000.0  # over the time of the attempts, which is what was counted
    assert (run / "power.jsonl").read_bytes() == (folder / "power.jsonl").read_bytes()
