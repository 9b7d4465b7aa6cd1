"""A stand-in for LAADS on this machine: listings, geographic metadata, granules behind a token.

It answers as the archive does: a listing is a list or an object with `content`; who asks for a
granule without the right token is sent to the login page of another host, which is HTML with status
200. Files are served with ranges, and with faults where a test asks for them.
"""

import hashlib
import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from workflow_scripts.modis.cloud_writer import write_cloud_mask
from workflow_scripts.modis.companion_writer import write_geolocation
from workflow_scripts.modis.granule_writer import granule_file_name, tie_fields, write_granule
from workflow_scripts.modis.swath_geometry import SwathGeometry

TOKEN = "a-token-that-nobody-may-see"
SHAPE = (50, 70)
COLUMNS = (
    "GranuleID", "StartDateTime", "ArchiveSet", "OrbitNumber", "DayNightFlag",
    "EastBoundingCoord", "NorthBoundingCoord", "SouthBoundingCoord", "WestBoundingCoord",
    "GRingLongitude1", "GRingLongitude2", "GRingLongitude3", "GRingLongitude4",
    "GRingLatitude1", "GRingLatitude2", "GRingLatitude3", "GRingLatitude4",
)  # fmt: skip


def day_folder(top, product, day, *, collection=61):
    return top / f"allData/{collection}/{product}/{date.fromisoformat(day):%Y/%j}"


def put_granule(top, day, minute, *, companions=("03", "35_L2"), production="2026100000000"):
    """Write a granule of noise and its companions where the archive has them; their paths."""
    time = datetime.fromisoformat(day) + timedelta(hours=12, minutes=minute)
    geometry = SwathGeometry(platform="Terra", time=time, latitude=10.0, shape=SHAPE)
    paths = []
    for product in ("021KM", *companions):
        name = granule_file_name("Terra", time, production=production, product=product)
        path = day_folder(top, f"MOD{product}", day) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        paths.append(path)
        if product == "021KM":
            rng = np.random.default_rng([minute, time.day])
            counts = {
                band: rng.integers(3000, 30000, SHAPE).astype(np.uint16) for band in ("6", "31")
            }
            write_granule(path, counts, **tie_fields(geometry))
        elif product == "03":
            write_geolocation(path, geometry)
        else:
            state = np.random.default_rng(minute).integers(0, 4, SHAPE).astype(np.uint8)
            write_cloud_mask(path, state, geometry=geometry)
    return paths


def geometa(day, rows, *, satellite="Terra"):
    """The text of a day's geographic metadata; rows are (name, flag, west, south, east, north)."""
    lines = [
        f"# MODIS {satellite} GEOGRAPHIC METADATA TEXT FILE day {day}",
        f"# NFiles = {len(rows)}, max geo IngestTime = Oct  3 2007  7:55:54:000PM",
        f"# {','.join(COLUMNS)}",
    ]
    for name, flag, west, south, east, north in rows:
        ring = [west, west, east, east, south, north, north, south]
        values = [name, f"{day} 00:00", 61, 1, flag, east, north, south, west, *ring]
        lines.append(",".join(map(str, values)))
    return "\n".join(lines) + "\n"


def put_geometa(top, day, rows):
    path = top / f"geoMeta/61/TERRA/{day[:4]}/MOD03_{day}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(geometa(day, rows))


class LaadsServer:
    """Serves what lies below `top`, laid out as the archive's, until it is closed.

    Attributes:
        newer: Whether listings have the newer form, with MD5.
        asked: Paths of all requests.
        given: Names of the files that were sent whole or in part.
        tokens: What came with an Authorization header, by host.
        faults: By file name, what to do with its next requests: a number of bytes after which the
            connection is dropped, or `busy` for 503.
        gate: Files are sent only while it is set.
        look: Called at each request of a file.
    """

    def __init__(self, top: Path, *, newer: bool = True, token: str = TOKEN) -> None:
        self.top, self.newer, self.token = top, newer, token
        self.asked: list[str] = []
        self.given: list[str] = []
        self.tokens: defaultdict[str, set[str]] = defaultdict(set)
        self.faults: defaultdict[str, list[int | str]] = defaultdict(list)
        self.look: Callable[[], None] = lambda: None
        self.gate = threading.Event()
        self.gate.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/archive"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def listing(self, folder: Path) -> str:
        rows = []
        for path in sorted(folder.iterdir()):
            size = path.stat().st_size if path.is_file() else 0
            if self.newer:
                md5 = hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else None
                link = f"https://elsewhere.invalid/{path.name}"
                rows.append({"name": path.name, "size": size, "md5sum": md5, "downloadsLink": link})
            else:
                rows.append(
                    {"name": path.name, "last-modified": "2026-01-02 03:04", "size": str(size)}
                )
        return json.dumps({"content": rows, "file_count": len(rows)} if self.newer else rows)

    def _handler(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                server.asked.append(self.path)
                host = self.headers["Host"].partition(":")[0]
                if self.headers.get("Authorization"):
                    server.tokens[host].add(self.headers["Authorization"])
                inside = self.path.removeprefix("/archive/")
                if self.path.startswith("/login"):
                    self.answer(b"<!DOCTYPE html><html>Earthdata Login</html>", "text/html")
                elif inside.endswith(".json") and server.top.joinpath(inside[:-5]).is_dir():
                    text = server.listing(server.top / inside[:-5])
                    self.answer(text.encode(), "application/json")
                elif not server.top.joinpath(inside).is_file():
                    self.answer(b"no such file", "text/plain", status=404)
                elif self.headers.get("Authorization") != f"Bearer {server.token}":
                    self.send_response(302)
                    self.send_header("Location", f"http://localhost:{server.port}/login")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                else:
                    self.file(server.top / inside)

            def answer(self, body, kind, status=200):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def file(self, path):
                fault = server.faults[path.name].pop(0) if server.faults[path.name] else None
                if fault == "busy":
                    self.answer(b"busy", "text/plain", status=503)
                    return
                server.given.append(path.name)
                server.look()
                body, start = path.read_bytes(), 0
                if found := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
                    start = int(found[1])
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
                self.send_header("Content-Type", "application/x-hdf")
                self.send_header("ETag", f'"{path.stat().st_mtime_ns:x}"')
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str(len(body) - start))
                self.end_headers()
                half = start + (len(body) - start) // 2
                self.send(body[start:half])
                server.gate.wait(60)
                if isinstance(fault, int):
                    self.close_connection = True
                    return
                self.send(body[half:])

            def send(self, data):
                try:
                    self.wfile.write(data)
                    self.wfile.flush()
                except OSError:  # the client was killed
                    self.close_connection = True

        return Handler
