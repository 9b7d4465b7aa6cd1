"""Stand-ins, on the loopback, of what datasets come from: web servers, the hub, a STAC API.

Each remembers what it was asked, with the headers, so that a test can tell where a token went.
"""

import datetime
import hashlib
import io
import json
import os
import re
import threading
import time
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

IMAGES = {
    f"{name}/{name}{n}.jpg": f"{name}{n}".encode() * 40 for name in ("sea", "sand") for n in (1, 2)
}
REVISION = "7c5ef3454d9b1cccfa7ccde2c01fc8f00a45ffa3"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@dataclass
class Asked:
    method: str
    path: str
    query: dict
    headers: dict
    body: bytes = b""


@dataclass
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict = field(default_factory=dict)


def as_json(value, status=200, **headers):
    return Answer(json.dumps(value).encode(), status, {"Content-Type": "application/json"})


class Server:
    """A web server in a thread; `answer` says what to a request, `first` to the first ones."""

    def __init__(self, files=None):
        self.files = files or {}
        self.asked = []
        self.first = []
        self.connections = 0
        self.slow_s = 0.0  # a pause before every 64 KiB

    def __enter__(self):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else an answer takes 40 ms

            def setup(self):
                outer.connections += 1
                super().setup()

            def _serve(self):
                length = int(self.headers.get("Content-Length") or 0)
                parts = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                body = self.rfile.read(length)
                headers = {name.title(): value for name, value in self.headers.items()}
                asked = Asked(self.command, parts.path, query, headers, body)
                outer.asked.append(asked)
                answer = outer.first.pop(0) if outer.first else outer.answer(asked)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in answer.headers:
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                for start in range(0, len(answer.body), 2**16):
                    time.sleep(outer.slow_s)
                    self.wfile.write(answer.body[start : start + 2**16])
                if int(answer.headers.get("Content-Length", len(answer.body))) > len(answer.body):
                    self.close_connection = True

            do_GET = do_POST = do_HEAD = _serve

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._thread = None

    def answer(self, asked):
        if asked.path.lstrip("/") in self.files:
            return self.bytes_of(asked.path.lstrip("/"), asked)
        return Answer(b"no such file", 404)

    def bytes_of(self, name, asked):
        data = self.files[name]
        headers = {"ETag": f'"{sha256(data)}"', "Content-Type": "application/octet-stream"}
        part = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("Range", ""))
        if part and int(part[1]) < len(data):
            start = int(part[1])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return Answer(data[start:], 206, headers)
        return Answer(data, 200, headers)

    def said(self):
        """All that it was told, as one text to look for secrets in."""
        return "\n".join(f"{one.path} {one.query} {one.headers} {one.body!r}" for one in self.asked)


