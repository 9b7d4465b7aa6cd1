"""Listing archives that are read in place: what is a member, what is set aside, what is refused."""

import gzip
import os
import struct
import subprocess
import tarfile
import zipfile
import zlib

import pytest
from made_archives import TAR_END, Entry, tar_bytes, tar_header, tar_member, zip_bytes

from workflow_scripts.archives.kinds import Kind, kind_of
from workflow_scripts.archives.listed import Limits, Member, SetAside
from workflow_scripts.archives.members import in_place, members
from workflow_scripts.errors import UserError
from workflow_scripts.stored import digest_stored, read_stored

FILES = {f"class {n % 3}/é{n}.jpg": os.urandom(50 * n) for n in range(40)}


def listed(folder, data, name="x.zip", **limits):
    """(members by key, reasons by name) of an archive's bytes."""
    path = folder / name
    path.write_bytes(data)
    found = list(members(path, limits=Limits(**limits)))
    used = {one.key: one for one in found if isinstance(one, Member)}
    return used, {one.key: one.reason for one in found if isinstance(one, SetAside)}


def read_all(used):
    for one in used.values():
        digest_stored(one.address, size=one.bytes, crc32=one.crc32)
    return {key: read_stored(one.address, size=one.bytes) for key, one in used.items()}


def refused(folder, data, **limits):
    with pytest.raises(UserError) as error:
        listed(folder, data, **limits)
    assert str(folder / "x.zip") in str(error.value)
    return str(error.value)


@pytest.fixture
def tree(tmp_path):
    """The files in a folder, with what is left out beside them."""
    for key, data in FILES.items():
        path = tmp_path / "tree" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for key in ("__MACOSX/class 0/._x.jpg", ".DS_Store", "class 0/Thumbs.db", "class 1/.x.jpg"):
        path = tmp_path / "tree" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"left by a desktop")
    (tmp_path / "tree" / "empty").mkdir()
    return tmp_path / "tree"


@pytest.mark.parametrize("options", [["-r", "-q"], ["-r", "-q", "-0"], ["-r", "-q", "-fz"]])
def test_what_zip_packed_is_listed_as_unzip_does_and_read_as_it_was(tree, options):
    path = tree.parent / "made.zip"
    subprocess.run(["zip", *options, str(path), "."], cwd=tree, check=True)
    assert kind_of(path) is Kind.ZIP
    assert in_place(path)
    used, others = listed(tree.parent, path.read_bytes())
    assert not others
    rows = subprocess.run(["unzip", "-Z1", path], capture_output=True, text=True, check=True)
    in_order = [row for row in rows.stdout.splitlines() if row in FILES]
    assert list(used) == in_order
    assert read_all(used) == FILES


@pytest.mark.parametrize("dialect", ["gnu", "posix", "ustar", "v7"])
def test_what_tar_packed_is_listed_as_tar_does_and_read_as_it_was(tree, dialect):
    path = tree.parent / "made.tar"
    subprocess.run(["tar", f"--format={dialect}", "-cf", path, "."], cwd=tree, check=True)
    assert kind_of(path) is Kind.TAR
    assert in_place(path)
    used, others = listed(tree.parent, path.read_bytes())
    assert not others
    rows = subprocess.run(
        ["tar", "--quoting-style=literal", "-tf", path], capture_output=True, text=True, check=True
    )
    in_order = [row.removeprefix("./") for row in rows.stdout.splitlines()]
    assert list(used) == [row for row in in_order if row in FILES]
    assert read_all(used) == FILES


def test_long_names_and_large_counts_are_read(tmp_path):
    files = {f"{'long/' * 40}{n}.jpg": b"%d" % n for n in range(3000)}
    for dialect in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        used, _ = listed(tmp_path, tar_bytes(files, format=dialect))
        assert read_all(used) == files
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for key, data in files.items():
            file.writestr(key, data)
    used, _ = listed(tmp_path, (tmp_path / "x.zip").read_bytes())
    assert read_all(used) == files


