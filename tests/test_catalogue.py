"""The catalogue: whole, usable, readable, and told in its page and on the terminal."""

import re
import subprocess
import sys
import textwrap

import pytest
import yaml

from tests.conftest import ROOT
from tests.test_config import changed
from workflow_scripts.catalogue import docs
from workflow_scripts.catalogue.entries import FILE, entries, read_entries
from workflow_scripts.catalogue.listing import table, whole
from workflow_scripts.catalogue.words import config_lines, files, how
from workflow_scripts.code_digest import import_closure
from workflow_scripts.config_check import check_config, load_config
from workflow_scripts.errors import UserError
from workflow_scripts.fetch_recipe import fetch

# What the mission names, by entry.
WANTED = {
    "millionaid-labelled", "millionaid", "ucmerced", "aid", "resisc45", "patternnet", "rsd46-whu",
    "mlrsnet", "naip", "geopile", "geopile-archive", "eurosat", "eurosat100", "oscd", "bigearthnet",
    "modis-terra-l1b", "modis-aqua-l1b", "aicca",
}  # fmt: skip
ALL = pytest.mark.parametrize("name", sorted(WANTED))


def test_every_dataset_of_the_mission_is_there():
    assert set(entries()) == WANTED


@ALL
def test_what_is_not_known_is_said(name):
    entry = entries()[name]
    assert entry.citation
    assert entry.licence or "licence" in entry.notes
    for file in files(entry.source):
        assert file.sha256 or file.md5 or "checksums are not published" in entry.notes, file.name
    if not files(entry.source) and how(entry.source) in ("https", "hub", "by hand"):
        assert "checksum" in entry.notes
    if not (entry.bytes or entry.size) and files(entry.source):
        assert re.search("size.* (not published|not seen)", entry.notes, re.IGNORECASE)


@ALL
def test_addresses_are_safe_or_checked(name):
    entry = entries()[name]
    for file in files(entry.source):
        assert all(url.startswith("https://") for url in file.urls) or file.sha256
    urls = [entry.homepage, *(url for file in files(entry.source) for url in file.urls)]
    assert all(url.startswith("https://") for url in urls) or "http alone" in entry.notes


@ALL
def test_commits_are_named_in_full(name):
    revision = getattr(entries()[name].source, "revision", "0" * 40)
    assert re.fullmatch("[0-9a-f]{40}", revision)


@ALL
def test_files_add_up_to_the_whole(name):
    entry = entries()[name]
    sizes = [file.bytes for file in files(entry.source)]
    if entry.bytes:
        assert sum(sizes) == entry.bytes


def test_geopile_is_the_sum_of_its_parts():
    parts = [entries()[name].expected for name in entries()["geopile"].source.of if name != "naip"]
    chips_of_naip = 300_000
    assert entries()["geopile"].expected.items == chips_of_naip + sum(p.items for p in parts)
    assert entries()["geopile-archive"].expected == entries()["geopile"].expected


@ALL
def test_its_lines_are_a_configuration_that_loads(name, tmp_path):
    lines = config_lines(name, entries()[name])
    if not lines:
        assert entries()[name].source.kind == "union"
        return
    if name == "aicca":
        for other in ("modis-terra-l1b", "modis-aqua-l1b"):
            lines += config_lines(other, entries()[other])[1:]
    mine = tmp_path / "my.yaml"
    mine.write_text("\n".join(lines))
    assert load_config(mine).datasets[name].catalogue == name


def test_the_embedded_configuration_names_entries_of_its_own_kinds():
    config = load_config()
    named = [one.catalogue for one in config.datasets.values() if getattr(one, "catalogue", None)]
    assert set(named) <= WANTED  # kinds are compared when the configuration is loaded


def test_the_other_satellite_is_refused():
    entry = {"kind": "modis-l1b", "catalogue": "modis-aqua-l1b", "platform": "Terra",
             "first": "2019-01-01", "last": "2019-01-01"}  # fmt: skip
    with pytest.raises(UserError, match=r"datasets.mine.platform: Terra, but .* is of Aqua"):
        check_config(changed("datasets.mine", entry))


GOOD = """
one:
  title: One
  what: things
  kind: image-folder
  version: "1"
  citation: by heart
  homepage: https://a.org
  source:
    kind: https
    files:
      - {name: one.zip, urls: ["https://a.org/one.zip"], md5: 0123456789abcdef0123456789abcdef}
"""
PARTS = "kind: union\n    of: [two]\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("version", "edition", "one.version: Field required"),
        ("version", "edition", "one.edition: Extra inputs are not permitted (value '1')"),
        ("one:", "One:", "One: no name of an entry; expected small letters, digits, - and _"),
        ("0123456789abcdef0123", "0123", "one.source.files.0.md5: String should match pattern"),
        ("name: one.zip", "name: /one.zip", "one.source.files.0.name: '/one.zip' is no path below"),
        ("kind: https", "kind: ftp", "one.source: Input tag 'ftp'"),
        ("kind: image-folder", "kind: modis-l1b", "one.platform: of kind modis-l1b, and of no"),
        ("https:\n", "https: [\n", "not valid YAML"),
        ("kind: https\n    files:", f"{PARTS}\n    files:", "one.source.files: Extra inputs"),
        ("homepage", "expected: {items: 4, classes: 3, per_class: 2}\n  homepage",
         "one.expected: per_class adds up to 6 items, items is 4"),
        ("homepage", "expected: {classes: 3, per_class: {a: 1}}\n  homepage",
         "one.expected: per_class names 1 classes, classes is 3"),
    ],
)  # fmt: skip
def test_a_broken_entry_is_told_by_its_key(old, new, said, tmp_path):
    file = tmp_path / "catalogue.yaml"
    assert old in GOOD or old == "https:\n"
    file.write_text(GOOD.replace(old, new, 1) if old in GOOD else GOOD + new)
    with pytest.raises(UserError) as error:
        read_entries(file)
    assert said in str(error.value)


