# Raw data and its manifest: what there is, with a checksum each.


rule fetch:
    output:
        manifest=f"{DATA}/manifests/{{images}}.jsonl",
        summary=f"{DATA}/manifests/{{images}}.json",
        provenance=f"{DATA}/manifests/{{images}}.provenance.json",
    log:
        "logs/fetch/{images}.log",
    benchmark:
        f"{RESULTS}/records/fetch/{{images}}.tsv"
    priority: 100  # missing data is told before anything else is computed
    conda:
        "../envs/environment.yaml"
    resources:
        raw=lambda w: f"{DATA}/raw/{w.images}",
    params:
        recipe=recipe("fetch", "images"),
        code=code("fetch", "images"),
    shell:
        "python -m workflow_scripts.fetch --recipe {params.recipe:q} --manifest {output.manifest:q}"
        " --raw {resources.raw:q} 2> {log:q}"


rule fetch_day:
    output:
        manifest=f"{DATA}/manifests/{{granules}}/{{date}}.jsonl",
        summary=f"{DATA}/manifests/{{granules}}/{{date}}.json",
        provenance=f"{DATA}/manifests/{{granules}}/{{date}}.provenance.json",
    log:
        "logs/fetch/{granules}/{date}.log",
    benchmark:
        f"{RESULTS}/records/fetch/{{granules}}/{{date}}.tsv"
    priority: 100
    conda:
        "../envs/environment.yaml"
    resources:
        raw=lambda w: f"{DATA}/raw/{w.granules}/{w.date}",
    params:
        recipe=recipe("fetch", "granules", "date"),
        code=code("fetch", "granules", "date"),
    shell:
        "python -m workflow_scripts.fetch --recipe {params.recipe:q} --manifest {output.manifest:q}"
        " --raw {resources.raw:q} 2> {log:q}"
