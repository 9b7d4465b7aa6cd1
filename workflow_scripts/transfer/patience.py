"""How long to go on asking, and how long to wait in between."""

import random
import threading

from workflow_scripts.logs import log
from workflow_scripts.transfer.failures import Failure, Final, NoNetwork, Passing, Unreached
from workflow_scripts.transfer.settings import Settings

_LONGEST_BACK_OFF_S = 60.0
_RETRIES_UNREACHED = 2


class Stopped(Exception):
    """The work was called off from outside; what has come so far stays."""


class Patience:
    """Waits between the attempts at one URL: exponential back-off with full jitter.

    The n-th wait is drawn evenly from 0 to `first_wait_s` × 2^(n - 1), a minute at most
    ("Exponential Backoff And Jitter", AWS Architecture Blog 2015: of the ways to spread those who
    wait it loads the server least).
    What Retry-After asks for is waited in full, and jitter on top. An attempt that brought new
    bytes starts the count again, so that a bad line only makes a download slow.

    Where no attempt comes as far as a connection there is mostly no network, and nobody wants to
    wait minutes for that to be told.
    """

    def __init__(
        self,
        settings: Settings,
        what: str,
        stop: threading.Event | None = None,
        *,
        answered: bool = False,
    ) -> None:
        """Begin.

        Args:
            settings: The limits.
            what: Names the URL in the log, without secrets.
            stop: When it is set, waiting ends with `Stopped`.
            answered: Whether its server has been reached before.
        """
        self._settings = settings
        self._what = what
        self._stop = stop or threading.Event()
        self._random = random.Random()
        self._in_vain = 0
        self._answered = answered

    def wait(self, failure: Passing, *, progressed: bool = False) -> None:
        """Wait before the next attempt.

        Args:
            failure: What ended the last attempt.
            progressed: It brought new bytes.

        Raises:
            NoNetwork: There were a few attempts, and no connection in any.
            Final: There were enough attempts, or the server asks for a longer wait than is allowed.
            Stopped: The work was called off.
        """
        self._in_vain = 0 if progressed else self._in_vain + 1
        self._answered |= not isinstance(failure, Unreached)
        settings = self._settings
        if not self._answered and self._in_vain > min(settings.retries, _RETRIES_UNREACHED):
            raise NoNetwork(f"{failure} ({self._in_vain} attempts)")
        if self._in_vain > settings.retries:
            raise Final(f"{failure} ({self._in_vain} attempts without a new byte)")
        asked = failure.wait_s or 0.0
        if asked > settings.longest_wait_s:
            raise Final(
                f"{failure}: the server asks to wait {asked:.0f} s, more than the "
                f"{settings.longest_wait_s:.0f} s allowed (longest_wait_s); start again later"
            )
        most = min(settings.first_wait_s * 2.0 ** max(self._in_vain - 1, 0), _LONGEST_BACK_OFF_S)
        seconds = min(asked + self._random.uniform(0, most), settings.longest_wait_s)
        log.info("%s: %s; again in %.1f s", self._what, failure, seconds)
        if self._stop.wait(seconds):
            raise Stopped from failure


def told(failures: list[tuple[str, Failure]]) -> str:
    """Lines of URLs, without secrets, and what was seen there."""
    return "".join(f"\n  {url}: {failure}" for url, failure in failures)
