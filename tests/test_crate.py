"""The RO-Crate over a tree of results: its structure, its files, and what it must not tell."""

import hashlib
import json
import re
import shutil
import warnings
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from rocrate.rocrate import ROCrate

from tests.report_tree import PROVENANCE, make_tree, probe_entry
from workflow_scripts import recipes
from workflow_scripts.config_check import load_config
from workflow_scripts.crate import __main__ as crate
from workflow_scripts.crate.data import add_data
from workflow_scripts.crate.names import licence_id, without_places
from workflow_scripts.errors import UserError
from workflow_scripts.files import write_json
from workflow_scripts.jobs import Jobs
from workflow_scripts.results import provenance_path

ELSEWHERE = "vit-elsewhere"
SECRET = "/home/somebody/models/start"


def stamped(path, stage, inputs=None, **body):
    digests = {"recipe": "a" * 64, "code": "b" * 64, "inputs": inputs or {}}
    write_json(path, {"stage": stage, "recipe": {}, "digests": digests, **body})
    write_json(provenance_path(path), PROVENANCE)


def add_stages(data, results):
    """What `make_tree` leaves out: the provenances of data, segments, weights, cards, a study."""
    for path in (data / "manifests").rglob("*.json"):
        body = json.loads(path.read_text())
        body["manifest"] = {"file": path.with_suffix(".jsonl").name, "sha256": "5" * 64}
        stamped(path, "fetch", **{**body, "source": f"folder {SECRET}"})
    for path in (data / "chips").rglob("*.json"):
        stamped(path, "tile", **json.loads(path.read_text()))
    stamped(data / "splits" / "scenes.json", "split", dataset="scenes", table={"sha256": "6" * 64})
    for run in (results / "runs").iterdir():
        for number, digest in ((1, "d"), (2, "d"), (3, "e")):  # the third is of an earlier run
            stamped(run / "segments" / f"{number}.json", "pretrain", run_digest=digest * 64)
        (run / "weights.safetensors").write_bytes(run.name.encode())
        (run / "mllog.txt").write_text(":::MLLOG {}\n")
        (run / "README.md").write_text("card\n")
        stamped(run / "card.json", "card")
    step = results / "runs" / "scenes-mae" / "steps" / "300"
    stamped(step / "model.json", "snapshot")
    (step / "weights.safetensors").write_bytes(b"300")
    stamped(
        data / "weights" / ELSEWHERE / "model.json", "weights", {"source": "7" * 64},
        licence="cc-by-nc-4.0", source="hub timm/vit at 0123",
    )  # fmt: skip
    stamped(results / "probes" / ELSEWHERE / "scenes.json", "probe")
    rows = [{"point": "one", "mode": "real", "status": "done"},
            {"point": "two", "mode": "synthetic", "status": "out_of_memory"}]  # fmt: skip
    for row in rows:
        stamped(results / "scaling" / "s" / f"{row['point']}.json", "scaling", **row)
        (results / "scaling" / "s" / f"{row['point']}.mllog").write_text(":::MLLOG {}\n")
    stamped(results / "scaling" / "s.json", "study", points=rows)
    stamped(results / "plans" / "p.json", "forecast")
    (results / "report.html").write_text("<html></html>")
    for path in [*data.rglob("*.json"), *results.rglob("*.json")]:
        if provenance_path(path).is_file():  # all that stages write carries a stamp
            body = json.loads(path.read_text())
            write_json(path, {**body, "digests": {"code": "c" * 64, **body.get("digests", {})}})


def recipe_of(told):
    datasets = {"scenes": ["scenes"], "modis": ["modis", "modis-aqua"]}
    licences = {"scenes": "CC-BY-4.0", "modis": None, "modis-aqua": "NASA open data"}
    models = {"scenes-gfm": {"teacher": "scenes-teacher"}, "modis-simmim": {"start": SECRET},
              "scenes-mae": {"start": ELSEWHERE}}  # fmt: skip
    config = yaml.safe_load(told["config_yaml"])
    config["runs"]["modis-simmim"] = {"start": SECRET}
    return {
        **told,
        "config_yaml": yaml.safe_dump(config),
        "datasets": [{**row, "licence": licences[row["name"]]} for row in told["datasets"]],
        "corpora": [{**row, "datasets": datasets[row["name"]]} for row in told["corpora"]],
        "runs": [
            {**row, "corpus": "modis" if "modis" in row["name"] else "scenes"}
            for row in told["runs"]
        ],
        "probes": [*told["probes"], probe_entry(ELSEWHERE, "scenes", run=False)],
        "models": {row["name"]: models.get(row["name"], {}) for row in told["runs"]},
        "weights": [ELSEWHERE],
        "studies": [{"name": "s", "label": "s", "corpus": "scenes"}],
        "plans": [{"name": "p", "label": "p", "study": "s"}],
    }