def test_no_two_entries_have_a_name_or_a_file(tmp_path):
    file = tmp_path / "catalogue.yaml"
    file.write_text(GOOD + GOOD)
    with pytest.raises(UserError, match="one: there are 2 entries of this name"):
        read_entries(file)
    file.write_text(GOOD + GOOD.replace("one:", "two:").replace("one.zip, u", "two.zip, u"))
    with pytest.raises(UserError, match=r"two.source.files: two.zip has the checksum or URL of"):
        read_entries(file)
    file.write_text(GOOD)
    assert list(read_entries(file)) == ["one"]


def test_a_union_names_entries_with_files(tmp_path):
    file = tmp_path / "catalogue.yaml"
    union = textwrap.indent(f"source:\n    {PARTS}", "  ")
    file.write_text(GOOD.partition("  source:")[0] + union)
    with pytest.raises(UserError, match=r"one.source.of: 'two' is no entry with files of its own"):
        read_entries(file)


def test_the_page_tells_the_catalogue():
    assert docs.PAGE.read_text(encoding="utf-8") == docs.page(), (
        f"{docs.PAGE} has drifted: run python -m workflow_scripts.catalogue.docs"
    )


@ALL
def test_page_and_terminal_tell_files_checksums_and_steps(name):
    entry, known = entries()[name], entries()
    told = " ".join(whole(name, known).split())
    section = docs.page({name: entry})
    for text in (told, section):
        for file in files(entry.source):
            assert file.name in text
            for mark in filter(None, (file.sha256, file.md5, file.bytes and f"{file.bytes:,}")):
                assert mark in text
        if how(entry.source) == "by hand":
            assert f"data/raw/{name}" in text
            assert "<dataset>" not in text.partition("## ")[2]
    assert " ".join(entry.citation.split()) in told
    assert name in table(known)


def test_rars_are_unpacked_by_a_command_that_is_shown():
    for name in ("rsd46-whu", "mlrsnet", "geopile-archive"):
        assert "unrar x" in whole(name, entries())


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "workflow_scripts.fetch", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_fetch_lists_the_catalogue_and_needs_no_recipe():
    done = run("--list")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip("\n") == table(entries())
    assert max(map(len, done.stdout.splitlines())) < 170
    one = run("--list", "eurosat")
    assert one.stdout.rstrip("\n") == whole("eurosat", entries())


def test_an_unknown_entry_ends_with_the_nearest():
    done = run("--list", "eurosta")
    assert done.returncode != 0
    assert "no entry 'eurosta'; did you mean 'eurosat'?" in done.stderr


def test_a_new_entry_makes_no_dataset_stale():
    closure = import_closure("fetch")
    assert not any(name.startswith("workflow_scripts.catalogue.ent") for name in closure)
    assert FILE.parent not in {file.parent for file in closure.values()}


def test_the_file_holds_no_more_than_entries():
    assert set(yaml.safe_load(FILE.read_text(encoding="utf-8"))) == WANTED


def test_steps_by_hand_name_the_datasets_folder():
    entry = {"kind": "image-folder", "catalogue": "mlrsnet"}
    told = fetch(check_config(changed("datasets.mine", entry)), "mine")["obtain"]
    assert "data/raw/mine/" in told
    assert "<dataset>" not in told


def test_the_guide_shows_sources_that_load(tmp_path):
    page = (ROOT / "docs" / "your-own-data.md").read_text(encoding="utf-8")
    part = page.partition("## Known datasets")[2].partition("\n## ")[0]
    known, own = re.findall(r"```yaml\n(.*?)```", part, re.DOTALL)
    for text, name in ((known, "ucm"), (own, "fields")):
        mine = tmp_path / "my.yaml"
        mine.write_text(text)
        assert load_config(mine).datasets[name].kind == "image-folder"


def root_of(path):
    entry = {"kind": "image-folder", "catalogue": "ucmerced", "path": str(path)}
    return fetch(check_config(changed("datasets.mine", entry)), "mine")["root"]


def test_the_root_is_that_of_the_archive_as_it_was_published(tmp_path):
    root = entries()["ucmerced"].root
    unpacked, there, zipped = (tmp_path / name for name in ("unpacked", "there", "zipped"))
    (unpacked / "airplane").mkdir(parents=True)
    assert root_of(unpacked) is None  # the classes are at the top
    (there / root / "airplane").mkdir(parents=True)
    assert root_of(there) == root
    zipped.mkdir()
    archive = zipped / "UCMerced_LandUse.zip"
    archive.write_bytes(b"PK")
    assert root_of(zipped) == root_of(archive) == root
    entry = {"kind": "image-folder", "catalogue": "ucmerced", "path": str(unpacked), "root": "a/b"}
    assert fetch(check_config(changed("datasets.mine", entry)), "mine")["root"] == "a/b"
