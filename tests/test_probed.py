"""What benchmarks judge: runs, steps along a run, and weights from elsewhere."""

import copy
from pathlib import Path

import pytest

from tests.test_config import DEFAULT
from workflow_scripts.config_check import check_config, without_samples
from workflow_scripts.errors import UserError
from workflow_scripts.jobs import Jobs
from workflow_scripts.probed import (
    encoder_folder,
    probed_encoders,
    run_of,
    snapshots_of,
    split_name,
)
from workflow_scripts.wanted import card_benchmarks, wanted_probes, wanted_runs, wanted_weights

WEIGHTS = {
    "vit-b": {"architecture": "vit_base_patch16_224.augreg_in21k"},
    "unused": {"architecture": "vit_tiny_patch16_224.augreg_in21k"},
}


def configured(**benchmarks):
    """The default configuration, with two entries of `weights` and keys of benchmarks changed."""
    raw = copy.deepcopy(DEFAULT)
    raw["weights"] = WEIGHTS
    for name, keys in benchmarks.items():
        raw["benchmarks"][name] |= keys
    return without_samples(raw, {"benchmarks": benchmarks})


def test_along_a_run_and_steps_in_its_name_are_the_same_encoders_each_once_in_order():
    config = check_config(
        configured(
            scenes={
                "encoders": ["scenes-gfm@7", "scenes-mae", "vit-b", "scenes-mae@40"],
                "along": {"scenes-mae": [400, 40, 100]},
            },
            ucm={"along": {"scenes-mae": [20]}},
        )
    )
    assert probed_encoders(config, "scenes") == [
        "scenes-gfm@7", "scenes-mae", "vit-b", "scenes-mae@40", "scenes-mae@100", "scenes-mae@400",
    ]  # fmt: skip
    assert probed_encoders(config, "ucm") == ["scenes-mae", "scenes-mae@20"]
    assert snapshots_of(config, "scenes-mae") == [20, 40, 100, 400]
    assert snapshots_of(config, "scenes-gfm") == [7]
    assert snapshots_of(config, "scenes-teacher") == []


def test_every_encoder_has_a_model_folder_and_a_run_or_none():
    config = check_config(configured() | {"paths": {"data": "d", "results": "r"}})
    assert split_name("scenes-mae") == ("scenes-mae", None)
    assert split_name("scenes-mae@936") == ("scenes-mae", 936)
    found = {name: (encoder_folder(config, name), run_of(config, name))
             for name in ("scenes-mae", "scenes-mae@936", "vit-b")}  # fmt: skip
    assert found == {
        "scenes-mae": (Path("r/runs/scenes-mae"), "scenes-mae"),
        "scenes-mae@936": (Path("r/runs/scenes-mae/steps/936"), "scenes-mae"),
        "vit-b": (Path("d/weights/vit-b"), None),
    }
    jobs = Jobs(config)
    for encoder, job in (
        ("scenes-mae", jobs.export("scenes-mae")),
        ("scenes-mae@936", jobs.snapshot("scenes-mae", 936)),
        ("vit-b", jobs.weights("vit-b")),
    ):
        assert job.result.parent == encoder_folder(config, encoder)


def test_all_wants_the_runs_of_snapshots_and_the_weights_that_its_probes_judge():
    raw = configured(scenes={"encoders": ["vit-b"], "along": {"scenes-mae": [5]}})
    raw["all"] = {"runs": [], "benchmarks": ["scenes"]}
    config = check_config(raw)
    assert wanted_probes(config) == [("scenes", "vit-b"), ("scenes", "scenes-mae@5")]
    assert wanted_runs(config) == ["scenes-mae"]
    assert wanted_weights(config) == ["vit-b"]
    assert card_benchmarks(config, "scenes-mae") == []  # its card tells of the whole run


def test_a_snapshot_is_a_job_with_the_recipe_of_its_run_and_the_step():
    jobs = Jobs(check_config(configured(scenes={"along": {"scenes-mae": [936, 7]}})))
    found = {job.names: job.recipe for job in jobs.stamped() if job.rule == "snapshot"}
    trained = jobs.pretrain("scenes-mae").recipe
    assert found == {
        ("scenes-mae", "7"): {"pretrain": trained, "step": 7},
        ("scenes-mae", "936"): {"pretrain": trained, "step": 936},
    }


def test_snapshots_change_no_run():
    without, with_some = (
        Jobs(check_config(configured(scenes=keys)))
        for keys in ({}, {"along": {"scenes-mae": [5, 10]}})
    )
    assert without.pretrain("scenes-mae").recipe == with_some.pretrain("scenes-mae").recipe


REFUSED = {
    "a name nearly right": (
        {"encoders": ["scenes-mea"]}, "encoders: no run and no entry of `weights` .* 'scenes-mae'"
    ),
    "weights nearly right": ({"encoders": ["vit_b"]}, "'vit_b'; did you mean 'vit-b'"),
    "a step of no run": ({"encoders": ["scenes-mea@5"]}, "no run is called 'scenes-mea'.*-mae'"),
    "a step of weights": ({"encoders": ["vit-b@5"]}, "'vit-b@5' has no steps.*entry of `weights`"),
    "along no run": ({"along": {"scenes-mea": [5]}}, r"along.scenes-mea: no run .* 'scenes-mae'"),
    "along weights": ({"along": {"vit-b": [5]}}, "along.vit-b: an entry of `weights` has no steps"),
    "step 0": ({"encoders": ["scenes-mae@0"]}, "benchmarks.scenes.encoders"),
    "a step below 1": ({"along": {"scenes-mae": [0]}}, "greater than 0"),
    "a step twice": ({"along": {"scenes-mae": [5, 5]}}, "5 is listed twice"),
    "an encoder twice": ({"encoders": ["vit-b", "vit-b"]}, "'vit-b' is listed twice"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_an_encoder_that_there_is_not_is_refused_by_its_key(case):
    keys, words = REFUSED[case]
    with pytest.raises(UserError, match=words):
        check_config(configured(scenes=keys))
