"""The folder that an archive is unpacked into: written below and nowhere else.

Every step from the folder down is opened by itself and no link is followed, so that one planted
inside leads nowhere. A file gets its name when it is whole; a SIGKILL leaves whole files, and at
most one under the temporary name, which the next start overwrites.
"""

import ctypes
import errno
import json
import os
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from workflow_scripts.archives.names import OddError
from workflow_scripts.errors import UserError
from workflow_scripts.files import json_text
from workflow_scripts.lifetime import boot_id

BEGUN, DONE = ".unpacking.json", ".unpacked.json"
_TEMPORARY = ".unpacking.tmp"
_OWN = (BEGUN, DONE, _TEMPORARY)

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_HELD = {  # names that a file system cannot hold
    errno.ENAMETOOLONG: "its name is too long for this file system",
    errno.EINVAL: "this file system cannot hold its name",
    errno.EILSEQ: "this file system cannot hold its name",
}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Facts = dict[str, Any]


class Target:
    """The folder, opened; itself it may be a link, as a person may have wanted it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._last: tuple[tuple[str, ...], int] = ((), self._root)

    def __enter__(self) -> "Target":
        return self

    def __exit__(self, *_: object) -> None:
        self._keep((), self._root)
        os.close(self._root)

    def claim(self, made_from: Facts) -> None:
        """Make the folder this archive's; what another one left in it goes.

        So does what was unpacked before the machine was started anew: whether those bytes had
        reached the disk is not known.

        Raises:
            UserError: It holds files and no mark: they are somebody's.
        """
        begun, done = self.read(BEGUN), self.read(DONE)
        if begun is None and done is None and set(os.listdir(self._root)) - {_TEMPORARY}:
            raise UserError(
                f"{self.root} holds files that were not unpacked by this workflow, and an archive "
                "would be unpacked there; move them away, or give that folder as the dataset's path"
            )
        mark = {"made_from": made_from, "boot": boot_id()}
        if done is not None or (begun is not None and not mark.items() <= begun.items()):
            # In this order a kill never leaves others' files below the mark of this archive.
            self._write_json(BEGUN, {"made_from": None})
            with suppress(FileNotFoundError):
                os.unlink(DONE, dir_fd=self._root)
            self.remove_others(set())
        self._write_json(BEGUN, mark)

    def finish(self, facts: Facts, keys: set[str]) -> None:
        """Remove what does not belong, and mark the folder as complete."""
        self.remove_others(keys)
        _sync(self._root)
        # Killed between these two, the next start takes it for begun, and finds all there.
        self._write_json(BEGUN, {**facts, "boot": boot_id()})
        os.rename(BEGUN, DONE, src_dir_fd=self._root, dst_dir_fd=self._root)

    def read(self, name: str) -> Facts | None:
        """What a mark says; None where there is none.

        Raises:
            UserError: It is a link.
        """
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self._root)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise UserError(f"{self.root / name} is a link, expected a file; remove it") from None
        with open(descriptor, encoding="utf-8") as file:
            try:
                facts = json.load(file)
            except ValueError:
                facts = None
        return facts if isinstance(facts, dict) else {}

    def ignores_case(self) -> bool:
        """Whether names that differ by case alone are the same here; asked after `claim`."""
        try:
            os.stat(BEGUN.upper(), dir_fd=self._root, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def has(self, key: str, size: int) -> bool:
        """Whether a file of that name and size is there, and is no link.

        Raises:
            OddError, UserError: As `write`.
        """
        *folders, name = key.split("/")
        try:
            seen = os.stat(name, dir_fd=self._folder(tuple(folders)), follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._told(error, key) from None
        if stat.S_ISDIR(seen.st_mode):
            raise OddError("the archive has a folder of the same name")
        return stat.S_ISREG(seen.st_mode) and seen.st_nlink == 1 and seen.st_size == size

    def write(self, key: str, pieces: Iterable[bytes], size: int) -> None:
        """Write a file; in the place of a link of that name, not through it.

        Args:
            key: Its name below the folder.
            pieces: Its bytes.
            size: How many there should be.

        Raises:
            OddError: There are not so many, or the name clashes or cannot be held.
            UserError: The disk is full, or a link stands where a folder should.
        """
        *folders, name = key.split("/")
        try:
            folder = self._folder(tuple(folders))
            with open(self._temporary(), "wb") as file:
                for piece in pieces:
                    file.write(piece)
                    if file.tell() > size:
                        break
                count = file.tell()
            if count != size:
                more = "more" if count > size else f"{count:,}"
                raise OddError(f"the archive says it has {size:,} bytes, and it has {more}")
            os.rename(_TEMPORARY, name, src_dir_fd=self._root, dst_dir_fd=folder)
        except OSError as error:
            raise self._told(error, key) from None
        finally:
            with suppress(OSError):  # renamed, or never there
                os.unlink(_TEMPORARY, dir_fd=self._root)

    def _temporary(self) -> int:
        """The file that gets its name when it is whole, opened; one at a time."""
        try:
            with suppress(FileNotFoundError):
                os.unlink(_TEMPORARY, dir_fd=self._root)  # left by a SIGKILL, or planted
            return os.open(_TEMPORARY, _NEW, 0o666, dir_fd=self._root)
        except (IsADirectoryError, PermissionError) as error:
            raise UserError(
                f"{self.root / _TEMPORARY}: {error.strerror}; a file of this name is written there "
                "while an archive is unpacked: remove what is in its place, or allow writing"
            ) from None

    def bytes_there(self) -> int:
        """Bytes of all files in the folder."""
        return sum(
            os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_size
            for _, _, names, descriptor in os.fwalk(".", dir_fd=self._root)
            for name in names
        )

    def files_there(self) -> int:
        """Files in the folder, without the marks."""
        there = sum(len(names) for _, _, names, _ in os.fwalk(".", dir_fd=self._root))
        return there - len(set(os.listdir(self._root)).intersection(_OWN))

    def free_bytes(self) -> int:
        """Bytes that may still be written on its file system."""
        return shutil.disk_usage(self.root).free

    def remove_others(self, keys: set[str]) -> None:
        """Remove all but the marks and the files of these names, and folders without files."""
        for place, folders, names, descriptor in os.fwalk(".", topdown=False, dir_fd=self._root):
            prefix = "" if place == "." else f"{place.removeprefix('./')}/"
            for name in names:  # links too, whatever they lead to
                if prefix + name not in keys and not (not prefix and name in _OWN):
                    os.unlink(name, dir_fd=descriptor)
            for name in folders:
                if stat.S_ISLNK(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                    os.unlink(name, dir_fd=descriptor)
                    continue
                with suppress(OSError):  # not empty
                    os.rmdir(name, dir_fd=descriptor)

    def _write_json(self, name: str, facts: Facts) -> None:
        data = json_text(facts).encode()
        self.write(name, [data], len(data))

    def _folder(self, parts: tuple[str, ...]) -> int:
        """A folder below the root, made where it is missing; members mostly share the last one."""
        if parts == self._last[0]:
            return self._last[1]
        descriptor = self._root
        try:
            for part in parts:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=descriptor)
                below = os.open(part, _FOLDER, dir_fd=descriptor)
                if descriptor != self._root:
                    os.close(descriptor)
                descriptor = below
        except BaseException:
            if descriptor != self._root:
                os.close(descriptor)
            raise
        self._keep(parts, descriptor)
        return descriptor

    def _keep(self, parts: tuple[str, ...], descriptor: int) -> None:
        if self._last[1] != self._root:
            os.close(self._last[1])
        self._last = (parts, descriptor)

    def _told(self, error: OSError, key: str) -> Exception:
        if error.errno in _NOT_HELD:
            return OddError(_NOT_HELD[error.errno])
        if error.errno in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST):
            return OddError("the archive has a folder of the same name")
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            for part in [*Path(key).parents][-2::-1]:
                if (self.root / part).is_symlink():
                    return UserError(
                        f"{self.root / part} is a link, and unpacking {key} follows none; remove it"
                    )
            return OddError("the archive has a file with the name of its folder")
        if error.errno in _FULL:
            return UserError(
                f"{self.root / key}: {error.strerror}; make room and start again: what was "
                "unpacked stays and is not unpacked twice"
            )
        return error


def _sync(descriptor: int) -> None:
    """Have the file system write what it holds: files by the million are not flushed one by one."""
    if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
