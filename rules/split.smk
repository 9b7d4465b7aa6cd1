# Which images of a benchmark are trained and which are judged on, as a table.


rule split:
    input:
        manifest=judged_manifest,
        lists=split_lists,
    output:
        table=f"{DATA}/splits/{{benchmark}}.csv",
        facts=f"{DATA}/splits/{{benchmark}}.json",
        provenance=f"{DATA}/splits/{{benchmark}}.provenance.json",
    log:
        "logs/split/{benchmark}.log",
    benchmark:
        f"{RESULTS}/records/split/{{benchmark}}.tsv"
    conda:
        "../envs/environment.yaml"
    params:
        recipe=recipe("split", "benchmark"),
        code=code("split", "benchmark"),
    shell:
        "python -m workflow_scripts.split --recipe {params.recipe:q} --manifest {input.manifest:q}"
        " --output {output.table:q} 2> {log:q}"
