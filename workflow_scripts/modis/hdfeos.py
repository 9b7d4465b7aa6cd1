"""HDF-EOS swaths: fields over named dimensions, written as HDF4 in the structure EOS tools read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.modis.hdf4_writer import Group, Sds, Table, write_hdf4


@dataclass(frozen=True, kw_only=True)
class SwathField:
    """A field of a swath: its numpy type, dimensions (without the swath's name) and attributes."""

    name: str
    type: str
    dims: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Swath:
    """The layout of a swath.

    Args:
        name: Such as `MODIS_SWATH_Type_L1B`.
        sizes: Length of each dimension.
        maps: How coarse dimensions lie in fine ones: (coarse, fine, offset, increment).
        geolocation: Fields of positions.
        data: The other fields, in order.
    """

    name: str
    sizes: Mapping[str, int]
    maps: Sequence[tuple[str, str, int, int]] = ()
    geolocation: Sequence[SwathField] = ()
    data: Sequence[SwathField] = ()


def write_swath(
    path: Path,
    swath: Swath,
    values: Callable[[str], NDArray[Any]],
    *,
    attributes: Mapping[str, Any],
    others: Sequence[Sds] = (),
    tables: Sequence[Table] = (),
    level: int = 1,
) -> None:
    """Write a file of one swath atomically; the same values give the same bytes.

    As HDF-EOS does, fields of one dimension become Vdata and the rest SDS, held by Vgroups.

    Args:
        path: The file.
        swath: Its layout.
        values: Gives a field's array by name; asked for one field after the other.
        attributes: Of the file, beside `StructMetadata.0`.
        others: SDS that belong to no swath.
        tables: Vdata that belong to no swath.
        level: Of deflate.

    Raises:
        ValueError: An array of another shape or type than its field.
        UserError: As `write_hdf4`.
    """
    fields = [*swath.geolocation, *swath.data]
    lines = [found for found in fields if len(found.dims) == 1]
    inner = [
        Table(name=found.name, columns={found.name: _checked(swath, found, values(found.name))},
              kind="SWATH Vdata")
        for found in lines
    ]  # fmt: skip
    group = Group(
        name=swath.name,
        kind="SWATH",
        members=(
            _group("Geolocation Fields", swath.geolocation),
            _group("Data Fields", swath.data),
            _group("Swath Attributes", ()),
        ),
    )

    def arrays() -> Iterable[Sds]:
        for found in fields:
            if len(found.dims) > 1:
                yield Sds(
                    name=found.name,
                    data=_checked(swath, found, values(found.name)),
                    dims=tuple(f"{name}:{swath.name}" for name in found.dims),
                    attributes=dict(found.attributes),
                )
        yield from others

    write_hdf4(
        path,
        arrays(),
        attributes={
            "HDFEOSVersion": "HDFEOS_V2.19",
            "StructMetadata.0": struct_metadata(swath),
            **attributes,
        },
        tables=[*inner, *tables],
        group=group,
        level=level,
    )


def _group(name: str, fields: Sequence[SwathField]) -> Group:
    return Group(name=name, kind="SWATH Vgroup", members=tuple(found.name for found in fields))


def _checked(swath: Swath, found: SwathField, array: NDArray[Any]) -> NDArray[Any]:
    shape = tuple(swath.sizes[name] for name in found.dims)
    if array.shape != shape or array.dtype != np.dtype(found.type):
        raise ValueError(
            f"field {found.name} is {array.dtype} {array.shape}, expected {found.type} {shape}"
        )
    return array


def struct_metadata(swath: Swath) -> str:
    """`StructMetadata.0` of a file of one swath: dimensions, maps and fields."""
    sizes = [{"DimensionName": f'"{name}"', "Size": size} for name, size in swath.sizes.items()]
    maps = [
        {"GeoDimension": f'"{coarse}"', "DataDimension": f'"{fine}"', "Offset": offset,
         "Increment": increment}
        for coarse, fine, offset, increment in swath.maps
    ]  # fmt: skip
    parts = [
        *_objects("Dimension", sizes),
        *_objects("DimensionMap", maps),
        *_objects("IndexDimensionMap", []),
        *_objects("GeoField", [_entry("GeoFieldName", found) for found in swath.geolocation]),
        *_objects("DataField", [_entry("DataFieldName", found) for found in swath.data]),
        *_objects("MergedFields", []),
    ]
    lines = [
        "GROUP=SwathStructure",
        "\tGROUP=SWATH_1",
        f'\t\tSwathName="{swath.name}"',
        *parts,
        "\tEND_GROUP=SWATH_1",
        "END_GROUP=SwathStructure",
    ]
    for other in ("GridStructure", "PointStructure"):
        lines += [f"GROUP={other}", f"END_GROUP={other}"]
    return "\n".join([*lines, "END", ""])


def _entry(key: str, found: SwathField) -> dict[str, Any]:
    dims = ",".join(f'"{name}"' for name in found.dims)
    return {
        key: f'"{found.name}"',
        "DataType": f"DFNT_{found.type.upper()}",
        "DimList": f"({dims})",
    }


def _objects(kind: str, entries: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [f"\t\tGROUP={kind}"]
    for number, entry in enumerate(entries, 1):
        lines.append(f"\t\t\tOBJECT={kind}_{number}")
        lines += [f"\t\t\t\t{key}={value}" for key, value in entry.items()]
        lines.append(f"\t\t\tEND_OBJECT={kind}_{number}")
    return [*lines, f"\t\tEND_GROUP={kind}"]
