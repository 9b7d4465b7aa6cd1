"""What things are called in the crate: `@id`s, licences, formats; and no path of a machine."""

import re
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

Json = dict[str, Any]

# Licences that the catalogue names and SPDX knows, by their lower-case names.
_SPDX = {
    name.lower(): name
    for name in (
        "Apache-2.0", "BSD-3-Clause", "CC-BY-4.0", "CC-BY-NC-4.0", "CC-BY-NC-ND-4.0",
        "CC-BY-NC-SA-4.0", "CC-BY-SA-4.0", "CC0-1.0", "CDLA-Permissive-1.0", "MIT",
    )
}  # fmt: skip
_FORMATS = {
    ".json": "application/json", ".jsonl": "application/jsonl", ".csv": "text/csv",
    ".tex": "application/x-tex", ".md": "text/markdown", ".html": "text/html",
    ".svg": "image/svg+xml", ".png": "image/png", ".txt": "text/plain", ".mllog": "text/plain",
    ".yaml": "application/yaml", ".cff": "application/yaml", ".npz": "application/zip",
    ".safetensors": "application/octet-stream", "": "text/plain",
}  # fmt: skip
# An absolute path within a text, but no part of a URL.
_LOCAL = re.compile(r"""(?:(?<=[\s('"=:])|^)(?:file:/+|/|~/)[\w.-]+(?:/[^\s,;)'"]*)?""")


def fragment(*words: str) -> str:
    """A local `@id`: `#action/pretrain/scenes-mae/1`."""
    return "#" + quote("/".join(words), safe="-._@/")


def data_id(kind: str, name: str) -> str:
    """The `@id` of what lies outside the results: of a dataset, its chips, splits, weights."""
    return fragment(kind, name)


def corpus_id(name: str) -> str:
    """The `@id` of a packed corpus."""
    return fragment("corpus", name)


def licence_id(text: str) -> str:
    """The `@id` of a licence: its page at SPDX, or an entity of this crate that says its name."""
    known = _SPDX.get(text.lower())
    return f"https://spdx.org/licenses/{known}" if known else fragment("licence", text.lower())


def encoding(path: PurePath) -> str:
    """The media type of a file."""
    return _FORMATS.get(path.suffix, "application/octet-stream")


def without_places(value: Any) -> Any:
    """A value without absolute paths in its texts: of each its last part is left."""
    if isinstance(value, dict):
        return {key: without_places(one) for key, one in value.items()}
    if isinstance(value, list):
        return [without_places(one) for one in value]
    if isinstance(value, str):
        return _LOCAL.sub(lambda found: f"…/{PurePath(found.group()).name}", value)
    return value


def compacted(document: Json) -> Json:
    """A JSON-LD document in which lists of one are that one, and empty ones are left out."""
    graph = [
        {key: _compact(value) for key, value in entity.items() if value != []}
        for entity in document["@graph"]
    ]
    return {**document, "@graph": graph}


def _compact(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value
