"""Where a dataset's files are looked for, and what is said when they are not all there."""

import hashlib
import io
import json
import tarfile
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.datasets import fetch_files, fetch_image_folder, fetch_image_list
from workflow_scripts.fetch.obtain import obtain
from workflow_scripts.stored import read_stored

IMAGES = {
    f"{name}/{name}{n}.jpg": f"{name}{n}".encode() * 9 for name in ("sea", "sand") for n in (1, 2)
}
MORE = {f"moor/moor{n}.jpg": f"moor{n}".encode() for n in (1, 2)}


def zipped(files):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return held.getvalue()


def tarred(files, packing=""):
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode=f"w:{packing}") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return held.getvalue()


def put(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def below(name, files=IMAGES):
    return {f"{name}/{key}": data for key, data in files.items()}


def recipe(path=None, **changes):
    return {
        "dataset": "places", "kind": "image-folder", "path": path and str(path), "source": None,
        "obtain": "Ask the library.", "root": None, "parquet": None, "expected": None,
        "split": {"by": "none"}, **changes,
    }  # fmt: skip


def manual(*files):
    return {"kind": "manual", "files": list(files)}


def named(name, data=None):
    known = {"bytes": len(data), "md5": hashlib.md5(data).hexdigest()} if data else {}
    return {"name": name, "bytes": None, "sha256": None, "md5": None, **known}


def found(told, raw=None, **more):
    return {one.key: read_stored(one.path) for one in obtain(told, {}, raw, **more).files()}


def test_a_folder_is_read_where_it_lies(tmp_path):
    put(tmp_path / "there", IMAGES)
    assert found(recipe(tmp_path / "there")) == IMAGES
    assert [one.name for one in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize(("name", "pack"), [("a.zip", zipped), ("a.tar", tarred)])
def test_an_archive_is_read_where_it_lies(tmp_path, name, pack):
    put(tmp_path, {name: pack(IMAGES)})
    assert found(recipe(tmp_path / name), tmp_path / "raw") == IMAGES
    assert [one.name for one in tmp_path.iterdir()] == [name]
    items, _ = fetch_image_folder(recipe(tmp_path / name))
    assert {item.label for item in items} == {"sea", "sand"}


@pytest.mark.parametrize("form", ["folder", "zip", "tar"])
def test_keys_begin_below_the_root(tmp_path, form):
    files = below("Places/Images") | {"Places/ground/sea/truth.jpg": b"not of the dataset"}
    if form == "folder":
        path = put(tmp_path / "there", files)
    else:
        path = tmp_path / f"a.{form}"
        path.write_bytes(zipped(files) if form == "zip" else tarred(files))
    told = recipe(path, root="Places/Images")
    assert found(told) == IMAGES
    assert sorted(obtain(told, {}, None).keys()) == sorted(IMAGES)


def test_a_root_that_is_not_there_names_the_folders_that_are(tmp_path):
    put(tmp_path, {"a.zip": zipped(below("Places/Images"))})
    with pytest.raises(UserError) as caught:
        found(recipe(tmp_path / "a.zip", root="places"))
    assert "below the folder 'places'" in str(caught.value)
    assert "Places, Places/Images, Places/Images/sand, Places/Images/sea" in str(caught.value)
    assert "datasets.places.root" in str(caught.value)


def test_the_beginning_of_a_folders_name_is_no_root(tmp_path):
    put(tmp_path, {"a.zip": zipped({"Images2/sea/1.jpg": b"1", "Images/sea/1.jpg": b"2"})})
    assert found(recipe(tmp_path / "a.zip", root="Images")) == {"sea/1.jpg": b"2"}


def test_a_path_that_is_no_archive_says_what_it_is(tmp_path):
    put(tmp_path, {"a.zip": b"<!DOCTYPE html><html>log in</html>"})
    with pytest.raises(UserError, match=r"a\.zip is an HTML page"):
        found(recipe(tmp_path / "a.zip"))


def test_a_missing_path_says_where_to_get_it(tmp_path):
    with pytest.raises(
        UserError, match=r"none does not exist.*\nAsk the library\.\n.*places\.path"
    ):
        found(recipe(tmp_path / "none"))


def test_a_folder_of_archives_stands_for_what_is_in_them(tmp_path):
    put(tmp_path / "there", {"a.zip": zipped(IMAGES), "b/c.tar": tarred(MORE)})
    assert found(recipe(tmp_path / "there")) == IMAGES | MORE


def test_two_archives_of_one_key_are_refused_by_name(tmp_path):
    put(tmp_path / "there", {"a.zip": zipped(IMAGES), "b.zip": zipped({"sea/sea1.jpg": b"other"})})
    with pytest.raises(UserError, match=r"sea/sea1\.jpg is in a\.zip and in b\.zip"):
        found(recipe(tmp_path / "there"))


def test_members_that_cannot_be_are_set_aside_by_name(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("workflow_scripts.logs.log.propagate", True)
    twice = zipped(IMAGES | {"sea/odd\\name.jpg": b"x"})
    put(tmp_path, {"a.zip": twice})
    items, set_aside = fetch_image_folder(recipe(tmp_path / "a.zip"))
    assert len(items) == 4
    assert [row["key"] for row in set_aside] == ["a.zip: sea/odd\\name.jpg"]
    assert "1 members of archives set aside; the first is a.zip: sea/odd\\name.jpg: " in caplog.text


def test_what_is_not_there_at_all_is_told_with_place_and_command(tmp_path):
    source = manual(named("train.zip", b"12345"), named("test.zip"))
    with pytest.raises(UserError) as caught:
        obtain(
            recipe(source=source), {}, tmp_path / "data/raw/places",
            manifest="data/manifests/places.jsonl",
        )  # fmt: skip
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("dataset places: it has to be fetched by hand")
    assert lines[1] == "Ask the library."
    md5 = hashlib.md5(b"12345").hexdigest()
    assert f"  {tmp_path}/data/raw/places/train.zip  (5 bytes, md5 {md5})" in lines
    assert f"  {tmp_path}/data/raw/places/test.zip" in lines
    assert lines[-1] == "  snakemake data/manifests/places.jsonl"
    assert not (tmp_path / "data").exists()


def test_hidden_files_are_not_put_there_by_anybody(tmp_path):
    put(tmp_path, {".DS_Store": b"x"})
    with pytest.raises(UserError, match="fetched by hand"):
        found(recipe(source=manual()), tmp_path)


def test_the_mark_of_a_download_hides_nothing_from_a_manual_source(tmp_path):
    put(tmp_path, {".generated": b"", "train.zip": zipped(IMAGES)})
    assert found(recipe(source=manual(named("train.zip"))), tmp_path) == IMAGES


def test_archives_put_there_by_hand_are_found_by_their_names_and_verified(tmp_path):
    train, test = zipped(IMAGES), zipped(MORE)
    put(tmp_path / "raw", {"train.zip": train, "test.zip": test})
    source = manual(named("train.zip", train), named("test.zip"))
    there = obtain(recipe(source=source), {}, tmp_path / "raw")
    assert {one.key for one in there.files()} == {*IMAGES, *MORE}
    digests = [hashlib.sha256(data).hexdigest() for data in (train, test)]
    assert [file["sha256"] for file in there.facts["files"]] == digests
    assert not there.downloaded


def test_a_file_in_a_folder_of_its_source_is_found_without_it(tmp_path):
    data = zipped(IMAGES)
    put(tmp_path / "raw", {"images.zip": data})
    source = manual(named("data/images.zip", data))
    assert found(recipe(source=source), tmp_path / "raw") == IMAGES


def test_an_archive_of_another_name_is_not_taken_for_the_sources(tmp_path):
    put(tmp_path, {"v2.zip": zipped(IMAGES)})
    with pytest.raises(UserError, match=r"holds v2\.zip, and its source has train\.zip"):
        found(recipe(source=manual(named("train.zip"))), tmp_path)
    assert found(recipe(source=manual()), tmp_path) == IMAGES  # no name is known


def test_a_wrong_archive_put_there_by_hand_is_refused_and_stays(tmp_path):
    put(tmp_path, {"train.zip": zipped(MORE)})
    good = named("train.zip", zipped(MORE)) | {"md5": "0" * 32}
    with pytest.raises(UserError, match=r"train\.zip: its md5 is .*, expected 0000"):
        found(recipe(source=manual(good)), tmp_path)
    assert (tmp_path / "train.zip").read_bytes() == zipped(MORE)


def test_a_wrong_archive_put_there_by_hand_may_be_another_edition(tmp_path):
    put(tmp_path, {"train.zip": zipped(MORE)})
    with pytest.raises(UserError, match=r"places: .*another edition .* set datasets\.places\.path"):
        found(recipe(source=manual(named("train.zip", zipped(IMAGES)))), tmp_path)


@pytest.mark.parametrize("way", ["path", "by hand"])
def test_archives_beside_images_are_told_not_to_be_read(tmp_path, caplog, way):
    put(tmp_path, {"all.zip": zipped(MORE), "figure.jpg": b"of the paper"})
    told = recipe(tmp_path) if way == "path" else recipe(source=manual())
    assert set(found(told, tmp_path)) == {"figure.jpg"}
    assert "these are read, and not all.zip beside them" in caplog.text


@pytest.mark.parametrize("kind", ["manual", "https"])
def test_half_of_what_is_wanted_says_what_is_missing(tmp_path, kind):
    put(tmp_path, {"train.zip": zipped(IMAGES)})
    source = {"kind": kind, "files": [named("train.zip"), named("test.zip")]}
    with pytest.raises(UserError, match=r"holds train\.zip, but not test\.zip; put"):
        found(recipe(source=source), tmp_path)


def test_a_folder_put_there_by_hand_is_read_as_it_is(tmp_path):
    put(tmp_path, IMAGES)
    there = obtain(recipe(source=manual(named("train.zip"))), {}, tmp_path)
    assert {one.key for one in there.files()} == set(IMAGES)
    assert there.facts["source"] == f"folder {tmp_path}"


def test_without_a_path_a_folder_is_wanted(tmp_path):
    with pytest.raises(UserError, match="neither path nor --raw"):
        found(recipe())


def test_a_source_that_nothing_fetches_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"source\.kind is 'ftp'"):
        found(recipe(source={"kind": "ftp"}), tmp_path / "raw")


def test_what_others_put_into_a_folder_of_downloads_is_neither_used_nor_removed(tmp_path):
    data = zipped(IMAGES)
    source = {
        "kind": "https",
        "files": [{**named("a.zip", data), "url": "http://127.0.0.1:9/a.zip"}],
    }
    put(tmp_path, {".generated": b"", "a.zip": data, "other/x.jpg": b"precious"})
    assert found(recipe(source=source), tmp_path) == IMAGES
    assert (tmp_path / "other/x.jpg").read_bytes() == b"precious"


def test_folders_put_there_after_a_download_failed_are_the_dataset(tmp_path):
    file = {**named("a.zip", zipped(MORE)), "url": "http://127.0.0.1:9/a.zip"}
    told = recipe(source={"kind": "https", "files": [file]})
    with pytest.raises(UserError, match=r"a\.zip: could not be downloaded"):
        obtain(told, {"retries": 0}, tmp_path)
    put(tmp_path, IMAGES)
    assert found(told, tmp_path) == IMAGES


def test_single_files_of_a_source_are_the_datasets(tmp_path):
    names = {"data/sea/1.jpg": b"1", "data/notes.txt": b"no image", "list.csv": b"path,label\n"}
    put(tmp_path, names)
    source = manual(*(named(name) for name in names))
    assert found(recipe(source=source, root="data"), tmp_path) == {"sea/1.jpg": b"1"}


def test_a_table_takes_images_out_of_an_archive(tmp_path):
    put(tmp_path, {"a.zip": zipped({**IMAGES, "sea/notes.npy": b"any type"})})
    table = "path,label\nsea/sea2.jpg,blue\nsea/notes.npy,grey\nsea/none.jpg,blue\n"
    put(tmp_path, {"list.csv": table.encode()})
    told = recipe(tmp_path / "a.zip", kind="image-list", list=str(tmp_path / "list.csv"))
    items, set_aside = fetch_image_list(told)
    assert {item.key: item.label for item in items} == {
        "sea/sea2.jpg": "blue", "sea/notes.npy": "grey",
    }  # fmt: skip
    assert [row["key"] for row in set_aside] == ["sea/none.jpg"]


def table_of(path, images):
    """A parquet file as the hub has them: encoded images, and numbers of classes with names."""
    names = sorted({key.split("/")[0] for key in images})
    rows = {
        "picture": [{"bytes": data, "path": key} for key, data in images.items()],
        "kind": [names.index(key.split("/")[0]) for key in images],
    }
    features = {"info": {"features": {"kind": {"names": names}}}}
    meta = {"huggingface": json.dumps(features)}
    pq.write_table(pa.table(rows).replace_schema_metadata(meta), path)


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz"])
def test_an_archive_that_cannot_be_read_in_place_is_unpacked_once(tmp_path, packing):
    data = tarred(below("Places"), packing)
    put(tmp_path, {f"raw/a.tar.{packing}": data})
    told = recipe(source=manual(named(f"a.tar.{packing}", data)), root="Places")
    assert found(told, tmp_path / "raw") == IMAGES
    first = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jpg")}
    assert found(told, tmp_path / "raw") == IMAGES
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jpg")} == first
    assert len(first) == 4


def test_an_archive_elsewhere_is_unpacked_into_the_datasets_own_folder(tmp_path):
    put(tmp_path, {"there/a.tar.gz": tarred(IMAGES, "gz")})
    told = recipe(tmp_path / "there/a.tar.gz")
    with pytest.raises(UserError, match="no folder to unpack it into"):
        found(told)
    assert found(told, tmp_path / "raw") == IMAGES
    assert [one.name for one in (tmp_path / "there").iterdir()] == ["a.tar.gz"]
    # What was unpacked is not taken for what somebody put there.
    with pytest.raises(UserError, match="fetched by hand"):
        found(recipe(source=manual()), tmp_path / "raw")


def test_images_come_out_of_parquet_files_by_the_columns_that_are_named(tmp_path):
    jpegs = {key: b"\xff\xd8\xff" + data for key, data in IMAGES.items()}
    (tmp_path / "raw").mkdir()
    table_of(tmp_path / "raw/train-0.parquet", jpegs)
    told = recipe(source=manual(named("train-0.parquet")))
    with pytest.raises(UserError, match=r"no column 'image'.*picture, kind"):
        found(told, tmp_path / "raw")
    columns = {"image": "picture", "label": "kind"}
    there = found({**told, "parquet": columns}, tmp_path / "raw")
    assert sorted(there.values()) == sorted(jpegs.values())
    assert {key.split("/")[0] for key in there} == {"sea", "sand"}


def test_a_rar_is_unpacked_by_hand_with_the_command(tmp_path):
    put(tmp_path, {"a.rar": b"Rar!\x1a\x07\x00" + b"x" * 99})
    with pytest.raises(UserError, match=r"unrar x .*a\.rar"):
        found(recipe(source=manual(named("a.rar"))), tmp_path)


def test_splits_are_folders_of_an_archive_too(tmp_path):
    put(tmp_path, {"a.zip": zipped(below("train") | below("test", MORE))})
    items, _ = fetch_image_folder(recipe(tmp_path / "a.zip", split={"by": "folder"}))
    assert {(item.split, item.label) for item in items} == {
        ("train", "sea"), ("train", "sand"), ("test", "moor"),
    }  # fmt: skip


def test_parquet_files_of_labels_are_no_archives(tmp_path):
    put(tmp_path, {"labels/a.parquet": b"PAR1", "labels/b.csv": b"Label\n"})
    told = recipe(tmp_path / "labels", kind="aicca")
    assert sorted(found(told)) == ["a.parquet", "b.csv"]
    assert [
        item.key for item in fetch_files({**told, "path": str(tmp_path / "labels/a.parquet")})[0]
    ] == ["a.parquet"]
    source = manual(named("a.parquet"), named("b.csv"))
    there = obtain(recipe(kind="aicca", source=source), {}, tmp_path / "labels")
    assert there.facts["files"] == []
    assert len(list(there.files())) == 2


def test_files_that_nothing_reads_are_all_listed_without_classes(tmp_path):
    for name in ("a/one.tif", "a/labels.json", "two.bin"):
        (tmp_path / "pairs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pairs" / name).write_bytes(name.encode())
    told = {"dataset": "pairs", "kind": "files", "path": str(tmp_path / "pairs")}
    items, set_aside = fetch_files(told)
    assert [(item.key, item.label) for item in items] == [
        ("a/labels.json", None), ("a/one.tif", None), ("two.bin", None),
    ]  # fmt: skip
    assert not set_aside


def test_an_archive_at_a_path_is_compared_with_the_published_one(tmp_path, caplog):
    ours, theirs = zipped(IMAGES), zipped(IMAGES | below("more", MORE))
    put(tmp_path, {"a.zip": ours})
    same = obtain(recipe(tmp_path / "a.zip", published=[named("x.zip", ours)]), {}, None)
    assert same.facts["files"] == [
        {"name": "a.zip", "bytes": len(ours), "sha256": hashlib.sha256(ours).hexdigest()}
    ]
    assert "differences" not in same.facts
    told = recipe(tmp_path / "a.zip", published=[named("a.zip", theirs)])
    (line,) = obtain(told, {}, None).facts["differences"]
    assert line == (
        "a.zip is not the published archive: "
        f"it has {len(ours)} bytes, expected {len(theirs)}"
    )  # fmt: skip
    assert found(told) == IMAGES  # and used as it is