def made(root, recipe):
    """The crate's document."""
    results = root / "results"
    arguments = crate.parser().parse_args(
        ["--recipe", "{}", "--results", str(results), "--data", str(root / "data"),
         "--crate", str(results / "ro-crate-metadata.json"),
         "--workflow", str(results / "workflow"), "--made", str(results / "report.html")]
    )  # fmt: skip
    crate.work(arguments, recipe)
    return json.loads(arguments.crate.read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a tree, the stage's recipe, and the document."""
    root = tmp_path_factory.mktemp("crate")
    told = make_tree(root)
    add_stages(root / "data", root / "results")
    recipe = recipe_of(told)
    return root, recipe, made(root, recipe)


def entities(document):
    return {entity["@id"]: entity for entity in document["@graph"]}


def listed(value):
    return value if isinstance(value, list) else [value]


def ids(value):
    return [one["@id"] for one in listed(value)]


def references(value):
    """Every `@id` that a value refers to."""
    if isinstance(value, list):
        return {name for one in value for name in references(one)}
    if not isinstance(value, dict):
        return set()
    own = {value["@id"]} if set(value) == {"@id"} else set()
    return own | {name for one in value.values() for name in references(one)}


def of_type(document, kind):
    return [entity for entity in document["@graph"] if kind in listed(entity["@type"])]


def check_structure(document, results):
    """What RO-Crate 1.1 and the profiles ask of any crate."""
    found = entities(document)
    assert len(found) == len(document["@graph"])  # no two things share a name
    assert document["@context"] == [
        "https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"
    ]  # fmt: skip
    descriptor, root = found["ro-crate-metadata.json"], found["./"]
    assert descriptor["about"] == {"@id": "./"}
    assert "https://w3id.org/ro/crate/1.1" in ids(descriptor["conformsTo"])
    assert "https://w3id.org/ro/wfrun/workflow/0.5" in ids(root["conformsTo"])
    assert {"name", "description", "datePublished", "license"} <= root.keys()
    outside = references(document["@graph"]) - found.keys()
    assert outside == {"https://w3id.org/ro/crate/1.1"}
    main = found[root["mainEntity"]["@id"]]
    assert main["@type"] == ["File", "SoftwareSourceCode", "ComputationalWorkflow"]
    assert found[main["programmingLanguage"]["@id"]]["name"] == "Snakemake"
    files = {entity["@id"]: entity for entity in of_type(document, "File")}
    assert set(ids(root["hasPart"])) == files.keys()
    for name, entity in files.items():
        content = (results / unquote(name)).read_bytes()
        assert entity["sha256"] == hashlib.sha256(content).hexdigest(), name
        assert entity["contentSize"] == str(len(content))
        assert entity["encodingFormat"]
    actions = of_type(document, "CreateAction")
    for action in actions:
        assert action["@id"] in ids(root["mentions"])
        assert action["startTime"] <= action["endTime"]
        assert ids(action["object"])
        assert ids(action["result"])
        (program,) = ids(action["instrument"])
        kinds = set(listed(found[program]["@type"]))
        assert kinds & {"SoftwareApplication", "ComputationalWorkflow"}
    assert [a["@id"] for a in actions if ids(a["instrument"]) == [main["@id"]]] == ["#run"]
    assert root["datePublished"] == found["#run"]["endTime"]


def test_the_structure_is_that_of_a_workflow_run_crate(whole):
    root, _, document = whole
    check_structure(document, root / "results")


def test_the_librarys_own_reader_takes_it(whole):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = ROCrate(whole[0] / "results")
    assert read.mainEntity.id == "workflow/Snakefile"
    assert read.dereference("#run")["instrument"].id == "workflow/Snakefile"


def test_runs_lead_from_datasets_to_judged_weights(whole):
    found = entities(whole[2])
    assert ids(found["#action/pack/modis"]["object"])[:2] == ["#chips/modis", "#chips/modis-aqua"]
    assert "runs/scenes-teacher/weights.safetensors" in ids(
        found["#action/pretrain/scenes-gfm/1"]["object"]
    )
    assert "#weights/vit-elsewhere" in ids(found["#action/pretrain/scenes-mae/1"]["object"])
    assert "runs/scenes-mae/segments/1.json" in ids(
        found["#action/pretrain/scenes-mae/2"]["object"]
    )
    assert "#action/pretrain/scenes-mae/3" not in found  # of an earlier run
    assert "runs/scenes-mae/mllog.txt" in ids(found["#action/export/scenes-mae"]["result"])
    judged = ids(found["#action/probe/scenes-mae@300/scenes"]["object"])
    assert {"#corpus/scenes", "runs/scenes-mae/steps/300/weights.safetensors"} <= set(judged)
    assert "#weights/vit-elsewhere" in ids(found["#action/probe/vit-elsewhere/scenes"]["object"])
    assert "out_of_memory" in found["#action/scaling/s/two"]["description"]
    assert "#corpus/scenes" in ids(found["#action/scaling/s/one"]["object"])
    assert "#corpus/scenes" not in ids(found["#action/scaling/s/two"]["object"])
    assert "scaling/s.json" in ids(found["#action/forecast/p"]["object"])
    assert "report.html" in ids(found["#run"]["result"])


def test_data_are_described_with_licence_source_and_checksum(whole):
    found = entities(whole[2])
    scenes = found["#dataset/scenes"]
    assert scenes["sha256"] == "5" * 64
    assert scenes["license"] == {"@id": "https://spdx.org/licenses/CC-BY-4.0"}
    assert "SYNTHETIC" in scenes["description"]
    assert "license" not in found["#dataset/modis"]
    assert found["#licence/nasa%20open%20data"]["name"] == "NASA open data"
    assert found["#weights/vit-elsewhere"]["sha256"] == "7" * 64
    assert "SYNTHETIC" in found["./"]["description"]


def test_weights_have_the_licences_that_their_cards_state(whole):
    found = entities(whole[2])
    licence = {run: found[f"runs/{run}/weights.safetensors"]["license"]
               for run in ("scenes-mae", "modis-simmim")}  # fmt: skip
    assert ids(licence["scenes-mae"]) == ["https://spdx.org/licenses/CC-BY-4.0"]
    # One of its two datasets states none.
    assert ids(licence["modis-simmim"]) == ["#licence/nasa%20open%20data", "#rights"]


def test_programs_are_named_by_commit_code_and_packages(whole):
    found = entities(whole[2])
    program = found[found["#action/pretrain/scenes-mae/1"]["instrument"]["@id"]]
    assert program["version"] == PROVENANCE["git_commit"]
    assert program["identifier"] == "sha256:" + "b" * 64
    assert "#software/torch/2.15.0" in ids(program["softwareRequirements"])
    assert found["#software/torch/2.15.0"]["identifier"] == "pkg:pypi/torch@2.15.0"
    assert found["#action/pretrain/scenes-mae/1"]["endTime"] == "2026-01-02T03:04:08+00:00"


def test_no_place_of_this_machine_is_told(whole):
    root, _, document = whole
    written = [
        json.dumps(document),
        *(p.read_text() for p in (root / "results/workflow").iterdir()),
    ]
    for text in written:
        assert str(root) not in text
        assert Path.home() == Path("/") or f"{Path.home()}/" not in text
        assert "somebody" not in text
    for entity in document["@graph"]:
        assert not re.match(r"/|~|file:|\.\./", entity["@id"])
    config = yaml.safe_load((root / "results" / "workflow" / "config.yaml").read_text())
    assert config["runs"]["modis-simmim"] == {"start": "…/start"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/scratch/a/b.h5", "…/b.h5"), ("folder ~/data/ucm (old)", "folder …/ucm (old)"),
        ("see (/home/me/x)", "see (…/x)"), ("https://a.org/b/c", "https://a.org/b/c"),
        ("file:///home/me/x", "…/x"), ("pixels / 255 and a/b", "pixels / 255 and a/b"),
    ],
)  # fmt: skip
def test_paths_are_left_out_of_texts(text, told):
    assert without_places({"key": [text]}) == {"key": [told]}


