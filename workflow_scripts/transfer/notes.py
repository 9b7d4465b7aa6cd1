"""Small JSON files beside a download: `.<name>.part.json`, `.<name>.verified`.

They only save work: one that is missing, torn or not ours counts as none. So they are renamed into
place but not flushed to the disk, which for small files takes longer than to download them.
"""

import json
from pathlib import Path
from typing import Any

from workflow_scripts.files import json_text


def write_note(path: Path, value: dict[str, Any]) -> None:
    """Write a note; the temporary file has the same name for all, and its folder one writer."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json_text(value), encoding="utf-8")
    temporary.replace(path)


def read_note(path: Path) -> dict[str, Any]:
    """What a note says; empty if there is none that can be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
