"""What a site's profile asks for, what the site allows, and what is refused before it starts."""

import copy
import os

import pytest
import yte

from tests.conftest import ROOT
from tests.instant_slurm import InstantSlurm
from tests.test_config import DEFAULT
from workflow_scripts.config_check import check_config
from workflow_scripts.errors import UserError
from workflow_scripts.network import needs_network
from workflow_scripts.site_checks import OnSite
from workflow_scripts.sites import Limit, Profile, geometry, limits, load_site, plain
from workflow_scripts.slurm import partitions

HOME = {"ORBWEAVER_ACCOUNT": "abc123", "ORBWEAVER_PARTITION": "batch"}
# As `scontrol --all --oneliner show partition` of Slurm 22.05 prints it, shortened.
REAL = (
    "PartitionName=batch AllowGroups=ALL Default=YES MaxNodes=UNLIMITED MaxTime=08:00:00 "
    "Nodes=frontier[00001-00120] State=UP TotalCPUs=6720 TotalNodes=120\n"
    "PartitionName=gpu-a100 AllowGroups=ALL Default=NO MaxNodes=4 MaxTime=1-12:30:00 "
    "Nodes=n[1-9] State=UP TotalCPUs=99 TotalNodes=9\n"
    "PartitionName=long AllowGroups=ALL MaxNodes=UNLIMITED MaxTime=UNLIMITED TotalNodes=9\n"
)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Programs of Slurm on PATH, and no variable of this user's own."""

    def start(*, accounts=(), partitions=""):
        fake = InstantSlurm(tmp_path / "slurm", accounts=accounts, partitions=partitions)
        monkeypatch.setenv("PATH", f"{fake.folder}{os.pathsep}{os.environ['PATH']}")

    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    for name in (*HOME, "ORBWEAVER_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    start()
    return start


@pytest.fixture
def at_home(slurm, tmp_path, monkeypatch):
    """All is set, in a folder below the project's."""
    for name, value in {**HOME, "ORBWEAVER_PROJECT": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)


def shipped(name):
    """Resources of a shipped profile, as they are written."""
    with (ROOT / "profiles" / name / "config.yaml").open() as file:
        found = yte.process_yaml(file, require_use_yte=True)
    return found


def profile(name="frontier", *, defaults=None, others=None, **pretrain):
    found = shipped(name)
    return Profile(
        defaults=found["default-resources"] | (defaults or {}),
        pretrain=found["set-resources"]["pretrain"] | pretrain,
        others=others or {},
    )


def configured(**runs):
    raw = copy.deepcopy(DEFAULT)
    for name, changes in runs.items():
        raw["runs"][name.replace("_", "-")] |= changes
    return check_config(raw)


def mistakes(config, *runs, on=None):
    with pytest.raises(UserError) as error:
        OnSite(config, on or profile()).refuse(runs)
    return str(error.value)


# --- what is written -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("'$ORBWEAVER_ACCOUNT'", "abc-123"), ("'gpu-a100'", "gpu-a100"), ("nvme", "nvme"), (7, 7),
        ("12", 12), ("60 * attempt", "60 * attempt"), ("'--signal=USR1@300'", "--signal=USR1@300"),
        ("'$ORBWEAVER_PARTITION'", "$ORBWEAVER_PARTITION"), ("", ""),
    ],
)  # fmt: skip
def test_a_resource_is_read_as_snakemake_will_see_it(written, seen, slurm, monkeypatch):
    monkeypatch.setenv("ORBWEAVER_ACCOUNT", "abc-123")
    assert plain(written) == seen


@pytest.mark.parametrize("name", ["frontier", "slurm"])
def test_a_shipped_profile_names_its_site_and_refers_to_what_it_asks(name):
    found = profile(name)
    assert found.site == name
    asked = load_site(name).environment
    assert {"ORBWEAVER_ACCOUNT", "ORBWEAVER_PARTITION"} <= set(asked)
    assert all(found.mentions(key) or one.holds_work for key, one in asked.items())


@pytest.mark.parametrize("name", ["frontier", "slurm"])
def test_a_site_profile_sets_no_key_that_the_default_profile_would_replace(name):
    assert not set(shipped(name)) & set(shipped("default"))


