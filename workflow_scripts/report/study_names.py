"""Which figures and tables of studies, plans and all runs together a report has, by its recipe."""

from typing import Any

from workflow_scripts.scaling.words import IO, STEPS

Json = dict[str, Any]


def study_kinds(entry: Json) -> list[str]:
    """The figures of a study: only such as its points fill.

    Args:
        entry: Of `studies` in the report's recipe: `modes`, `ranks`, `strategies` (of several
            ranks), `readers`, `patches`, `batches`, `ahead`, each without what is there twice.
    """
    modes = set(entry["modes"])
    trains = bool(modes.intersection(STEPS))
    several = {key: len(entry[key]) > 1 for key in entry if isinstance(entry[key], list)}
    rules = {
        "scaling": trains and several["ranks"],
        "strategies": trains and several["strategies"],
        "memory": trains,
        "modes": several["modes"] and several["ranks"],
        "time": trains and len(modes - {IO}) > 1,
        "reading": IO in modes and several["readers"],
        "sequence": trains and several["patches"],
        "batch": trains and several["batches"],
        "ahead": trains and several["ahead"],
    }
    return [kind for kind, there in rules.items() if there]


def study_figures(shown: Json) -> list[str]:
    """Names, without an ending, of the figures of studies."""
    return [f"{kind}_{one['name']}" for one in shown["studies"] for kind in study_kinds(one)]


def plan_figures(shown: Json) -> list[str]:
    """Names, without an ending, of the figures of plans."""
    names = [f"plan_{one['name']}" for one in shown["plans"]]
    return names + [f"planned_{one['name']}" for one in shown["plans"] if one["study"]]


def together_figures(shown: Json) -> list[str]:
    """Names, without an ending, of the figures over all runs."""
    names = ["losses"] if len(shown["runs"]) > 1 else []
    judged = any(probe["run"] for probe in shown["probes"])
    return names + (["accuracy_parameters"] if judged else [])


def scaling_tables(shown: Json) -> list[str]:
    """Names, without an ending, of the tables of studies and plans."""
    names = []
    for one in shown["studies"]:
        names += [f"study_{one['name']}", f"published-scaling_{one['name']}"]
    return names + [f"plan_{one['name']}" for one in shown["plans"]]
