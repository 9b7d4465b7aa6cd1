"""What docs/frontier.md shows: commands that can be typed, files that are there, true costs."""

import importlib.util
import re
import shlex

import pytest
from snakemake.cli import get_argument_parser

from tests.conftest import ROOT
from workflow_scripts.config_check import load_config
from workflow_scripts.corpora import is_chips
from workflow_scripts.plan import __main__ as plan
from workflow_scripts.plan.node_hours import rows, table
from workflow_scripts.sites import Profile

PAGE = (ROOT / "docs" / "frontier.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "frontier.yaml"
NODE = Profile(defaults={}, pretrain={"tasks_per_node": 8})
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
LINES = [line.partition(" #")[0].strip() for line in SHELL.splitlines() if line]
SMK = [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]
RULES = [name for file in SMK for name in re.findall(r"^rule (\w+):", file.read_text(), re.M)]
MADE = re.compile(r"data/weights/[\w.-]+/model\.json")


def commands(first):
    return [line for line in LINES if line.startswith(first)]


@pytest.mark.parametrize("line", commands("snakemake "))
def test_snakemake_takes_each_command_as_it_is_meant(line):
    read = get_argument_parser().parse_args(shlex.split(line)[1:])
    assert len(read.targets) == 1  # and not swallowed by another option
    assert read.targets[0] in RULES or MADE.fullmatch(read.targets[0])
    assert [str(file) for file in read.configfile] == ["examples/frontier.yaml"]
    assert all((ROOT / profile / "config.yaml").is_file() for profile in read.profile or [])


@pytest.mark.parametrize("line", commands("python -m "))
def test_each_program_is_there_and_takes_its_options(line):
    module, *options = shlex.split(line)[2:]
    assert importlib.util.find_spec(module)
    if module == "workflow_scripts.plan":
        plan.parser().parse_args(options)


def test_files_that_the_page_names_are_there():
    named = set(re.findall(r"\b(?:envs|profiles|examples|docs)/[\w./-]*\w", PAGE))
    assert {"envs/frontier.sh", "profiles/slurm", "examples/frontier.yaml"} <= named
    assert not [name for name in named if not (ROOT / name).exists()]


def test_links_lead_to_pages_and_headings():
    for page, anchor in re.findall(r"\]\(([\w./-]*\.md)?(?:#([\w-]+))?\)", PAGE):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8") if page else PAGE
        headings = [
            re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-")
            for line in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        ]
        assert not anchor or anchor in headings


def test_the_costs_on_the_page_are_those_of_the_plan():
    assert f"```\n{table(rows(load_config(EXAMPLE), NODE))}\n```" in PAGE


def test_the_number_of_jobs_on_the_page_is_that_of_the_plan():
    config = load_config(EXAMPLE)
    days, images, corpora = 2 * 365, 9, 7
    runs = [config.runs[name] for name in config.all.runs]
    names = config.all.benchmarks
    probes = 2 * sum(len(config.benchmarks[name].encoders) for name in names)  # and features
    splits = sum(not is_chips(config, f"bench-{name}") for name in names)
    jobs = 2 * days + images + corpora + 1  # fetch and tile, fetch, pack, weights
    jobs += sum(run.segments for run in runs) + 2 * len(runs) + probes + splits  # and export, card
    assert f"({jobs + 4:,})" in PAGE  # and the picture, the report, the crate and `all`
