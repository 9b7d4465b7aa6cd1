"""Scaling studies on a real Slurm: what fails is a result, and what is there is not made again."""

import pytest

from tests.slurm.site import Site
from workflow_scripts import mllog
from workflow_scripts.files import read_json

pytestmark = pytest.mark.slurm

TABLES = ("results/scaling/grown.json", "results/scaling/too-large.json")


@pytest.fixture(scope="module")
def site(slurm, tmp_path_factory):
    """The site after both studies."""
    site = Site(tmp_path_factory.mktemp("scaling"), slurm, "scaling.yaml")
    driver = site.submit("driver.log", *TABLES)
    try:
        assert driver.wait(timeout=1800) == 0, site.text("driver.log")
    finally:
        driver.kill()
        slurm.run("scancel", "--user=root")
    return site


def rows(site, table):
    return read_json(site.folder / table)["points"]


def test_points_on_one_and_on_two_nodes_are_measured(site):
    found = rows(site, TABLES[0])
    assert [(row["nodes"], row["ranks"], row["status"]) for row in found] == [
        (1, 2, "done"), (2, 4, "done"),
    ]  # fmt: skip
    assert found[0]["loss"] != found[1]["loss"]  # four ranks have two batches more
    assert "grown" in site.text("driver.log")  # node-hours were told


def test_a_point_that_does_not_fit_is_a_result_and_its_job_ends_well(site):
    (row,) = rows(site, TABLES[1])
    assert (row["status"], row["images_per_s"]) == ("out_of_memory", None)
    assert "memory" in row["error"]
    log = site.folder / "results" / "scaling" / "too-large" / f"{row['point']}.mllog"
    assert mllog.times(mllog.read(log))["status"] == "aborted"
    points = site.folder.glob("logs/slurm/rule_point/**/*.log")
    ids = {int(path.stem) for path in points}
    assert ids

    def states():
        return [job.state for job in site.cluster.sacct() if job.id in ids]

    # The database learns of an end some seconds later.
    site.cluster.wait_for(
        lambda: states() == ["COMPLETED"] * len(ids), f"{ids} are done: {states()}"
    )


def test_the_same_command_measures_nothing_again(site):
    driver = site.submit("again.log", *TABLES)
    assert driver.wait(timeout=600) == 0
    assert "Nothing to be done" in site.text("again.log")