def test_the_same_results_give_the_same_bytes(whole, tmp_path):
    root, recipe, _ = whole
    before = (root / "results" / "ro-crate-metadata.json").read_bytes()
    shutil.copytree(root, tmp_path / "copy")
    made(tmp_path / "copy", recipe)
    assert (tmp_path / "copy/results/ro-crate-metadata.json").read_bytes() == before


def test_model_folders_stand_in_one_order_whatever_pythons_hashes_are(tmp_path):
    names = [f"/models/{letter}" for letter in "hbgadcfe"]
    recipe: dict = {"datasets": [], "benchmarks": [], "corpora": [], "runs": [], "weights": []}
    recipe["models"] = {f"run-{name}": {"start": name} for name in names}
    found = ROCrate(version="1.1")
    add_data(found, recipe, tmp_path)
    told = [one.id for one in found.contextual_entities if one.id.startswith("#weights/")]
    assert told == [f"#weights/{letter}" for letter in "abcdefgh"]


def test_what_is_missing_is_left_out(whole, tmp_path):
    _, recipe, _ = whole
    shutil.copytree(whole[0], tmp_path / "copy")
    root = tmp_path / "copy"
    for name in ("manifests", "chips", "weights", "splits"):
        shutil.rmtree(root / "data" / name)
    shutil.rmtree(root / "results" / "finetune")
    (root / "results" / "probes" / "scenes-mae" / "scenes.npz").unlink()
    (root / "results" / "runs" / "scenes-mae" / "mllog.txt").unlink()
    document = made(root, recipe)
    check_structure(document, root / "results")
    found = entities(document)
    assert "#action/fetch/scenes" not in found
    assert "sha256" not in found["#dataset/scenes"]
    assert "runs/scenes-mae/mllog.txt" not in found


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("results/scaling/s.json", "[1]"),
        ("results/scaling/s.json", '{"digests": {"code": "c"}, "points": [3]}'),
        ("results/scaling/s/one.json", "{}"),
        ("results/scaling/s/one.json", '{"digests": {}}'),
        ("results/scaling/s/one.provenance.json", '{"started": "x", "seconds": 1, "versions": {}}'),
        ("results/scaling/s/one.provenance.json", '{"started": 5, "seconds": 1, "versions": {}}'),
        (
            "results/scaling/s/one.provenance.json",
            '{"started": "2026-01-02", "seconds": 1, "versions": {"torch": 3}}',
        ),
        ("results/plans/p.json", "null"),
        ("results/runs/scenes-mae/summary.json", '{"run_digest": 3}'),
        ("results/runs/scenes-mae/segments/1.json", "{}"),
        ("data/splits/scenes.json", "[]"),
        ("data/shards/scenes/index.json", "{}"),
    ],
)
def test_damaged_results_are_refused_by_name(whole, tmp_path, path, body):
    root = tmp_path / "copy"
    shutil.copytree(whole[0], root)
    (root / path).write_text(body)
    with pytest.raises(UserError, match=re.escape(str(root / path))):
        made(root, whole[1])


def test_results_without_any_provenance_are_refused(whole, tmp_path):
    with pytest.raises(UserError, match="no result with its provenance"):
        made(tmp_path, whole[1])


def test_licences_that_spdx_knows_are_its_pages():
    assert licence_id("cc-by-nc-4.0") == "https://spdx.org/licenses/CC-BY-NC-4.0"
    assert licence_id("NASA open data") == "#licence/nasa%20open%20data"


def test_the_recipe_holds_what_the_stage_reads():
    config = load_config()
    recipe = recipes.crate(config, {})
    assert recipe["models"]["scenes-gfm"] == {"teacher": "scenes-teacher"}
    assert all(row["datasets"] for row in recipe["corpora"])
    assert Jobs(config).crate().result.name == "ro-crate-metadata.json"
