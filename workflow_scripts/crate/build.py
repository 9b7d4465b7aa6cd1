"""The crate: a Workflow Run RO-Crate of the results of a configuration.

RO-Crate 1.1 (https://w3id.org/ro/crate/1.1) with the profiles Workflow RO-Crate 1.0
(https://w3id.org/workflowhub/workflow-ro-crate/1.0) and Process and Workflow Run Crate 0.5
(https://w3id.org/ro/wfrun/). Files are those below the folder of results; data elsewhere are
`CreativeWork`s, named by what they are and by checksums.
"""

from pathlib import Path
from typing import Any

import yaml
from rocrate.model.computerlanguage import ComputerLanguage
from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

from workflow_scripts.crate.actions import add_actions
from workflow_scripts.crate.data import add_data, licence_entity
from workflow_scripts.crate.done import Done
from workflow_scripts.crate.files import Files
from workflow_scripts.crate.names import compacted, without_places

Json = dict[str, Any]

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
TERMS = "https://w3id.org/ro/terms/workflow-run/context"
_WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
_SNAKEMAKE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
_BIOSCHEMAS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
_RIGHTS = (
    "No licence was chosen for these results as a whole. The workflow and its code are under "
    "BSD-3-Clause. Weights are of the data they were trained on: each has the licences of these "
    "data, as its model card states them. Who publishes the results says here under which licence."
)


def build(
    recipe: Json, done: list[Done], *, results: Path, data: Path, written: dict[str, Path],
    made: list[Path],
) -> Json:  # fmt: skip
    """The crate's metadata, a JSON-LD document; the same of the same files.

    Args:
        recipe: The stage's recipe.
        done: The jobs that ran.
        results: The folder of results, which is the crate's root.
        data: The folder of data.
        written: What this stage wrote about the workflow, by role: `snakefile`, `config`,
            `citation`, `licence`, `readme`.
        made: The report's files.
    """
    crate = ROCrate(version="1.1")
    crate.metadata.extra_contexts.append(TERMS)
    crate.metadata["conformsTo"] = [
        {"@id": "https://w3id.org/ro/crate/1.1"}, {"@id": _WORKFLOW_CRATE},
    ]  # fmt: skip
    files = Files(crate, results)
    _describe(crate, recipe, done)
    add_data(crate, recipe, data)
    code = {"license": licence_entity(crate, "BSD-3-Clause")}
    _add_workflow(crate, files, written, done)
    for name in ("citation", "licence"):
        files.add(written[name], **code)
    files.add(written["readme"], about={"@id": "./"}, description="What lies here.")
    config = files.add(
        written["config"], description="The scientific configuration: what determines the results, "
        f"without where data lie and how the work is laid over a machine. Digest of the original: "
        f"{recipe['config_digest']}.", exampleOfWork={"@id": "#parameter-config"},
    )  # fmt: skip
    add_actions(crate, files, recipe, done, config=config, made=made, workflow=written["snakefile"])
    return compacted(crate.metadata.generate())


def _describe(crate: ROCrate, recipe: Json, done: list[Done]) -> None:
    """The root, its profiles and its rights."""
    for url, (name, version) in PROFILES.items():
        crate.add(
            ContextEntity(crate, url, {"@type": "CreativeWork", "name": name, "version": version})
        )
    synthetic = [row["label"] for row in recipe["datasets"] if row["synthetic"]]
    warning = f" SYNTHETIC DATA, generated to try the pipeline: {', '.join(synthetic)}."
    root = crate.root_dataset
    root["conformsTo"] = [{"@id": url} for url in PROFILES]
    root["name"] = without_places(recipe["title"])
    root["description"] = (
        "Encoders for satellite images, pretrained and judged by the workflow Orbweaver: weights, "
        "model cards, probes, scaling studies, plans, the report, and how each was made. "
        f"Configuration {recipe['name']}, digest {recipe['config_digest']}."
        + (warning if synthetic else "")
    )
    root["keywords"] = ["remote sensing", "foundation model", "self-supervised learning"]
    # The crate is as new as the newest thing in it; when it was written changes nothing.
    root["datePublished"] = max(one.ended for one in done)
    crate.add(ContextEntity(crate, "#rights", {
        "@type": "CreativeWork", "name": "Rights in these results", "description": _RIGHTS,
    }))  # fmt: skip
    root["license"] = {"@id": "#rights"}


def _add_workflow(crate: ROCrate, files: Files, written: dict[str, Path], done: list[Done]) -> None:
    """The Snakefile as the crate's main entity, with its language and the parameters it has."""
    latest = max(done, key=lambda one: one.ended).ran[-1]
    crate.add(ComputerLanguage(crate, _SNAKEMAKE, {
        "name": "Snakemake", "identifier": "https://doi.org/10.1093/bioinformatics/bts480",
        "url": "https://snakemake.readthedocs.io",
        "version": latest["versions"].get("snakemake", "not recorded"),
    }))  # fmt: skip
    crate.add(ContextEntity(crate, _BIOSCHEMAS, {
        "@type": "CreativeWork", "name": "Bioschemas ComputationalWorkflow", "version": "1.0",
    }))  # fmt: skip
    crate.add(ContextEntity(crate, "#developers", {
        "@type": "Organization", "name": "The Orbweaver developers",
    }))  # fmt: skip
    parameters = {
        "config": ("File", "The configuration of the workflow."),
        "results": ("File", "Weights, model cards, probes, studies, plans and the report."),
    }
    for name, (kind, text) in parameters.items():
        crate.add(ContextEntity(crate, f"#parameter-{name}", {
            "@type": "FormalParameter", "name": name, "additionalType": kind, "description": text,
        }))  # fmt: skip
    commits = dict.fromkeys(one.get("git_commit") for job in done for one in job.ran)
    crate.mainEntity = files.add(
        written["snakefile"],
        **{
            "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
            "name": "Orbweaver",
            "description": "From satellite archives to a geospatial foundation model and a report. "
            "Its rules and modules are in the repository, at the commits that the jobs name.",
            "programmingLanguage": {"@id": _SNAKEMAKE},
            "conformsTo": {"@id": _BIOSCHEMAS},
            "license": licence_entity(crate, "BSD-3-Clause"),
            "creator": {"@id": "#developers"},
            "input": {"@id": "#parameter-config"},
            "output": {"@id": "#parameter-results"},
            "version": latest.get("git_commit") or "not recorded",
            "identifier": [f"git:{commit}" for commit in commits if commit],
            **({"url": page} if (page := _repository(written["citation"])) else {}),
        },
    )


def _repository(citation: Path) -> str | None:
    """Where the code is published, if CITATION.cff says so."""
    found = yaml.safe_load(citation.read_text(encoding="utf-8"))
    return found.get("repository-code") or found.get("url")
