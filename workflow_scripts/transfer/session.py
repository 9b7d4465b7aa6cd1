"""What of requests is done otherwise here: redirects are not followed, and credentials are ours."""

from collections.abc import Iterator
from typing import Any

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import get_auth_from_url

from workflow_scripts.errors import UserError


class Session(requests.Session):
    """One that follows no redirect, and does not look into one."""

    def resolve_redirects(self, *_: Any, **__: Any) -> Iterator[Any]:
        """None: requests reads bodies of redirects without a limit, even if it is not to follow."""
        return iter(())


class Credentials(AuthBase):
    """A bearer token, or the user that the URL itself names, or nothing."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put them into a request; in the place of what requests would find in ~/.netrc."""
        user, password = get_auth_from_url(request.url or "")
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        elif user or password:
            HTTPBasicAuth(user, password)(request)
        return request


def checked(host: str, token: str) -> str:
    """A token without the line end that files and shells leave.

    Raises:
        UserError: It cannot be one; does not show it.
    """
    token = token.strip()
    if not token or not all("!" <= character <= "~" for character in token):
        raise UserError(
            f"the token for {host} is empty or holds spaces, line ends or other characters that no "
            "token has; look at the environment variable that it comes from"
        )
    return token
