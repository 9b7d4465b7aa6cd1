"""The report: complete, self-contained, escaped, honest about what is missing or synthetic."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pytest

from tests.report_tree import BANDS, TRAP, clouds, make_tree
from tests.report_tree import make_page as make
from workflow_scripts.errors import UserError
from workflow_scripts.report import page, run_facts, tables
from workflow_scripts.report.collect import collect, read_records
from workflow_scripts.report.figures_runs import run_figure, smooth
from workflow_scripts.report.pictures import FalseColour, colour_bands, cover, map_band
from workflow_scripts.report.style import plain, pretty_units
from workflow_scripts.report.templates import FOLDERS

FIGURES = [
    "accuracy_parameters", "accuracy_scenes", "along_scenes-mae_scenes", "bands_modis",
    "data_modis", "data_scenes", "dropped_modis", "embedding_scenes-gfm_scenes",
    "embedding_scenes-mae_scenes", "energy_accuracy", "losses", "map_modis",
    "mistakes_scenes-gfm_scenes", "mistakes_scenes-mae_scenes", "power_modis-simmim",
    "power_scenes-gfm", "power_scenes-mae", "power_scenes-teacher", "probe_scenes-gfm_scenes",
    "probe_scenes-mae_scenes", "reconstruction_modis-simmim", "reconstruction_scenes-gfm",
    "reconstruction_scenes-mae", "run_modis-simmim", "run_scenes-gfm", "run_scenes-mae",
    "run_scenes-teacher",
]  # fmt: skip
SVG = "{http://www.w3.org/2000/svg}"


class Page(HTMLParser):
    """Tags, attributes and visible text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.data = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.data.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.data))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    recipe = make_tree(root)
    return root, recipe, make(root, recipe)


def test_every_figure_is_a_file_and_in_the_page(tree):
    root, _, html = tree
    folder = root / "results" / "figures"
    assert sorted(path.stem for path in folder.glob("*.svg")) == sorted([*FIGURES, "dag"])
    embedded = [
        unquote(link.removeprefix("data:image/svg+xml,"))
        for link in Page(html).links
        if link.startswith("data:image/svg+xml,")
    ]
    files = {path.read_text() for path in folder.glob("*.svg")}
    assert set(embedded) == files


def test_page_needs_nothing_from_outside_and_runs_nothing(tree):
    found = Page(tree[2])
    assert not {"script", "iframe", "object", "embed"} & set(found.tags)
    sources = {group["link"] for group in page.published()}
    for link in found.links:
        assert link.startswith(("data:", "#")) or link in sources
    assert not re.search(r"@import|url\(", tree[2].split("</style>")[0])


def test_page_says_what_was_run_and_on_what(tree):
    text = Page(tree[2]).text
    for expected in (
        "Orbweaver on its built-in sample", "scenes-mae: {epochs: 40}", "f" * 64, "2.15.0",
        "Linux x86_64, 2 cores", "3 min 36 s", "851.4 MB", "1 × no image", "saturated 3 (18.8 %)",
        "unreadable", "train/broken.jpg", "steps not finite, skipped",
        "609.5 images/s", "2 × cpu, full_shard",
        "700.0 MB",
        "bbbbbbbbbbbb", "aaaaaaaaaaaa", "Different data volumes: context, not a comparison.",
        "78.0 ± 0.5",
    ):  # fmt: skip
        assert expected in text, expected


def test_records_of_another_configuration_are_left_out(tree):
    assert "of-another-config" not in tree[2]


def test_synthetic_is_written_into_every_picture_and_beside_every_number(tree):
    root, _, html = tree
    for name in FIGURES:
        text = (root / "results" / "figures" / f"{name}.svg").read_text()
        assert "SYNTHETIC DATA" in text, name
    # Headline cards, datasets and what they are cited by, granules (columns, tables below),
    # corpora, class tables, runs; the benchmark, its rows, its steps (summary, row) and each
    # encoder's figures; losses together and accuracy against parameters; energy's three parts; and
    # the note.
    tags = 3 + (3 + 3) + (2 + 3) + 2 + 2 + 4 + (1 + 2 + 2 + 2) + 2 + 3 + 1
    assert html.count('<span class="tag">synthetic</span>') == tags