@pytest.mark.parametrize("name", ["frontier", "slurm"])
def test_an_accounting_outage_of_hours_is_survived(name):
    found = shipped(name)
    hours = found["slurm-status-attempts"] / found["max-status-checks-per-second"] / 3600
    assert hours >= 4


def test_the_profile_goes_before_launch_and_launch_before_nothing():
    config = configured(scenes_mae={"segments": 3, "launch": {"nodes": 2, "cores_per_rank": 9}})
    laid = geometry(config, "scenes-mae", profile())
    assert (laid.nodes, laid.ranks_per_node, laid.ranks) == (2, 8, 16)
    assert (laid.cores_per_rank, laid.minutes, laid.segments) == (7, 120, 3)
    none = geometry(config, "scenes-mae", Profile(defaults={}, pretrain={}))
    assert (none.ranks_per_node, none.cores_per_rank) == (1, 9)
    assert geometry(config, "scenes-mae", profile(runtime="3", nodes=5)).minutes == 3


def test_an_unknown_site_is_told_with_the_known_ones():
    with pytest.raises(UserError, match=r"'perlmutter'.*site.yaml.*frontier, slurm"):
        load_site("perlmutter")


def test_a_wrong_site_file_is_told(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "site.yaml").write_text("partitions: {batch: [{nodes: many}]}")
    with pytest.raises(UserError, match=r"here/site.yaml: partitions.batch.0.nodes: .*'many'"):
        load_site("here", tmp_path)


# --- limits --------------------------------------------------------------------------------------


def bins(site, partition):
    return [(limit.nodes, limit.minutes) for limit in limits(site, partition, partitions())]


def test_frontiers_bins_are_those_of_the_user_guide(slurm):
    site = load_site("frontier")
    assert bins(site, "batch") == [(91, 120), (183, 360), (9472, 720)]
    assert bins(site, "extended") == [(64, 1440)]


def test_what_slurm_says_narrows_the_table(slurm):
    slurm(partitions=REAL.replace("MaxTime=08:00:00", "MaxTime=03:00:00"))
    assert bins(load_site("frontier"), "batch") == [(91, 120), (120, 180)]


def test_a_site_without_a_table_asks_slurm(slurm):
    slurm(partitions=REAL)
    site = load_site("slurm")
    assert bins(site, "gpu-a100") == [(4, 2190)]
    assert bins(site, "long") == [(9, None)]
    with pytest.raises(UserError, match="no partition is called 'gpu'; there are batch, gpu-a100"):
        limits(site, "gpu", partitions())


def test_a_site_of_which_nobody_says_anything_has_no_limits(slurm, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert limits(load_site("slurm"), "gpu", partitions()) == []
    assert limits(load_site("frontier"), "extended", {}) == [Limit(nodes=64, minutes=1440)]


# --- runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "changes", "told"),
    [
        ("scenes-mae", {"launch": {"walltime_minutes": 121}},
         "runs.scenes-mae.launch.walltime_minutes: 121 minutes, but partition batch gives jobs of "
         "1 node 120 at most; use 120 and more segments, or 92 nodes and more"),
        ("scenes-mae", {"batch": 800, "launch": {"nodes": 100, "walltime_minutes": 361}},
         "jobs of 100 nodes 360 at most; use 360 and more segments, or 184 nodes and more"),
        ("scenes-mae", {"batch": 76000, "launch": {"nodes": 9500}},
         "runs.scenes-mae.launch.nodes: 9500 nodes, but partition batch gives a job 9472 at most"),
        ("scenes-mae", {"batch": 36, "launch": {"ranks_per_node": 2}},
         "runs.scenes-mae.batch: a batch of 36 samples cannot be shared evenly by 8 ranks; use 32 "
         "or 40 (1 node × 8 ranks)"),
        ("scenes-mae", {"batch": 48, "launch": {"nodes": 2, "accumulate": 2}},
         "runs.scenes-mae.launch.accumulate: accumulate 2 does not divide the 3 samples"),
        ("scenes-gfm", {"batch": 30, "launch": {"strategy": "hybrid_shard_3", "ranks_per_node": 3}},
         "runs.scenes-gfm.launch.strategy: strategy hybrid_shard_3 cuts the model over 3 ranks"),
        ("scenes-gfm", {"launch": {"walltime_minutes": 5}},
         "runs.scenes-gfm.launch.walltime_minutes: 5 minutes, but the profile has a segment told "
         "300 s before its end"),
    ],
)  # fmt: skip
def test_a_run_that_the_site_would_not_take_is_refused(run, changes, told, at_home):
    text = mistakes(configured(**{run.replace("-", "_"): changes}), run, "modis-simmim")
    assert told in text
    assert "modis-simmim" not in text


