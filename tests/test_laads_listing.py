"""What LAADS lists of a day, in the forms it has had, and which granules a dataset selects."""

import itertools
import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.laads_server import COLUMNS, geometa
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.laads.archive import TOKEN, tokens
from workflow_scripts.fetch.laads.day import in_words, list_day
from workflow_scripts.fetch.laads.geometa import parse_places, touches
from workflow_scripts.fetch.laads.write import write_day
from workflow_scripts.fetch.manifest import read_manifest
from workflow_scripts.transfer.client import NotThere

URL = "https://archive.invalid/archive"
DAY = "2026-01-01"
META = "geoMeta/61/TERRA/2026/MOD03_2026-01-01.txt"
MD5 = "0123456789abcdef" * 2


class Archive:
    """Answers with documents by their address below `URL`."""

    def __init__(self, **documents):
        self.documents = {name: json.dumps(rows) for name, rows in documents.items()}
        self.asked = []

    def text(self, url):
        name = url.removeprefix(f"{URL}/")
        self.asked.append(name)
        for known, text in self.documents.items():
            if name in (known, f"allData/61/{known}/2026/001.json"):
                return text
        raise NotThere(f"{url}: 404 Not Found")


def name(clock, product="MOD021KM", *, day="2026001", version="061.2026002000000"):
    return f"{product}.A{day}.{clock}.{version}.hdf"


def rows(*names, size=1000):
    return [{"name": one, "size": size + place} for place, one in enumerate(names)]


def ask(archive, *, companions=(), times="any", bbox=None, url=URL):
    source = {"kind": "laads", "collection": 61, "companions": list(companions)}
    recipe = {
        "dataset": "terra", "kind": "modis-l1b", "platform": "Terra", "date": DAY,
        "source": {**source, "times": times, "bbox": bbox},
    }  # fmt: skip
    return list_day(recipe, archive, url=url, folder=Path("data/raw/terra") / DAY)


def test_both_forms_of_a_listing_say_the_same():
    files = [name("0000"), name("0005")]
    older = [
        {"name": one, "last-modified": "2026-01-02 10:00", "size": str(1000 + place)}
        for place, one in enumerate(files)
    ]
    newer = {
        "content": [{**row, "downloadsLink": "https://other.invalid/x"} for row in rows(*files)]
    }
    found = [ask(Archive(MOD021KM=form)) for form in (older, newer, rows(*files))]
    assert found[0] == found[1] == found[2]
    items, aside, told = found[0]
    assert [(item.key, item.bytes) for item in items] == [(files[0], 1000), (files[1], 1001)]
    assert items[0].path == f"data/raw/terra/{DAY}/{files[0]}"
    assert items[0].sha256 is None
    assert items[0].remote == {"url": f"allData/61/MOD021KM/2026/001/{files[0]}", "md5": None}
    assert aside == []
    assert (told["granules_listed"], told["granules_selected"], told["missing"]) == (2, 2, 286)


def test_a_checksum_is_taken_where_one_is_told():
    listing = [{"name": name("0000"), "size": 5, "md5sum": MD5.upper()},
               {"name": name("0005"), "size": 5, "md5sum": "none"}]  # fmt: skip
    items, _, _ = ask(Archive(MOD021KM={"content": listing}))
    assert [item.remote["md5"] for item in items] == [MD5, None]


def test_folders_are_no_files_and_what_is_of_something_else_is_set_aside():
    strange = [
        name("0000", "MYD021KM"), name("0000", day="2026002"), name("0000", "MOD03"),
        name("0000", version="006.2026002000000"), "readme.txt", "../" + name("0005"),
    ]  # fmt: skip
    listing = [*rows(name("0000"), *strange), {"name": "browse", "size": 0}]
    items, aside, _ = ask(Archive(MOD021KM=listing))
    assert [item.key for item in items] == [name("0000")]
    assert {row["key"] for row in aside} == set(strange)
    assert {row["reason"] for row in aside if row["key"] == "readme.txt"} == {
        "not the name of a MODIS granule"
    }


def test_of_several_versions_the_newest_counts():
    versions = [name("0000", version=f"061.20260{n}000000") for n in (13, 31, 22)]
    items, aside, told = ask(Archive(MOD021KM=rows(*versions)))
    assert [item.key for item in items] == [versions[1]]
    assert aside == [
        {"key": key, "reason": "a newer version of it is there"} for key in sorted(versions[::2])
    ]
    assert told["granules_listed"] == 1


