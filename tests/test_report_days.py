"""What the report says of many days: sums by dataset, platform and month, on one small page."""

import datetime
import re

import numpy as np
import pytest

from tests.chip_reports import (
    collected,
    days_from,
    figure_text,
    one_corpus,
    report_recipe,
)
from tests.report_tree import (
    UNCITED,
    chip,
    make_manifest,
    summary,
)
from tests.test_report import Page, make
from workflow_scripts import dates, recipes
from workflow_scripts.config_check import check_config
from workflow_scripts.digests import canonical
from workflow_scripts.files import write_json
from workflow_scripts.report import tables_days
from workflow_scripts.report.collect import read_records
from workflow_scripts.report.days import Tally, sum_manifests
from workflow_scripts.report.figures_days import groups
from workflow_scripts.report.tables import environment, stages

# --- days ----------------------------------------------------------------------------------------


def random_days(data, dataset, platform, days, random):
    """Summaries with random numbers; returns them."""
    found = []
    for day in days:
        n = random.integers(0, 100, 12).tolist()
        body = summary(
            dataset, day, platform, granules_read=n[0], granules_set_aside=2, chips_kept=n[1],
            chips_dropped={"fill": n[2], "too few clouds": n[3]},
            chips_by_platform={platform: n[1]}, chips_without_mask=n[4], chips_night=n[5],
            chips_with_filled_lines=n[6],
            dead_detectors={"6": {"2": n[7], "10": n[8]}, "36": {"1": n[9]}},
            granules=[
                {"key": f"a/M1-{day}.hdf", "chips": 0, "reason": f"M1-{day}.hdf: no file of HDF4"},
                {"key": f"a/M2-{day}.hdf", "chips": 0, "reason": "companion of another time"},
                {"key": f"a/M3-{day}.hdf", "chips": 1, "companions": [], "dead_detectors": {}},
            ],
        )  # fmt: skip
        write_json(data / "chips" / dataset / f"{day}.json", body)
        make_manifest(data, dataset, day)
        found.append(body)
    return found


@pytest.fixture
def year(tmp_path):
    """731 days: 366 of Terra, 365 of Aqua, over one day of chips; the recipe and the summaries."""
    recipe = one_corpus(tmp_path, [chip(0)], name="terra")
    random = np.random.default_rng(7)
    days = {"terra": days_from("2003-01-01", 366), "aqua": days_from("2003-01-01", 365)}
    summaries = {
        name: random_days(tmp_path / "data", name, name.title(), found, random)
        for name, found in days.items()
    }
    for entry in ("terra", "aqua"):
        recipe["days"][entry] = dates.compress(days[entry])
    recipe["datasets"] = [{"name": name, "label": name, "kind": "x", **UNCITED} for name in days]
    return recipe, summaries


def test_tables_are_the_sums_of_the_days(tmp_path, year):
    recipe, summaries = year
    found = collected(tmp_path, recipe)
    table = tables_days.chips_table(found)
    assert table["groups"] == [("terra, Terra", True), ("aqua, Aqua", True)]
    cells = {}
    for name, _, row in table["lines"]:
        cells.setdefault(name, [cell.split(" (")[0].replace(",", "") for cell in row])

    def total(key, rows):
        return str(sum(row[key] for row in rows))

    for column, rows in enumerate(summaries.values()):
        for name, key in (
            ("granules read", "granules_read"), ("granules set aside", "granules_set_aside"),
            ("chips kept", "chips_kept"), ("without a cloud mask", "chips_without_mask"),
            ("at night", "chips_night"), ("with interpolated lines", "chips_with_filled_lines"),
        ):  # fmt: skip
            assert cells[name][column] == total(key, rows), name
        fill, few = (sum(r["chips_dropped"][k] for r in rows) for k in ("fill", "too few clouds"))
        assert cells["days"][column] == str(len(rows))
        assert (cells["fill"][column], cells["too few clouds"][column]) == (str(fill), str(few))
        assert cells["chips dropped"][column] == str(fill + few)
        assert cells["no file of HDF4"][column] == str(len(rows))
        assert cells["companion of another time"][column] == str(len(rows))
        share = next(r for n, _, r in table["lines"] if n == "fill")[column]
        kept = int(total("chips_kept", rows))
        assert share.endswith(f"({100 * fill / (kept + fill + few):.1f} %)")
    platforms = tables_days.by_platform(found.days)
    assert [name for name, _ in platforms] == ["Terra", "Aqua"]
    assert platforms[1][1].startswith(f"{int(total('chips_kept', summaries['aqua'])):,} (")


