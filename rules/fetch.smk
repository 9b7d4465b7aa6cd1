# Raw data and its manifest: what there is, with a checksum each.

# Data of the user's come first: what is missing is told before anything else is computed.
for source, first in (("folder", 100), ("generated", 0)):

    rule:
        name:
            f"fetch_{source}"
        output:
            manifest=f"{DATA}/manifests/{{{source}}}.jsonl",
            summary=f"{DATA}/manifests/{{{source}}}.json",
            provenance=f"{DATA}/manifests/{{{source}}}.provenance.json",
        log:
            f"logs/fetch/{{{source}}}.log",
        benchmark:
            f"{RESULTS}/records/fetch/{{{source}}}.tsv"
        priority: first
        conda:
            "../envs/environment.yaml"
        threads: 4
        resources:
            cpus_per_task=cores,
            raw=lambda w: f"{DATA}/raw/{w[0]}",
            transfer=lambda w: transfer_option(w[0]),
        params:
            recipe=recipe("fetch", source),
            code=code("fetch", source),
        shell:
            "python -m workflow_scripts.fetch --recipe {params.recipe:q}"
            " --manifest {output.manifest:q} --raw {resources.raw:q}"
            " --workers {resources.cpus_per_task} {resources.transfer} 2> {log:q}"


rule fetch_day:
    output:
        manifest=f"{DATA}/manifests/{{granules}}/{{date}}.jsonl",
        summary=f"{DATA}/manifests/{{granules}}/{{date}}.json",
        provenance=f"{DATA}/manifests/{{granules}}/{{date}}.provenance.json",
    log:
        "logs/fetch/{granules}/{date}.log",
    benchmark:
        f"{RESULTS}/records/fetch/{{granules}}/{{date}}.tsv"
    conda:
        "../envs/environment.yaml"
    threads: 4
    resources:
        cpus_per_task=cores,
        raw=lambda w: f"{DATA}/raw/{w.granules}/{w.date}",
        listing=lambda w: option(
            "--listing", getattr(CONFIG.datasets[w.granules], "listing", None) or ""
        ),
        transfer=lambda w: transfer_option(w.granules),
    params:
        recipe=recipe("fetch", "granules", "date"),
        code=code("fetch", "granules", "date"),
    shell:
        "python -m workflow_scripts.fetch --recipe {params.recipe:q} --manifest {output.manifest:q}"
        " --raw {resources.raw:q} --workers {resources.cpus_per_task} {resources.listing}"
        " {resources.transfer} 2> {log:q}"
