"""Log lines as MLPerf HPC has them, judged by the compliance checker of mlperf-logging."""

import subprocess
import sys
from pathlib import Path

import pytest
from mllog_rules import complaints

from workflow_scripts.errors import UserError
from workflow_scripts.mllog import TOKEN, MlLog, end_aborted, main, read, settings_of, times

RECIPE = {
    "batch": 512, "seed": 3,
    "optim": {"base_lr": 1e-3, "lr_reference_batch": 256, "betas": [0.9, 0.95], "clip": 1.0,
              "weight_decay": 0.05, "warmup_epochs": 4.0, "min_lr": 1e-5},
}  # fmt: skip
SETTINGS = settings_of(RECIPE, nodes=2, ranks_per_node=8, train_samples=1000)
BENCHMARK = "orbweaver_scaling"


def opened(path, **more):
    return MlLog(path, benchmark=BENCHMARK, platform="MI250X", settings=SETTINGS, **more)


def written(path, *, ok=True):
    with opened(path) as log:
        log.run_start()
        with log.staging():
            pass
        with log.block(first_epoch=1, epochs=2):
            pass
        log.run_stop(ok)
    return path


@pytest.mark.parametrize("ruleset", ["1.0.0", "2.0.0", "3.0.0"])
def test_a_log_satisfies_the_checker_of_the_hpc_rules(tmp_path, ruleset):
    assert complaints(written(tmp_path / "a.mllog"), ruleset) == []


def test_the_checker_sees_a_staging_before_the_clock_starts(tmp_path):
    path = tmp_path / "a.mllog"
    with opened(path) as log:
        with log.staging():
            pass
        log.run_start()
        with log.block():
            pass
        log.run_stop(True)
    assert any("staging_start" in text for text in complaints(path))


def test_the_order_is_that_of_the_rules(tmp_path):
    lines = read(written(tmp_path / "a.mllog"))
    order = ["init_start", "submission_benchmark", "global_batch_size", "init_stop", "run_start",
             "staging_start", "staging_stop", "block_start", "block_stop", "run_stop"]  # fmt: skip
    names = [line["key"] for line in lines]
    assert [names.index(name) for name in order] == sorted(names.index(name) for name in order)
    moments = [line["time_ms"] for line in lines]
    assert moments == sorted(moments)
    assert "v1.0" in lines[names.index("run_start")]["metadata"]["staging"]


def test_values_are_what_the_recipe_says(tmp_path):
    found = {line["key"]: line["value"] for line in read(written(tmp_path / "a.mllog"))}
    assert found["opt_base_learning_rate"] == 2e-3  # base rate × 512 / 256
    assert (found["global_batch_size"], found["seed"], found["opt_name"]) == (512, 3, "AdamW")
    assert (found["number_of_nodes"], found["accelerators_per_node"]) == (2, 8)
    assert "no submission" in found["submission_org"]


def test_no_line_holds_a_path_of_this_machine(tmp_path):
    files = {line["metadata"]["file"] for line in read(written(tmp_path / "a.mllog"))}
    assert files == {"workflow_scripts/mllog.py"}


def test_an_error_leaves_an_aborted_run(tmp_path):
    path = tmp_path / "a.mllog"

    def train():
        with opened(path) as log:
            log.run_start()
            with log.block():
                raise MemoryError

    with pytest.raises(MemoryError):
        train()
    last = read(path)[-1]
    assert (last["key"], last["metadata"]["status"]) == ("run_stop", "aborted")
    assert times(read(path))["status"] == "aborted"


def test_ranks_without_a_path_write_nothing(tmp_path, capfd):
    with opened(None) as log:
        log.run_start()
        log.run_stop(True)
    assert capfd.readouterr() == ("", "")


def test_a_log_of_a_killed_process_is_ended(tmp_path):
    path = written(tmp_path / "a.mllog")
    whole = path.read_bytes()
    end_aborted(path)
    assert path.read_bytes() == whole
    path.write_bytes(whole[:-20])  # the kill came in the middle of run_stop
    end_aborted(path)
    lines = read(path)
    assert [line["key"] for line in lines[-2:]] == ["block_stop", "run_stop"]
    assert lines[-1]["metadata"]["status"] == "aborted"
    assert path.read_text().count(TOKEN) == whole.decode().count(TOKEN)


def test_a_process_that_died_before_its_first_line_has_a_log(tmp_path):
    end_aborted(tmp_path / "a.mllog")
    assert [line["key"] for line in read(tmp_path / "a.mllog")] == ["run_stop"]


def test_a_broken_line_in_the_middle_is_told(tmp_path):
    path = written(tmp_path / "a.mllog")
    path.write_text(path.read_text().replace('"init_start"', '"init_start', 1))
    with pytest.raises(UserError, match="line 1 of"):
        read(path)


@pytest.mark.parametrize("line", ["{}", '{"key": 3, "time_ms": 1}', "[1, 2]", '{"key": "x"}'])
def test_lines_of_json_that_are_no_mllog_are_told(tmp_path, line):
    path = written(tmp_path / "a.mllog")
    path.write_text(f"{line}\n{path.read_text()}")
    with pytest.raises(UserError, match="line 1 of"):
        read(path)


@pytest.mark.parametrize(
    ("text", "told"), [(None, "no such file"), ("", "no MLLOG line"), ("odd", "no MLLOG line")]
)
def test_a_file_without_times_is_told_and_no_time_is_printed(
    tmp_path, monkeypatch, capsys, text, told
):
    path = tmp_path / "a.mllog"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr("sys.argv", ["mllog", str(written(tmp_path / "good.mllog")), str(path)])
    with pytest.raises(SystemExit, match=rf"a\.mllog: {told}"):
        main()
    assert capsys.readouterr().out == ""


def test_times_are_from_run_start_to_run_stop(tmp_path):
    path = tmp_path / "a.mllog"
    log = opened(path, began=100.0)
    log.run_start(at=103.5)
    log.start("staging_start", at=104.0)
    log.stop("staging_stop", at=104.25)
    log.stop("run_stop", at=203.5, status="success")
    assert times(read(path)) == {
        "init_s": 3.5, "staging_s": 0.25, "segment_s": None, "run_s": 100.0, "status": "success",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "workflow_scripts.mllog", path],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "100.000" in done.stdout
    assert "success" in done.stdout


def test_a_full_disk_is_told_once_and_ends_nothing(caplog):
    opened(Path("/dev/full"), append=True).run_start()
    told = [record for record in caplog.records if "no further MLLOG line" in record.message]
    assert len(told) == 1
