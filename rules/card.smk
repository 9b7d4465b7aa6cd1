# The model card of a run: README.md beside its weights, as model hubs show it.


rule card:
    input:
        index=corpus_index,
        weights=run_file("weights.safetensors"),
        model=run_file("model.json"),
        summary=run_file("summary.json"),
        provenance=run_file("summary.provenance.json"),
        probes=card_probes,
    output:
        page=run_file("README.md"),
        card=run_file("card.json"),
        made=run_file("card.provenance.json"),
    log:
        "logs/card/{run}.log",
    localrule: True
    conda:
        "../envs/environment.yaml"
    resources:
        folder=lambda w: f"{RESULTS}/runs/{w.run}",
        probes=lambda w: option("--probes", *card_probes(w)),
    params:
        recipe=recipe("card", "run"),
        code=code("card", "run"),
    shell:
        "python -m workflow_scripts.card --recipe {params.recipe:q} --run {resources.folder:q}"
        " --index {input.index:q} --card {output.card:q} {resources.probes} 2> {log:q}"
