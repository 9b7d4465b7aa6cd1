"""Unpacking archives: whole files below the target and nowhere else, and never twice."""

import gzip
import io
import json
import os
import random
import shutil
import subprocess
import tarfile
import zipfile
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_archives import TAR_END, Entry, tar_bytes, tar_header, tar_member, zip_bytes
from pictures import encoded, picture

from workflow_scripts.archives import target as target_module
from workflow_scripts.archives.listed import Limits
from workflow_scripts.archives.names import OddError
from workflow_scripts.archives.target import BEGUN, DONE, Target
from workflow_scripts.archives.unpack import Columns, unpack
from workflow_scripts.errors import UserError

FILES = {f"class {n % 3}/é{n}.jpg": random.Random(n).randbytes(3000 * n) for n in range(12)}
FILES["large.tif"] = random.Random(0).randbytes(600_000) + bytes(600_000)


def contents(folder):
    """Files below a folder, without marks, by key."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def made(folder, form):
    """An archive of the files, with what is left out."""
    path = folder / f"files.{form}"
    files = FILES | {"__MACOSX/._x": b"desktop", ".hidden/x.jpg": b"hidden"}
    if form.startswith("zip"):
        method = {"zip-bzip2": 12, "zip-lzma": 14, "zip-deflate": 8, "zip-stored": 0}[form]
        with zipfile.ZipFile(path, "w", method) as file:
            for key, data in files.items():
                file.writestr(key, data)
    elif form == "tar.zst":
        with pa.output_stream(str(path), compression="zstd") as file:
            file.write(tar_bytes(files))
    else:
        path.write_bytes(tar_bytes(files, f"w:{form.removeprefix('tar').lstrip('.')}"))
    return path


FORMS = ["tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst", "zip-bzip2", "zip-lzma", "zip-deflate"]


@pytest.mark.parametrize("form", FORMS)
def test_every_file_comes_out_as_it_went_in(tmp_path, form):
    path, out = made(tmp_path, form), tmp_path / "out"
    done = unpack(path, out)
    assert contents(out) == FILES
    assert (done.files, done.bytes) == (len(FILES), sum(map(len, FILES.values())))
    assert done.set_aside == ()
    assert {one.name for one in out.iterdir() if one.name.startswith(".")} == {DONE}


def test_what_tar_packed_comes_out_as_tar_unpacks_it(tmp_path):
    for key, data in FILES.items():
        (tmp_path / "in" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / key).write_bytes(data)
    path = tmp_path / "x.tar.gz"
    subprocess.run(["tar", "-czf", path, "."], cwd=tmp_path / "in", check=True)
    (tmp_path / "by-tar").mkdir()
    subprocess.run(["tar", "-xzf", path, "-C", tmp_path / "by-tar"], check=True)
    unpack(path, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "by-tar") == FILES


def test_a_finished_folder_is_not_written_again(tmp_path):
    path, out = made(tmp_path, "tar.gz"), tmp_path / "out"
    first = unpack(path, out)
    (out / "large.tif").write_bytes(b"changed")
    assert unpack(path, out) == first
    assert (out / "large.tif").read_bytes() == b"changed"
    os.utime(path)  # a touched archive counts as another
    assert unpack(path, out) == first
    assert contents(out) == FILES


def test_a_finished_folder_that_lost_a_file_is_unpacked_anew(tmp_path, caplog):
    path, out = made(tmp_path, "tar.gz"), tmp_path / "out"
    first = unpack(path, out)
    (out / "large.tif").unlink()
    assert unpack(path, out) == first
    assert contents(out) == FILES
    assert f"1 of {len(FILES)} files are gone" in caplog.text


def test_with_its_checksum_given_a_touched_archive_is_the_same(tmp_path):
    path, out = made(tmp_path, "tar.gz"), tmp_path / "out"
    unpack(path, out, sha256="a" * 64)
    (out / "large.tif").write_bytes(b"changed")
    os.utime(path)
    unpack(path, out, sha256="a" * 64)
    assert (out / "large.tif").read_bytes() == b"changed"
    unpack(path, out, sha256="b" * 64)
    assert contents(out) == FILES


def test_another_archive_in_the_same_place_leaves_nothing_of_the_first(tmp_path):
    path, out = tmp_path / "x.tar.gz", tmp_path / "out"
    path.write_bytes(tar_bytes({"old/a.jpg": b"old", "b.jpg": b"old"}, "w:gz"))
    unpack(path, out)
    path.write_bytes(tar_bytes({"b.jpg": b"new", "c.jpg": b"c"}, "w:gz"))
    os.utime(path, ns=(1, 1))
    unpack(path, out)
    assert contents(out) == {"b.jpg": b"new", "c.jpg": b"c"}
    assert not (out / "old").exists()


def interrupted(path, out, after, monkeypatch):
    """Unpack until so many files were written, then end as a killed process does."""
    written = []
    write = Target.write

    def stop(self, key, pieces, size):
        if not key.startswith("."):
            if len(written) == after:
                raise KeyboardInterrupt
            written.append(key)
        write(self, key, pieces, size)

    with monkeypatch.context() as patch:
        patch.setattr(Target, "write", stop)
        with suppress(KeyboardInterrupt):
            unpack(path, out)
    return written


@pytest.mark.parametrize("form", FORMS)
def test_unpacking_goes_on_where_it_ended(tmp_path, monkeypatch, form):
    path, out = made(tmp_path, form), tmp_path / "out"
    first = interrupted(path, out, 5, monkeypatch)
    assert len(first) == 5
    (out / "not of the archive.jpg").write_bytes(b"x")
    (out / first[0]).write_bytes(b"shorter")
    rest = interrupted(path, out, 100, monkeypatch)
    assert set(rest) == FILES.keys() - set(first) | {first[0]}
    assert contents(out) == FILES
    assert not (out / BEGUN).exists()


def test_what_was_unpacked_before_another_boot_is_not_trusted(tmp_path, monkeypatch):
    path, out = made(tmp_path, "tar.gz"), tmp_path / "out"
    first = interrupted(path, out, 5, monkeypatch)
    size = (out / first[4]).stat().st_size
    (out / first[4]).write_bytes(bytes(size))  # as a file whose bytes never reached the disk
    monkeypatch.setattr(target_module, "boot_id", lambda: "another")
    assert set(interrupted(path, out, 100, monkeypatch)) == FILES.keys()
    assert contents(out) == FILES


def test_a_change_of_the_archive_while_it_is_cleared_is_seen_by_the_next_start(
    tmp_path, monkeypatch
):
    path, out = tmp_path / "x.tar.gz", tmp_path / "out"
    path.write_bytes(tar_bytes({"a.jpg": b"old"}, "w:gz"))
    unpack(path, out)
    path.write_bytes(tar_bytes({"a.jpg": b"new"}, "w:gz"))
    os.utime(path, ns=(1, 1))
    with monkeypatch.context() as patch:
        patch.setattr(Target, "remove_others", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            unpack(path, out)
    unpack(path, out)
    assert contents(out) == {"a.jpg": b"new"}


def test_a_folder_with_somebodys_files_is_refused_and_left_as_it_is(tmp_path):
    path, out = made(tmp_path, "tar.gz"), tmp_path / "out"
    out.mkdir()
    (out / "mine.jpg").write_bytes(b"mine")
    with pytest.raises(UserError, match="holds files that were not unpacked by this workflow"):
        unpack(path, out)
    assert [one.name for one in out.iterdir()] == ["mine.jpg"]


def snapshot(folder):
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("name", ["/abs.jpg", "../up.jpg", "a/../../up.jpg", "C:\\x.jpg"])
@pytest.mark.parametrize("form", ["tar.gz", "zip"])
def test_names_that_lie_outside_end_unpacking_and_write_nothing_outside(tmp_path, name, form):
    outside = tmp_path / "outside"
    outside.mkdir()
    if form == "zip":
        data = zip_bytes([Entry(b"good.jpg", method=12), Entry(name.encode())])
    else:
        data = tar_bytes({"good.jpg": b"data", name: b"bad"}, "w:gz")
    path = outside / "x.bin"
    path.write_bytes(data)
    before = snapshot(outside)
    with pytest.raises(UserError, match="outside the folder"):
        unpack(path, tmp_path / "in" / "deep" / "out")
    assert snapshot(outside) == before
    assert not list(tmp_path.rglob("*up.jpg"))
    assert not os.path.exists("/abs.jpg")
    assert not (tmp_path / "in" / "deep" / "out" / DONE).exists()


def test_links_and_devices_are_set_aside_and_nothing_goes_through_them(tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    data = (
        tar_header(b"link", kind=b"2", link=str(victim).encode())
        + tar_member(b"link/x.jpg", b"through")
        + tar_header(b"hard.jpg", kind=b"1", link=b"/etc/passwd")
        + tar_header(b"pipe", kind=b"6") + tar_header(b"device", kind=b"3")
        + tar_member(b"pipe/y.jpg", b"below") + TAR_END
    )  # fmt: skip
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    done = unpack(path, tmp_path / "out")
    assert not list(victim.iterdir())
    assert contents(tmp_path / "out") == {"link/x.jpg": b"through", "pipe/y.jpg": b"below"}
    reasons = {one.key: one.reason for one in done.set_aside}
    assert reasons == {
        "link": "it is a link, not a file", "hard.jpg": "it is a link, not a file",
        "pipe": "it is a FIFO, not a file", "device": "it is a device, not a file",
    }  # fmt: skip
    assert unpack(path, tmp_path / "out") == done


def test_a_link_planted_in_the_target_is_not_followed(tmp_path, monkeypatch):
    path, out, victim = made(tmp_path, "tar.gz"), tmp_path / "out", tmp_path / "victim"
    interrupted(path, out, 0, monkeypatch)
    victim.mkdir()
    (victim / "file").write_bytes(b"precious")
    same = victim / "same size"
    same.write_bytes(b"x" * len(FILES["large.tif"]))
    (out / "class 1").symlink_to(victim)
    with pytest.raises(UserError, match=r"class 1 is a link, and unpacking .* follows none"):
        unpack(path, out)
    (out / "class 1").unlink()
    (out / "large.tif").symlink_to(same)
    (out / ".unpacking.tmp").symlink_to(victim / "file")
    (out / "class 2").mkdir(exist_ok=True)
    os.link(victim / "file", out / "class 2" / "linked.jpg")
    (out / "away").symlink_to(victim)
    shared = victim / "shared"
    shared.write_bytes(b"x" * len(FILES["class 0/é3.jpg"]))
    (out / "class 0").mkdir(exist_ok=True)
    os.link(shared, out / "class 0" / "é3.jpg")
    unpack(path, out)
    assert contents(out) == FILES
    assert not any(one.is_symlink() for one in out.rglob("*"))
    assert {one.name for one in victim.iterdir()} == {"file", "same size", "shared"}
    assert (victim / "file").read_bytes() == b"precious"
    assert same.read_bytes() == b"x" * len(FILES["large.tif"])


def test_more_bytes_than_a_member_should_have_are_not_taken(tmp_path):
    taken = []

    def endless():
        while len(taken) < 100:
            taken.append(1)
            yield b"12345678"

    with Target(tmp_path / "out") as folder, pytest.raises(OddError, match="20 bytes, and it has"):
        folder.write("a/x.jpg", endless(), 20)
    assert len(taken) == 3
    assert contents(tmp_path / "out") == {}


def test_files_are_on_the_disk_before_their_folder_is_marked_complete(tmp_path, monkeypatch):
    path, out, at_sync = made(tmp_path, "tar.gz"), tmp_path / "out", []
    monkeypatch.setattr(
        target_module, "_sync", lambda _: at_sync.append((contents(out), (out / DONE).exists()))
    )
    unpack(path, out)
    assert at_sync == [(FILES, False)]


def test_a_mark_that_is_a_link_is_not_written_through(tmp_path):
    path, out, victim = made(tmp_path, "tar.gz"), tmp_path / "out", tmp_path / "victim"
    out.mkdir()
    victim.write_bytes(b"{}")
    (out / BEGUN).symlink_to(victim)
    with pytest.raises(UserError, match=r"\.unpacking\.json is a link"):
        unpack(path, out)
    assert victim.read_bytes() == b"{}"


def test_names_that_clash_as_file_and_folder_are_set_aside_in_either_order(tmp_path):
    path = tmp_path / "x.tar.gz"
    for files in ({"a": b"1", "a/b.jpg": b"2"}, {"a/b.jpg": b"2", "a": b"1"}):
        path.write_bytes(tar_bytes(files, "w:gz"))
        for _ in range(2):
            done = unpack(path, tmp_path / "out")
            first, second = files
            assert contents(tmp_path / "out") == {first: files[first]}
            (odd,) = done.set_aside
            assert (odd.key, "the archive has a f" in odd.reason) == (second, True)
        shutil.rmtree(tmp_path / "out")


def test_names_that_differ_by_case_clash_only_where_the_file_system_says_so(tmp_path, monkeypatch):
    path = tmp_path / "x.tar.gz"
    path.write_bytes(tar_bytes({"a/x.jpg": b"1", "A/x.jpg": b"2", "a/X.JPG": b"3"}, "w:gz"))
    assert unpack(path, tmp_path / "out").files == 3
    monkeypatch.setattr(Target, "ignores_case", lambda _: True)
    done = unpack(path, tmp_path / "folded")
    assert contents(tmp_path / "folded") == {"a/x.jpg": b"1"}
    assert [one.key for one in done.set_aside] == ["A/x.jpg", "a/X.JPG"]


def test_names_too_long_for_the_file_system_are_set_aside(tmp_path):
    path = tmp_path / "x.tar.gz"
    path.write_bytes(tar_bytes({"a" * 300 + ".jpg": b"1", "b.jpg": b"2"}, "w:gz"))
    done = unpack(path, tmp_path / "out")
    assert contents(tmp_path / "out") == {"b.jpg": b"2"}
    assert done.set_aside[0].reason == "its name is too long for this file system"


def test_broken_members_of_a_zip_file_are_set_aside_and_leave_nothing(tmp_path):
    path = made(tmp_path, "zip-bzip2")
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        info = file.getinfo("large.tif")
    at = info.header_offset + 30 + len("large.tif")
    data[at + 100_000] ^= 1
    path.write_bytes(data)
    done = unpack(path, tmp_path / "out")
    (odd,) = done.set_aside
    assert (odd.key, "its bytes are broken" in odd.reason) == ("large.tif", True)
    assert contents(tmp_path / "out") == {k: v for k, v in FILES.items() if k != "large.tif"}


def test_members_packed_by_an_unknown_method_are_set_aside_by_its_name(tmp_path):
    path = tmp_path / "x.zip"
    path.write_bytes(zip_bytes([Entry(b"a.jpg", method=9), Entry(b"b.jpg"), Entry(b"c", flags=1)]))
    done = unpack(path, tmp_path / "out")
    assert contents(tmp_path / "out") == {"b.jpg": b"data"}
    reasons = [one.reason for one in done.set_aside]
    assert reasons == ["it is packed by deflate64, which is not read", "it is encrypted"]


@pytest.mark.parametrize("form", ["tar.gz", "tar.bz2", "tar.xz", "tar.zst"])
def test_a_packed_tar_file_that_is_cut_or_changed_is_an_error_and_never_complete(tmp_path, form):
    path, out = made(tmp_path, form), tmp_path / "out"
    whole = path.read_bytes()
    for place in (len(whole) - 9, len(whole) // 2, 600):
        path.write_bytes(whole[:place])
        with pytest.raises(UserError, match=r"damaged or was cut short|holds no tar file"):
            unpack(path, out)
    wrong = bytearray(whole)
    wrong[len(whole) // 2] ^= 1
    if form != "tar.zst":  # as it is written here it has no checksum
        path.write_bytes(wrong)
        with pytest.raises(UserError, match=r"damaged or was cut short|a broken one"):
            unpack(path, out)
    assert not (out / DONE).exists()
    path.write_bytes(whole)
    unpack(path, out)
    assert contents(out) == FILES


def test_bombs_are_refused_before_they_fill_the_disk(tmp_path):
    path = tmp_path / "x.tar.gz"
    path.write_bytes(tar_bytes({f"{n}.jpg": bytes(2**20) for n in range(40)}, "w:gz"))
    with pytest.raises(UserError, match="over 200 times as many"):
        unpack(path, tmp_path / "out", limits=Limits(modest_bytes=2**24))
    assert sum(map(len, contents(tmp_path / "out").values())) <= 2**24
    unpack(path, tmp_path / "out")
    assert len(contents(tmp_path / "out")) == 40


def test_a_long_name_packed_to_almost_nothing_does_not_fill_the_memory(tmp_path):
    path = tmp_path / "x.tar.gz"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        file.fileobj.write(tar_member(b"a.jpg") + tar_header(b"x", kind=b"L", size=2**32))
        file.fileobj.write(bytes(2**26))
    path.write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="a header of this length has no good reason"):
        unpack(path, tmp_path / "out")


def test_headers_packed_to_almost_nothing_count_as_bytes(tmp_path):
    path = tmp_path / "x.tar.gz"
    record = b"1000000 a=" + b"x" * (1_000_000 - 11) + b"\n"
    with gzip.open(path, "wb") as file:
        for number in range(40):
            file.write(tar_member(b"x", record, kind=b"x") + tar_member(b"%d.jpg" % number))
        file.write(TAR_END)
    with pytest.raises(UserError, match="over 200 times as many"):
        unpack(path, tmp_path / "out", limits=Limits(modest_bytes=2**24))


def test_a_finished_folder_needs_no_leave_to_write(tmp_path):
    path, out = made(tmp_path, "tar.gz"), tmp_path / "raw" / "out"
    first = unpack(path, out)
    (out.parent / ".out.lock").unlink()
    before = snapshot(out.parent)
    assert unpack(path, out) == first
    assert snapshot(out.parent) == before
    assert not (out.parent / ".out.lock").exists()


def test_a_disk_too_small_is_told_before_and_one_that_fills_while_writing(tmp_path, monkeypatch):
    path, out = made(tmp_path, "zip-bzip2"), tmp_path / "out"
    monkeypatch.setattr(Target, "free_bytes", lambda _: 10**6)
    with pytest.raises(UserError, match=r"takes 0.001 GB more at least, and 0.001 GB are free"):
        unpack(path, out)
    assert not contents(out)
    monkeypatch.undo()
    small = "/dev/full"

    def full(self):
        return os.open(small, os.O_WRONLY)

    monkeypatch.setattr(Target, "_temporary", full)
    with pytest.raises((UserError, OSError), match="No space left"):
        Target(tmp_path / "other").write("a.jpg", [b"x"], 1)


def test_kinds_that_are_not_read_are_refused_with_what_to_do(tmp_path):
    path = tmp_path / "train images.rar"
    path.write_bytes(b"Rar!\x1a\x07\x01\x00 rest")
    target = tmp_path / "raw" / "train images"
    with pytest.raises(UserError, match="by hand") as error:
        unpack(path, target)
    assert f"unrar x '{path}' '{target}'/" in str(error.value)
    assert f"bsdtar -xf '{path}' -C '{target}'" in str(error.value)
    assert not target.exists()


# Parquet


def features(names, label="label"):
    info = {"info": {"features": {label: {"names": names, "_type": "ClassLabel"}}}}
    return {b"huggingface": json.dumps(info).encode()}


IMAGES = [encoded(picture(n), kind) for n, kind in enumerate(["JPEG", "PNG", "TIFF", "BMP"] * 10)]


def write_table(path, images, labels=None, *, names=None, label="label", rows=7):
    columns = {"image": images}
    if labels is not None:
        columns[label] = labels
    table = pa.table(columns)
    if names is not None:
        table = table.replace_schema_metadata(features(names, label))
    pq.write_table(table, path, row_group_size=rows)


def test_images_of_the_hub_come_out_below_the_names_of_their_classes(tmp_path):
    path = tmp_path / "train-0.parquet"
    images = [{"bytes": data, "path": f"../{n}.jpg"} for n, data in enumerate(IMAGES)]
    names = ["river", "farm land"]
    write_table(path, images, [n % 2 for n in range(40)], names=names)
    done = unpack(path, tmp_path / "out")
    ends = ["jpg", "png", "tif", "bmp"]
    assert contents(tmp_path / "out") == {
        f"{names[n % 2]}/train-0-{n}.{ends[n % 4]}": data for n, data in enumerate(IMAGES)
    }
    assert (done.files, done.bytes) == (40, sum(map(len, IMAGES)))


def test_plain_bytes_and_text_or_numbers_as_classes_are_read_too(tmp_path):
    path = tmp_path / "x.parquet"
    large = pa.array(IMAGES[:3], pa.large_binary())
    write_table(path, large, pa.array(["a", "b", None]).dictionary_encode(), label="kind")
    unpack(path, tmp_path / "a", columns=Columns(label="kind"))
    assert set(contents(tmp_path / "a")) == {"a/x-0.jpg", "b/x-1.png", "x-2.tif"}
    write_table(path, IMAGES[:3], [7, 0, None])
    unpack(path, tmp_path / "b")
    assert set(contents(tmp_path / "b")) == {"7/x-0.jpg", "0/x-1.png", "x-2.tif"}
    unpack(path, tmp_path / "b", columns=Columns(label=None))
    assert set(contents(tmp_path / "b")) == {"x-0.jpg", "x-1.png", "x-2.tif"}


def test_rows_that_are_no_image_of_a_class_are_set_aside(tmp_path):
    path = tmp_path / "x.parquet"
    images = [IMAGES[0], None, b"", b"GIF89a", IMAGES[0], IMAGES[0], IMAGES[0]]
    write_table(path, images, [0, 0, 0, 0, 2, -1, 1], names=["a", ".hidden"])
    done = unpack(path, tmp_path / "out")
    assert set(contents(tmp_path / "out")) == {"a/x-0.jpg", "x-5.jpg"}
    assert [(one.key, one.reason) for one in done.set_aside] == [
        ("x-1", "the row holds no bytes of an image"),
        ("x-2", "the row holds no bytes of an image"),
        ("x-3", "it is no JPEG, PNG, TIFF or BMP"),
        ("x-4", "its class is number 2 of 2"),
        ("x-6", "its class '.hidden' would be a hidden folder"),
    ]


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b"])
def test_classes_that_name_a_place_outside_are_refused(tmp_path, name):
    write_table(tmp_path / "x.parquet", IMAGES[:2], [0, 1], names=["a", name])
    with pytest.raises(UserError, match="outside the folder"):
        unpack(tmp_path / "x.parquet", tmp_path / "deep" / "out")
    assert {one.name for one in (tmp_path / "deep").iterdir()} == {"out", ".out.lock"}


def test_tables_without_such_columns_are_refused_with_those_there_are(tmp_path):
    path = tmp_path / "x.parquet"
    write_table(path, IMAGES[:2], [0, 1], label="label_3")
    with pytest.raises(UserError, match="has no column 'label', or several; it has image, label_3"):
        unpack(path, tmp_path / "out")
    write_table(path, ["a.jpg", "b.jpg"], [0, 1])
    with pytest.raises(UserError, match="column 'image' is of type string, expected bytes"):
        unpack(path, tmp_path / "out")
    write_table(path, IMAGES[:2], [[0], [1]])
    with pytest.raises(
        UserError, match=r"column 'label' is of type list.*expected one class a row"
    ):
        unpack(path, tmp_path / "out")


def test_an_image_that_a_dictionary_has_in_a_thousand_rows_does_not_fill_the_disk(tmp_path):
    path, out = tmp_path / "x.parquet", tmp_path / "out"
    image = encoded(picture(0), "BMP") + bytes(2**16)
    write_table(path, [image] * 1000, rows=1000)
    assert path.stat().st_size < 2 * len(image)
    with pytest.raises(UserError, match="over 200 times as many"):
        unpack(path, out, limits=Limits(modest_bytes=2**24), columns=Columns(label=None))
    assert 2**23 < sum(map(len, contents(out).values())) <= 2**24
    assert not (out / DONE).exists()


def test_a_class_that_is_no_text_is_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "x.parquet"
    write_table(path, IMAGES[:1], ["lake"])
    path.write_bytes(path.read_bytes().replace(b"lake", b"l\xffke"))
    with pytest.raises(UserError, match=r"x.parquet: cannot be read as a parquet file .*utf-8"):
        unpack(path, tmp_path / "out")


def test_a_parquet_file_that_is_cut_or_changed_is_an_error_and_never_other_bytes(tmp_path):
    path = tmp_path / "x.parquet"
    write_table(path, IMAGES, [0] * 40)
    whole = path.read_bytes()
    for place in (len(whole) - 1, len(whole) // 2, 4):
        path.write_bytes(whole[:place])
        with pytest.raises(UserError, match="cannot be read as a parquet file"):
            unpack(path, tmp_path / "out")
    assert not (tmp_path / "out" / DONE).exists()


def test_unpacking_of_a_table_goes_on_where_it_ended(tmp_path, monkeypatch):
    path, out = tmp_path / "x.parquet", tmp_path / "out"
    write_table(path, IMAGES, [n % 3 for n in range(40)])
    first = interrupted(path, out, 11, monkeypatch)
    rest = interrupted(path, out, 100, monkeypatch)
    assert len(first) == 11
    assert len(rest) == 29
    assert sorted(contents(out).values()) == sorted(IMAGES)


def test_the_marks_of_a_folder_are_hidden_from_listings_of_images():
    assert all(name.startswith(".") for name in target_module._OWN)