def test_a_zip_file_of_more_than_65535_members_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for number in range(66_000):
            file.writestr(zipfile.ZipInfo(f"{number}.jpg"), b"")
    found = list(members(tmp_path / "x.zip"))
    assert [one.key for one in found] == [f"{number}.jpg" for number in range(66_000)]


def test_a_zip_file_beyond_four_gigabytes_is_read(tmp_path):
    """Offsets and sizes of zip64, in a file with a hole."""
    path, hole = tmp_path / "x.zip", 5 * 2**30
    entry = zip_bytes([Entry(b"far.jpg", b"far away")])
    head, rest = entry[: entry.index(b"PK\1\2")], entry[entry.index(b"PK\1\2") :]
    directory = bytearray(rest[: rest.index(b"PK\5\6")])
    struct.pack_into("<H", directory, 30, 12)  # length of the extra field
    struct.pack_into("<I", directory, 42, 0xFFFFFFFF)
    directory += struct.pack("<HHQ", 1, 8, hole)
    start = hole + len(head)
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(directory), start)
    end64 += struct.pack("<4sIQI", b"PK\6\7", 0, start + len(directory), 1)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    with path.open("wb") as file:
        file.write(b"PK\3\4")
        file.seek(hole)
        file.write(head + bytes(directory) + end64 + end)
    (one,) = members(path)
    assert (one.key, one.bytes, read_stored(one.address)) == ("far.jpg", 8, b"far away")


def test_a_zip_file_behind_something_else_is_read(tmp_path):
    data = zip_bytes([Entry(b"a.jpg"), Entry(b"b.jpg", b"b" * 99, method=8)], comment=b"a comment")
    used, _ = listed(tmp_path, data)
    assert read_all(used) == {"a.jpg": b"data", "b.jpg": b"b" * 99}
    shifted = b"PK\3\4 a program that unpacks" + data
    used, _ = listed(tmp_path, shifted)
    assert read_all(used) == {"a.jpg": b"data", "b.jpg": b"b" * 99}


OUTSIDE = [b"/etc/x.jpg", b"../x.jpg", b"a/../../x.jpg", b"a/..", b"..", b"C:/x.jpg", b"c:x.jpg",
           b"\\\\host\\x.jpg", b"..\\x.jpg", b"a\\..\\x.jpg", b"/", b"../"]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lie_outside_are_refused_with_all_of_the_archive(tmp_path, name):
    good = Entry(b"a/good.jpg")
    assert "outside the folder" in refused(tmp_path, zip_bytes([good, Entry(name, b"")]))
    tar = tar_member(b"a/good.jpg") + tar_member(name) + TAR_END
    assert "outside the folder" in refused(tmp_path, tar)


ODD = {
    b"a\\b.jpg": "backslash",
    b"a/\x07.jpg": "control characters",
    b"a\n.jpg": "control characters",
    b"a/\xc2\x85.jpg": "control characters",
    "a/\u202egpj.exe".encode(): "control characters",
    b"a/\xff\xfe.jpg": "not UTF-8",
    "d/\u6cb3.jpg".encode("gbk"): "not UTF-8",
}


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_set_aside_with_a_reason_that_can_be_printed(tmp_path, name):
    for data in (
        zip_bytes([Entry(name), Entry(b"good.jpg")]),
        tar_member(name) + tar_member(b"good.jpg") + TAR_END,
    ):
        used, others = listed(tmp_path, data)
        assert list(used) == ["good.jpg"]
        ((shown, reason),) = others.items()
        assert ODD[name] in reason
        assert shown.encode().decode().isprintable()


def test_a_name_with_a_nul_does_not_pass_for_its_beginning(tmp_path):
    used, others = listed(tmp_path, zip_bytes([Entry(b"good.jpg\0.exe")]))
    assert not used
    assert list(others) == ["good.jpg\\x00.exe"]


