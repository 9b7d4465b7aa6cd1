"""The fetch stage on image folders: what is listed, how, and what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.fetch import generated
from workflow_scripts.fetch.datasets import fetch_image_folder
from workflow_scripts.fetch.folder import listing_digest
from workflow_scripts.fetch.inventory import summary
from workflow_scripts.fetch.manifest import Item, read_manifest, write_manifest

ROOT = Path(__file__).resolve().parent.parent


def recipe(path, **changes):
    return {
        "dataset": "places",
        "kind": "image-folder",
        "path": str(path),
        "listing_digest": None,
        "split": {"by": "none"},
        "obtain": "Ask the library for it.",
        **changes,
    }


@pytest.fixture
def folder(tmp_path):
    """Two classes of three files each; fetch reads bytes only, so that any will do."""
    place = tmp_path / "places"
    for name in ("river", "forest"):
        (place / name).mkdir(parents=True)
        for number in range(3):
            (place / name / f"{name}{number}.JPG").write_bytes(f"{name}{number}".encode())
    return place


def run_fetch(arguments, cwd):
    command = [sys.executable, "-m", "workflow_scripts.fetch", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_items_have_key_checksum_size_and_class(folder):
    items, set_aside = fetch_image_folder(recipe(folder))
    assert [item.key for item in items] == [
        f"{name}/{name}{number}.JPG" for name in ("forest", "river") for number in range(3)
    ]
    assert items[4] == Item(
        key="river/river1.JPG",
        path=str(folder / "river/river1.JPG"),
        sha256=file_sha256(folder / "river/river1.JPG"),
        bytes=6,
        label="river",
    )
    assert set_aside == []


def test_paths_below_the_working_folder_are_relative(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    (folder.parent / "link").symlink_to(folder)
    items, _ = fetch_image_folder(recipe("link"))
    assert items[0].path == "link/forest/forest0.JPG"


def test_other_files_and_hidden_ones_are_no_images(folder):
    (folder / "split.csv").write_text("a table beside the classes")
    (folder / "river" / ".river9.jpg").write_bytes(b"hidden")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "river.jpg").write_bytes(b"hidden")
    assert len(fetch_image_folder(recipe(folder))[0]) == 6


def test_empty_and_unreadable_files_are_set_aside_with_their_reason(folder):
    (folder / "river" / "river0.JPG").write_bytes(b"")
    (folder / "river" / "river3.jpg").symlink_to(folder / "nowhere.jpg")
    items, set_aside = fetch_image_folder(recipe(folder))
    assert len(items) == 5
    assert set_aside == [
        {"key": "river/river0.JPG", "reason": "empty file (0 bytes)"},
        {"key": "river/river3.jpg", "reason": "cannot be read (No such file or directory)"},
    ]


def test_a_name_that_is_not_utf8_is_set_aside(folder):
    Path(os.fsdecode(os.fsencode(folder / "river") + b"/caf\xe9.jpg")).write_bytes(b"x")
    _, set_aside = fetch_image_folder(recipe(folder))
    assert set_aside[0]["key"] == "river/caf\\udce9.jpg"
    assert "not UTF-8" in set_aside[0]["reason"]


def test_split_by_folder(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split / "land" / "river").mkdir(parents=True)
        (tmp_path / split / "land" / "river" / "a.png").write_bytes(split.encode())
    items, _ = fetch_image_folder(recipe(tmp_path, split={"by": "folder"}))
    assert [(i.split, i.label) for i in items] == [("test", "land/river"), ("train", "land/river")]


def test_a_folder_that_is_no_split_is_refused(folder):
    with pytest.raises(UserError, match=r"forest/forest0.JPG: .*one of train, val, test"):
        fetch_image_folder(recipe(folder, split={"by": "folder"}))


def test_an_unknown_way_to_split_is_refused(folder):
    with pytest.raises(UserError, match=r"split.by is 'magic'"):
        fetch_image_folder(recipe(folder, split={"by": "magic"}))


@pytest.mark.parametrize("empty", [False, True])
def test_missing_data_tells_where_to_get_and_put_it_and_which_key(tmp_path, empty):
    if empty:
        (tmp_path / "gone").mkdir()
    with pytest.raises(UserError) as caught:
        fetch_image_folder(recipe(tmp_path / "gone"))
    text = str(caught.value)
    assert "Ask the library for it." in text
    assert str(tmp_path / "gone") in text
    assert "datasets.places.path" in text


def test_duplicates_are_counted_and_stay_together(folder):
    (folder / "river" / "copy.jpg").write_bytes(b"river0")
    split = {"by": "fraction", "train": 0.5, "val": 0.0, "test": 0.5, "seed": 3}
    items, _ = fetch_image_folder(recipe(folder, split=split))
    body = summary(items, [], dataset="places", synthetic=False, source="")
    assert (body["duplicates"], body["duplicates_across_splits"]) == (2, 0)


def test_copies_in_different_folders_of_splits_are_counted(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split / "river").mkdir(parents=True)
        (tmp_path / split / "river" / "a.png").write_bytes(b"same")
    items, _ = fetch_image_folder(recipe(tmp_path, split={"by": "folder"}))
    body = summary(items, [], dataset="places", synthetic=False, source="")
    assert body["duplicates_across_splits"] == 2


def test_the_listing_sees_names_sizes_and_times_of_images_only(folder):
    first = listing_digest(folder)
    (folder / "notes.txt").write_text("not an image")
    assert listing_digest(folder) == first
    image = folder / "river" / "river0.JPG"
    seen = image.stat()
    image.write_bytes(b"RIVER0")  # as many bytes
    os.utime(image, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert listing_digest(folder) == first
    os.utime(image, ns=(seen.st_atime_ns, seen.st_mtime_ns + 1))
    touched = listing_digest(folder)
    image.rename(folder / "river" / "other.jpg")
    assert len({first, touched, listing_digest(folder)}) == 3


def test_the_listing_gives_up_above_its_limit(folder):
    assert listing_digest(folder, limit=6) is not None
    assert listing_digest(folder, limit=5) is None


def test_a_link_back_up_ends(folder):
    (folder / "river" / "up").symlink_to(folder)
    assert len(fetch_image_folder(recipe(folder))[0]) == 6


def test_a_manifest_comes_back_as_written(tmp_path):
    items = [Item(key=f"{n}.jpg", path="ä", sha256="0" * 64, bytes=n) for n in (2, 1)]
    write_manifest(tmp_path / "m.jsonl", items)
    assert list(read_manifest(tmp_path / "m.jsonl")) == items[::-1]


def test_a_broken_manifest_is_refused_by_line(tmp_path):
    write_manifest(tmp_path / "m.jsonl", [Item(key="a", path="a", sha256="0", bytes=1)])
    with (tmp_path / "m.jsonl").open("a") as file:
        file.write('{"key": "half')
    with pytest.raises(UserError, match=r"m\.jsonl: line 2 is .*run fetch"):
        list(read_manifest(tmp_path / "m.jsonl"))


def test_the_program_writes_the_same_bytes_again(folder, tmp_path):
    split = {"by": "fraction", "train": 0.5, "val": 0.0, "test": 0.5, "seed": 3}
    arguments = ["--recipe", json.dumps(recipe("places", split=split)), "--manifest"]
    for name in ("one/places.jsonl", "two/places.jsonl"):
        done = run_fetch([*arguments, name], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    for name in ("places.jsonl", "places.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    result = json.loads((tmp_path / "one" / "places.json").read_text())
    assert result["items"] == 6
    assert result["classes"] == ["forest", "river"]
    assert result["synthetic"] is False
    assert (tmp_path / "one" / "places.provenance.json").is_file()


def test_the_program_ends_with_the_advice_and_no_traceback(tmp_path):
    arguments = ["--recipe", json.dumps(recipe("gone")), "--manifest", "m.jsonl"]
    done = run_fetch(arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert "datasets.places.path" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "m.jsonl").exists()


def test_generated_data_never_removes_what_it_did_not_make(tmp_path):
    (tmp_path / "mine.jpg").write_bytes(b"precious")
    with pytest.raises(UserError, match="did not make"):
        generated.claim(tmp_path)
    assert (tmp_path / "mine.jpg").exists()


@pytest.mark.data
def test_uc_merced_is_listed_whole(shared_data):
    split = {"by": "fraction", "train": 0.8, "val": 0.0, "test": 0.2, "seed": 0}
    items, set_aside = fetch_image_folder(recipe(shared_data / "ucm", split=split))
    body = summary(items, set_aside, dataset="ucm", synthetic=False, source="")
    assert (body["items"], len(body["classes"]), body["duplicates"]) == (2100, 21, 2)
    assert set(body["class_counts"]["train"].values()) == {80}
    split_of = {item.key: item.split for item in items}
    assert split_of["airplane/airplane01.jpg"] == split_of["airplane/airplane02.jpg"]
