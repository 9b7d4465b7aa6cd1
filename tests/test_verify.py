"""`pack --verify`: every kind of damage to a corpus is found and named."""

import json
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import h5py
import numpy as np
import pytest
from pictures import encoded, picture

from tests.conftest import ROOT
from tests.test_aicca import RECIPE as LABELLED
from tests.test_aicca import days, label_files, rows_for  # noqa: F401
from tests.test_pack import RECIPE as IMAGES
from tests.test_pack import item
from workflow_scripts.digests import digest, file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.manifest import write_manifest
from workflow_scripts.files import json_text, read_json, write_json
from workflow_scripts.pack.__main__ import work
from workflow_scripts.shards import layout
from workflow_scripts.shards.corpus import content_digest
from workflow_scripts.shards.verify import index_faults, verify


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A corpus of twelve images in several shards, with classes and splits."""
    folder = tmp_path_factory.mktemp("packed")
    items = []
    for number in range(12):
        name = ("forest", "river")[number % 2]
        path = folder / "raw" / f"{name}{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(picture(number, size=(20, 30)), "PNG"))
        items.append(item(path, folder / "raw", label=name, split="train"))
    write_manifest(folder / "places.jsonl", items)
    index = folder / "out" / "index.json"
    arguments = Namespace(index=index, manifests=[folder / "places.jsonl"], judged=[], workers=1)
    size = sum(Path(one.path).stat().st_size for one in items)
    work(arguments, {**IMAGES, "shard_bytes": size // 3})
    return index.parent


@pytest.fixture
def images(packed, tmp_path):
    """The index of a copy that may be damaged."""
    return shutil.copytree(packed, tmp_path / "images") / "index.json"


@pytest.fixture
def labelled(days, tmp_path):  # noqa: F811
    """The index of labelled chips: day files in another folder, and a selection."""
    rows = rows_for([*days["terra"], *days["aqua"]])
    manifest = label_files(tmp_path / "aicca", rows)
    index = tmp_path / "shards" / "bench-aicca" / "index.json"
    root = tmp_path / "chips"
    work(Namespace(index=index, manifests=[manifest], chips_root=root, workers=1), LABELLED)
    return index


def flip(path, byte, bit=0):
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)


def seal(index, **changes):
    """Write an index anew with its own digests right, as if packing had written the changes."""
    body = {**read_json(index), **changes}
    body["content"] = content_digest(body)
    rest = {key: value for key, value in body.items() if key != "checksum"}
    write_json(index, {**rest, "checksum": digest(rest)})


def shards_of(index):
    return [index.parent / row["file"] for row in read_json(index)["shards"]]


def test_what_was_packed_is_whole(images, labelled):
    found = verify(images)
    paths = [images, *shards_of(images)]
    assert len(paths) > 3
    assert (found.samples, found.files, found.faults) == (12, len(paths), [])
    assert found.bytes == sum(path.stat().st_size for path in paths)
    chips = verify(labelled, workers=2)
    assert chips.faults == []
    assert chips.samples == read_json(labelled)["count"] > 100
    assert chips.files == len(shards_of(labelled)) + 2


def test_the_checksum_makes_no_other_index_of_the_same_things(packed, tmp_path):
    first = (packed / "index.json").read_bytes()
    arguments = Namespace(
        index=tmp_path / "index.json",
        manifests=[packed.parent / "places.jsonl"],
        judged=[],
        workers=3,
    )
    work(arguments, read_json(packed / "index.json")["recipe"])
    assert arguments.index.read_bytes() == first


def test_every_bit_of_the_index_counts(packed):
    data = (packed / "index.json").read_bytes()
    assert index_faults(data, json.loads(data)) == []
    passed = []
    for place in range(8 * len(data)):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        try:
            index = json.loads(changed.decode())
        except ValueError:
            continue  # refused before its content is looked at
        if not isinstance(index, dict) or not index_faults(bytes(changed), index):
            passed.append((place, changed[place // 8]))
    assert passed == []


def test_other_spellings_of_the_same_values_are_found(images):
    whole = images.read_text()
    for text in (whole + "\n", json.dumps(read_json(images)), whole.replace('": ', '":  ', 1)):
        images.write_text(text)
        assert ["its text is not how pack writes" in fault for fault in verify(images).faults] == [
            True
        ]


@pytest.mark.parametrize("kind", ["images", "labelled"])
def test_single_bits_at_random_places_of_the_index(request, kind):
    index = request.getfixturevalue(kind)
    whole, rng = index.read_bytes(), np.random.default_rng(1)
    for byte in rng.integers(0, len(whole), 25):
        index.write_bytes(whole)
        flip(index, byte, rng.integers(8))
        try:
            faults = verify(index, workers=1).faults
        except UserError as error:
            faults = [str(error)]
        assert any(fault.startswith(f"{index}: ") for fault in faults), byte


def copies(index, path, count, tmp_path):
    """List a shard many times over under other names, each with one bit flipped."""
    row = next(row for row in read_json(index)["shards"] if index.parent / row["file"] == path)
    rng = np.random.default_rng(2)
    rows = []
    for number in range(count):
        copy = tmp_path / f"copy-{number}.h5"
        shutil.copy(path, copy)
        if number:
            flip(copy, rng.integers(copy.stat().st_size), rng.integers(8))
        rows.append({**row, "file": str(copy)})
    seal(index, shards=rows, count=count * row["count"], selection=None)
    return [Path(row["file"]) for row in rows]


@pytest.mark.parametrize("kind", ["images", "labelled"])
def test_single_bits_at_random_places_of_a_shard(request, kind, tmp_path):
    index = request.getfixturevalue(kind)
    first, *damaged = copies(index, shards_of(index)[0], 200, tmp_path)
    faults = verify(index).faults
    assert [fault.partition(": ")[0] for fault in faults] == [str(path) for path in damaged]
    for fault, path in zip(faults, damaged, strict=True):
        assert f"sha256 is {file_sha256(path)}, expected {file_sha256(first)}" in fault
        assert "restore it" in fault
    text = "\n".join(faults)
    assert "1 of " in text  # samples are named
    assert "all samples match their crc32" in text
    assert "cannot be opened as a shard" in text


def test_single_bits_at_random_places_of_a_selection(labelled):
    path = labelled.parent / "selection.h5"
    whole, rng = path.read_bytes(), np.random.default_rng(3)
    expected = file_sha256(path)
    for byte in rng.integers(0, len(whole), 40):
        path.write_bytes(whole)
        flip(path, byte, rng.integers(8))
        (fault,) = verify(labelled).faults
        assert fault.startswith(f"{path}: sha256 is {file_sha256(path)}, expected {expected}; ")


@pytest.mark.parametrize(("kind", "name"), [("images", layout.POOL), ("labelled", layout.COUNTS)])
def test_damaged_samples_are_named_by_row_and_key(request, kind, name):
    index = request.getfixturevalue(kind)
    path = shards_of(index)[1]
    with h5py.File(path) as file:
        place, size = file[name].id.get_offset(), file[name].id.get_storage_size()
        count, keys = len(file["keys"]), [key.decode() for key in file["keys"]]
    flip(path, place)
    flip(path, place + size - 1)
    (fault,) = verify(index).faults
    named = f"0 ({keys[0]}), {count - 1} ({keys[-1]})"
    assert f"2 of {count} samples do not match their crc32: {named}; restore it" in fault


def test_all_faults_are_named(images):
    paths = shards_of(images)
    paths[0].unlink()
    size = paths[1].stat().st_size
    paths[1].write_bytes(paths[1].read_bytes()[:-50])
    flip(paths[2], 5000)
    index = read_json(images)
    index["mean"][0] += 0.001
    write_json(images, index)
    faults = verify(images).faults
    assert len(faults) == 4
    for words in (
        [f"{images}: the digest of what it says is ", "its checksum is"],
        [f"{paths[0]}: no such file, expected one with {index['shards'][0]['count']} samples"],
        [f"{paths[1]}: {size - 50} bytes, expected {size}; sha256", "cannot be opened as a shard"],
        [f"{paths[2]}: sha256 is "],
    ):
        (fault,) = [fault for fault in faults if fault.startswith(words[0])]
        assert all(word in fault for word in [*words, "restore it"])


def test_wrong_counts_are_found(images):
    rows = read_json(images)["shards"]
    rows[1]["count"] += 1
    seal(images, shards=rows)
    held, path = rows[1]["count"] - 1, shards_of(images)[1]
    count, file = verify(images).faults
    assert f"{images}: its count is 12, expected 13" in count
    assert f"{path}: {held} samples, expected {held + 1}; " in file
    seal(images, shards=rows, count=13)
    assert [fault.partition(":")[0] for fault in verify(images).faults] == [str(path)]


def test_a_wrong_count_of_the_selection_is_found(labelled):
    entry = read_json(labelled)["selection"]
    seal(labelled, selection={**entry, "count": 1}, count=1)
    (fault,) = verify(labelled).faults
    assert f"selection.h5: {entry['count']} samples, expected 1; " in fault


def test_a_shard_of_another_kind_or_of_another_format_is_found(images, labelled):
    rows = read_json(images)["shards"]
    chips, other = shards_of(labelled)[0], images.with_name("other.h5")
    h5py.File(other, "w").close()
    for row, path in zip(rows, (chips, other), strict=False):
        row.update(file=str(path), sha256=file_sha256(path), bytes=path.stat().st_size)
    seal(images, shards=rows)
    first, second = verify(images).faults
    assert f"{chips}: holds chips, expected images; " in first
    assert f"{other}: attribute format is None, not 'orbweaver-shard'; " in second


def test_an_index_without_a_checksum_is_told_to_be_so(images):
    index = read_json(images)
    del index["checksum"]
    write_json(images, index)
    (fault,) = verify(images).faults
    assert "no key `checksum`" in fault
    assert "made before indexes had one, or is damaged" in fault


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "not valid JSON"), ("[1]", "a JSON list, expected an object"), (None, "No such file")],
)
def test_what_is_no_index_is_refused(tmp_path, text, words):
    if text is not None:
        (tmp_path / "index.json").write_text(text)
    with pytest.raises(UserError, match=words):
        verify(tmp_path / "index.json")


def test_rows_that_cannot_be_understood_are_faults(images):
    write_json(images, {**read_json(images), "shards": [{"file": 5}, 7]})
    text = "\n".join(verify(images).faults)
    assert "{'file': 5} lacks file, sha256 or count" in text
    assert "7 lacks file, sha256 or count" in text


def test_an_index_of_a_newer_format_is_refused(images):
    seal(images, format_version=layout.FORMAT_VERSION + 1)
    with pytest.raises(UserError, match="is newer than"):
        verify(images)


def run_verify(*words):
    command = [sys.executable, "-m", "workflow_scripts.pack", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_program_needs_no_recipe_and_ends_with_what_it_found(images, tmp_path):
    done = run_verify("--verify", images, "--workers", 2, "--log", tmp_path / "log")
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert f"{images}: all as packed: 12 samples in {len(shards_of(images)) + 1} files" in line
    assert (tmp_path / "log").read_text() == done.stderr
    flip(shards_of(images)[0], 5000)
    shards_of(images)[1].unlink()
    before = {path: path.read_bytes() for path in images.parent.iterdir()}
    done = run_verify(f"--verify={images}")
    assert done.returncode == 1
    assert f"{images}: 2 faults" in done.stderr
    assert all(str(path) in done.stderr for path in shards_of(images)[:2])
    assert "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in images.parent.iterdir()} == before


def test_the_index_is_as_pack_writes_it(packed):
    assert (packed / "index.json").read_text() == json_text(read_json(packed / "index.json"))
