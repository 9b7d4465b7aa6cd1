"""Which run this is: the digest of recipe, corpus content, code and teacher, and its folders.

Weights of other data or other code never pass for this run's: checkpoints live in a folder named
by the digest. A pinned run uses a stored identity whatever the code and the data are now.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.code_digest import code_digest
from workflow_scripts.digests import digest, file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json, write_json
from workflow_scripts.logs import log
from workflow_scripts.results import SCHEMA_VERSION

IDENTITY = "identity.json"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What determines a run's weights, and the digest over it."""

    recipe: dict[str, Any]
    code: str
    content: str
    teacher: str | None
    run_digest: str

    def folder(self, run: Path) -> Path:
        """The run's checkpoint folder."""
        return run / "checkpoints" / self.run_digest[:16]

    def stamp(self) -> dict[str, Any]:
        """The stamp of a segment: this identity's digests, current or pinned."""
        inputs = {"corpus": self.content}
        if self.teacher:
            inputs["teacher"] = self.teacher
        return {
            "schema_version": SCHEMA_VERSION,
            "stage": "pretrain",
            "recipe": self.recipe,
            "digests": {"recipe": digest(self.recipe), "code": self.code, "inputs": inputs},
        }

    def write(self, run: Path) -> None:
        """Store it in the checkpoint folder and, as the latest, in the run's folder."""
        write_json(self.folder(run) / IDENTITY, asdict(self))
        write_json(run / IDENTITY, asdict(self))


def current_identity(
    recipe: dict[str, Any], index: dict[str, Any], teacher: Path | None
) -> Identity:
    """The identity that recipe, corpus, code and teacher give now.

    Raises:
        UserError: The teacher has no exported weights.
    """
    weights = teacher / "weights.safetensors" if teacher else None
    if weights is not None and not weights.is_file():
        raise UserError(f"{weights}: the teacher has no exported weights; finish its run first")
    parts: dict[str, Any] = {
        "recipe": recipe,
        "content": index["content"],
        "code": code_digest("pretrain"),
        "teacher": file_sha256(weights) if weights else None,
    }
    return Identity(**parts, run_digest=digest(parts))


def stored_identity(run: Path, prefix: str) -> Identity:
    """The stored identity whose run digest begins with `prefix`.

    Raises:
        UserError: None or several begin with it.
    """
    stored = {
        path.parent.name: Identity(**read_json(path))
        for path in sorted((run / "checkpoints").glob(f"*/{IDENTITY}"))
    }
    found = [one for one in stored.values() if one.run_digest.startswith(prefix)]
    if len(found) != 1:
        raise UserError(
            f"{run / 'checkpoints'}: {len(found)} stored runs begin with {prefix!r}, expected one; "
            f"stored are {', '.join(stored) or 'none'}"
        )
    return found[0]


def warn_of_changes(stored: Identity, run: Path, recipe: dict[str, Any]) -> None:
    """Warn, for a pinned run, that recipe or code are no longer the stored ones."""
    now: dict[str, Any] = {"recipe": recipe, "code": code_digest("pretrain")}
    changed = [name for name, value in now.items() if getattr(stored, name) != value]
    if changed:
        log.warning(
            "%s is pinned to %s: its %s differ from the current ones; the stored ones are used",
            run.name, stored.run_digest[:16], ", ".join(changed),
        )  # fmt: skip


def check_data(stored: Identity, index: dict[str, Any], teacher: Path | None) -> None:
    """Refuse to go on with a pinned run on other data, or with another teacher, than it began with.

    Raises:
        UserError: Names what differs.
    """
    weights = teacher / "weights.safetensors" if teacher else None
    now = {"corpus": index["content"], "teacher": file_sha256(weights) if weights else None}
    for name, before in (("corpus", stored.content), ("teacher", stored.teacher)):
        if now[name] != before:
            raise UserError(
                f"run {stored.run_digest[:16]} is pinned and has steps left, but its {name} is "
                f"another now ({str(before)[:16]} → {str(now[name])[:16]}); put the old one back, "
                "or unpin the run"
            )