def test_real_data_carry_no_such_mark(tmp_path):
    recipe = make_tree(tmp_path)
    for path in [*tmp_path.rglob("*.json")]:
        path.write_text(path.read_text().replace('"synthetic": true', '"synthetic": false'))
    html = make(tmp_path, recipe)
    assert ">synthetic<" not in html
    assert "SYNTHETIC" not in unquote(html)


def test_same_results_give_the_same_bytes(tree):
    root, recipe, html = tree
    folders = [root / "results" / name for name in ("figures", "tables")]
    before = {path: path.read_bytes() for folder in folders for path in folder.iterdir()}
    assert make(root, recipe) == html
    assert {path: path.read_bytes() for folder in folders for path in folder.iterdir()} == before


def test_texts_of_data_and_config_are_escaped_everywhere(tmp_path):
    names = [TRAP, "plain", "a\x07bell", "日本 ünï", "x_{y}^2$$", "<b>bold", "&amp;", "%s{}"]
    recipe = make_tree(tmp_path, class_names=names, title=TRAP)
    recipe["config_yaml"] = recipe["synthetic_note"] = recipe["name"] = TRAP
    for kind in ("datasets", "corpora", "runs", "benchmarks", "probes"):
        for entry in recipe[kind]:
            entry["label"] = TRAP
    html = make(tmp_path, recipe)
    assert "<script" not in html
    assert "<b>bold" not in html
    assert "script" not in Page(html).tags
    assert TRAP in Page(html).text
    for path in (tmp_path / "results" / "figures").glob("*.svg"):
        root = ET.fromstring(path.read_text())  # well-formed, whatever the names hold
        assert not list(root.iter(f"{SVG}script"))
    figure = ET.parse(tmp_path / "results" / "figures" / "accuracy_scenes.svg")
    labels = " ".join("".join(text.itertext()) for text in figure.iter(f"{SVG}text"))
    assert plain(TRAP, 36) in labels  # dollar signs and all, not read as mathematics


def test_what_is_optional_and_missing_reads_not_recorded(tmp_path):
    recipe = make_tree(tmp_path)
    for path in tmp_path.rglob("*.provenance.json"):
        path.unlink()
    for path in tmp_path.rglob("*.tsv"):
        path.unlink()
    folders = {"results": tmp_path / "results", "data": tmp_path / "data"}
    collected = collect(recipe, **folders, records=tmp_path / "results" / "records")
    text = Page(page.render(collected, tmp_path / "results" / "figures")).text
    for expected in (
        "Graph of the jobs: not recorded", "Time and memory: not recorded",
        "git commit not recorded", "speed not recorded", "ranks, strategy not recorded",
    ):  # fmt: skip
        assert expected in text, expected


def test_records_without_a_measurement_are_none(tmp_path, tree):
    records = read_records(tree[0] / "results" / "records", {"scenes", "scenes-mae"})
    assert [r.stage for r in records] == ["fetch", "pack", "pretrain", "probe"]
    assert (records[1].seconds, records[1].peak_mb, records[1].cpu_seconds) == (0.9, None, None)
    assert records[3].peak_mb == 640.0
    assert records[3].cpu_seconds is None


