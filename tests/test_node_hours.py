"""The table of what runs may take of a machine."""

import subprocess
import sys

import pytest

from workflow_scripts.config_check import load_config
from workflow_scripts.plan.__main__ import parser
from workflow_scripts.plan.node_hours import rows, table
from workflow_scripts.sites import Profile

CONFIG = """
all: {runs: [big, small], benchmarks: []}
runs:
  big:
    objective: mae
    corpus: scenes-train
    encoder: {name: vit_1b, image_size: 504}
    batch: 4096
    segments: 5
    launch: {nodes: 32, ranks_per_node: 4, walltime_minutes: 90, strategy: hybrid_shard_2}
  small:
    objective: gfm
    teacher: scenes-teacher
    corpus: scenes-train
    encoder: {family: swin, image_size: 96, width: 32, depths: [1, 1, 2, 1], heads: [2, 4, 8, 8]}
    batch: 64
"""


def site(ranks):
    """A profile of so many ranks a node."""
    return Profile(defaults={}, pretrain={"mpi": "srun", "tasks_per_node": ranks})


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text(CONFIG)
    return path


def test_node_hours_are_nodes_times_segments_times_their_limit(file):
    config = load_config(file)
    big, teacher, small = rows(config)
    assert (big.laid.run, big.laid.nodes, big.laid.ranks, big.batch) == ("big", 32, 128, 32)
    assert big.node_hours == 32 * 5 * 1.5
    assert (teacher.laid.run, small.laid.run) == (
        "scenes-teacher",
        "small",
    )  # what a run needs runs, too
    assert small.node_hours == 2.0


def test_the_sites_ranks_go_before_those_of_the_configuration(file):
    big = rows(load_config(file), site(8))[0]
    assert (big.laid.ranks, big.batch) == (256, 16)
    assert big.node_hours == 240


def test_encoders_stand_by_their_names_and_others_by_their_numbers(file):
    big, _, small = rows(load_config(file))
    assert big.encoder == "vit_1b, 504 px"
    assert small.encoder == "swin 32 × 1-1-2-1, 96 px"


def test_the_table_has_a_line_a_run_and_their_sum(file):
    head, *lines, last = table(rows(load_config(file), site(8))).splitlines()
    assert head.split() == ["run", "encoder", "nodes", "ranks", "batch", "a", "rank", "strategy",
                            "segments", "node-hours"]  # fmt: skip
    assert lines[0].split() == ["big", "vit_1b,", "504", "px", "32", "256", "16", "hybrid_shard_2",
                                "5", "×", "90", "min", "240.0"]  # fmt: skip
    assert last.split() == ["sum,", "at", "most", "244.0"]


def test_a_batch_that_the_ranks_do_not_divide_shows_and_is_refused_elsewhere(file):
    assert "  42.6667  " in table(rows(load_config(file), site(3)))


def test_the_command_prints_the_table_alone(file, capsys):
    arguments = ["node-hours", "--configfile", str(file), "--ranks-per-node", "8"]
    found = parser().parse_args(arguments)
    found.plan(found)
    shown = capsys.readouterr()
    assert shown.out == table(rows(load_config(file), site(8))) + "\n"


def test_it_is_light_enough_for_the_start_of_every_driver():
    code = "import sys, workflow_scripts.plan.node_hours; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