def test_names_are_read_in_the_encodings_that_archives_state(tmp_path):
    raw = "fl\u00fc\u00df.jpg".encode("cp437")
    field = struct.pack("<BI", 1, zlib.crc32(raw)) + "fl\u00fc\u00df.jpg".encode()
    wrong = struct.pack("<BI", 1, 0) + b"other.jpg"
    entries = [
        Entry("\u00e9.jpg".encode(), flags=0x800),
        Entry("\u6cb3.jpg".encode()),  # without the mark, as many systems write it
        Entry(raw, extra=struct.pack("<HH", 0x7075, len(field)) + field),
        Entry("\u6d77.jpg".encode(), extra=struct.pack("<HH", 0x7075, len(wrong)) + wrong),
    ]
    used, others = listed(tmp_path, zip_bytes(entries))
    assert list(used) == ["\u00e9.jpg", "\u6cb3.jpg", "fl\u00fc\u00df.jpg", "\u6d77.jpg"]
    assert not others
    assert "marked as UTF-8" in refused(tmp_path, zip_bytes([Entry(b"\xff.jpg", flags=0x800)]))


def test_names_that_would_fill_a_disk_with_folders_are_set_aside(tmp_path):
    for name in ("a/" * 51 + "x.jpg", "a/" * 100_000 + "x.jpg", "x" * 1001):
        tar = tar_bytes({name: b"deep", "a/" * 49 + "x.jpg": b"good"})
        used, others = listed(tmp_path, tar)
        assert read_all(used) == {"a/" * 49 + "x.jpg": b"good"}
        ((shown, reason),) = others.items()
        assert reason == "its name is too long, or too many folders deep"
        assert len(shown) < 300


def test_folders_are_left_out_however_they_are_marked(tmp_path):
    entries = [Entry(b"a/", b""), Entry(b"b", b"", mode=0o040755), Entry(b"./", b""),
               Entry(b"a/x.jpg")]  # fmt: skip
    used, others = listed(tmp_path, zip_bytes(entries))
    assert (list(used), others) == (["a/x.jpg"], {})


def test_names_met_before_are_set_aside_after_the_first(tmp_path):
    names = ["a/b.jpg", "a/b.jpg", "./a/b.jpg", "a//b.jpg", "a/./b.jpg", "A/b.jpg", "a/B.jpg",
             "e\u0301.jpg", "\u00e9.jpg"]  # fmt: skip
    entries = [Entry(name.encode(), b"%d" % n) for n, name in enumerate(names)]
    tar = b"".join(tar_member(name.encode(), b"%d" % n) for n, name in enumerate(names)) + TAR_END
    for data in (zip_bytes(entries), tar):
        (tmp_path / "x.zip").write_bytes(data)
        found = list(members(tmp_path / "x.zip"))
        used = {one.key: read_stored(one.address) for one in found if isinstance(one, Member)}
        assert used == {"a/b.jpg": b"0", "A/b.jpg": b"5", "a/B.jpg": b"6", "e\u0301.jpg": b"7"}
        others = [one for one in found if isinstance(one, SetAside)]
        assert len(others) == 5
        assert {one.reason for one in others} == {"an earlier member has the same name"}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (Entry(b"x.jpg", b"/etc/passwd", mode=0o120777), "it is a link, not a file"),
        (Entry(b"x.jpg", mode=0o020644), "it is a device"),
        (Entry(b"x.jpg", mode=0o010644), "it is a FIFO"),
        (Entry(b"x.jpg", flags=1), "encrypted"),
        (Entry(b"x.jpg", local_flags=1), "encrypted"),
        (Entry(b"x.jpg", flags=0x20), "patch"),
        (Entry(b"x.jpg", local_name=b"y.jpg"), "own header differ"),
        (Entry(b"x.jpg", size=5), "it has 4 bytes, its header says 5"),
        (Entry(b"x.jpg", method=12), "it is packed by bzip2"),
        (Entry(b"x.jpg", method=9), "it is packed by deflate64"),
        (Entry(b"x.jpg", bytes(3000), method=8, size=2**29), "over 200 times as many"),
    ],
)
def test_members_of_a_zip_file_that_are_no_plain_files_are_set_aside(tmp_path, entry, reason):
    rest = Entry(b"good.jpg", os.urandom(4_000_000))
    used, others = listed(tmp_path, zip_bytes([entry, rest]))
    assert list(used) == ["good.jpg"]
    assert reason in others["x.jpg"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(b"1", "a link"), (b"2", "a link"), (b"3", "a device"), (b"4", "a device"), (b"6", "a FIFO"),
     (b"V", "a special file"), (b"S", "sparse")],
)  # fmt: skip
def test_members_of_a_tar_file_that_are_no_plain_files_are_set_aside(tmp_path, kind, reason):
    odd = tar_header(b"x.jpg", kind=kind, link=b"/etc/passwd")
    used, others = listed(tmp_path, odd + tar_member(b"good.jpg") + TAR_END)
    assert read_all(used) == {"good.jpg": b"data"}
    assert reason in others["x.jpg"]