@pytest.mark.parametrize(
    "path",
    [
        "results/runs/scenes-mae/summary.json",
        "results/runs/scenes-mae/history.jsonl",
        "results/runs/scenes-mae/power.jsonl",
        "results/runs/scenes-mae/reconstructions.npz",
        "results/probes/scenes-mae/scenes.json",
        "results/probes/scenes-mae/scenes.npz",
        "results/finetune/scenes-mae/scenes.json",
        "data/shards/scenes/index.json",
        "data/chips/modis/2026-01-01.json",
        "data/manifests/scenes.json",
    ],
)
def test_missing_or_broken_results_are_named(tmp_path, path):
    recipe = make_tree(tmp_path)
    options = {f"{n}": tmp_path / p for n, p in (("results", "results"), ("data", "data"))}
    options["records"] = tmp_path / "results" / "records"
    (tmp_path / path).write_text("{broken")
    with pytest.raises(UserError, match=re.escape(path)):
        collect(recipe, **options)
    (tmp_path / path).unlink()
    with pytest.raises(UserError, match=re.escape(path)):
        collect(recipe, **options)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("results/runs/scenes-mae/power.jsonl", b"\x00\xff nonsense\n"),
        ("results/runs/scenes-mae/summary.json", b"[]"),
        ("results/runs/scenes-mae/summary.json", b"{}"),
        ("results/runs/scenes-mae/model.json", b"null"),
        ("results/runs/scenes-mae/summary.provenance.json", b"[1, 2]"),
    ],
)
def test_results_of_another_kind_are_named(tmp_path, path, body):
    recipe = make_tree(tmp_path)
    (tmp_path / path).write_bytes(body)
    results = tmp_path / "results"
    with pytest.raises(UserError, match=re.escape(path)):
        collect(recipe, results=results, data=tmp_path / "data", records=results / "records")


def test_configuration_without_probes_still_has_a_page(tmp_path):
    recipe = make_tree(tmp_path) | {"probes": [], "benchmarks": [], "runs": []}
    html = make(tmp_path, recipe)
    assert "No probe in this configuration." in html
    assert "No run in this configuration." in html
    assert not list((tmp_path / "results" / "figures").glob("accuracy*"))


def test_a_run_of_one_logged_step_is_seen(tmp_path, tree):
    root, recipe, _ = tree
    results = root / "results"
    found = collect(recipe, results=results, data=root / "data", records=results / "records")
    run = replace(found.runs[0], history=found.runs[0].history[:1])
    drawn = ET.parse(run_figure(run, tmp_path))
    for panel in ("axes_1", "axes_2", "axes_3"):
        (axes,) = (g for g in drawn.iter(f"{SVG}g") if g.get("id") == panel)
        ticks = [g for g in axes.iter(f"{SVG}g") if (g.get("id") or "").startswith("xtick_")]
        assert len(ticks) == 1
        lines = [g for g in axes if (g.get("id") or "").startswith("line2d_")]
        assert any(line.find(f".//{SVG}use") is not None for line in lines)


def test_what_the_configuration_has_no_more_goes_and_what_is_somebody_elses_stays(tmp_path):
    recipe, results = make_tree(tmp_path), tmp_path / "results"
    make(tmp_path, recipe)
    folders = [results / name for name in ("figures", "tables")]
    for folder in folders:
        (folder / "run_mine.csv").write_text("mine")
    made = {path for folder in folders for path in folder.iterdir()}
    smaller = recipe | {"runs": recipe["runs"][:-1], "probes": [], "benchmarks": []}
    gone = recipe["runs"][-1]["name"]
    make(tmp_path, smaller)
    left = {path for folder in folders for path in folder.iterdir()}
    assert left < made
    assert {f"run_{gone}.svg", f"run_{gone}.csv", f"power_{gone}.svg", "probes_scenes.tex"} <= {
        path.name for path in made - left
    }
    assert {"dag.svg", "run_mine.csv", "runs.tex"} <= {path.name for path in left}
    make(tmp_path, recipe)
    assert {path for folder in folders for path in folder.iterdir()} == made


