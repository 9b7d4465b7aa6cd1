"""Results that Snakemake has no record of, and what differs between a result and the configuration.

Snakemake trusts a file without a record (copied from another site, or `.snakemake` deleted) and
would call it up to date whatever the configuration says. So the file's own stamp is asked instead.
"""

import os
import shlex
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from pathlib import Path

from workflow_scripts.differences import differences
from workflow_scripts.digests import digest
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.folder import LISTING
from workflow_scripts.files import read_json
from workflow_scripts.jobs import Job
from workflow_scripts.results import provenance_path


def has_record(path: Path, folder: Path = Path(".snakemake/metadata")) -> bool:
    """Whether Snakemake recorded how a file was made."""
    return _record(path, folder).is_file()


def _record(path: Path, folder: Path) -> Path:
    """Where Snakemake tells something of a file (its file layout: base64 of the path)."""
    name = urlsafe_b64encode(os.fspath(path).encode()).decode()
    longest = (os.pathconf(folder, "PC_NAME_MAX") if folder.is_dir() else 255) - 1
    pieces = [name[i : i + longest] for i in range(0, len(name), longest)]
    return folder.joinpath(*(f"@{piece}" for piece in pieces[:-1]), pieces[-1])


def keep_measured(jobs: Iterable[Job], folder: Path = Path(".snakemake/incomplete")) -> None:
    """See that points which were measured after their driver was killed are not measured again.

    For Snakemake all that such a driver had started is half made. A point's JSON is written last
    and renamed: where it is there, and is what its job would make now, the point is whole. What
    Snakemake recorded of the one before it goes, too; the stamp tells as much.

    Args:
        jobs: All jobs whose results carry a stamp.
        folder: Where Snakemake marks what is half made; its records lie beside it.
    """
    if not any(folder.glob("*")):
        return
    for job in jobs:
        if job.rule != "scaling" or not job.result.is_file():
            continue
        files = [job.result, provenance_path(job.result), job.result.with_suffix(".mllog")]
        marked = any(_record(file, folder).is_file() for file in files)
        if marked and all(file.is_file() for file in files) and not explain(job):
            for file in files:
                _record(file, folder.with_name("metadata")).unlink(missing_ok=True)
                _record(file, folder).unlink(missing_ok=True)


def explain(job: Job) -> list[str]:
    """How an existing result differs from its job: recipe fields and code; empty if it does not."""
    stored = read_json(job.result)
    recipe = {key: value for key, value in job.recipe.items() if key != LISTING}
    try:
        digests = stored["digests"]
        out = differences(stored["recipe"], recipe)
        if digests["recipe"] != digest(recipe) and not out:
            out.append("recipe")
        if digests["code"] != job.code:
            out.append(f"code {digests['code'][:8]} → {job.code[:8]}")
        stored_inputs = digests["inputs"]
        out += [
            f"other {role}"
            for role, value in job.inputs().items()
            if stored_inputs.get(role, value) != value
        ]
    except (KeyError, TypeError):
        return ["it carries no stamp"]
    return out


def refuse_unrecorded(
    jobs: Iterable[Job], forced: Iterable[str], arguments: Iterable[str] = ("all",)
) -> None:
    """Refuse to start while unrecorded results are not those of the configuration.

    Args:
        jobs: All jobs whose results carry a stamp.
        forced: Files or rules that the user asked to run again.
        arguments: What followed `snakemake` on the command line, for the command that helps.

    Raises:
        UserError: Names each such result, what differs, and the command that makes it again.
    """
    forced = set(forced)
    wrong = {
        job: found
        for job in jobs
        if job.result.is_file()
        and not has_record(job.result)
        and not {str(job.result), job.rule} & forced
        and (found := explain(job))
    }
    if wrong:
        lines = [f"  {job.result}: {', '.join(found)}" for job, found in wrong.items()]
        files = [str(job.result) for job in wrong]
        words = [word for word in arguments if word not in ("-n", "--dry-run", "--dryrun")]
        command = shlex.join(["snakemake", *words, "--forcerun", *files])
        raise UserError(
            "Snakemake has no record of these results, and they are not those of this "
            "configuration and code:\n" + "\n".join(lines) + f"\nTo make them again:\n  {command}\n"
            "To keep a run as it is: set runs.<run>.pinned to true."
        )