def test_members_that_overlap_are_refused(tmp_path):
    first = Entry(b"one.jpg", b"x" * 500)
    for at in (0, 100):
        second = Entry(b"one.jpg" if not at else b"two.jpg", b"x" * 500, at=at)
        if at:  # a header inside of the first one's data
            inner = zip_bytes([Entry(b"two.jpg", b"x" * 10)])
            first.data = (b"x" * (at - 37) + inner).ljust(500, b"x")
            second.data = b"x" * 10
        assert "overlap" in refused(tmp_path, zip_bytes([first, second, Entry(b"z.jpg")]))


def test_a_member_that_reaches_into_the_directory_is_refused(tmp_path):
    data = bytearray(zip_bytes([Entry(b"a.jpg"), Entry(b"b.jpg", b"x" * 50)]))
    struct.pack_into("<II", data, data.rindex(b"PK\1\2") + 20, 51, 51)  # a byte more than it has
    assert "'b.jpg' would reach beyond the archive's members" in refused(tmp_path, data)


def test_a_directory_that_would_fill_the_memory_is_refused_by_its_size_alone(tmp_path):
    wide = Entry(b"a.jpg", extra=struct.pack("<HH", 0, 2000) + bytes(2000))
    listed(tmp_path, zip_bytes([wide]))
    assert "members or more, expected at most 1;" in refused(
        tmp_path, zip_bytes([wide]), members=1
    )  # fmt: skip


def test_few_zeros_may_follow_the_end_of_a_tar_file(tmp_path, monkeypatch):
    monkeypatch.setattr("workflow_scripts.archives.tar_members._PADDING", 2**20)
    data = tar_member(b"a.jpg") + TAR_END
    assert list(listed(tmp_path, data + bytes(2**19))[0]) == ["a.jpg"]
    assert "holds more after the mark of its end" in refused(tmp_path, data + bytes(2**21))


def test_limits_on_members_and_bytes_hold(tmp_path):
    data = zip_bytes([Entry(b"%d.jpg" % n) for n in range(20)])
    assert "20 members or more" in refused(tmp_path, data, members=19)
    assert "would take 80 bytes" in refused(tmp_path, data, total_bytes=79)
    tar = tar_bytes({f"{n}.jpg": b"data" for n in range(20)})
    assert "20 members or more" in refused(tmp_path, tar, members=19)
    assert "would take" in refused(tmp_path, tar, total_bytes=79)
    bomb = zip_bytes([Entry(b"%d.jpg" % n, bytes(10**6), method=8) for n in range(9)])
    assert "over 200 times as many" in refused(tmp_path, bomb, modest_bytes=2**20)
    listed(tmp_path, bomb)  # a few blank pictures are none


def test_a_zip_file_cut_anywhere_is_refused_and_one_with_a_wrong_byte_gives_no_wrong_bytes(
    tmp_path,
):
    files = {f"a/{n}.jpg": os.urandom(40) + b"text" * 20 for n in range(3)}
    whole = zip_bytes([Entry(key.encode(), data, method=8) for key, data in files.items()])
    for length in range(0, len(whole), 7):
        refused(tmp_path, whole[:length])
    for place in range(len(whole)):
        wrong = bytearray(whole)
        wrong[place] ^= 0x55
        try:
            used, others = listed(tmp_path, bytes(wrong))
            found = read_all(used)
        except (UserError, OSError):
            continue
        assert sorted(found.values()) == sorted(
            data for key, data in files.items() if data in found.values()
        )
        assert len(found) + len(others) == 3 or any(key not in files for key in found)


