"""Packing from archives read in place gives the shards that a folder of the same files gives."""

import errno
import hashlib
import json
import tarfile
import zipfile

import pytest
from image_sets import pack, photos
from pictures import encoded, picture

from workflow_scripts.archives.members import members
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.manifest import Item, read_manifest, write_manifest
from workflow_scripts.pack import image_shard
from workflow_scripts.stored import address_in, digest_stored

FILES = {key: data for key, (data, _, _) in photos(range(6)).items()} | {
    "lake/large.png": encoded(picture(1, size=(330, 210)), "PNG"),
    "lake/grey.tif": encoded(picture(2, channels=1), "TIFF"),
}


def archive(folder, form):
    path = folder / f"places.{form}"
    if form == "tar":
        with tarfile.open(path, "w") as file:
            for key in FILES:
                file.add(folder / "files" / key, arcname=key)
        return path
    method = {"stored.zip": zipfile.ZIP_STORED, "deflated.zip": zipfile.ZIP_DEFLATED}[form]
    with zipfile.ZipFile(path, "w", method) as file:
        for key, data in FILES.items():
            file.writestr(key, data)
    return path


def manifest_of(folder, name, paths):
    items = [
        Item(key=key, path=path, sha256=digest_stored(path)[0], bytes=len(FILES[key]),
             label=key.split("/")[0], split="train")
        for key, path in paths.items()
    ]  # fmt: skip
    (folder / name).mkdir()
    write_manifest(folder / name / "places.jsonl", items)
    return [("places", folder / name / "places.jsonl")]


@pytest.fixture
def from_folder(tmp_path):
    for key, data in FILES.items():
        path = tmp_path / "files" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return manifest_of(tmp_path, "folder", {k: str(tmp_path / "files" / k) for k in FILES})


def packed(manifests, folder, **changes):
    body, _ = pack(manifests, folder, shard_bytes=4000, quality=100, **changes)
    shards = {path.name: path.read_bytes() for path in folder.glob("shard-*.h5")}
    assert not (folder / ".packing").exists()
    return json.dumps(body), {name: hashlib.sha256(data).hexdigest() for name, data in
                              shards.items()}  # fmt: skip


@pytest.mark.parametrize("form", ["stored.zip", "deflated.zip", "tar"])
@pytest.mark.parametrize("most_bytes", [None, 10])
def test_shards_from_an_archive_are_those_from_the_folder(
    tmp_path, from_folder, monkeypatch, form, most_bytes
):
    if most_bytes is not None:  # all are giants then, which libvips reads from files
        monkeypatch.setattr(image_shard, "MOST_BYTES", most_bytes)
    path = archive(tmp_path, form)
    in_archive = manifest_of(tmp_path, "archive", {one.key: one.address for one in members(path)})
    expected = packed(from_folder, tmp_path / "a")
    assert len(expected[1]) > 2
    assert packed(in_archive, tmp_path / "b") == expected


@pytest.mark.parametrize(
    ("form", "change", "told"),
    [
        ("deflated.zip", lambda data, at: data[:at], "ends before this member"),
        ("deflated.zip", lambda data, at: data[:at] + b"\7" + data[at + 1 :], "broken deflate"),
        ("stored.zip", lambda data, at: data[:at] + b"\7" + data[at + 1 :], "sha256 is"),
        ("tar", lambda data, at: None, "No such file"),
    ],
)
def test_an_archive_that_changed_since_its_manifest_is_refused(
    tmp_path, from_folder, form, change, told
):
    path = archive(tmp_path, form)
    manifests = manifest_of(tmp_path, "archive", {o.key: o.address for o in members(path)})
    first = next(read_manifest(manifests[0][1]))
    data = change(path.read_bytes(), address_in(first.path).offset)
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(
        UserError, match=rf"places\.{form}!.*{told}.*remove that \(data/manifests/.*\.jsonl\)"
    ):
        pack(manifests, tmp_path / "out")


def test_a_disk_that_fills_while_a_giant_is_copied_is_told_as_that(
    tmp_path, from_folder, monkeypatch
):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "scratch")

    path = archive(tmp_path, "tar")
    manifests = manifest_of(tmp_path, "archive", {o.key: o.address for o in members(path)})
    monkeypatch.setattr(image_shard, "MOST_BYTES", 10)
    monkeypatch.setattr(image_shard.tempfile, "NamedTemporaryFile", full)
    with pytest.raises(UserError, match=r"No space left on device.*while it was packed"):
        pack(manifests, tmp_path / "out")
