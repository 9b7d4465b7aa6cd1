"""Archives written by hand, header by header: what no library would write."""

import io
import struct
import tarfile
import zlib
from dataclasses import dataclass


@dataclass
class Entry:
    """A member of a zip file; what is None follows from the rest."""

    name: bytes
    data: bytes = b"data"
    flags: int = 0
    method: int = 0
    mode: int = 0o100644  # type and permissions
    size: int | None = None
    extra: bytes = b""
    local_name: bytes | None = None
    local_flags: int | None = None
    at: int | None = None  # offset of the local header, where that of another is used
    disk: int = 0

    def packed(self):
        if self.method != 8:
            return self.data
        packer = zlib.compressobj(wbits=-15)
        return packer.compress(self.data) + packer.flush()


def zip_bytes(entries, *, prefix=b"", comment=b""):
    """A zip file of entries."""
    body, directory = prefix, b""
    for one in entries:
        packed, checksum = one.packed(), zlib.crc32(one.data)
        size = len(one.data) if one.size is None else one.size
        local = one.name if one.local_name is None else one.local_name
        flags = one.flags if one.local_flags is None else one.local_flags
        at = len(body) - len(prefix) if one.at is None else one.at
        if one.at is None:
            body += struct.pack(
                "<4s5H3I2H", b"PK\3\4", 20, flags, one.method, 0, 33, checksum, len(packed), size,
                len(local), 0,
            ) + local + packed  # fmt: skip
        directory += struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 3 << 8 | 20, 20, one.flags, one.method, 0, 33, checksum,
            len(packed), size, len(one.name), len(one.extra), 0, one.disk, 0, one.mode << 16, at,
        ) + one.name + one.extra  # fmt: skip
    end = struct.pack(
        "<4s4H2IH", b"PK\5\6", 0, 0, len(entries), len(entries), len(directory),
        len(body) - len(prefix), len(comment),
    )  # fmt: skip
    return body + directory + end + comment


def tar_header(name, *, size=0, kind=b"0", raw_size=None, link=b""):
    """A header of a tar file, with its checksum right whatever its fields say."""
    field = b"%011o\0" % size if raw_size is None else raw_size
    block = bytearray(
        name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + field + b"00000000000\0"
        + b" " * 8 + kind + link.ljust(100, b"\0") + b"ustar\x0000"
    ).ljust(512, b"\0")  # fmt: skip
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def tar_member(name, data=b"data", **fields):
    """A header and the data with its padding."""
    return tar_header(name, size=len(data), **fields) + data + b"\0" * (-len(data) % 512)


TAR_END = b"\0" * 1024


def tar_bytes(files, kind="w", **options):
    """A tar file of files by key, as tarfile writes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=kind, **options) as file:
        for key, data in files.items():
            info = tarfile.TarInfo(key)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