def test_a_day_that_the_archive_has_not_is_empty_and_incomplete():
    items, aside, told = ask(Archive(), companions=["03"], times="day")
    assert (items, aside) == ([], [])
    assert told["incomplete"]
    assert in_words(told) == "288 of 288 granules"


def test_companions_come_with_their_granules_and_what_lacks_is_told():
    archive = Archive(
        MOD021KM=rows(name("0000"), name("0005"), name("0010")),
        MOD03=rows(name("0000", "MOD03"), name("0005", "MOD03"), name("2355", "MOD03")),
        MOD35_L2=rows(name("0005", "MOD35_L2"), name("0010", "MOD35_L2")),
    )
    items, _, told = ask(archive, companions=["03", "35_L2"])
    assert len(items) == 3 + 2 + 2
    assert [item.key for item in items] == sorted(item.key for item in items)
    assert told["without"] == {"MOD03": ["00:10"], "MOD35_L2": ["00:00"]}
    assert in_words(told) == "285 of 288 granules, 1 MOD03, 1 MOD35_L2"


def test_a_whole_day_with_its_companions_is_complete():
    clocks = [f"{minute // 60:02d}{minute % 60:02d}" for minute in range(0, 1440, 5)]
    archive = Archive(
        MOD021KM=rows(*map(name, clocks)), MOD03=rows(*(name(clock, "MOD03") for clock in clocks))
    )
    items, _, told = ask(archive, companions=["03"])
    assert (len(items), told["missing"], told["incomplete"]) == (576, 0, False)
    del archive.documents["MOD03"]
    assert ask(archive, companions=["03"])[2]["incomplete"]


@pytest.mark.parametrize(
    ("listing", "words"),
    [
        ('{"error": "no"}', "expected a list of files or an object"),
        ('"closed"', "expected a list of files"),
        ('[{"name": "x"}]', "its name and its size"),
        ('[{"name": "x", "size": "much"}]', "its name and its size"),
        ('["x"]', "its name and its size"),
        ("maintenance", "expected a listing in JSON"),
        ("\n<!DOCTYPE html><title>Earthdata Login</title>", "export EARTHDATA_TOKEN="),
    ],
)
def test_what_is_no_listing_is_refused_and_shown(listing, words):
    archive = Archive()
    archive.documents["MOD021KM"] = listing
    with pytest.raises(UserError, match=f"MOD021KM/2026/001.json: .*{words}"):
        ask(archive)


def placed(*places):
    """An archive with a granule every five minutes, (flag, west, south, east, north) each."""
    clocks = [f"00{5 * place:02d}" for place in range(len(places))]
    archive = Archive(MOD021KM=rows(*map(name, clocks)))
    lines = [(name(clock, "MOD03"), *place) for clock, place in zip(clocks, places, strict=True)]
    archive.documents[META] = geometa(DAY, lines)
    return archive


def chosen(archive, **selection):
    items, _, told = ask(archive, **selection)
    assert told["granules_selected"] == len(items)
    return [int(item.key.split(".")[2]) for item in items]


HERE = (0.0, 0.0, 20.0, 20.0)


def test_day_and_night_are_chosen_by_the_mode_of_the_instrument():
    archive = placed(("D", *HERE), ("N", *HERE), ("B", *HERE))
    assert chosen(archive, times="day") == [0, 10]
    assert chosen(archive, times="night") == [5, 10]
    assert chosen(archive) == [0, 5, 10]


def test_geographic_metadata_are_asked_for_only_where_they_are_needed():
    archive = placed(("D", *HERE))
    ask(archive)
    assert META not in archive.asked
    ask(archive, bbox=HERE)
    assert META in archive.asked


@pytest.mark.parametrize(
    ("bbox", "expected"),
    [
        ((-10, -10, 5, 5), [0]),
        ((-10, -10, -5, -5), []),
        ((20, 20, 30, 30), [0]),  # a corner is enough
        ((175, 0, -175, 10), [5, 10]),  # across the date line
        ((-179, 0, -178, 10), [5, 10]),
        ((178.5, 0, 179, 10), [5]),
        ((-180, 80, 180, 90), [10, 15]),
        ((50, 85, 51, 86), [15]),  # at the pole every longitude is met
        ((50, -60, 51, -50), []),
        ((-180, -90, 180, 90), [0, 5, 10, 15]),
    ],
)
def test_a_box_selects_what_touches_it_across_the_date_line_and_at_the_poles(bbox, expected):
    archive = placed(
        ("D", *HERE),
        ("D", 178.0, -5.0, -170.0, 12.0),
        ("D", -180.0, 5.0, -175.0, 88.0),
        ("D", -180.0, 70.0, 180.0, 90.0),
    )
    assert chosen(archive, bbox=bbox) == expected
    assert chosen(archive, bbox=bbox, times="night") == []