def test_days_that_their_source_has_not_whole_are_counted_where_it_is_named(tmp_path):
    for number, told in enumerate((None, {"incomplete": False}, {"incomplete": True})):
        body = {
            "synthetic": False, "items": 1, "bytes": 1, "duplicates": 0, "classes": [],
            "duplicates_across_splits": 0, "set_aside": [], "source": "LAADS, collection 061",
        }  # fmt: skip
        extra = {"at_source": told} if told else {}
        write_json(tmp_path / f"{number}.json", {**body, **extra})
    paths = [tmp_path / f"{number}.json" for number in range(3)]
    assert sum_manifests(paths[:2])["source"] == "LAADS, collection 061"
    assert sum_manifests(paths)["source"] == (
        "LAADS, collection 061; 1 of 3 days are incomplete there (`snakemake relist` asks again)"
    )


def test_rare_reasons_for_setting_aside_are_summed(tmp_path):
    rows = [
        {"key": f"{kind}-{i}.hdf", "chips": 0, "reason": f"reason {kind:02d}"}
        for kind in range(12)
        for i in range(20 - kind)
    ]
    body = summary("terra", "2026-01-01", granules=rows, granules_set_aside=len(rows))
    write_json(tmp_path / "data" / "chips" / "terra" / "2026-01-01.json", body)
    make_manifest(tmp_path / "data", "terra", "2026-01-01")
    found = collected(tmp_path, report_recipe([], {"terra": ["2026-01-01"]}))
    lines = {name: row for name, _, row in tables_days.chips_table(found)["lines"]}
    assert lines["reason 00"] == ["20"]
    assert lines["reason 07"] == ["13"]
    assert lines["4 other reasons"] == [str(12 + 11 + 10 + 9)]
    assert "reason 08" not in lines


def test_months_are_the_sums_of_their_days(tmp_path, year):
    recipe, summaries = year
    rows = tables_days.periods(collected(tmp_path, recipe))
    assert [row["period"] for row in rows[:3]] == ["2003-01", "2003-01", "2003-02"]
    assert len(rows) == 12 + 13
    row = next(r for r in rows if (r["period"], r["group"]) == ("2003-02", "aqua, Aqua"))
    days = [s for s in summaries["aqua"] if s["date"].startswith("2003-02")]
    assert row["days"] == "28"
    assert row["kept"] == f"{sum(day['chips_kept'] for day in days):,}"
    assert row["dropped"] == f"{sum(sum(day['chips_dropped'].values()) for day in days):,}"


def test_dead_detectors_are_counted_by_band_over_granules(tmp_path, year):
    recipe, summaries = year
    rows = tables_days.dead_detectors(collected(tmp_path, recipe))
    assert [(row["group"], row["band"]) for row in rows] == [
        ("terra, Terra", "6"), ("terra, Terra", "36"), ("aqua, Aqua", "6"), ("aqua, Aqua", "36"),
    ]  # fmt: skip
    counts = {d: sum(s["dead_detectors"]["6"][d] for s in summaries["terra"]) for d in ("2", "10")}
    expected = sorted(counts, key=lambda d: -counts[d])
    assert rows[0]["detectors"] == "; ".join(f"{d} in {counts[d]:,} granules" for d in expected)
    assert tables_days.detectors_text({"12": 2, "5": 2, "3": 1}) == (
        "5, 12 in 2 granules; 3 in 1 granule"
    )


def test_a_year_of_two_satellites_stays_one_small_page(tmp_path, year):
    recipe, _ = year
    html = make(tmp_path, recipe)
    text = Page(html).text
    assert len(html) < 1_000_000
    assert "366 days, 2003-01-01 to 2004-01-01" in text
    assert "2003-07" in text
    assert "Each month" in text
    listed = re.findall(r"a/M[12]-\d{4}-\d\d-\d\d\.hdf", text)
    assert len(listed) == 50
    assert f"{2 * 731 - 50:,} more are in the days' summaries" in text
    rest = text
    for key in listed:
        rest = rest.replace(key, "")
    singles = set(re.findall(r"2003-07-\d\d", rest))
    assert not singles


def test_up_to_a_month_of_days_is_listed_one_by_one(tmp_path):
    random = np.random.default_rng(0)
    for count, by_day in ((31, True), (32, False)):
        root = tmp_path / str(count)
        days = days_from("2003-01-01", count)
        random_days(root / "data", "terra", "Terra", days, random)
        recipe = report_recipe([], {"terra": days})
        found = collected(root, recipe)
        assert found.days.by_day is by_day
        assert len(tables_days.periods(found)) == (31 if by_day else 2)


