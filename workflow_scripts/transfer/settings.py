"""How files are downloaded; nothing of it changes what is downloaded."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

_CONNECT_S = 15.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Limits of transfers.

    Attributes:
        parallel: Files at a time.
        retries: Attempts after the first, of each URL of a file, that may end without a new byte
            one after the other.
        timeout_s: Seconds without a byte after which an attempt ends; without a connection it does
            so after a quarter of a minute at the latest.
        first_wait_s: About how long to wait after the first failure; doubled with each further one.
        longest_wait_s: Most seconds to wait between two attempts, whatever the server asks for.
    """

    parallel: int = 4
    retries: int = 8
    timeout_s: float = 60.0
    first_wait_s: float = 1.0
    longest_wait_s: float = 600.0

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """The limits that the option `--transfer` states; its other keys are for others."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in options.items() if name in names})

    @property
    def timeouts(self) -> tuple[float, float]:
        """Seconds for a connection and for a byte: of packets that are dropped nobody tells."""
        return min(self.timeout_s, _CONNECT_S), self.timeout_s