def test_reading_the_report_needs_no_torch():
    code = "import sys, workflow_scripts.report.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_published_numbers_are_all_on_the_page_and_none_is_in_the_template(tree):
    rows = [row for group in page.published() for row in group["rows"]]
    template = "".join(p.read_text() for folder in FOLDERS for p in folder.glob("*.j2"))
    for row in rows:
        assert f">{row['shown']}</td>" in tree[2]
        assert row["value"] not in template


def test_pinned_runs_show_both_digests_however_they_are_given():
    run = SimpleNamespace(
        pinned=True,
        digests={"stored": {"recipe": "a" * 64, "code": "b" * 64}, "current": "c" * 64},
    )
    assert run_facts.pins(run) == {
        "stored": f"code {'b' * 12}, recipe {'a' * 12}", "current": "c" * 12, "same": False,
    }  # fmt: skip
    run.digests = {"stored": {"code": "b"}, "current": {"code": "b"}}
    assert run_facts.pins(run)["same"]
    run.digests = {"stored": None, "current": "c" * 64}
    assert run_facts.pins(run)["stored"] == "not recorded"
    assert run_facts.pins(SimpleNamespace(pinned=False)) is None


def test_prediction_with_true_patch_statistics_says_so(tree):
    text = tree[2].split('<article id="run-')
    said = [part.split('"')[0] for part in text[1:] if "mean colour of a hidden patch" in part]
    assert said == ["scenes-mae"]


def test_links_of_sources_are_https_or_none():
    assert page._safe_link("javascript:alert(1)") is None
    assert page._safe_link("https://arxiv.org/abs/1") == "https://arxiv.org/abs/1"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "not recorded"), (0.04, "0.0 s"), (59.94, "59.9 s"), (61, "1 min 01 s"),
     (3599.7, "1 h 00 min"), (12_000, "3 h 20 min")],
)  # fmt: skip
def test_durations(seconds, text):
    assert tables.duration(seconds) == text


def test_running_mean_skips_what_was_not_logged():
    values = np.array([1.0, np.nan, 3.0, 5.0])
    assert smooth(values, 3).tolist() == [1.0, 2.0, 4.0, 4.0]


def test_false_colour_stretches_all_chips_alike_and_turns_thermal_bands():
    chips = np.stack([clouds(i).transpose(1, 2, 0) for i in range(3)]).astype(float)
    assert [BANDS[c] for c in colour_bands(BANDS)] == ["31", "6", "7"]
    assert BANDS[map_band(BANDS)] == "31"
    colour = FalseColour(chips, BANDS)
    found = np.stack([colour(chip) for chip in chips]).astype(float)
    low, high = np.percentile(chips[..., 0], (2, 98))
    expected = np.clip((chips[..., 0] - low) / (high - low), 0, 1) * 255
    np.testing.assert_allclose(found[..., 1], expected, atol=0.51)
    cold = chips[..., 5] == chips[..., 5].min()
    assert (found[..., 0][cold] == 255).all()


def test_false_colour_survives_constant_and_few_bands():
    dark = np.zeros((2, 4, 4, 1))
    assert FalseColour(dark, ["1"])(dark[0]).shape == (4, 4, 3)
    assert colour_bands(["1", "2"]) == [0, 1, 1]


def test_units_are_written_as_people_write_them(tree):
    assert pretty_units("W m-2 sr-1 µm-1") == "W m⁻² sr⁻¹ µm⁻¹"
    assert pretty_units("m2 s-10") == "m² s⁻¹⁰"
    assert pretty_units("1") == "dimensionless"
    assert "W m⁻² sr⁻¹ µm⁻¹" in (tree[0] / "results" / "figures" / "bands_modis.svg").read_text()


def test_hidden_patches_are_painted_over_and_nothing_else():
    image = np.full((2, 2, 3), 9, np.uint8)
    painted = cover(image, np.array([[True, False], [False, False]]), "#010203")
    assert painted[0, 0].tolist() == [1, 2, 3]
    assert (painted.reshape(-1, 3)[1:] == 9).all()
    assert (image == 9).all()
