# What the site of a Slurm profile asks for and allows, told before any job is submitted.
import functools
import os
import sys

from snakemake.logging import logger

from workflow_scripts import slurm
from workflow_scripts.driver import only_plans
from workflow_scripts.network import fetch_targets, missing_downloads, needs_network
from workflow_scripts.plan import node_hours
from workflow_scripts.site_checks import OnSite
from workflow_scripts.site_points import missing_points
from workflow_scripts.sites import Profile


def written(resources):
    """Resources as the profile writes them, not yet evaluated."""
    return {name: one.raw for name, one in resources.items()} if resources else {}


SET = workflow.resource_settings.overwrite_resources or {}
PROFILE = Profile(
    defaults=written(workflow.resource_settings._parsed_default_resources),
    pretrain=written(SET.get("pretrain")),
    others={rule: written(found) for rule, found in SET.items() if rule != "pretrain"},
)
# Only the driver checks; jobs have been checked.
SITE = None
if workflow.is_main_process and PROFILE.site:
    SITE = refuse_as_workflow_error(lambda: OnSite(CONFIG, PROFILE))


def say_node_hours(points=None):
    """Tell what the runs of `all`, and points of studies, may take of the site; standard output is for
    plans and graphs.

    Before Snakemake knows which points would run, they are those that have no result.
    """
    if points is None:
        studies = SCALED if "scaling" in sys.argv else wanted_studies(CONFIG)
        points = missing_points(CONFIG, studies)
    rows = [*node_hours.rows(CONFIG, PROFILE), *node_hours.study_rows(CONFIG, points, PROFILE)]
    sys.stderr.write(f"{node_hours.table(rows)}\n")


def not_ready(jobs):
    """What keeps jobs (rule and wildcards of each) from being submitted; None if nothing does."""
    given = [str(file) for file in workflow.overwrite_configfiles or ()]
    targets = ["fetch_all", *fetch_targets(CONFIG, jobs)]
    fetch = shlex.join([*targets, *(["--configfile", *given] if given else [])])
    return SITE.not_ready(needs_network(CONFIG, jobs), fetch=fetch)


if SITE and only_plans():
    # A plan may be made before all is set and fetched. What `all` needs is not yet known to Snakemake.
    unready = not_ready(missing_downloads(CONFIG))
    if unready:
        logger.warning(f"WARNING: {unready}")
    say_node_hours()


def points_among(jobs):
    """The points of studies among jobs (rule and wildcards of each)."""
    return [names for rule, names in jobs if rule == "point"]


@functools.cache
def fits_site(run):
    """Refuse a run that the site would not take, with all others of `all` that it would not."""
    if SITE:
        try:
            SITE.refuse([run])
        except UserError:
            refuse_as_workflow_error(lambda: SITE.refuse([run, *wanted_runs(CONFIG)]))


@functools.cache
def fits_points(study):
    """Refuse a study of which the site would not take a point that is not there yet."""
    if SITE:
        missing = missing_points(CONFIG, [study])
        refuse_as_workflow_error(lambda: SITE.refuse([], missing))


def refuse_to_submit(jobs):
    """Refuse to start jobs where something is not set or not fetched, or a run does not fit.

    Raises:
        WorkflowError: Tells all of it.
    """
    if SITE is None:
        return
    refuse_as_workflow_error(
        lambda: SITE.refuse(
            [names[0] for rule, names in jobs if rule == "pretrain"], points_among(jobs)
        )
    )
    unready = not_ready(jobs)
    if unready:
        raise WorkflowError(unready)
    os.environ[slurm.JOBS_VARIABLE] = "1"
