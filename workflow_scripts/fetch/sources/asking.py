"""Questions to a service by its own library, asked again when the answer fails for the moment.

Files and small documents go through `transfer.Client`. The libraries of the hub and of STAC make
requests of their own and give up at the first 503: so their calls are repeated here with the same
patience, over sessions with the same rules.
"""

from collections.abc import Callable
from typing import TypeVar

import requests

from workflow_scripts.errors import UserError
from workflow_scripts.transfer.failures import Failure, NoNetwork, Passing, about_network
from workflow_scripts.transfer.patience import Patience
from workflow_scripts.transfer.settings import Settings

T = TypeVar("T")


def without_netrc(session: requests.Session) -> requests.Session:
    """Keep passwords of ~/.netrc out of a session: what is secret comes from the environment."""
    session.auth = lambda request: request
    return session


def patiently(
    ask: Callable[[], T],
    *,
    settings: Settings,
    what: str,
    failure: Callable[[Exception], Failure],
    answered: bool = False,
) -> T:
    """Ask until there is an answer, or a failure that stays.

    Args:
        ask: Asks once, by a library.
        settings: How often to ask again, and how long to wait at most.
        what: Names the service, without secrets.
        failure: What an error of the library means.
        answered: Whether the service answered before.

    Raises:
        UserError: No answer; names the service and what was seen.
    """
    patience = Patience(settings, what, answered=answered)
    while True:
        try:
            return ask()
        except UserError:
            raise
        except Exception as error:  # the libraries have no one class for what goes wrong
            seen = failure(error)
            try:
                if not isinstance(seen, Passing):
                    raise seen from None
                patience.wait(seen)
            except Failure as final:
                more = f"\n{about_network()}" if isinstance(final, NoNetwork) else ""
                raise UserError(f"{what}: {final}{more}") from None
