"""Files without a checksum are known by where they come from alone: another place, another file.

Their place is part of the recipe; what an earlier one left under the same name would pass for the
file of the new one.
"""

from collections.abc import Mapping
from pathlib import Path

from workflow_scripts.digests import digest
from workflow_scripts.files import write_json
from workflow_scripts.logs import log
from workflow_scripts.transfer.notes import read_note

NAME = ".addresses.json"


def set_others_aside(places: Mapping[str, str], raw: Path) -> None:
    """Rename files that came from another place to `<name>.rejected`, which nothing reads.

    A file whose place was never noted was put there by a person, and stays. The new places are
    noted before anything is downloaded, so that a kill in between costs a download at most.

    Args:
        places: Where each file without a checksum comes from, by its name in the folder.
        raw: The dataset's folder; it exists. Digests of the places are kept there: an address may
            hold a secret.
    """
    kept = read_note(raw / NAME)
    now = {name: digest(place) for name, place in places.items()}
    for name, place in now.items():
        path = raw / name
        if kept.get(name, place) != place and path.is_file():
            aside = path.with_name(f"{path.name}.rejected")
            log.warning("%s came from another address; set aside as %s", path, aside.name)
            path.replace(aside)
    if kept | now != kept:
        write_json(raw / NAME, kept | now)