def test_bars_are_the_sums_of_the_days_by_platform(tmp_path, year):
    recipe, summaries = year
    found = collected(tmp_path, recipe)
    bars = groups(found.days.totals, ["terra", "aqua"])
    assert list(bars) == ["Terra", "Aqua"]
    for name, rows in summaries.items():
        assert bars[name.title()] == {
            "kept": sum(row["chips_kept"] for row in rows),
            "fill": sum(row["chips_dropped"]["fill"] for row in rows),
            "too few clouds": sum(row["chips_dropped"]["too few clouds"] for row in rows),
        }
    assert list(groups(found.days.totals, ["aqua"])) == ["Aqua"]


def test_bars_name_the_dataset_where_a_platform_has_two():
    two = {("a", "Terra"): Tally(chips_kept=1), ("b", "Terra"): Tally(chips_kept=2)}
    assert list(groups(two, ["a", "b"])) == ["a (Terra)", "b (Terra)"]
    many = {(str(i), "Terra"): Tally(chips_kept=i) for i in range(7)}
    assert groups(many, list("0123456")) == {"Terra": {"kept": 21}}


def test_bars_carry_their_numbers(tmp_path):
    make(tmp_path, one_corpus(tmp_path, [chip(i) for i in range(8)]))
    text = figure_text(tmp_path, "dropped_modis")
    for expected in (
        "kept", "dropped: night", "dropped: saturated", "8 (50.0 %)", "5 (31.2 %)", "3 (18.8 %)",
        "Terra, 16 chips looked at",
    ):  # fmt: skip
        assert expected in text, expected


def test_sixteen_thousand_days_fit_a_command_line(tmp_path):
    days = days_from("2003-01-01", 8000)
    entries = {}
    for platform, prefix in (("Terra", "MOD"), ("Aqua", "MYD")):
        listing = tmp_path / f"{platform}.txt"
        names = (f"{datetime.date.fromisoformat(day):%Y%j}" for day in days)
        listing.write_text(
            "\n".join(f"{prefix}021KM.A{name}.0000.061.2024001000000.hdf" for name in names)
        )
        entries[platform.lower()] = {
            "kind": "modis-l1b", "platform": platform, "path": str(tmp_path),
            "listing": str(listing),
        }  # fmt: skip
    config = check_config(
        {"name": "years", "datasets": entries, "corpora": {"all": {"datasets": list(entries)}},
         "runs": {"mae": {"objective": "mae", "corpus": "all", "encoder": {"family": "vit"}}},
         "all": {"runs": ["mae"], "benchmarks": []}, "benchmarks": {}}
    )  # fmt: skip
    recipe = recipes.report(config, {})
    assert {name: dates.expand(found) for name, found in recipe["days"].items()} == dict.fromkeys(
        entries, days
    )
    assert len(canonical(recipe).encode()) < 128 * 1024 / 4


# --- many jobs -----------------------------------------------------------------------------------


def test_jobs_of_many_days_are_one_line(tmp_path, year):
    recipe, _ = year
    records = tmp_path / "results" / "records" / "tile" / "terra"
    records.mkdir(parents=True)
    for number in range(40):
        (records / f"{number}.tsv").write_text(f"s\tmax_rss\tcpu_time\n10\t{number}\t2\n")
    assert len(read_records(records.parents[1], {"terra"})) == 40
    totals, jobs = stages(collected(tmp_path, recipe))
    line = {"time": "6 min 40 s", "cpu": "1 min 20 s", "peak": "40.9 MB"}
    assert totals == [{"stage": "tile", "jobs": 40, **line}]
    assert jobs == [{"stage": "tile", "job": "terra, 40 jobs", **line}]


def test_many_job_ids_are_counted_and_not_listed(tmp_path, year):
    recipe, _ = year
    for number, path in enumerate((tmp_path / "data" / "chips" / "terra").glob("*-??.json")):
        write_json(path.with_suffix(".provenance.json"), {"job": 1000 + number, "versions": {}})
    facts, _ = environment(collected(tmp_path, recipe))
    text = dict(facts)["Slurm jobs"]
    assert text.startswith("1000, 1001, ")
    assert text.endswith(f"and {366 - 12 + 1} more")  # the index has one without a job
