"""Members of an archive that is read in place, one by one."""

from collections.abc import Iterator
from pathlib import Path

from workflow_scripts.archives.kinds import Kind, kind_of, refuse
from workflow_scripts.archives.listed import Limits, Member, SetAside
from workflow_scripts.archives.tar_members import tar_members
from workflow_scripts.archives.zip_members import reads_in_place, zip_members
from workflow_scripts.errors import UserError

LIMITS = Limits()


def in_place(archive: Path, *, limits: Limits = LIMITS) -> bool:
    """Whether an archive is read where it lies; if not, it has to be unpacked.

    Raises:
        UserError: It is no archive, a rar, or a zip file that is not whole.
    """
    kind = kind_of(archive)
    if kind in (Kind.RAR, Kind.OTHER):
        raise refuse(archive, kind)
    return kind is Kind.TAR or (kind is Kind.ZIP and reads_in_place(archive, limits))


def members(archive: Path, *, limits: Limits = LIMITS) -> Iterator[Member | SetAside]:
    """Yield the members of a zip or tar file in its order; only headers are read.

    Left out without a word are folders, hidden files and what desktops leave behind. Before the
    first member is given all of them have been checked.

    Args:
        archive: The file; addresses begin with this path as it is given.
        limits: Of what is believed.

    Raises:
        UserError: It is no such archive, is damaged, or looks like an attack.
    """
    kind = kind_of(archive)
    if kind is Kind.ZIP:
        yield from zip_members(archive, limits)
    elif kind is Kind.TAR:
        yield from tar_members(archive, limits)
    elif kind in (Kind.RAR, Kind.OTHER):
        raise refuse(archive, kind)
    else:
        raise UserError(f"{archive} is {kind.value}, which is unpacked, not read in place")