class Hub(Server):
    """A dataset of the Hugging Face hub; files in LFS lie at `store`, another host."""

    def __init__(self, store, *, lfs, plain=None, repo="torchgeo/ucmerced", token=None):
        super().__init__(plain or {})
        self.store, self.lfs, self.repo, self.token = store, lfs, repo, token
        store.files |= {sha256(data): data for data in lfs.values()}
        self.told = {}  # changes to what is told of a file

    def answer(self, asked):
        if self.token and asked.headers.get("Authorization") != f"Bearer {self.token}":
            return Answer(b"{}", 401, {"X-Error-Code": "GatedRepo"})
        if asked.path == f"/api/datasets/{self.repo}/paths-info/{REVISION}":
            names = parse_qs(asked.body.decode())["paths"]
            return as_json(
                [self._info(name) for name in names if name in {**self.files, **self.lfs}]
            )
        base = f"/datasets/{self.repo}/resolve/{REVISION}/"
        name = asked.path.removeprefix(base)
        if asked.path.startswith(base) and name in self.lfs:
            target = f"{self.store.url}/{sha256(self.lfs[name])}?X-Signature=of-the-store"
            return Answer(b"", 302, {"Location": target})
        if asked.path.startswith(base) and name in self.files:
            return self.bytes_of(name, asked)
        return Answer(b"{}", 404, {"X-Error-Code": "RevisionNotFound"})

    def _info(self, name):
        data = self.lfs.get(name, self.files.get(name))
        info = {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
        if name in self.lfs:
            info["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 130}
        return {**info, **self.told.get(name, {})}


class SignedStore(Server):
    """Files that are given for a query `sig` that is valid at the time, and for nothing else."""

    def __init__(self, files):
        super().__init__(files)
        self.valid = set()
        self.refusals = 0

    def answer(self, asked):
        if asked.query.get("sig") not in self.valid:
            self.refusals += 1
            return Answer(b"<Error>AuthenticationFailed</Error>", 403)
        return super().answer(asked)


class Stac(Server):
    """A STAC API with one collection; a page has two items. It signs for a `SignedStore`."""

    CONFORMS = (
        "https://api.stacspec.org/v1.0.0/core",
        "https://api.stacspec.org/v1.0.0/item-search",
        "https://api.stacspec.org/v1.0.0/item-search#query",
    )

    def __init__(self, store, items):
        super().__init__()
        self.store, self.items = store, items
        self.lasts_s = 3600
        self.signatures = 0

    def answer(self, asked):
        if asked.path == "/sas":
            return self._signature()
        if asked.path == "/search" and asked.method == "POST":
            return self._page(json.loads(asked.body))
        if asked.path == "/":
            links = [
                {"rel": "self", "href": self.url},
                {"rel": "root", "href": self.url},
                {
                    "rel": "search",
                    "href": f"{self.url}/search",
                    "method": "POST",
                    "type": "application/geo+json",
                },
            ]
            return as_json(
                {
                    "type": "Catalog", "id": "stand-in", "description": "of a STAC API",
                    "stac_version": "1.0.0", "conformsTo": self.CONFORMS, "links": links,
                }
            )  # fmt: skip
        return Answer(b"{}", 404)

    def _signature(self):
        self.signatures += 1
        name = f"secret{self.signatures}"
        self.store.valid.add(name)
        end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=self.lasts_s)
        return as_json({"token": f"sv=2021&sig={name}", "msft:expiry": end.isoformat()})

    def _page(self, search):
        start = int(search.get("token", 0))
        page = {"type": "FeatureCollection", "features": self.items[start : start + 2], "links": []}
        if start + 2 < len(self.items):
            link = {"rel": "next", "href": f"{self.url}/search", "method": "POST"}
            page["links"] = [{**link, "merge": True, "body": {"token": str(start + 2)}}]
        return as_json(page)


def item(name, href, asset="image", **told):
    """A STAC item with one asset."""
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "naip",
        "geometry": None, "properties": {"datetime": "2019-07-01T00:00:00Z"}, "links": [],
        "assets": {asset: {"href": href, **told}},
    }  # fmt: skip


def zipped(files, method=zipfile.ZIP_DEFLATED):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return held.getvalue()


@pytest.fixture
def own_settings(monkeypatch):
    """The hub's own variables, and proxies, would lead these tests elsewhere."""
    for name in [*os.environ]:
        if name.startswith("HF_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def store(own_settings):
    """A web server without files."""
    with Server() as server:
        yield server


@pytest.fixture
def hub(store, monkeypatch, tmp_path):
    """A hub with one archive in LFS and one small file in git."""
    lfs = {"data/images.zip": zipped(IMAGES)}
    with Hub(store, lfs=lfs, plain={"README.md": b"# images\n"}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        # The library asks the public hub, whatever the endpoint, once a day for a list of its own.
        seen = tmp_path / "agent_harnesses.json"
        seen.write_text('{"harnesses": []}')
        monkeypatch.setattr("huggingface_hub.constants.AGENT_HARNESSES_PATH", str(seen))
        yield server


@pytest.fixture
def stac(own_settings):
    """A search of five images on two and a half pages, signed."""
    data = {f"naip/{n}.tif": f"image {n}".encode() * 30 for n in range(5)}
    with SignedStore(data) as store, Stac(store, []) as api:
        api.items = [item(f"chip_{n}", f"{store.url}/naip/{n}.tif") for n in (3, 0, 4, 1, 2)]
        yield api
