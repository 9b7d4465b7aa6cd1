"""One file: its mirrors in turn, attempt after attempt, each going on where the last one ended."""

from pathlib import Path

import requests

from workflow_scripts.errors import UserError
from workflow_scripts.files import exclusive
from workflow_scripts.logs import log
from workflow_scripts.transfer.answers import chunks, content_length, content_range
from workflow_scripts.transfer.client import Client
from workflow_scripts.transfer.failures import Failure, Final, NoNetwork, Passing, about_network
from workflow_scripts.transfer.part import Origin, Part, part_paths, rejected_path
from workflow_scripts.transfer.patience import Patience, told
from workflow_scripts.transfer.present import Mismatch, algorithms, check, compared, remember
from workflow_scripts.transfer.remote import Received, Remote, without_secrets
from workflow_scripts.transfer.watch import Watch

_PAGES = (".html", ".htm", ".xhtml")
# Apache's AddEncoding says so of files that lie there packed: their bytes come as they are.
_PACKINGS = {"gzip": (".gz", ".tgz"), "x-gzip": (".gz", ".tgz"), "zstd": (".zst",)}


def receive(remote: Remote, target: Path, client: Client, watch: Watch) -> Received:
    """Download one file, unless it is there.

    Args:
        remote: The file.
        target: Where it is put.
        client: Asks the servers.
        watch: Is told of the bytes that come, and can call the work off.

    Raises:
        UserError: No mirror gave it; names each and what was seen there. Or the disk is full.
        Stopped: The work was called off; the part stays.
    """
    with exclusive(target, what=f"the download of {target}", clear=True):
        there = _present(remote, target, watch)
        if there:
            return there
        failures: list[tuple[str, Failure]] = []
        checked = bool(remote.sha256 or remote.md5)
        with Part(target, algorithms(remote), checked=checked) as part:
            watch.came(part.size, now=False)
            for url in remote.urls:
                try:
                    return _Mirror(remote, url, part, client, watch).receive()
                except Final as failure:
                    log.warning("%s: %s", without_secrets(url), failure)
                    failures.append((without_secrets(url), failure))
            kept = part.size
        if not kept:
            for path in part_paths(target):
                path.unlink(missing_ok=True)
    raise UserError(_hopeless(target, failures, kept))


def _present(remote: Remote, target: Path, watch: Watch) -> Received | None:
    """The file if it is there and right; a wrong one is set aside.

    Raises:
        UserError: A folder has its name.
    """
    if target.is_dir():
        raise UserError(
            f"{target} is a folder, and a file of that name is to be downloaded; move it away"
        )
    try:
        found = compared(target, remote)
    except FileNotFoundError:
        return None
    except Mismatch as mismatch:
        aside = rejected_path(target)
        target.replace(aside)
        log.warning("%s: %s; set aside as %s", target, mismatch, aside.name)
        return None
    for path in part_paths(target):  # of a download that was killed after the file had its name
        path.unlink(missing_ok=True)
    watch.came(found.bytes, now=False)
    return found


def _hopeless(target: Path, failures: list[tuple[str, Failure]], kept: int) -> str:
    if not failures:
        return f"{target}: no URL is known for it; get the file and put it there under this name"
    begin = f"{target}: could not be downloaded{told(failures)}\n"
    if all(isinstance(failure, NoNetwork) for _, failure in failures):
        begin += f"{about_network()}\n"
    went = f", which goes on from byte {kept}" if kept else ""
    return (
        f"{begin}Mend what is said there and start again{went}; or get the file by other means and "
        "put it there under this name"
    )


