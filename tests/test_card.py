"""The model card: what it says, that its three lines load the weights, and what it refuses."""

import json
import re
import socket

import pytest
import torch
import yaml
from probe_results import result
from test_config import changed
from test_export import export_here
from tiny_runs import tiny_images, tiny_recipe, train_here

from workflow_scripts import recipes
from workflow_scripts.card import __main__ as card
from workflow_scripts.card.text import Sources, cell, counts, emissions, licence
from workflow_scripts.config_check import check_config, load_config
from workflow_scripts.digests import digest, file_sha256
from workflow_scripts.errors import UserError

pytestmark = pytest.mark.usefixtures("training_here")
HOST = "host-of-these-tests"  # a real one's name may be part of any word
RECIPE = {
    "run": "run",
    "label": "Tiny | MAE",
    "models": {"start": "imagenet"},
    "datasets": [
        {
            "name": "a",
            "label": "Set A",
            "licence": "CC-BY-4.0",
            "synthetic": True,
            "version": "3",
            "citation": "A and B, On sets",
            "homepage": "https://a.org",
            "origin": "hub a/b at c0ffee",
        },
        {
            "name": "b",
            "label": "Set B",
            "licence": None,
            "synthetic": False,
            "version": None,
            "citation": None,
            "homepage": None,
            "origin": "folder or archive on disk",
        },
    ],
    "energy": {"grid_g_co2_per_kwh": 50.0, "grid_source": "A grid, 2024", "pue": 1.2},
    "benchmarks": [
        {"name": "scenes", "label": "Sample scenes", "citation": "C, On scenes", "homepage": None}
    ],
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The index and the folder of a tiny run, exported, with a probe's result beside it."""
    folder = tmp_path_factory.mktemp("card")
    index, run = tiny_images(folder / "corpus"), folder / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: HOST)
        train_here(tiny_recipe(), index, run)
        export_here(tiny_recipe(), index, run)
    digests = {"inputs": {"weights": file_sha256(run / "weights.safetensors")}}
    shared = {"synthetic": True, "digests": digests}
    splits = [{"name": "dataset", "digest": "e" * 64, "n_train": 1200, "n_test": 60,
               "overlap": {"train": 0, "test": 7}}]  # fmt: skip
    probe = result("run", "scenes", {"linear": 61.25, "knn": 50.0}, splits=splits, **shared)
    tuned = result("run", "scenes", {"finetune": 90.0}, stage="finetune", **shared)
    (folder / "scenes.json").write_text(json.dumps(probe))
    (folder / "tuned.json").write_text(json.dumps(tuned))
    return index, run, folder / "scenes.json"


def write_card(exported, *probes, recipe=RECIPE):
    index, run, _ = exported
    parsed = card.parser().parse_args(
        ["--recipe", "{}", "--run", str(run), "--index", str(index),
         "--card", str(run / "card.json"), "--probes", *map(str, probes)]
    )  # fmt: skip
    card.work(parsed, recipe)
    return (run / "README.md").read_text()


def test_three_lines_of_the_card_load_the_weights_strictly(exported, monkeypatch):
    _, run, probe = exported
    (code,) = re.findall(r"```python\n(.*?)```", write_card(exported, probe), re.DOTALL)
    lines = [line for line in code.splitlines() if line and not re.match("import|from", line)]
    assert len(lines) == 3
    monkeypatch.chdir(run)
    names = {}
    exec(code, names)
    told = json.loads((run / "model.json").read_text())
    images = torch.zeros(2, told["channels"], told["image_size"], told["image_size"])
    assert names["model"](images).isfinite().all()


