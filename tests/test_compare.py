"""Results side by side: what corresponds, what differs, what cannot be compared."""

import copy
import csv
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from tests.conftest import ROOT
from workflow_scripts.compare.beside import made_anew
from workflow_scripts.compare.differing import differing
from workflow_scripts.compare.page import compare_page
from workflow_scripts.compare.pairs import corresponding
from workflow_scripts.compare.site import Site, read_sites
from workflow_scripts.errors import UserError
from workflow_scripts.made_files import MADE

TRAP = "<script>alert(1)</script>"


def run(name, recipe, **more):
    return {
        "name": name, "label": more.pop("label", name), "synthetic": False, "objective": "mae",
        "recipe": recipe, "recipe_digest": json.dumps(recipe, sort_keys=True), "parameters": 10,
        "encoder_parameters": 8, "epochs": 1, "steps": 3, "batch": 2, "samples_seen": 6,
        "loss_first": 1.0, "loss_last": 0.5, "run_digest": "d", "layout": "2 × cpu",
        "images_per_s": 100.0, "peak_memory_bytes": 2e9, "seconds": 60.0, "energy_j": None,
        "loss": [[1, 1.0], [2, 0.7], [3, 0.5]], **more,
    }  # fmt: skip


def verdict(encoder, mean, **more):
    return {
        "encoder": encoder, "label": encoder, "run": encoder, "step": None, "benchmark": "ucm",
        "benchmark_label": "UC Merced", "protocol": "linear", "headline": True, "metric": "top-1",
        "mean": mean, "std": 0.5, "trials": 3, "splits": "s", "synthetic": False, **more,
    }  # fmt: skip


def point(name, rate, **more):
    spread = None if rate is None else {"median": rate, "least": rate, "most": rate}
    return {
        "point": name, "status": "done" if rate else "out_of_memory", "images_per_s": spread,
        "peak_memory_bytes": 1e9, "energy_j": None, **more,
    }  # fmt: skip


def report(name, runs, **more):
    return {
        "schema_version": 1, "stage": "report", "title": name, "name": name,
        "config_digest": "c" * 64, "config": {}, "runs": runs, "probes": [], "studies": [],
        "made": {"machines": ["laptop"], "commits": ["abc"], "versions": {"torch": ["2.15.0"]}},
        "tables": [], **more,
    }  # fmt: skip


@pytest.fixture
def two():
    """Two sites: a run of one name and other recipe, one recipe under two names, one alone."""
    first = report(
        "here",
        [run("mae", {"seed": 0, "optim": {"lr": 0.1}}), run("old", {"seed": 7}), run("lone", {})],
        config={"runs": {"mae": {"epochs": 4}}, "same": 1},
        probes=[verdict("mae", 70.0), verdict("old", 50.0)],
        studies=[{"study": "weak", "points": [point("a", 100.0), point("b", 50.0)]}],
    )
    second = report(
        "there",
        [run("mae", {"seed": 0, "optim": {"lr": 0.2}}, images_per_s=250.0, loss_last=0.25),
         run("new", {"seed": 7})],
        config={"runs": {"mae": {"epochs": 8}}, "same": 1, "added": [1, 2]},
        probes=[verdict("mae", 74.5), verdict("new", 50.0, splits="other")],
        studies=[{"study": "weak", "points": [point("a", 400.0), point("b", None)]}],
    )  # fmt: skip
    second["made"]["machines"] = ["Frontier"]
    return [first, second]


