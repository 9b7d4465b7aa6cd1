# What a pretraining would take of a machine, by strategy and number of nodes.


rule forecast:
    input:
        index=planned_index,
        study=planned_study,
    output:
        plan=f"{RESULTS}/plans/{{plan}}.json",
        provenance=f"{RESULTS}/plans/{{plan}}.provenance.json",
    log:
        "logs/forecast/{plan}.log",
    localrule: True
    conda:
        "../envs/environment.yaml"
    resources:
        index=lambda w, input: option("--index", *input.index),
        study=lambda w, input: option("--study", *input.study),
    params:
        recipe=recipe("forecast", "plan"),
        code=code("forecast", "plan"),
    shell:
        "python -m workflow_scripts.forecast --recipe {params.recipe:q} {resources.index}"
        " {resources.study} --output {output.plan:q} 2> {log:q}"


rule plan:
    input:
        [f"{RESULTS}/plans/{plan}.json" for plan in PLANNED],
    log:
        "logs/ask/plan.log",
    localrule: True
    conda:
        "../envs/environment.yaml"
    shell:
        "python -m workflow_scripts.forecast --show {input:q} 2> {log:q}"
