"""MODIS granules on disk: which days there are, which files a day has, when a day changes."""

import json
import os
import random
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from workflow_scripts.config_modis import ModisL1b
from workflow_scripts.corpora import are_assumed, dataset_days, planned_days, required_days
from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.granules import find_day, folder_lines, listed_days, no_granules
from workflow_scripts.fetch.manifest import Item, read_manifest
from workflow_scripts.modis.products import parse_name

ROOT = Path(__file__).resolve().parent.parent


def name(day, hour="0005", *, product="MOD021KM", collection="061", production="2026100000000"):
    return f"{product}.A{date.fromisoformat(day):%Y%j}.{hour}.{collection}.{production}.hdf"


def put(folder, *names, content="granule"):
    folder.mkdir(parents=True, exist_ok=True)
    for one in names:
        (folder / one).write_text(content + one)
    return folder


def days(folder, listing=None, platform="Terra"):
    listed_days.cache_clear()
    return listed_days(folder, listing, platform)


def files(folder, day, listing=None, platform="Terra"):
    found, older = find_day(folder, listing, platform=platform, day=day)
    assert all(path == folder / key for key, path in found)
    return [key for key, _ in found], older


def write_listing(folder, target):
    done = subprocess.run(
        [sys.executable, "-m", "workflow_scripts.fetch.granules", str(folder)],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    target.write_text(done.stdout)
    return str(target)


@pytest.fixture
def archive(tmp_path):
    """Two days of Terra and one of Aqua; companions alone on a third day."""
    folder = tmp_path / "archive"
    put(
        folder / "MOD021KM/2026/001",
        name("2026-01-01"), name("2026-01-01", "2355"),
    )  # fmt: skip
    put(folder / "MOD03/2026/001", name("2026-01-01", product="MOD03"))
    put(folder, name("2026-01-02"), name("2026-01-02", product="MYD021KM"), "notes.txt")
    put(folder, name("2026-01-03", product="MOD35_L2"), f".{name('2026-01-04')}")
    return folder


def test_days_are_those_with_a_granule_of_the_satellite(archive):
    assert list(days(archive)) == ["2026-01-01", "2026-01-02"]
    assert list(days(archive, platform="Aqua")) == ["2026-01-02"]
    assert days(archive / "nowhere") == {}
    assert files(archive, "2026-01-01") == (
        [
            f"MOD021KM/2026/001/{name('2026-01-01')}",
            f"MOD021KM/2026/001/{name('2026-01-01', '2355')}",
            f"MOD03/2026/001/{name('2026-01-01', product='MOD03')}",
        ],
        [],
    )
    assert files(archive, "2026-01-02", platform="Aqua") == (
        [name("2026-01-02", product="MYD021KM")],
        [],
    )


def test_a_listing_says_what_the_folder_says(archive, tmp_path):
    listing = write_listing(archive, tmp_path / "listing.txt")
    for platform in ("Terra", "Aqua"):
        assert days(archive, listing, platform) == days(archive, platform=platform)
        for day in ("2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"):
            assert files(archive, day, listing, platform) == files(archive, day, platform=platform)
    # Names alone will do, and carriage returns and empty lines do no harm.
    lines = [line.split("\t")[0] for line in Path(listing).read_text().splitlines()]
    Path(listing).write_bytes("\r\n".join([*lines, "", ""]).encode())
    assert list(days(archive, listing)) == ["2026-01-01", "2026-01-02"]
    assert files(archive, "2026-01-01", listing) == files(archive, "2026-01-01")


def test_only_the_day_whose_file_came_went_or_was_replaced_changes(archive):
    before = days(archive)

    def changed():
        after = days(archive)
        found = {day for day in before | after if before.get(day) != after.get(day)}
        before.clear()
        before.update(after)
        return found

    assert changed() == set()
    first, place = "2026-01-01", archive / "MOD021KM/2026/001"
    put(place, name(first, "1200"))
    assert changed() == {first}
    put(archive / "MOD03/2026/002", name("2026-01-02", product="MOD03"))
    assert changed() == {"2026-01-02"}
    put(place, name(first), content="another ")  # of another size
    assert changed() == {first}
    state = (place / name(first)).stat()
    put(place, name(first), content="replaced")  # of the same size, at another time
    os.utime(place / name(first), ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert changed() == {first}
    (place / name(first, "1200")).unlink()
    assert changed() == {first}
    put(archive, name("2026-01-05"))
    assert changed() == {"2026-01-05"}
    (archive / name("2026-01-02")).unlink()  # its companion stays
    assert changed() == {"2026-01-02"}
    put(archive, name("2026-01-05", product="MYD021KM"), "notes.txt", content="new ")
    assert changed() == set()


def test_a_changed_line_of_a_listing_changes_its_day_alone(archive, tmp_path):
    listing = write_listing(archive, tmp_path / "listing.txt")
    before = days(archive, listing)
    text = Path(listing).read_text().splitlines()
    Path(listing).write_text("\n".join(reversed(text)))
    assert days(archive, listing) == before  # whatever the order
    changed = [f"{line}0" if name("2026-01-02") in line else line for line in text]
    Path(listing).write_text("\n".join(changed))
    after = days(archive, listing)
    assert {day for day in before if before[day] != after[day]} == {"2026-01-02"}


def test_of_several_versions_the_newest_counts(tmp_path):
    day = "2026-01-01"
    old = name(day, collection="006", production="2026200000000")
    middle = name(day, production="2026100000000")
    new = name(day, production="2026101000000")
    put(tmp_path / "a", new, name(day, "0010"))
    put(tmp_path / "b", middle, old, name(day, product="MOD03"))
    found, older = files(tmp_path, day)
    kept = [f"a/{new}", f"a/{name(day, '0010')}", f"b/{name(day, product='MOD03')}"]
    assert found == sorted(kept)
    assert {row["key"] for row in older} == {f"b/{middle}", f"b/{old}"}
    assert {row["reason"] for row in older} == {"a newer version of it is there"}


def test_a_day_is_found_in_any_layout_as_if_all_had_been_looked_through(tmp_path):
    rng = random.Random(0)
    start = date(2025, 12, 27)
    wanted = [start + timedelta(n) for n in range(10)]
    for number in range(150):
        day = rng.choice(wanted)
        hour = f"{rng.randrange(24):02d}{5 * rng.randrange(12):02d}"
        layout = rng.choice(
            ["", "{y}/{j}", "{y}/{m}/{d}", "{y}/{j}/{h}", "{p}/{y}/{j}", "061/{p}/{y}/{j}",
             "{y}", "{y}{j}", "{y}-{m}-{d}", "disk1/0{m}/{j}", "{h}", "{p}/{j}"]
        )  # fmt: skip
        product = rng.choice(["MOD021KM", "MOD03", "MYD021KM"])
        folder = layout.format(
            y=day.year, j=f"{day:%j}", m=f"{day:%m}", d=f"{day:%d}", h=hour, p=product
        )
        one = name(day.isoformat(), hour, product=product, production=f"{2026000000000 + number}")
        put(tmp_path / folder, one)
    lines = [line.split("\t")[0] for line in folder_lines(tmp_path)]
    assert len(lines) == 150
    for day in wanted:
        for platform in ("Terra", "Aqua"):
            found, older = find_day(tmp_path, None, platform=platform, day=day.isoformat())
            whole = [
                key
                for key in lines
                if parse_name(key).time.date() == day and parse_name(key).platform == platform
            ]
            assert sorted([key for key, _ in found] + [row["key"] for row in older]) == sorted(
                whole
            )


@pytest.mark.parametrize(
    "line",
    ["notes.txt", "MOD02QKM.A2026001.0005.061.2026001000000.hdf\t1\t2", "<html>", "MOD021KM\t5"],
)
def test_a_line_that_names_no_modis_file_is_refused(tmp_path, line):
    listing = tmp_path / "listing.txt"
    listing.write_text(f"{name('2026-01-01')}\n{line}\n")
    with pytest.raises(UserError, match=r"listing.txt: .* does not name a MODIS file"):
        days(tmp_path, str(listing))


def test_a_listing_that_cannot_be_read_says_how_to_make_one(tmp_path):
    broken = tmp_path / "listing.txt"
    broken.write_bytes(b"\xff\xfe\x00")
    for listing in (str(tmp_path / "none.txt"), str(broken), str(tmp_path)):
        with pytest.raises(UserError, match=r"cannot be read.*workflow_scripts.fetch.granules"):
            days(tmp_path, listing)


class Datasets:
    """As much of a configuration as the functions of recipes ask for."""

    def __init__(self, **options):
        listed_days.cache_clear()
        self.datasets = {"terra": ModisL1b(kind="modis-l1b", **options)}


def test_first_and_last_day_are_both_in(archive):
    for first, last, expected in (
        (None, None, ["2026-01-01", "2026-01-02"]),
        ("2026-01-02", None, ["2026-01-02"]),
        (None, "2026-01-01", ["2026-01-01"]),
        ("2026-01-01", "2026-01-02", ["2026-01-01", "2026-01-02"]),
        ("2026-01-02", "2026-12-31", ["2026-01-02"]),
        ("2026-01-03", None, []),
    ):
        config = Datasets(path=str(archive), first=first, last=last)
        assert dataset_days(config, "terra") == expected


def test_without_a_granule_a_plan_has_every_day_asked_for_and_a_start_has_none(tmp_path):
    span = {"first": "2024-02-28", "last": "2024-03-01"}
    config = Datasets(path=str(tmp_path / "nowhere"), obtain="Ask LAADS.", **span)
    days = ["2024-02-28", "2024-02-29", "2024-03-01"]
    assert are_assumed(config, "terra")
    assert planned_days(config, "terra") == dataset_days(config, "terra") == days
    with pytest.raises(UserError, match="from 2024-02-28 to 2024-03-01"):
        required_days(config, "terra")


@pytest.mark.parametrize("span", [{}, {"first": "2024-01-01"}, {"last": "2024-01-01"}])
def test_a_plan_assumes_no_days_where_not_both_ends_are_given(tmp_path, span):
    config = Datasets(path=str(tmp_path / "nowhere"), obtain="Ask LAADS.", **span)
    with pytest.raises(UserError, match="Ask LAADS"):
        planned_days(config, "terra")


def test_days_with_granules_are_not_assumed(archive):
    config = Datasets(path=str(archive), first="2026-01-01", last="2026-12-31")
    assert not are_assumed(config, "terra")
    days = ["2026-01-01", "2026-01-02"]
    assert planned_days(config, "terra") == required_days(config, "terra") == days


def test_a_dataset_without_granules_tells_where_to_get_and_put_them(archive, tmp_path):
    nowhere = Datasets(path=str(tmp_path / "nowhere"), obtain="Ask LAADS for MOD021KM.")
    with pytest.raises(UserError) as caught:
        required_days(nowhere, "terra")
    text = str(caught.value)
    for part in ("dataset terra", "nowhere does not exist", "Ask LAADS for MOD021KM.",
                 "datasets.terra.path"):  # fmt: skip
        assert part in text
    late = Datasets(path=str(archive), first="2027-01-01", platform="Aqua")
    with pytest.raises(UserError, match="holds no MYD021KM granule from 2027-01-01 to the end"):
        required_days(late, "terra")
    entry = {"path": "p", "listing": str(archive), "platform": "Terra", "obtain": ""}
    text = no_granules("terra", {**entry, "first": None, "last": None})
    assert "archive names no MOD021KM granule.\n" in text


def fetch(folder, recipe):
    manifest = folder / "2026-01-01.jsonl"
    done = subprocess.run(
        [sys.executable, "-m", "workflow_scripts.fetch", "--recipe", json.dumps(recipe),
         "--manifest", str(manifest)],
        capture_output=True, text=True, check=False, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return done, manifest


def test_the_stage_lists_the_granules_of_a_day_where_they_lie(archive, tmp_path):
    place = archive / "MOD021KM/2026/001"
    put(place, name("2026-01-01", production="2026099000000"))
    (place / name("2026-01-01", "0010")).touch()
    recipe = {
        "dataset": "terra", "kind": "modis-l1b", "path": str(archive), "platform": "Terra",
        "date": "2026-01-01",
    }  # fmt: skip
    done, manifest = fetch(tmp_path, recipe)
    assert done.returncode == 0, done.stderr
    keys = files(archive, "2026-01-01")[0]  # an empty file too: tile sets it aside and counts it
    assert list(read_manifest(manifest)) == [
        Item(
            key=key, path=f"archive/{key}", sha256=file_sha256(archive / key),
            bytes=(archive / key).stat().st_size,
        )
        for key in sorted(keys)
    ]  # fmt: skip
    body = json.loads(manifest.with_suffix(".json").read_text())
    assert (body["dataset"], body["synthetic"], body["items"]) == ("terra", False, 4)
    assert {row["key"].rpartition("/")[2]: row["reason"] for row in body["set_aside"]} == {
        name("2026-01-01", production="2026099000000"): "a newer version of it is there",
    }
    done, _ = fetch(tmp_path, {**recipe, "date": "2026-02-01"})
    assert done.returncode == 1
    assert "no MOD021KM granule from 2026-02-01 to 2026-02-01." in done.stderr
    assert "Traceback" not in done.stderr
