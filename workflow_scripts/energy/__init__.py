"""Energy that training takes: read from the machine's counters, sampled, and turned into CO2.

`counters`: one file for each kind of counter. `rank`: what one process adds to the job's sum.
`sampler`: power and utilisation over time. `accounting`: what Slurm counted. `climate`: kWh and
CO2.
"""
