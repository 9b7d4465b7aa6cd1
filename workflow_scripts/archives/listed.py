"""What a listing of an archive yields, and the limits of what is believed."""

from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Above these an archive, or a member, is taken for an attack.

    Attributes:
        members: Of an archive, folders with them.
        total_bytes: Of all its members together.
        ratio: Of a member's or all members' size to what it has in the archive; deflate cannot go
            above 1032, and what goes far above 10 is mostly one colour.
        modest_bytes: Up to this size any ratio is fine: a blank picture is no attack.
    """

    members: int = 20_000_000
    total_bytes: int = 2**44
    ratio: int = 200
    modest_bytes: int = 2**28

    def expands(self, size: int, stored: int) -> bool:
        """Whether so many bytes in so few are too many."""
        return size > self.modest_bytes and size > self.ratio * stored

    def check(self, archive: Path, *, members: int, total: int, stored: int) -> None:
        """Refuse an archive with too many members, or too large ones.

        Args:
            archive: For the message.
            members: How many it has.
            total: Their bytes.
            stored: Bytes of the archive.

        Raises:
            UserError: It is above a limit.
        """
        seen = ""
        if members > self.members:
            seen = f"holds {members:,} members or more, expected at most {self.members:,}"
        elif total > self.total_bytes:
            seen = f"would take {total:,} bytes, expected at most {self.total_bytes:,}"
        elif self.expands(total, stored):
            seen = f"has {stored:,} bytes and would take {total:,}, over {self.ratio} times as many"
        if seen:
            raise refused(archive, seen)


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive that is read in place.

    Attributes:
        key: Its name, with `/`, as a path below a folder.
        bytes: Its size, which reading is to hold it to.
        address: What a manifest has as its path, see `stored`.
        crc32: Of its bytes, where the archive has it.
    """

    key: str
    bytes: int
    address: str
    crc32: int | None = None


@dataclass(frozen=True, slots=True)
class SetAside:
    """A member that is not used.

    Attributes:
        key: Its name, in which what cannot be shown is escaped.
        reason: Why.
    """

    key: str
    reason: str


def refused(archive: Path, seen: str) -> UserError:
    """The error of an archive that looks like an attack."""
    return UserError(
        f"{archive}: {seen}; archives like this are made to do harm, so none of it is used. Get it "
        "from its publisher again and compare the checksum; if you trust it, unpack it by hand and "
        "give the folder as the dataset's path"
    )


def damaged(archive: Path, seen: str) -> UserError:
    """The error of an archive that is not whole."""
    return UserError(
        f"{archive}: {seen}; the archive is damaged or was cut short: compare its size and "
        "checksum with the publisher's and get it again"
    )