def test_the_longest_jobs_of_each_bin_are_taken(at_home, monkeypatch):
    for nodes, minutes in ((91, 120), (92, 360), (183, 360), (184, 720), (9472, 720)):
        launch = {"nodes": nodes, "walltime_minutes": minutes, "ranks_per_node": 8}
        config = configured(scenes_mae={"batch": nodes * 8, "launch": launch})
        OnSite(config, profile()).refuse(["scenes-mae"])
    monkeypatch.setenv("ORBWEAVER_PARTITION", "extended")
    launch = {"nodes": 64, "walltime_minutes": 1440, "ranks_per_node": 8}
    config = configured(scenes_mae={"batch": 512, "launch": launch})
    OnSite(config, profile()).refuse(["scenes-mae"])


def test_all_mistakes_of_all_runs_are_told_at_once(at_home):
    config = configured(
        scenes_mae={"batch": 33, "launch": {"ranks_per_node": 1, "walltime_minutes": 600}},
        modis_simmim={"launch": {"walltime_minutes": 240}},
    )
    text = mistakes(config, "scenes-mae", "modis-simmim", "scenes-gfm")
    assert len(text.splitlines()) == 4
    assert text.startswith("profile frontier cannot run this configuration:\n")


def test_a_value_of_the_profile_is_told_as_such(at_home):
    text = mistakes(configured(), "scenes-mae", on=profile(runtime=600))
    assert "runs.scenes-mae, set-resources.pretrain.runtime of the profile: 600 minutes" in text


def test_one_rank_a_node_is_refused_since_the_plugin_submits_none_such(slurm):
    text = mistakes(configured(), "scenes-mae", on=profile("slurm", tasks_per_node=1))
    assert (
        "runs.scenes-mae, set-resources.pretrain.tasks_per_node of the profile: 1 rank a node, but "
        "Snakemake's Slurm plugin submits no srun of fewer than 2"
    ) in text


def test_a_plan_before_a_partition_is_set_takes_the_sites_usual_one(slurm):
    config = configured(scenes_mae={"launch": {"walltime_minutes": 600}})
    assert "partition batch gives" in mistakes(config, "scenes-mae")


def test_jobs_of_other_rules_are_held_against_the_partition_too(slurm, monkeypatch):
    slurm(partitions=REAL.replace("MaxTime=1-12:30:00", "MaxTime=00:30:00"))
    monkeypatch.setenv("ORBWEAVER_PARTITION", "gpu-a100")
    config = configured(scenes_mae={"launch": {"walltime_minutes": 20}})
    text = mistakes(config, "scenes-mae", on=profile("slurm", others={"tile": {}, "pack": {}}))
    assert text.count("default-resources.runtime of the profile: 60 minutes") == 1
    assert "scenes-mae" not in text


def test_a_rule_with_a_partition_of_its_own_is_held_against_that(at_home):
    long = {"probe": {"runtime": 1440}}
    text = mistakes(configured(), "scenes-mae", on=profile(others=long))
    assert text.splitlines()[1:] == [
        "  set-resources.probe.runtime of the profile: 1440 minutes, but partition batch gives a "
        "job of one node 120 at most; use that"
    ]
    long["probe"]["slurm_partition"] = "extended"
    OnSite(configured(), profile(others=long)).refuse(["scenes-mae"])
    OnSite(configured(), profile(slurm_partition="extended", runtime=1440)).refuse(["scenes-mae"])


