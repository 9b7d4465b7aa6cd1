"""Paths of manifests: files, and members of archives read where they lie."""

import hashlib
import io
import os
import struct
import tarfile
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from workflow_scripts.archives.members import members
from workflow_scripts.stored import (
    Address,
    address_in,
    digest_stored,
    open_stored,
    read_stored,
)

LARGE = os.urandom(3_000_000) + b"\0" * 2_000_000


@pytest.fixture
def archives(tmp_path):
    """The same files in a deflated zip, a stored zip and a tar; by name of the archive."""
    files = {"a/one.bin": b"", "a/two.bin": b"plain text " * 50, "b/large.bin": LARGE}
    for name, method in (("d.zip", zipfile.ZIP_DEFLATED), ("s.zip", zipfile.ZIP_STORED)):
        with zipfile.ZipFile(tmp_path / name, "w", method) as file:
            for key, data in files.items():
                file.writestr(key, data)
    with tarfile.open(tmp_path / "t.tar", "w") as file:
        for key, data in files.items():
            info = tarfile.TarInfo(key)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return tmp_path, files


@pytest.mark.parametrize("name", ["d.zip", "s.zip", "t.tar"])
def test_members_are_read_as_the_files_that_went_in(archives, name):
    folder, files = archives
    found = {one.key: one for one in members(folder / name)}
    assert list(found) == list(files)
    for key, data in files.items():
        one = found[key]
        assert one.bytes == len(data)
        assert one.crc32 == (None if name == "t.tar" else zlib.crc32(data))
        assert read_stored(one.address, size=one.bytes) == data
        with open_stored(one.address) as file:
            assert file.read(7) == data[:7]
            assert file.read() == data[7:]
        expected = hashlib.sha256(data).hexdigest(), len(data)
        assert digest_stored(one.address, size=one.bytes, crc32=one.crc32) == expected
        assert address_in(one.address).file == str(folder / name)


def test_many_threads_read_members_of_one_archive(archives):
    folder, files = archives
    found = list(members(folder / "d.zip")) * 20
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda one: read_stored(one.address), found))
    assert read == list(files.values()) * 20


@pytest.mark.parametrize(
    "name", ["plain.jpg", "odd!name.jpg", "a!stored.jpg", "b!stored:1.jpg", "c!deflate:1:2.jpg",
             "d!stored:1:2:3.jpg", "e!zstd:1:2"],
)  # fmt: skip
def test_any_other_path_is_a_plain_file(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"content")
    assert address_in(str(path)) is None
    assert read_stored(str(path)) == b"content"
    assert digest_stored(str(path)) == (hashlib.sha256(b"content").hexdigest(), 7)
    with open_stored(str(path)) as file:
        assert file.read() == b"content"


def test_an_address_is_read_back_as_it_was_written_whatever_the_file_is_called(tmp_path):
    for file in ("x.zip", "a!deflate:1:2", "new\nline!.zip", "!"):
        address = Address(file, "stored", 2**62, 0)
        assert address_in(str(address)) == address


def test_a_missing_archive_is_told_as_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_stored(f"{tmp_path}/gone.zip!stored:0:10")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data, a: data[: a.offset + a.bytes // 2], "ends before this member does"),
        (lambda data, a: data[: a.offset] + b"\xff" * 1000, "broken deflate stream"),
        (lambda data, a: data[: a.offset] + b"\7" + data[a.offset + 1 :], "broken deflate stream"),
    ],
)
def test_an_archive_that_changed_is_an_error_and_names_the_member(archives, change, told):
    path = archives[0] / "d.zip"
    one = list(members(path))[2]
    path.write_bytes(change(path.read_bytes(), address_in(one.address)))
    with pytest.raises(OSError, match=told) as error:
        read_stored(one.address, size=one.bytes)
    assert error.value.filename == one.address


def test_a_member_of_another_size_or_checksum_than_the_archive_tells_is_an_error(archives):
    _, _, one = members(archives[0] / "d.zip")
    with pytest.raises(OSError, match="inflates to more than 4999999 bytes"):
        read_stored(one.address, size=one.bytes - 1)
    with pytest.raises(OSError, match="has 5000000 bytes, the archive says 5000001"):
        digest_stored(one.address, size=one.bytes + 1)
    with pytest.raises(OSError, match="CRC-32"):
        digest_stored(one.address, size=one.bytes, crc32=one.crc32 ^ 1)


def test_a_deflate_stream_must_end_where_the_address_says(archives):
    _, two, _ = members(archives[0] / "d.zip")
    place = address_in(two.address)
    for stored in (place.bytes + 1, place.bytes - 1):
        wrong = Address(place.file, place.method, place.offset, stored)
        with pytest.raises(OSError, match="broken deflate stream: it"):
            read_stored(str(wrong))


def test_a_deflate_stream_that_ends_with_what_was_read_at_a_time_is_short_all_the_same(tmp_path):
    sizes = [*[65_535] * 3, 65_519]  # of blocks as they are, so that the stream has 2**18 bytes
    heads = [struct.pack("<BHH", size == sizes[-1], size, 2**16 - 1 - size) for size in sizes]
    stream = b"".join(head + bytes(size) for head, size in zip(heads, sizes, strict=True))
    assert len(stream) == 2**18
    path = tmp_path / "x"
    path.write_bytes(stream + bytes(100))
    assert read_stored(f"{path}!deflate:0:{2**18}") == bytes(sum(sizes))
    with pytest.raises(OSError, match="it ends before its bytes do"):
        read_stored(f"{path}!deflate:0:{2**18 + 100}")
