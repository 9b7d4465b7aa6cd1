"""Files of the crate: those below the folder of results, by their paths from there."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from rocrate.model.file import File
from rocrate.rocrate import ROCrate

from workflow_scripts.crate.names import encoding
from workflow_scripts.digests import file_sha256

_TOLD = {
    "weights.safetensors": "Weights of the pretrained encoder, for timm.",
    "model.json": "How the encoder is built with timm, and what its pixels are.",
    "README.md": "Model card.",
    "summary.json": "What was trained, on what, and with which loss.",
    "history.jsonl": "The training curve, one line a logged step.",
    "power.jsonl": "Power and utilisation over time.",
    "mllog.txt": "When the run trained: log lines as MLPerf HPC has them. No submission to it.",
    "reconstructions.npz": "What the model paints of a few samples.",
    "report.html": "The report: one page that stands alone.",
    "report.json": "The report's tables, for comparing reports.",
}


class Files:
    """Adds files to a crate, each once.

    Args:
        crate: The crate.
        results: Its root.
    """

    def __init__(self, crate: ROCrate, results: Path) -> None:
        self.crate, self.results = crate, results
        self._added: dict[Path, File] = {}

    def reference(self, path: Path) -> dict[str, str] | None:
        """How another entity names a file of the crate; None of one that is not in it."""
        found = self._added.get(path)
        return None if found is None else {"@id": found.id}

    def add(self, path: Path, **more: Any) -> File:
        """Add a file with its checksum, size and format; nothing is copied.

        Args:
            path: The file, below the results.
            more: Further properties.
        """
        if path not in self._added:
            name = path.relative_to(self.results).as_posix()
            properties = {
                "name": name,
                "encodingFormat": encoding(path),
                "contentSize": str(path.stat().st_size),
                "sha256": file_sha256(path),
                **({"description": _TOLD[path.name]} if path.name in _TOLD else {}),
                **more,
            }
            if path.suffix == ".mllog":
                properties.setdefault("description", _TOLD["mllog.txt"])
            # The library quotes what it is given as `dest_path`, and looks here for the file.
            file = File(self.crate, path, name, properties=properties)
            assert file.id == quote(name)
            self.crate.add(file)
            self._added[path] = file
        return self._added[path]
