"""The user's own command, `snakemake --profile profiles/frontier all`, on a real Slurm."""

import json

import pytest

from tests.slurm.site import Site

pytestmark = pytest.mark.slurm

LAYOUTS = ("scenes-mae", "alone", "pair")
SUBMITTED = {
    "fetch_generated", "fetch_day", "tile", "split", "pack", "pretrain", "export", "features",
    "probe",
}  # fmt: skip


@pytest.fixture(scope="module")
def site(slurm, tmp_path_factory):
    return Site(tmp_path_factory.mktemp("site"), slurm, "workflow.yaml")


@pytest.fixture(scope="module")
def whole(site):
    """The site after `all` on two nodes; then one run made twice more, on this machine."""
    driver = site.submit("driver.log", "all")
    try:
        assert driver.wait(timeout=6000) == 0, site.text("driver.log")
    finally:  # the cluster is for others, too
        driver.kill()
        site.cluster.run("scancel", "--user=root")
    site.here(*(f"results/runs/{run}/segments/1.json" for run in ("alone", "pair")))
    return site


def curve(site, run):
    lines = (site.checkpoints(run) / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_a_rejected_account_is_told_before_anything_is_submitted(site):
    before = {job.id for job in site.cluster.squeue()}
    driver = site.submit("nobody.log", "all", ORBWEAVER_ACCOUNT="nobody")
    assert driver.wait(timeout=600) != 0
    said = site.text("nobody.log")
    assert "nobody" in said
    assert site.cluster.account in said  # what may be used instead
    assert "rule " not in said
    # Slurm forgets jobs that ended some minutes ago.
    assert {job.id for job in site.cluster.squeue()} <= before


def test_every_stage_runs_as_a_job_that_slurm_calls_completed(whole):
    logs = whole.folder.glob("logs/slurm/rule_*/**/*.log")
    jobs = {int(path.stem): path.relative_to(whole.folder).parts[2] for path in logs}
    assert set(jobs.values()) == {f"rule_{rule}" for rule in SUBMITTED}
    ours = [row for row in whole.cluster.sacct() if row.id in jobs]
    assert len(ours) == len(jobs)
    assert {row.state for row in ours} == {"COMPLETED"}
    both = [jobs[row.id] for row in ours if row.nodes == "frontier[00001-00002]"]
    assert both == ["rule_pretrain"]  # scenes-mae asks for two nodes


def test_the_page_and_the_cards_are_there(whole):
    assert (whole.folder / "results" / "report.html").stat().st_size > 10_000
    for run in ("scenes-mae", "modis-simmim", "scenes-teacher", "scenes-gfm"):
        assert (whole.place(run) / "README.md").is_file()


def test_four_ranks_on_two_nodes_were_at_work(whole):
    provenance = json.loads((whole.place("scenes-mae") / "segments/1.provenance.json").read_text())
    assert (provenance["ranks"], provenance["strategy"]) == (4, "hybrid_shard_2")


def test_srun_started_the_ranks_that_share_out_the_features(whole):
    path = whole.folder / "results" / "features" / "scenes-mae" / "scenes.provenance.json"
    assert json.loads(path.read_text())["ranks"] == 2


@pytest.mark.parametrize("run", LAYOUTS[1:])
def test_the_loss_does_not_depend_on_how_a_run_is_laid_over_machines(whole, run):
    ours, theirs = curve(whole, LAYOUTS[0]), curve(whole, run)
    assert whole.checkpoints(run).name == whole.checkpoints(LAYOUTS[0]).name  # the same run digest
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    assert theirs[-1]["loss"] == pytest.approx(ours[-1]["loss"], rel=1e-5)