def test_the_card_tells_data_recipe_digests_and_probes(exported):
    index, run, probe = exported
    text = write_card(exported, probe)
    summary = json.loads((run / "summary.json").read_text())
    assert "| Set A (synthetic) | CC-BY-4.0 | 3 | hub a/b at c0ffee |" in text
    assert "| Set B | not stated | not stated | folder or archive on disk |" in text
    assert "\n- Set A: A and B, On sets. <https://a.org>\n" in text
    assert json.loads(index.read_text())["content"] in text
    assert f"| run digest (recipe, data, code) | `{summary['run_digest']}` |" in text
    (trained,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert yaml.safe_load(trained) == tiny_recipe()
    for row in (
        "linear | 61.2 ± 0.5 | 25.0 ± 0.5 | 15.0 ± 0.5 | 3 | 1,200 | 60 |",
        "kNN | 50.0 ± 0.5 | 25.0 ± 0.5 | 15.0 ± 0.5 | 3 | 1,200 | 60 |",
    ):
        assert f"| Sample scenes (synthetic) | {row}" in text
    assert "7 of 60 test samples of Sample scenes were also in the pretraining corpus." in text
    assert "\nTo be cited with these numbers:\n\n- Sample scenes: C, On scenes.\n" in text
    assert "whose licence and data count too: start `imagenet`." in text
    if json.loads((run / "summary.provenance.json").read_text())["energy_j"] is None:
        assert "| energy of the computers | not measured |" in text
        assert "| mean power | not measured |" in text
        assert "| CO2 | not measured, at 50 g CO2e a kWh (A grid, 2024), PUE 1.2 |" in text
        assert "co2_eq_emissions" not in text
    assert "None was asked for." in write_card(exported, recipe={**RECIPE, "benchmarks": []})


def test_fine_tuning_stands_in_the_card_beside_the_probe(exported):
    probe = exported[2]
    tuned = probe.with_name("tuned.json")
    row = "| fine-tuning | 90.0 ± 0.5 | 25.0 ± 0.5 | – | 3 | 1,680 | 420 |"
    assert f"| Sample scenes (synthetic) {row}" in write_card(exported, probe, tuned)
    found = json.loads((exported[1] / "card.json").read_text())["digests"]["inputs"]
    assert found["probe:scenes"] == file_sha256(probe)
    assert found["finetune:scenes"] == file_sha256(tuned)


def test_samples_of_splits_of_several_sizes_are_all_told():
    splits = [{"n_train": n, "n_test": 60} for n in (420, 1680, 420)]
    assert counts({"splits": splits}, "train") == "420, 1,680"
    assert counts({"splits": splits}, "test") == "60"


def test_a_card_of_generated_data_says_so_loudly(exported):
    text = write_card(exported, exported[2])
    _, head, body = text.split("---\n", 2)
    assert "**SYNTHETIC DATA." in body.split("## ")[0]
    found = yaml.safe_load(head)
    assert found["library_name"] == "timm"
    assert found["license"] == "unknown"
    assert "synthetic-data" in found["tags"]


def test_the_card_is_the_same_again_and_names_no_machine(exported):
    _, run, probe = exported
    text, stamped = write_card(exported, probe), (run / "card.json").read_bytes()
    assert write_card(exported, probe) == text
    assert (run / "card.json").read_bytes() == stamped
    assert str(run.parent) not in text
    assert HOST in "".join(path.read_text() for path in run.rglob("*.json"))
    assert HOST not in text
    found = json.loads(stamped)
    assert found["digests"]["recipe"] == digest(RECIPE)
    assert found["digests"]["inputs"]["probe:scenes"] == file_sha256(probe)


def test_a_probe_of_other_weights_is_refused(exported, tmp_path):
    other = json.loads(exported[2].read_text())
    other["digests"]["inputs"]["weights"] = "0" * 64
    path = tmp_path / "scenes.json"
    path.write_text(json.dumps(other))
    with pytest.raises(UserError, match=r"scenes\.json: judges other weights .* probe them again"):
        write_card(exported, path)


def test_a_provenance_file_that_no_job_wrote_is_refused_by_name(exported):
    _, run, probe = exported
    path = run / "summary.provenance.json"
    before = path.read_text()
    try:
        for text in ("{}", json.dumps({**json.loads(before), "segments": [1]})):
            path.write_text(text)
            with pytest.raises(UserError, match=re.escape(str(path))):
                write_card(exported, probe)
    finally:
        path.write_text(before)


def test_the_card_of_a_measured_run_tells_its_energy_and_emissions(exported):
    _, run, probe = exported
    path = run / "summary.provenance.json"
    before = path.read_text()
    facts = json.loads(before)
    segments = [{**row, "energy_j": 6e6, "energy_counter": "node"} for row in facts["segments"]]
    whole = {"segments": segments, "energy_j": 7.2e6, "watts": 2000.0}
    path.write_text(json.dumps({**facts, **whole}))
    try:
        text = write_card(exported, probe)
    finally:
        path.write_text(before)
    assert "| energy of the computers | 2 kWh, node |" in text
    assert "| mean power | 2,000 W |" in text
    assert "| CO2 | 0.12 kg CO2e, at 50 g CO2e a kWh (A grid, 2024), PUE 1.2 |" in text
    assert yaml.safe_load(text.split("---\n", 2)[1])["co2_eq_emissions"] == {
        "emissions": 120.0,  # grams, as the Hub has them
        "source": "2 kWh measured by node, 50 g CO2e a kWh (A grid, 2024), PUE 1.2",
        "training_type": "pre-training",
        "hardware_used": "1 × cpu",
    }


def test_emissions_of_a_part_of_a_run_are_not_told_as_those_of_the_run():
    counted = {"energy_j": 1.8e6, "energy_counter": "NVML"}
    facts = {"segments": [counted, {"energy_j": None}], "energy_j": None}
    sources = Sources(recipe=RECIPE, summary={}, model={}, corpus={}, facts=facts, probes=[])
    assert emissions(sources) == {}


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (["CC-BY-4.0"], {"license": "cc-by-4.0"}),
        (["mit", "mit"], {"license": "mit"}),
        (["mit", None], {"license": "unknown"}),
        (["Ask the agency"], {"license": "other", "license_name": "Ask the agency"}),
        (["mit", "cc0-1.0"], {"license": "other", "license_name": "cc0-1.0; mit"}),
    ],
)
def test_the_head_states_a_licence_only_where_all_data_has_one(stated, expected):
    assert licence([{"licence": text} for text in stated]) == expected


def test_a_label_cannot_break_a_table():
    assert cell("a|b\nc") == "a\\|b c"


def test_a_licence_makes_only_the_card_stale():
    before = load_config()
    after = check_config(changed("datasets.sample-scenes.licence", "cc0-1.0"))

    def of(config):
        return {
            "fetch": recipes.fetch(config, "sample-scenes"),
            "pack": recipes.pack(config, "scenes-train"),
            "pretrain": recipes.pretrain(config, "scenes-mae"),
            "probe": recipes.probe(config, "scenes-mae", "scenes"),
            "card": recipes.card(config, "scenes-mae"),
        }

    old, new = of(before), of(after)
    assert {name for name in old if old[name] != new[name]} == {"card"}
    assert new["card"]["benchmarks"] == old["card"]["benchmarks"]
    assert [row["label"] for row in new["card"]["benchmarks"]] == ["Sample scenes"]
