"""Files of a dataset on the Hugging Face hub, at a pinned commit.

`huggingface_hub` tells sizes and checksums (of files in git LFS) and addresses, and honours
HF_ENDPOINT, HF_HUB_OFFLINE and the proxies of the environment. The bytes themselves go through our
own transfer and not through `hf_hub_download`: that verifies no checksum, keeps a second copy in
its cache, and has no mirrors; so one set of guarantees holds for every source.

A token is taken from HF_TOKEN alone, for the hub's own host: large files lie at another host, to
which the hub redirects with an address that is signed.
"""

import os
from typing import Any

import requests
from httpx2 import BaseTransport, Client, Request, Response
from huggingface_hub import HfApi, constants, hf_hub_url, is_offline_mode, set_client_factory
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import RepoFile

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.sources import known
from workflow_scripts.fetch.sources.asking import patiently, without_netrc
from workflow_scripts.fetch.sources.https import host
from workflow_scripts.transfer.failures import (
    NETWORK_ERRORS,
    PASSING_STATUSES,
    Failure,
    Final,
    Passing,
    of_error,
    retry_after,
)
from workflow_scripts.transfer.remote import Remote, keeps_secrets
from workflow_scripts.transfer.settings import Settings

_AT_A_TIME = 100  # paths in one question


def endpoint() -> str:
    """The hub's address: HF_ENDPOINT, or the public one."""
    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def tokens() -> dict[str, str]:
    """The hub's host and the token for it, if HF_TOKEN is set and the way there is not open."""
    token = os.environ.get("HF_TOKEN", "").strip()
    return {host(endpoint()): token} if token and keeps_secrets(endpoint()) else {}


def is_told(source: dict[str, Any]) -> bool:
    """Whether the recipe says all of every file, so that the hub need not be asked."""
    return all(
        file.get("bytes") is not None and (file.get("sha256") or file.get("md5"))
        for file in source["files"]
    )


def remotes(
    source: dict[str, Any], mirrors: dict[str, list[str]], told: dict[str, dict[str, Any]]
) -> list[Remote]:
    """The files of a source.

    Args:
        source: `repo`, `revision`, and `files`: name, and bytes, sha256, md5 where known.
        mirrors: Further addresses of files by name, tried after the hub.
        told: What `ask` returned; empty if all is in the recipe.

    Raises:
        UserError: The hub tells other sizes or checksums than the recipe.
    """
    found = []
    for file in source["files"]:
        name = file["name"]
        url = hf_hub_url(
            source["repo"], name, repo_type="dataset", revision=source["revision"],
            endpoint=endpoint(),
        )  # fmt: skip
        facts = {key: file.get(key) for key in ("bytes", "sha256", "md5")}
        for key, value in told.get(name, {}).items():
            if facts[key] not in (None, value):
                raise UserError(
                    f"{_named(source)}: {name} has {key} {value} there, and the recipe says "
                    f"{facts[key]}; correct the entry, or its revision"
                )
            facts[key] = value
        found.append(Remote(name=name, urls=(url, *mirrors.get(name, [])), **facts))
    return found


def ask(source: dict[str, Any], settings: Settings) -> dict[str, dict[str, Any]]:
    """What the hub knows of each file, by its name: `bytes`, and `sha256` of files in LFS.

    Args:
        source: `repo`, `revision`, and `files` with their names.
        settings: Of transfers.

    Raises:
        UserError: The hub has no such dataset, commit or file, gives none without a token, or
            cannot be asked.
    """
    names = [file["name"] for file in source["files"]]
    told: dict[str, dict[str, Any]] = {}
    if is_offline_mode():
        raise UserError(
            f"{_named(source)}: HF_HUB_OFFLINE is set, and the hub has to be asked; unset it, and "
            "start again"
        )
    set_client_factory(lambda: Client(transport=_Transport(settings), follow_redirects=True))
    api = HfApi(endpoint=endpoint(), token=next(iter(tokens().values()), False))
    for start in range(0, len(names), _AT_A_TIME):
        some = names[start : start + _AT_A_TIME]

        def ask_once(some: list[str] = some) -> list[Any]:
            revision = source["revision"]
            return api.get_paths_info(source["repo"], some, revision=revision, repo_type="dataset")

        def failure(error: Exception) -> Failure:
            return _failure(error, settings.timeout_s)

        rows = patiently(
            ask_once, settings=settings, what=_named(source), failure=failure, answered=start > 0
        )
        told |= {row.path: _facts(row, source) for row in rows if isinstance(row, RepoFile)}
    missing = [name for name in names if name not in told]
    if missing:
        raise UserError(
            f"{_named(source)}: there is no file {', '.join(missing)}; look up the names at "
            f"{endpoint()}/datasets/{source['repo']}/tree/{source['revision']}"
        )
    return told


class _Transport(BaseTransport):
    """The library's requests, made by `requests`: with our time limit, proxies and authorities.

    Its own client has no time limit, does not start where ALL_PROXY is a SOCKS proxy (as on
    Frontier), and does not know REQUESTS_CA_BUNDLE. It still follows the redirects itself, and
    leaves the token out of those to another host.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session = without_netrc(requests.Session())

    def handle_request(self, request: Request) -> Response:
        """One request."""
        answer = self._session.request(
            request.method, str(request.url), headers=dict(request.headers), data=request.read(),
            allow_redirects=False, timeout=self._settings.timeouts,
        )  # fmt: skip
        headers = answer.headers.copy()
        for name in ("Content-Encoding", "Content-Length", "Transfer-Encoding"):
            headers.pop(name, None)  # the content is decoded here
        return Response(answer.status_code, headers=dict(headers), content=answer.content)

    def close(self) -> None:
        """Close its connections."""
        self._session.close()


def _facts(row: RepoFile, source: dict[str, Any]) -> dict[str, Any]:
    where = f"{_named(source)}: {row.path}"
    if row.lfs is None:  # in git itself: the hub knows git's own digest alone
        return {"bytes": known.size(row.size, where)}
    return {
        "bytes": known.size(row.lfs.size, where),
        "sha256": known.checksum("sha256", row.lfs.sha256, where),
    }


def _named(source: dict[str, Any]) -> str:
    return f"Hugging Face dataset {source['repo']} at {source['revision']}"


def _failure(error: Exception, timeout_s: float) -> Failure:
    """What an error of the library means, without the request's headers, and what to do."""
    if isinstance(error, HfHubHTTPError):
        return _of_status(error)
    if isinstance(error, NETWORK_ERRORS):
        return of_error(error, timeout_s)
    return Final(f"an answer that is not the hub's ({type(error).__name__}: {error!s:.200})")


def _of_status(error: HfHubHTTPError) -> Failure:
    status = error.response.status_code
    if status in PASSING_STATUSES:
        return Passing(f"status {status}", retry_after(error.response.headers.get("Retry-After")))
    if status in (401, 403):
        return Final(
            f"it refuses (status {status}): the dataset is private, wants its conditions accepted "
            "on its page, or does not exist; set HF_TOKEN to a token that may read it"
        )
    if status == 404:
        return Final(
            "there is no such dataset or commit (status 404); look up `repo`, and give all 40 "
            "digits of the commit as `revision`"
        )
    return Final(f"status {status}; start again later")