def folders(root, reports):
    root.mkdir(exist_ok=True)
    places = []
    for number, found in enumerate(reports):
        place = root / f"site{number}"
        place.mkdir()
        (place / "report.json").write_text(json.dumps(found))
        places.append(place)
    return places


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class Texts(HTMLParser):
    """Text of a page by the id of its section, and its tags."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.sections, self.now = set(), {}, ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "section":
            self.now = dict(attrs)["id"]

    def handle_data(self, data):
        self.sections[self.now] = self.sections.get(self.now, "") + f" {data.strip()}"

    def __getitem__(self, name):
        return re.sub(r"\s+", " ", self.sections[name])


def test_runs_correspond_by_name_and_then_by_recipe(tmp_path, two):
    groups = corresponding(read_sites(folders(tmp_path, two)))
    assert [(group.label, group.members) for group in groups] == [
        ("mae", {0: "mae", 1: "mae"}), ("old = new", {0: "old", 1: "new"}), ("lone", {0: "lone"}),
    ]  # fmt: skip


def test_two_runs_of_one_recipe_in_one_folder_stay_two(tmp_path):
    twice = report("a", [run("x", {"seed": 1}), run("y", {"seed": 1})])
    groups = corresponding(read_sites(folders(tmp_path, [twice, report("b", [])])))
    assert [group.members for group in groups] == [{0: "x"}, {0: "y"}]


def test_page_says_first_what_differs_and_then_each_result(tmp_path, two):
    sites = read_sites(folders(tmp_path, two))
    text = Texts(compare_page(sites, tmp_path / "files"))
    differs = text["differs"]
    assert next(iter(name for name in text.sections if name)) == "differs"
    for expected in ("runs.mae.epochs 4 8", "added – [1, 2]", "machines laptop Frontier",
                     "Recipe of mae", "optim.lr 0.1 0.2"):  # fmt: skip
        assert expected in differs, expected
    for unexpected in ("same", "torch", "Recipe of old", "seed"):
        assert f" {unexpected}" not in differs.replace("of the same", "").replace("same name", "")
    assert "mae UC Merced linear top-1 70.0 ± 0.5 74.5 ± 0.5 +4.5 yes" in text["accuracy"]
    assert "old UC Merced linear top-1 50.0 ± 0.5 50.0 ± 0.5 +0 no" in text["accuracy"]
    assert "mae 0.5000 0.2500 −0.25" in text["loss"]
    assert "mae 100.0 250.0 2.500" in text["cost"]
    assert "Energy of the run Not recorded in any of them." in text["cost"]
    assert "weak a 100.0 400.0 weak b 50.0 out of memory" in text["scaling"]
    assert "here lone (lone) there none" in text["alone"]


def test_numbers_and_curves_lie_beside_the_page(tmp_path, two):
    compare_page(read_sites(folders(tmp_path, two)), tmp_path / "files")
    speed = rows(tmp_path / "files" / "speed.csv")[0]
    assert (speed["here (images/s)"], speed["there (images/s)"]) == ("100.0", "250.0")
    losses = [row for row in rows(tmp_path / "files" / "losses.csv") if row["run"] == "mae"]
    assert [(r["results"], r["step"], r["loss"]) for r in losses[:3]] == [
        ("here", "1", "1.0"), ("here", "2", "0.7"), ("here", "3", "0.5"),
    ]  # fmt: skip
    drawn = {path.stem for path in (tmp_path / "files").glob("*.svg")}
    assert drawn == {"accuracy", "losses", "scaling", "speed", "memory", "time"}
    assert all((tmp_path / "files" / f"{name}.csv").is_file() for name in drawn)


def test_same_folders_give_the_same_page(tmp_path, two):
    sites = read_sites(folders(tmp_path, two))
    assert compare_page(sites, tmp_path / "a" / "f") == compare_page(sites, tmp_path / "b" / "f")


def test_equal_results_say_so(tmp_path, two):
    text = Texts(compare_page(read_sites(folders(tmp_path, [two[0]] * 2)), tmp_path / "f"))
    for expected in ("The configurations are equal", "Machines, commits and versions are equal",
                     "The recipes of each are equal"):  # fmt: skip
        assert expected in text["differs"]


def test_texts_of_others_are_escaped(tmp_path, two):
    text = json.dumps(two).replace('"mae"', json.dumps(TRAP)).replace("UC Merced", TRAP)
    text = text.replace('"laptop"', json.dumps(TRAP)).replace('"here"', json.dumps(TRAP))
    html = compare_page(read_sites(folders(tmp_path, json.loads(text))), tmp_path / "f")
    assert "<script" not in html
    assert TRAP in Texts(html)["differs"]


def test_folders_without_anything_in_common_have_a_page(tmp_path):
    sites = read_sites(folders(tmp_path, [report("a", [run("x", {"s": 1})]), report("b", [])]))
    text = Texts(compare_page(sites, tmp_path / "f"))
    assert "0 runs correspond" in text["differs"]
    assert "No run corresponds." in text["loss"]
    assert "a x (x) b none" in text["alone"]


def test_eight_folders_each_have_a_column(tmp_path, two):
    reports = [{**copy.deepcopy(two[0]), "name": f"s{number}"} for number in range(8)]
    sites = read_sites(folders(tmp_path, reports))
    compare_page(sites, tmp_path / "f")
    speed = rows(tmp_path / "f" / "speed.csv")[0]
    assert [speed[f"s{number} (images/s)"] for number in range(8)] == ["100.0"] * 8
    with pytest.raises(UserError, match=r"9 folder\(s\) to compare; expected 2 to 8"):
        read_sites([tmp_path / f"x{number}" for number in range(9)])


def test_folders_of_one_experiment_are_told_apart(tmp_path, two):
    places = folders(tmp_path, [two[0], two[0]])
    assert [site.label for site in read_sites(places)] == ["site0", "site1"]
    for name in ("p", "q"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results").symlink_to(places["pq".index(name)])
    assert len({site.label for site in read_sites([tmp_path / n / "results" for n in "pq"])}) == 2


def test_folders_are_called_by_the_part_of_the_path_that_differs(tmp_path, two):
    places = [tmp_path / site / "sc" / "results" for site in ("here", "there")]
    for place in places:
        place.mkdir(parents=True)
        (place / "report.json").write_text(json.dumps(two[0]), encoding="utf-8")
    name = two[0]["name"]
    assert [site.label for site in read_sites(places)] == [f"{name} (here)", f"{name} (there)"]
    inner = tmp_path / "here" / "results"
    inner.mkdir()
    (inner / "report.json").write_text(json.dumps(two[0]), encoding="utf-8")
    labels = [site.label for site in read_sites([inner, places[0]])]
    assert labels == [f"{name} (results)", f"{name} (sc/results)"]


def test_a_logarithmic_axis_has_plain_numbers(tmp_path, two):
    sites = read_sites(folders(tmp_path, two))
    compare_page(sites, tmp_path / "f")
    assert "mathdefault" not in (tmp_path / "f" / "scaling.svg").read_text(encoding="utf-8")


def test_differing_keys_have_a_value_for_each():
    found = differing([{"a": {"b": 1, "c": 1}}, {"a": {"b": True, "c": 1}}, {"d": None}])
    assert found == [
        ("a.b", ["1", "true", "–"]), ("a.c", ["1", "1", "–"]), ("d", ["–", "–", "none"]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no report.json in it; make the report there first"),
        ('{"schema_ver', "report.json"),
        ("[]", "not what the report leaves"),
        ('{"stage": "probe"}', "not what the report leaves"),
        ('{"stage": "report", "schema_version": 99}', "schema_version 99, expected 1"),
        ('{"stage": "report", "schema_version": 1}', "'title' is missing"),
    ],
)
def test_what_cannot_be_compared_is_named(tmp_path, two, text, said):
    good, bad = folders(tmp_path, two)
    (bad / "report.json").unlink()
    if text is not None:
        (bad / "report.json").write_text(text)
    with pytest.raises(UserError, match=re.escape(str(bad))) as told:
        read_sites([good, bad])
    assert said in str(told.value)


def test_one_folder_twice_none_and_no_folder_are_refused(tmp_path, two):
    good, _ = folders(tmp_path, two)
    (tmp_path / "link").symlink_to(good)
    with pytest.raises(UserError, match="link: given twice"):
        read_sites([good, tmp_path / "link"])
    with pytest.raises(UserError, match="missing: no such folder"):
        read_sites([good, tmp_path / "missing"])
    with pytest.raises(UserError, match="1 folder"):
        read_sites([good])


def test_command_line_writes_the_page_or_says_why_not(tmp_path, two):
    places = folders(tmp_path, two)
    command = [sys.executable, "-m", "workflow_scripts.compare", *map(str, places), "--html"]
    page = tmp_path / "out" / "compare.html"
    done = subprocess.run([*command, str(page)], cwd=ROOT, check=False, capture_output=True)
    assert (done.returncode, page.is_file()) == (0, True), done.stderr
    assert (tmp_path / "out" / "compare_files" / "losses.svg").is_file()
    (tmp_path / "file").touch()
    for place, said in ((tmp_path / "file" / "x.html", b"cannot be made"), (tmp_path, b"a folder")):
        done = subprocess.run([*command, place], cwd=ROOT, check=False, capture_output=True)
        assert done.returncode == 1
        assert said in done.stderr
        assert b"Traceback" not in done.stderr
    (places[1] / "report.json").unlink()
    page.unlink()
    done = subprocess.run([*command, str(page)], cwd=ROOT, check=False, capture_output=True)
    assert (done.returncode, page.is_file()) == (1, False)
    assert b"no report.json" in done.stderr
    assert b"Traceback" not in done.stderr


def test_the_folder_beside_the_page_holds_what_the_page_is_of_and_what_is_somebody_elses(
    tmp_path, two
):
    beside = tmp_path / "out" / "c_files"

    def compared(reports):
        with made_anew(beside) as folder:
            compare_page(read_sites(folders(tmp_path / "a", reports)), folder)
        shutil.rmtree(tmp_path / "a")
        return {path.name for path in beside.iterdir()}

    first = compared(two)
    assert {"recipe_mae.csv", "losses.svg"} <= first
    (beside / "notes.txt").write_text("mine")
    alone = report("other", [run("lone", {})])
    second = compared([two[0], alone])
    assert "recipe_mae.csv" not in second
    fresh = compared([two[0], alone])
    assert second == fresh
    assert (beside / "notes.txt").read_text() == "mine"
    assert [path.name for path in beside.parent.iterdir()] == ["c_files"]


def test_a_comparison_that_fails_leaves_the_folder_as_it_was(tmp_path):
    with made_anew(tmp_path / "f") as folder:
        (folder / "a.csv").write_text("a")
    with pytest.raises(FileNotFoundError), made_anew(tmp_path / "f") as folder:
        (folder / "b.csv").rename(folder / "c.csv")
    assert {path.name for path in (tmp_path / "f").iterdir()} == {"a.csv", MADE}


@pytest.mark.parametrize("names", ['["../keep"]', '{"a": 1}', "[3, null, [1]]"])
def test_a_list_of_made_files_that_is_none_deletes_nothing(tmp_path, names):
    (tmp_path / "keep").write_text("mine")
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / MADE).write_text(names)
    with pytest.raises(UserError, match=MADE), made_anew(tmp_path / "f"):
        pass
    assert (tmp_path / "keep").read_text() == "mine"


def test_no_name_of_a_run_leads_out_of_the_folder(tmp_path):
    two = [report(site, [run("../../x", {"seed": seed})]) for seed, site in enumerate("ab")]
    folder = tmp_path / "in" / "files"
    compare_page(read_sites(folders(tmp_path, two)), folder)
    assert {path.parent for path in tmp_path.rglob("*.tex")} == {folder}
    assert (folder / "recipe_.._.._x.csv").is_file()


@pytest.mark.parametrize(
    "damage",
    [{"runs": [1]}, {"probes": [{}]}, {"studies": [{"study": "s", "points": [{}]}]}, {"made": {}},
     {"runs": [run("mae", {}, images_per_s="fast")]}, {"runs": [run("mae", {}, loss=[[1, "x"]])]},
     {"runs": [run("mae", {}, label=3)]}, {"runs": [run("mae", {}, loss=[[1]])]},
     {"probes": [verdict("mae", "70")]}, {"studies": [{"study": "s", "points": {}}]},
     {"studies": [{"study": "s", "points": [point("a", 1.0, images_per_s={"least": 1})]}]},
     {"made": {"machines": [1], "commits": [], "versions": {}}},
     {"made": {"machines": [], "commits": [], "versions": {"torch": "2"}}}],
)  # fmt: skip
def test_rows_that_are_not_those_of_a_report_are_refused_by_name(tmp_path, two, damage):
    two[1].update(damage)
    places = folders(tmp_path, two)
    with pytest.raises(UserError, match=re.escape(str(places[1] / "report.json"))):
        read_sites(places)


def test_site_is_synthetic_if_anything_in_it_is(tmp_path, two):
    two[0]["runs"][0]["synthetic"] = True
    first, second = (Site(name, tmp_path, one) for name, one in zip("ab", two, strict=True))
    assert (first.synthetic, second.synthetic) == (True, False)