class _Mirror:
    """One URL of a file."""

    def __init__(self, remote: Remote, url: str, part: Part, client: Client, watch: Watch) -> None:
        self._remote, self._url, self._part = remote, url, part
        self._client, self._watch = client, watch
        self._label = without_secrets(url)

    def receive(self) -> Received:
        """All attempts at it.

        Raises:
            Final: It does not give the file.
        """
        part = self._part
        patience = Patience(self._client.settings, self._label, self._watch.stop)
        furthest = part.size
        while True:
            try:
                if not self._is_whole():
                    self._attempt()
                return self._finish()
            except Passing as failure:
                progressed = part.size > furthest
                furthest = max(furthest, part.size)
                patience.wait(failure, progressed=progressed)

    def _is_whole(self) -> bool:
        """Whether all bytes came before; throws away what is no beginning of this file."""
        part, remote, origin = self._part, self._remote, self._part.origin
        total = remote.bytes if origin is None or origin.total is None else origin.total
        known = remote.bytes is not None and bool(remote.sha256 or remote.md5)
        same = origin is not None and origin.url == self._label and origin.validator is not None
        fits = remote.bytes in (None, total) and (total is None or part.size <= total)
        if part.size and not (fits and (same or known)):
            self._restart(None)
        return bool(part.size) and part.size == total

    def _attempt(self) -> None:
        """One request, and its body into the part."""
        part = self._part
        headers = {"Accept-Encoding": "identity"}
        if part.size:
            headers["Range"] = f"bytes={part.size}-"
            same = part.origin is not None and part.origin.url == self._label
            if same and part.origin and part.origin.validator:
                headers["If-Range"] = part.origin.validator
        with self._client.open(self._url, headers=headers, also=(416,)) as response:
            if response.status_code == 416:
                self._at_end(response)
            else:
                self._refuse_unfit(response)
                self._begin(response)
                self._body(response)

    def _refuse_unfit(self, response: requests.Response) -> None:
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        own = self._remote.name.lower().endswith(_PACKINGS.get(encoding, ()))
        if encoding not in ("", "identity") and not own:
            raise Final(
                f"sent with Content-Encoding {encoding}, though it was asked for as it is: its "
                "bytes would not be those of the file"
            )
        page = self._client.web_page(self._url, response)
        if page and not self._remote.name.lower().endswith(_PAGES):
            raise Final(page)

    def _at_end(self, response: requests.Response) -> None:
        """The server has no byte behind ours: either we have all, or its file is another one."""
        part = self._part
        seen = self._origin(response, content_range(response)[1])
        if not (part.size and seen.total == part.size and part.origin
                and part.origin.agrees(seen)):  # fmt: skip
            self._restart(None)
            raise Passing("416, the file there is shorter than what came before: begun afresh")

    def _begin(self, response: requests.Response) -> None:
        """Compare the answer with the part; a new file begins afresh."""
        part, status = self._part, response.status_code
        if status == 206:
            start, total = content_range(response)
            seen = self._origin(response, total)
            before = part.origin
            if before and before.url != seen.url:  # of a mirror only the size must be the same
                before = Origin(url=seen.url, total=before.total)
            if start != part.size or not part.size or (before and not before.agrees(seen)):
                self._restart(None)
                raise Passing("the file there changed meanwhile: begun afresh")
            part.of_one_piece = False
        elif status == 200:
            seen = self._origin(response, content_length(response))
            if part.size:
                log.info(
                    "%s: changed since the last attempt, or the server sends no ranges: begun "
                    "afresh", self._label,
                )  # fmt: skip
        else:
            raise Final(f"status {status}, expected 200 or 206")
        expected = self._remote.bytes
        if expected is not None and seen.total not in (None, expected):
            raise Final(f"it has {seen.total} bytes there, expected {expected}")
        self._refuse_endless(response, seen)
        if status == 200:
            self._restart(seen)
        if expected is None and seen.total is not None:
            self._watch.needs(self._part.target, seen.total - self._part.size)

    def _refuse_endless(self, response: requests.Response, seen: Origin) -> None:
        """Without any length, a body that was cut looks whole."""
        remote = self._remote
        chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
        if not (seen.total is not None or chunked or remote.bytes or remote.sha256 or remote.md5):
            raise Final(
                "the server does not tell how long it is, and neither size nor checksum is known: "
                "a file cut short would pass for whole"
            )

    def _body(self, response: requests.Response) -> None:
        part, total = self._part, self._remote.bytes
        if total is None and part.origin:
            total = part.origin.total
        for handful in chunks(response, self._client.settings.timeout_s):
            self._watch.check()
            before = part.size
            try:
                part.append(handful)
            finally:
                self._watch.came(part.size - before)
            if total is not None and part.size > total:
                self._restart(None)
                raise Final(f"more bytes came than the {total} expected")
        if total is not None and part.size < total:
            raise Passing(f"the connection ended after {part.size} of {total} bytes")

    def _finish(self) -> Received:
        """Verify all bytes and give the file its name."""
        part, remote = self._part, self._remote
        digests, size = part.digests(), part.size
        try:
            check(digests, size, remote)
        except Mismatch as mismatch:
            patched = not part.of_one_piece
            aside = part.reject()
            self._watch.came(-size, now=False)
            seen = f"{mismatch}; set aside as {aside}"
            # Pieces that do not fit together, or a disk that lost some: once more, in one piece.
            raise (Passing if patched else Final)(seen) from None
        part.become_whole()
        remember(part.target, digests)
        return Received(
            name=remote.name, path=part.target, bytes=size, sha256=digests["sha256"],
            url=self._label,
        )  # fmt: skip

    def _restart(self, origin: Origin | None) -> None:
        self._watch.came(-self._part.size, now=False)
        self._part.restart(origin)

    def _origin(self, response: requests.Response, total: int | None) -> Origin:
        headers = response.headers
        return Origin(
            url=self._label, etag=headers.get("ETag"), modified=headers.get("Last-Modified"),
            total=total,
        )  # fmt: skip
