"""Sources in words."""

from typing import Any

_NAMED = 3  # files, in words


def words(source: dict[str, Any]) -> str:
    """A source in words, for the summary: the same from whichever mirror its files came."""
    if source["kind"] == "hub":
        return f"Hugging Face hub, dataset {source['repo']} at {source['revision']}"
    if source["kind"] == "stac":
        return f"STAC search of {source['collection']} at {source['api']}, asset {source['asset']}"
    names = ", ".join(file["name"] for file in source["files"][:_NAMED])
    more = len(source["files"]) - _NAMED
    return f"files {names}" + (f" and {more} more" if more > 0 else "")
