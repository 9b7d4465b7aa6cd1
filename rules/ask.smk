# Targets without outputs that ask Snakemake itself, with the merged configuration handed on (in the
# environment: see rules/common.smk).


rule stale:
    log:
        "logs/ask/stale.log",
    localrule: True
    conda:
        "../envs/environment.yaml"
    shell:
        "python -m workflow_scripts.stale 2> {log:q}"


rule dag:
    log:
        "logs/ask/dag.log",
    localrule: True
    conda:
        "../envs/environment.yaml"
    params:
        picture=f"{RESULTS}/dag.svg",
    shell:
        "python -m workflow_scripts.dag --output {params.picture:q} 2> {log:q}"


# The days of granules that their source had not whole when they were listed are asked for again.
rule relist:
    log:
        "logs/ask/relist.log",
    localrule: True
    conda:
        "../envs/environment.yaml"
    shell:
        "python -m workflow_scripts.fetch.relist 2> {log:q}"