def test_a_tar_file_cut_anywhere_is_refused(tmp_path):
    whole = tar_bytes({f"a/{n}.jpg": os.urandom(600) for n in range(3)}).rstrip(b"\0")
    whole += b"\0" * (-len(whole) % 512)
    assert len(listed(tmp_path, whole + TAR_END)[0]) == 3
    for length in range(0, len(whole) + 1, 64):
        refused(tmp_path, whole[:length])
    wrong = bytearray(whole + TAR_END)
    wrong[1536 + 5] ^= 1  # in the second header
    assert "no header where one is expected, at byte 1536" in refused(tmp_path, bytes(wrong))
    joined = whole + TAR_END + whole + TAR_END
    assert "more after the mark of its end" in refused(tmp_path, joined)


@pytest.mark.parametrize(
    "hostile",
    [
        tar_header(b"x.jpg", raw_size=b"\xff" * 12),  # size -1
        tar_header(b"x.jpg", raw_size=b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7),
        tar_header(b"x", kind=b"L", raw_size=b"\xff" * 10 + b"\0\0") * 2000,
        tar_header(b"x", kind=b"L", raw_size=b"77777777777\0"),
        tar_header(b"x", kind=b"L", size=2**20 + 1) + bytes(2**20 + 512),
        b"".join(tar_member(b"x", b"11 path=xyz", kind=b"x") for _ in range(3000)),
        tar_member(b"x", b"22 GNU.sparse.map=a,b\n17 GNU.sparse.size=x\n", kind=b"x"),
        tar_member(b"x", b"18 size=-10000000\n", kind=b"x") + tar_member(b"y.jpg"),
    ],
)
def test_hostile_headers_of_tar_files_end_in_an_error_and_not_in_a_loop(tmp_path, hostile):
    refused(tmp_path, tar_member(b"a.jpg") + hostile + tar_member(b"b.jpg") + TAR_END)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty (0 bytes)"),
        (b"\n<!DOCTYPE html><html>sign in</html>", "an HTML page"),
        (b'<?xml version="1.0"?><Error/>', "an XML document"),
        (b'{"error": "quota"}', "a JSON document"),
        (b"Rar!\x1a\x07\x01\x00 and more", "unrar x"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (gzip.compress(b"a text", mtime=0), "a gzip file that holds no tar file"),
        (bytes(5000), "a file of zeros"),
        (b"\x89PNG\r\n", "a PNG image"),
        (b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS"),
        (b"any other", "its first bytes are 61 6e 79"),
        (zip_bytes([Entry(b"x", disk=1)]), "was split"),
    ],
)
def test_what_is_no_archive_is_told_by_what_it_is(tmp_path, data, told):
    assert told in refused(tmp_path, data)
    with pytest.raises(UserError, match=r"x\.zip"):
        in_place(tmp_path / "x.zip")


def test_which_archives_are_read_in_place(tmp_path):
    cases = {
        "deflate": (zip_bytes([Entry(b"x", method=8)]), Kind.ZIP, True),
        "bzip2": (zip_bytes([Entry(b"x"), Entry(b"y", method=12)]), Kind.ZIP, False),
        "tar": (tar_bytes({"x": b"y"}), Kind.TAR, True),
        "gz": (tar_bytes({"x": b"y"}, "w:gz"), Kind.TAR_GZ, False),
        "bz2": (tar_bytes({"x": b"y"}, "w:bz2"), Kind.TAR_BZ2, False),
        "xz": (tar_bytes({"x": b"y"}, "w:xz"), Kind.TAR_XZ, False),
    }
    for name, (data, kind, is_in_place) in cases.items():
        path = tmp_path / name
        path.write_bytes(data)
        assert (kind_of(path), in_place(path)) == (kind, is_in_place)
    with pytest.raises(UserError, match="is unpacked, not read in place"):
        list(members(tmp_path / "gz"))