def test_of_several_partitions_one_must_fit(slurm, monkeypatch):
    slurm(partitions=REAL)
    monkeypatch.setenv("ORBWEAVER_PARTITION", "gpu-a100,long")
    config = configured(scenes_mae={"launch": {"nodes": 8, "walltime_minutes": 9000}})
    OnSite(config, profile("slurm")).refuse(["scenes-mae"])


def test_the_debug_quality_of_service_takes_no_chain_and_no_long_job(at_home, monkeypatch):
    monkeypatch.setenv("ORBWEAVER_PARTITION", "extended")
    config = configured(scenes_mae={"segments": 2, "launch": {"walltime_minutes": 121}})
    text = mistakes(config, "scenes-mae", on=profile(defaults={"qos": "debug"}))
    assert "runs.scenes-mae.segments: qos debug forbids chains of jobs" in text
    assert "121 minutes, but qos debug gives 120 at most" in text


# --- what the user has to set and to fetch -------------------------------------------------------


def test_all_that_is_missing_is_told_with_the_lines_to_type(slurm):
    text = OnSite(configured(), profile()).not_ready()
    for name in (*HOME, "ORBWEAVER_PROJECT"):
        assert f"\n  {name} is not set: " in text
        assert f"\n  export {name}=" in text
    assert "ORBWEAVER_PROJECT" not in OnSite(configured(), profile("slurm")).not_ready()


def test_nothing_is_told_where_all_is_set(at_home):
    assert OnSite(configured(), profile()).not_ready() is None


def test_a_value_written_into_the_profile_is_not_asked_for(slurm):
    defaults = {"slurm_account": "'abc-1'", "slurm_partition": "'gpu'"}
    assert OnSite(configured(), profile("slurm", defaults=defaults)).not_ready() is None


def test_an_account_of_others_is_told_with_the_users_own(at_home, slurm, monkeypatch):
    slurm(accounts=("def456", "ghi789"))
    text = OnSite(configured(), profile()).not_ready()
    assert "account 'abc123' is none of yours: you have def456, ghi789" in text
    monkeypatch.setenv("ORBWEAVER_ACCOUNT", "DEF456")  # Slurm keeps them in lower case
    assert OnSite(configured(), profile()).not_ready() is None


def test_work_outside_the_projects_folder_is_told(at_home, tmp_path, monkeypatch):
    monkeypatch.setenv("ORBWEAVER_PROJECT", str(tmp_path / "slurm"))
    text = OnSite(configured(), profile()).not_ready()
    assert f"the folder you work in, {tmp_path / 'work'}, is not below ORBWEAVER_PROJECT=" in text
    assert "paths." not in text  # they are below the folder told
    monkeypatch.setenv("ORBWEAVER_PROJECT", str(tmp_path / "none"))
    assert "is no folder" in OnSite(configured(), profile()).not_ready()


def test_results_outside_the_projects_folder_are_told(at_home, tmp_path, monkeypatch):
    monkeypatch.setenv("ORBWEAVER_PROJECT", str(tmp_path / "work"))
    raw = copy.deepcopy(DEFAULT) | {"paths": {"results": str(tmp_path / "elsewhere")}}
    text = OnSite(check_config(raw), profile()).not_ready()
    assert f"paths.results, {tmp_path / 'elsewhere'}, is not below" in text


def test_a_link_out_of_the_projects_folder_is_seen_through(at_home, tmp_path, monkeypatch):
    monkeypatch.setenv("ORBWEAVER_PROJECT", str(tmp_path / "work"))
    (tmp_path / "work" / "results").symlink_to(tmp_path)
    assert "paths.results, " in OnSite(configured(), profile()).not_ready()


def test_weights_of_the_hub_need_the_network_and_a_file_does_not(at_home):
    jobs = [("pretrain", ("scenes-gfm", "1")), ("weights", ("swin-base-in22k",))]
    found = needs_network(configured(), jobs)
    assert len(found) == 1
    assert found[0].startswith("data/weights/swin-base-in22k/model.json is not here: ")
    text = OnSite(configured(), profile()).not_ready(found)
    assert text.endswith("\n  snakemake --profile profiles/local-fetch fetch_all")
    raw = copy.deepcopy(DEFAULT)
    raw["weights"]["swin-base-in22k"]["file"] = "here.safetensors"
    assert needs_network(check_config(raw), jobs) == []
