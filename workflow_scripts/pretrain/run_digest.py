"""Which run this is: the digest of recipe, corpus, code, teacher and start, and its folders.

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
from workflow_scripts.models.folder import WEIGHTS, content_digest
from workflow_scripts.results import SCHEMA_VERSION

IDENTITY = "identity.json"


def checkpoint_folder(run: Path, run_digest: str) -> Path:
    """Where a run's checkpoints lie, below the run's folder."""
    return run / "checkpoints" / run_digest[:16]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What determines a run's weights, and the digest over it."""

    recipe: dict[str, Any]
    code: str
    content: str
    teacher: str | None
    run_digest: str
    start: str | None = None  # stored identities from before there were starts have none

    def folder(self, run: Path) -> Path:
        """The run's checkpoint folder."""
        return checkpoint_folder(run, self.run_digest)

    def stamp(self) -> dict[str, Any]:
        """The stamp of a segment: this identity's digests, current or pinned."""
        models = {"teacher": self.teacher, "start": self.start}
        inputs = {"corpus": self.content} | {role: one for role, one in models.items() if one}
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
    recipe: dict[str, Any], index: dict[str, Any], teacher: Path | None, start: Path | None = None
) -> Identity:
    """The identity that recipe, corpus, code, teacher and start give now.

    Raises:
        UserError: The teacher or the start has no exported weights, or the recipe knows of no
            start, or there is none.
    """
    if (recipe.get("start") is None) != (start is None):
        raise UserError(
            f"the recipe's start is {recipe.get('start')!r} and --start is "
            f"{start or 'not given'}; give both or none"
        )
    parts: dict[str, Any] = {
        "recipe": recipe,
        "content": index["content"],
        "code": code_digest("pretrain"),
        "teacher": content_digest(teacher, "teacher"),
    }
    if start is not None:
        parts["start"] = content_digest(start, "start")
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


def check_data(
    stored: Identity, index: dict[str, Any], teacher: Path | None, start: Path | None = None
) -> None:
    """Refuse to go on with a pinned run on other data, or other models, than it began with.

    Raises:
        UserError: Names what differs.
    """
    now = {
        "corpus": index["content"],
        "teacher": content_digest(teacher, "teacher"),
        "start": content_digest(start, "start"),
    }
    begun = {"corpus": stored.content, "teacher": stored.teacher, "start": stored.start}
    if teacher is not None and stored.teacher == file_sha256(teacher / WEIGHTS):
        begun["teacher"] = now["teacher"]  # an identity from when weights alone were digested
    for name, before in begun.items():
        if now[name] != before:
            raise UserError(
                f"run {stored.run_digest[:16]} is pinned and has steps left, but its {name} is "
                f"another now ({str(before)[:16]} → {str(now[name])[:16]}); put the old one back, "
                "or unpin the run"
            )
