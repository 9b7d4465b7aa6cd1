# Datasets packed into shards; the index names them and everything later depends on it alone.


rule pack:
    input:
        manifests=listed_manifests,
        judged=judged_tables,
        # A day's summary holds the checksum of its chips, which may be too large to compare.
        summaries=lambda w: day_files(w, "json"),
        chips=lambda w: [ancient(path) for path in day_files(w, "h5")],
    output:
        index=f"{DATA}/shards/{{corpus}}/index.json",
        provenance=f"{DATA}/shards/{{corpus}}/index.provenance.json",
    log:
        "logs/pack/{corpus}.log",
    benchmark:
        f"{RESULTS}/records/pack/{{corpus}}.tsv"
    conda:
        "../envs/environment.yaml"
    # Each reads and checks images or days; no more than the machine has.
    threads: 8
    resources:
        cpus_per_task=cores,
        source=lambda w, input: pack_sources(w, input.manifests, input.judged),
    params:
        recipe=recipe("pack", "corpus"),
        code=code("pack", "corpus"),
    shell:
        "python -m workflow_scripts.pack --recipe {params.recipe:q} --index {output.index:q}"
        " {resources.source} --workers {resources.cpus_per_task} 2> {log:q}"