def test_touching_is_the_same_both_ways_and_as_points_say():
    def holds(box, longitude, latitude):
        west, south, east, north = box
        inside = west <= longitude <= east if west <= east else not east < longitude < west
        return inside and south <= latitude <= north

    def box(rng):
        south, north = sorted(rng.sample(range(-90, 91, 15), 2))
        return rng.randrange(-180, 181, 20), south, rng.randrange(-180, 181, 20), north

    rng = random.Random(0)
    for _ in range(300):
        one, other = box(rng), box(rng)
        points = itertools.product(range(-180, 181, 5), range(-90, 91, 5))
        common = any(holds(one, *point) and holds(other, *point) for point in points)
        assert touches(one, other) == touches(other, one) == common


def test_a_granule_whose_place_is_not_told_is_left_out_and_counted():
    archive = placed(("D", *HERE), ("D", *HERE))
    archive.documents["MOD021KM"] = json.dumps(rows(name("0000"), name("0005"), name("0010")))
    items, _, told = ask(archive, bbox=HERE)
    assert [item.key for item in items] == [name("0000"), name("0005")]
    assert told["unplaced"] == ["00:10"]
    assert "the place of 1 granules" in in_words(told)
    del archive.documents[META]
    items, _, told = ask(archive, times="day")
    assert (items, told["unplaced"]) == ([], ["00:00", "00:05", "00:10"])


def test_lines_of_geographic_metadata_are_read_by_the_names_of_their_columns():
    text = geometa(DAY, [(name("0000", "MOD03"), "D", *HERE)])
    time = datetime(2026, 1, 1, tzinfo=UTC)
    assert parse_places(text.splitlines(), "x")[time].box == HERE
    # As its README shows it, the line of names without a sign; in another order; an empty line.
    other = "# title\n#\n\n" + ",".join(reversed(COLUMNS)) + "\n"
    cells = text.splitlines()[-1].split(",")
    other += ",".join(reversed(cells)) + "\nMOD03.A2026001,half a line\n"
    assert parse_places(other.splitlines(), "x") == parse_places(text.splitlines(), "x")
    with pytest.raises(UserError, match="x: expected a line that names the columns"):
        parse_places(["# title", "a,b,c"], "x")


def test_a_manifest_is_the_same_from_any_mirror_and_changes_only_with_the_granules(tmp_path):
    archive = Archive(MOD021KM=rows(name("0000"), name("0005")))
    recipe = {
        "dataset": "terra", "kind": "modis-l1b", "platform": "Terra", "date": DAY,
        "source": {"kind": "laads", "collection": 61, "companions": [], "times": "any",
                   "bbox": None},
    }  # fmt: skip
    manifest = tmp_path / "manifests" / f"{DAY}.jsonl"

    def write(client=archive, url=URL):
        changed = write_day(recipe, client, url=url, manifest=manifest, folder=tmp_path / "raw")
        files = [manifest, manifest.with_suffix(".json")]
        return changed, [path.read_bytes() for path in files], [p.stat().st_mtime_ns for p in files]

    first, again = write(), write()
    assert (first[0], again[0]) == (True, False)
    assert first[1:] == again[1:]  # not even written anew

    class Mirror(Archive):
        def text(self, url):
            return archive.text(url.replace("https://mirror.invalid", URL))

    assert write(Mirror(), "https://mirror.invalid/")[0] is False
    archive.documents["MOD021KM"] = json.dumps(rows(name("0000"), name("0005"), "notes.txt"))
    noted = write()
    assert noted[0] is False
    assert noted[2][0] == first[2][0]
    assert noted[1][1] != first[1][1]  # the summary tells of the file that was set aside
    archive.documents["MOD021KM"] = json.dumps(rows(name("0000"), name("0005"), name("0010")))
    assert write()[0] is True
    assert len(list(read_manifest(manifest))) == 3
    summary = json.loads(manifest.with_suffix(".json").read_text())
    assert summary["at_source"]["missing"] == 285
    assert (summary["items"], summary["bytes"]) == (3, 3003)


def test_the_token_is_for_the_archive_alone_and_its_absence_says_how_to_get_one():
    assert tokens(URL, {TOKEN: " abc "}) == {"archive.invalid": "abc"}
    with pytest.raises(UserError, match=r"EARTHDATA_TOKEN is not set.*Generate Token.*export"):
        tokens(URL, {})
