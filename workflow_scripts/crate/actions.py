"""What ran: one action a job, of a stage's program, and the workflow's run over all of them."""

import re
from pathlib import Path
from typing import Any

from rocrate.model.contextentity import ContextEntity
from rocrate.model.file import File
from rocrate.rocrate import ROCrate

from workflow_scripts.crate.data import licence_entity
from workflow_scripts.crate.done import Done
from workflow_scripts.crate.files import Files
from workflow_scripts.crate.names import fragment

Json = dict[str, Any]
_COMPLETED = "http://schema.org/CompletedActionStatus"
_PUBLIC = re.compile(r"[0-9]+(\.[0-9]+)*((a|b|rc|\.post)[0-9]+)?")  # a version that PyPI may have
_WEIGHTS = "weights.safetensors"


def add_actions(
    crate: ROCrate, files: Files, recipe: Json, done: list[Done], *, config: File,
    made: list[Path], workflow: Path,
) -> None:  # fmt: skip
    """Add files, programs and actions of all jobs, and the run of the workflow.

    Args:
        crate: The crate.
        files: Its files.
        recipe: The stage's recipe.
        done: The jobs.
        config: The configuration in the crate.
        made: The report's files.
        workflow: The Snakefile in the crate.
    """
    licences = {run["name"]: _licences(crate, recipe, run["corpus"]) for run in recipe["runs"]}
    outputs: list[Path] = []
    for one in done:
        for path in one.files:
            files.add(path, **_about(path, files.results, licences))
        outputs += one.files
    for path in made:
        files.add(path)
    for one in done:
        _add_action(crate, files, one, config)
    everything = [*dict.fromkeys([*outputs, *made])]
    _add_run(crate, files, done, config=config, outputs=everything, workflow=workflow)


def _about(path: Path, results: Path, licences: dict[str, list[dict[str, str]]]) -> Json:
    """What is said of a result beyond its bytes: weights carry the licences of their data."""
    more: Json = {}
    if path.name == _WEIGHTS:
        run = path.relative_to(results).parts[1]
        more["exampleOfWork"] = {"@id": "#parameter-results"}
        more["license"] = licences[run]
    return more


def _licences(crate: ROCrate, recipe: Json, corpus: str) -> list[dict[str, str]]:
    """The licences of a corpus's data, as the model card states them; `#rights` if not all do."""
    names = {row["name"]: row["datasets"] for row in recipe["corpora"]}.get(corpus, [])
    texts = [row["licence"] for row in recipe["datasets"] if row["name"] in names]
    stated = [licence_entity(crate, text) for text in dict.fromkeys(filter(None, texts))]
    return stated if all(texts) and texts else [*stated, {"@id": "#rights"}]


def _add_action(crate: ROCrate, files: Files, one: Done, config: File) -> None:
    last = one.ran[-1]
    result = [files.reference(path) for path in one.files] + [{"@id": name} for name in one.makes]
    used = [
        {"@id": name} if name.startswith("#") else files.reference(Path(name)) for name in one.uses
    ]
    action = {
        "@type": "CreateAction",
        "name": f"{one.stage} {one.name}",
        "description": " ".join(filter(None, [_jobs(one), one.told])),
        "startTime": one.started,
        "endTime": one.ended,
        "instrument": {"@id": _program(crate, one)},
        # The recipe of every job is from the configuration.
        "object": [*(reference for reference in used if reference), {"@id": config.id}],
        "result": [reference for reference in result if reference],
        "location": [{"@id": _host(crate, provenance)} for provenance in _by_host(one)],
        "actionStatus": _COMPLETED,
        **({"identifier": f"job {last['job']}"} if last.get("job") else {}),
    }
    name = fragment("action", one.stage, one.name)
    crate.add(ContextEntity(crate, name, action))
    crate.root_dataset.append_to("mentions", {"@id": name})


def _jobs(one: Done) -> str:
    seconds = sum(job["seconds"] for job in one.ran)
    many = f"{len(one.ran)} jobs, " if len(one.ran) > 1 else ""
    return f"`python -m workflow_scripts.{one.stage}`: {many}{seconds:,.1f} s in all."


def _by_host(one: Done) -> list[Json]:
    return list({str(job.get("host")): job for job in one.ran}.values())


def _host(crate: ROCrate, provenance: Json) -> str:
    host = str(provenance.get("host"))
    name = fragment("host", host)
    _add(crate, name, {
        "@type": "Place", "name": host, "description": provenance.get("machine", "not recorded"),
    })  # fmt: skip
    return name


def _program(crate: ROCrate, one: Done) -> str:
    """A stage's program as it ran: its commit, and the packages beside it."""
    last = one.ran[-1]
    commit = last.get("git_commit") or "not recorded"
    packages = [_package(crate, *each) for each in sorted(last.get("versions", {}).items())]
    short = "-".join(code[:12] for code in one.code[:1]) or "unstamped"
    alike = fragment("program", one.stage, short, commit[:12] + commit[40:])
    _add(crate, alike, {
        "@type": ["SoftwareApplication", "SoftwareSourceCode"],
        "name": f"workflow_scripts.{one.stage}",
        "description": f"The stage `{one.stage}` of Orbweaver. `identifier` is the digest of the "
        "code that can change its results.",
        "version": commit,
        "identifier": [f"sha256:{code}" for code in one.code],
        "softwareRequirements": [{"@id": package} for package in packages],
        "license": licence_entity(crate, "BSD-3-Clause"),
    })  # fmt: skip
    return alike


def _package(crate: ROCrate, package: str, version: str) -> str:
    name = fragment("software", package, version)
    told: Json = {"@type": "SoftwareApplication", "name": package, "softwareVersion": version}
    if package == "python":
        told["url"] = "https://www.python.org"
    elif _PUBLIC.fullmatch(version):
        told["identifier"] = f"pkg:pypi/{package}@{version}"  # a package URL (purl)
    _add(crate, name, told)
    return name


def _add(crate: ROCrate, name: str, properties: Json) -> None:
    """Add an entity, once."""
    if crate.dereference(name) is None:
        crate.add(ContextEntity(crate, name, properties))


def _add_run(
    crate: ROCrate, files: Files, done: list[Done], *, config: File, outputs: list[Path],
    workflow: Path,
) -> None:  # fmt: skip
    """The run of the workflow, over all invocations that it took."""
    inputs = [
        entity.id
        for entity in crate.contextual_entities
        if entity.id.startswith(("#dataset/", "#weights/"))
    ]
    run = {
        "@type": "CreateAction",
        "name": "Run of the workflow",
        "description": "Everything from the data to the report, however often Snakemake was "
        f"started for it: {sum(len(one.ran) for one in done)} jobs.",
        "startTime": min(one.started for one in done),
        "endTime": max(one.ended for one in done),
        "instrument": files.reference(workflow),
        "object": [{"@id": config.id}, *({"@id": name} for name in inputs)],
        "result": [files.reference(path) for path in outputs],
        "actionStatus": _COMPLETED,
    }
    crate.add(ContextEntity(crate, "#run", run))
    crate.root_dataset.append_to("mentions", {"@id": "#run"})
