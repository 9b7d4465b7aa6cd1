# A day of MODIS granules, calibrated and cut into chips: already a shard.


rule tile:
    input:
        manifest=f"{DATA}/manifests/{{granules}}/{{date}}.jsonl",
    output:
        chips=f"{DATA}/chips/{{granules}}/{{date}}.h5",
        summary=f"{DATA}/chips/{{granules}}/{{date}}.json",
        provenance=f"{DATA}/chips/{{granules}}/{{date}}.provenance.json",
    log:
        "logs/tile/{granules}/{date}.log",
    benchmark:
        f"{RESULTS}/records/tile/{{granules}}/{{date}}.tsv"
    conda:
        "../envs/environment.yaml"
    threads: 4
    resources:
        cpus_per_task=cores,
        transfer=lambda w: transfer_option(w.granules),
    params:
        recipe=recipe("tile", "granules", "date"),
        code=code("tile", "granules", "date"),
    shell:
        "python -m workflow_scripts.tile --recipe {params.recipe:q} --manifest {input.manifest:q}"
        " --chips {output.chips:q} --workers {resources.cpus_per_task} {resources.transfer}"
        " 2> {log:q}"
