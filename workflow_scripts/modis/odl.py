"""The metadata texts of NASA's EOS files, in ODL: core, archive and swath structure.

Groups and names are those of a real MOD021KM (Collection 5) and, for what Collection 6 added, of
the MODIS Level 1B file specification.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.modis.products import CLOUD_MASK, CLOUD_PRODUCT, GEOLOCATION, L1B, ProductName

# One entry: a group or object (mapping), or the value of an object.
Tree = Mapping[str, Any]

_LONG_NAMES = {
    L1B: "Calibrated Radiances 5-Min L1B Swath 1km",
    GEOLOCATION: "Geolocation Fields 5-Min L1A Swath 1km",
    CLOUD_MASK: "Cloud Mask and Spectral Test Results 5-Min L2 Swath 250m and 1km",
    CLOUD_PRODUCT: "Clouds 5-Min L2 Swath 1km and 5km",
}
_GRANULE = timedelta(minutes=5)


def file_name(name: ProductName) -> str:
    """`MOD021KM.A2026001.0005.061.<production>.hdf`: the inverse of `products.parse_name`."""
    return (
        f"{name.short_name}.A{name.time:%Y%j}.{name.time:%H%M}.{name.collection}."
        f"{name.production}.hdf"
    )


def _value(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, (list, tuple)):
        return "(" + ", ".join(_value(part) for part in value) + ")"
    return repr(float(value)) if isinstance(value, (float, np.floating)) else str(value)


def _lines(tree: Tree, indent: str, number: int | None) -> list[str]:
    """A mapping is a group, or an object where its name ends in CONTAINER; `NAME.1` has CLASS 1."""
    lines = []
    for key, content in tree.items():
        name, _, given = key.partition(".")
        own = int(given) if given else number
        inner = indent + "  "
        about = [f'{inner}{"CLASS":<20} = "{own}"'] if own is not None else []
        if isinstance(content, Mapping):
            kind = "OBJECT" if name.endswith("CONTAINER") and own is not None else "GROUP"
            body = [*about, "", *_lines(content, inner, own)]
        else:
            kind = "OBJECT"
            count = len(content) if isinstance(content, (list, tuple)) else 1
            body = [f"{inner}{'NUM_VAL':<20} = {count}", *about]
            body.append(f"{inner}{'VALUE':<20} = {_value(content)}")
        lines += [f"{indent}{kind:<22} = {name}", *body, f"{indent}END_{kind:<18} = {name}", ""]
    return lines


def odl(name: str, tree: Tree) -> str:
    """A master group as ODL text, ended by END."""
    lines = ["", f"{'GROUP':<22} = {name}", f"  {'GROUPTYPE':<20} = MASTERGROUP", ""]
    lines += _lines(tree, "  ", None)
    return "\n".join([*lines, f"{'END_GROUP':<22} = {name}", "", "END", ""])


def _corners(
    latitude: NDArray[np.floating], longitude: NDArray[np.floating]
) -> tuple[list[float], list[float]]:
    """Of the swath, clockwise seen from above for both directions of flight; 0 where unknown."""
    rows, columns = [0, 0, -1, -1], [0, -1, -1, 0]
    found = [np.nan_to_num(field[rows, columns].astype(float)) for field in (latitude, longitude)]
    return found[0].tolist(), found[1].tolist()


def core_metadata(
    name: ProductName,
    *,
    latitude: NDArray[np.floating],
    longitude: NDArray[np.floating],
    day_night: str,
    parameters: Sequence[str],
    additional: Mapping[str, str] | None = None,
) -> str:
    """`CoreMetadata.0`: what a catalogue knows of a granule.

    Args:
        name: What the file's name tells.
        latitude: Any (lines, pixels) field of positions; its corners are used.
        longitude: The same.
        day_night: `Day`, `Night` or `Both`.
        parameters: Names of the measured parameters.
        additional: The product's own attributes, such as its calibration quality.
    """
    quality = {
        "QAFLAGS": {
            "AUTOMATICQUALITYFLAG": "Passed",
            "AUTOMATICQUALITYFLAGEXPLANATION": "not being investigated",
            "SCIENCEQUALITYFLAG": "Not Investigated",
        },
        "QASTATS": {
            "QAPERCENTMISSINGDATA": 0,
            "QAPERCENTOUTOFBOUNDSDATA": 0,
            "QAPERCENTINTERPOLATEDDATA": 0,
        },
    }
    corners = _corners(latitude, longitude)
    end = name.time + _GRANULE
    tree = {
        "ECSDATAGRANULE": {
            "LOCALGRANULEID": file_name(name),
            "PRODUCTIONDATETIME": f"{name.time:%Y-%m-%dT%H:%M:%S}.000Z",
            "DAYNIGHTFLAG": day_night,
            "REPROCESSINGACTUAL": "processed once",
            "REPROCESSINGPLANNED": "further update is anticipated",
        },
        "MEASUREDPARAMETER": {
            f"MEASUREDPARAMETERCONTAINER.{place}": {**quality, "PARAMETERNAME": parameter}
            for place, parameter in enumerate(parameters, 1)
        },
        "ORBITCALCULATEDSPATIALDOMAIN": {
            "ORBITCALCULATEDSPATIALDOMAINCONTAINER.1": {
                "EQUATORCROSSINGDATE": f"{name.time:%Y-%m-%d}",
                "EQUATORCROSSINGTIME": f"{name.time:%H:%M:%S.%f}",
                "ORBITNUMBER": 1,
                "EQUATORCROSSINGLONGITUDE": corners[1][0],
            }
        },
        "COLLECTIONDESCRIPTIONCLASS": {
            "VERSIONID": int(name.collection),
            "SHORTNAME": name.short_name,
        },
        "INPUTGRANULE": {"INPUTPOINTER": "synthetic: no observation"},
        "SPATIALDOMAINCONTAINER": {
            "HORIZONTALSPATIALDOMAINCONTAINER": {
                "GPOLYGON": {
                    "GPOLYGONCONTAINER.1": {
                        "GRING": {"EXCLUSIONGRINGFLAG": "N"},
                        "GRINGPOINT": {
                            "GRINGPOINTLATITUDE": corners[0],
                            "GRINGPOINTLONGITUDE": corners[1],
                            "GRINGPOINTSEQUENCENO": [1, 2, 3, 4],
                        },
                    }
                }
            }
        },
        "RANGEDATETIME": {
            "RANGEBEGINNINGDATE": f"{name.time:%Y-%m-%d}",
            "RANGEBEGINNINGTIME": f"{name.time:%H:%M:%S.%f}",
            "RANGEENDINGDATE": f"{end:%Y-%m-%d}",
            "RANGEENDINGTIME": f"{end:%H:%M:%S.%f}",
        },
        "PGEVERSIONCLASS": {"PGEVERSION": "synthetic"},
        "ANCILLARYINPUTGRANULE": {
            "ANCILLARYINPUTGRANULECONTAINER.1": {
                "ANCILLARYINPUTPOINTER": file_name(replace(name, product=GEOLOCATION)),
                "ANCILLARYINPUTTYPE": "Geolocation",
            }
        },
        "ASSOCIATEDPLATFORMINSTRUMENTSENSOR": {
            "ASSOCIATEDPLATFORMINSTRUMENTSENSORCONTAINER.1": {
                "ASSOCIATEDSENSORSHORTNAME": "MODIS",
                "ASSOCIATEDPLATFORMSHORTNAME": name.platform,
                "ASSOCIATEDINSTRUMENTSHORTNAME": "MODIS",
            }
        },
        "ADDITIONALATTRIBUTES": {
            f"ADDITIONALATTRIBUTESCONTAINER.{place}": {
                "ADDITIONALATTRIBUTENAME": key,
                "INFORMATIONCONTENT": {"PARAMETERVALUE": value},
            }
            for place, (key, value) in enumerate((additional or {}).items(), 1)
        },
    }
    return odl("INVENTORYMETADATA", tree)


def archive_metadata(
    name: ProductName, *, latitude: NDArray[np.floating], longitude: NDArray[np.floating]
) -> str:
    """`ArchiveMetadata.0`: the rectangle around a granule and how it was made.

    Args:
        name: What the file name tells.
        latitude: Any field of positions in degrees, NaN where unknown.
        longitude: The same.
    """
    known = [field[np.isfinite(field)].astype(float) for field in (latitude, longitude)]
    bounds = [(float(found.min()), float(found.max())) if found.size else (0.0, 0.0)
              for found in known]  # fmt: skip
    tree = {
        "BOUNDINGRECTANGLE": {
            "NORTHBOUNDINGCOORDINATE": bounds[0][1],
            "SOUTHBOUNDINGCOORDINATE": bounds[0][0],
            "EASTBOUNDINGCOORDINATE": bounds[1][1],
            "WESTBOUNDINGCOORDINATE": bounds[1][0],
        },
        "ALGORITHMPACKAGE": {
            "ALGORITHMPACKAGEACCEPTANCEDATE": "1999-12-14",
            "ALGORITHMPACKAGEMATURITYCODE": "OPERATIONAL",
            "ALGORITHMPACKAGENAME": "MODIS Level 1B Algorithm Package",
            "ALGORITHMPACKAGEVERSION": "synthetic",
        },
        "PROJECT": {
            "INSTRUMENTNAME": "Moderate Resolution Imaging SpectroRadiometer",
            "PROCESSINGCENTER": "synthetic",
        },
        "DESCRREVISION": "6.1",
        "PRODUCTIONHISTORY": "synthetic",
        "LONGNAME": f"MODIS/{name.platform} {_LONG_NAMES[name.product]}",
        "PROCESSINGENVIRONMENT": "synthetic",
    }
    return odl("ARCHIVEDMETADATA", tree)
