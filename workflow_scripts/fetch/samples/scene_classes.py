"""One function a class of sample scenes: each draws what makes the class, and nothing else does.

The classes share palettes, scales, directions of the sun and of the picture; what tells them apart
is how things are laid out. Lengths are in metres.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from workflow_scripts.fetch.samples.scene_canvas import Canvas, Point, shade

EAST: Point = (1.0, 0.0)
SOUTH: Point = (0.0, 1.0)


def crossing(c: Canvas) -> None:
    """Two roads that meet."""
    rng, middle, far = c.rng, c.extent / 2, c.extent
    c.trees(25, 60, low=1.5, high=3.2)
    at = middle + rng.uniform(-14, 14, 2)
    angle = rng.uniform(np.radians(65), np.radians(115))
    ways = [(EAST, rng.uniform(9, 15)), ((np.cos(angle), np.sin(angle)), rng.uniform(9, 15))]
    for (ux, uy), width in ways:
        ends = [(at[0] - far * ux, at[1] - far * uy), (at[0] + far * ux, at[1] + far * uy)]
        c.line(ends, width + 3, shade(c.palette.road, 1.25))
    for (ux, uy), width in ways:
        ends = [(at[0] - far * ux, at[1] - far * uy), (at[0] + far * ux, at[1] + far * uy)]
        c.line(ends, width, c.palette.road)
    for (ux, uy), width in ways:
        for step in np.arange(12, far, 6):
            for side in (-step, step):
                c.box((at[0] + side * ux, at[1] + side * uy), (ux, uy), 3, 0.7, (232, 230, 222))
        for _ in range(rng.integers(3, 7)):
            along, across = rng.uniform(-60, 60), rng.choice([-1, 1]) * width / 4
            c.car((at[0] + along * ux - across * uy, at[1] + along * uy + across * ux), (ux, uy))


def fields(c: Canvas) -> None:
    """Parcels, each with furrows in one direction."""
    rng, far = c.rng, c.extent
    cuts = np.cumsum(rng.uniform(34, 62, 6)) - rng.uniform(20, 40)
    edges = [0.0, *(float(cut) for cut in cuts if 0 < cut < far), far]
    for left, right in pairwise(edges):
        period = rng.uniform(4.0, 7.0)
        dark = shade(c.palette.soil if rng.random() < 0.5 else c.palette.ground, 0.8)
        light = shade(dark, rng.uniform(1.3, 1.5))
        c.polygon([(left, 0), (right, 0), (right, far), (left, far)], dark)
        lengthwise = rng.random() < 0.7
        for at in np.arange(left if lengthwise else 0, right if lengthwise else far, period):
            width, bend = period * 0.5, rng.normal(0, 0.25)
            if lengthwise:
                end = min(at + width, right)
                c.polygon([(at, 0), (end, 0), (end + bend, far), (at + bend, far)], light)
            else:
                c.polygon(
                    [
                        (left, at),
                        (right, at + bend),
                        (right, at + bend + width),
                        (left, at + width),
                    ],
                    light,
                )
        c.line([(right, 0), (right, far)], 1.6, shade(c.palette.meadow, 1.1))


def forest(c: Canvas) -> None:
    """Crowns of all sizes, side by side, anywhere."""
    rng = c.rng
    c.cover(shade(c.palette.tree, 0.8), shade(c.palette.ground, 0.85))
    clearing, radius = rng.uniform(0.2, 0.8, 2) * c.extent, rng.uniform(8, 16)
    for x, y in rng.uniform(0, c.extent, (480, 2)):
        if np.hypot(x - clearing[0], y - clearing[1]) > radius:
            c.tree(x, y, rng.gamma(9, 0.46))


def harbour(c: Canvas) -> None:
    """A quay with parallel piers and boats on both their sides."""
    rng, far = c.rng, c.extent
    shore = far / 2 - rng.uniform(10, 26)
    c.trees(10, 25, low=1.5, high=3.0)
    water = c.palette.water
    c.polygon([(0, shore), (far, shore), (far, far), (0, far)], water)
    for at in rng.uniform(shore, far, 60):  # ripples
        x = rng.uniform(0, far)
        c.line([(x, at), (x + rng.uniform(3, 9), at)], 0.5, (*shade(water, 1.25), 130))
    quay = shade(c.palette.road, 1.3)
    c.polygon([(0, shore - 7), (far, shore - 7), (far, shore), (0, shore)], quay)
    for x in np.arange(2, far, 5):
        if rng.random() < 0.4:
            c.car((x, shore - 4), SOUTH)
    gap, length = rng.uniform(19, 26), rng.uniform(44, 70)
    for x in np.arange(rng.uniform(0, gap), far, gap):
        c.box((x, shore + length / 2), SOUTH, length, 2.2, shade(quay, 1.1))
        for y in np.arange(shore + 5, shore + length, rng.uniform(4.2, 5.5)):
            for side in (-1, 1):
                if rng.random() < 0.85:
                    _boat(c, (x + side * 5.2, y), rng.uniform(5.5, 7.5), side)


def _boat(c: Canvas, centre: Point, length: float, side: int) -> None:
    (x, y), half = centre, length / 2
    hull = [
        (x - side * half, y - 1.1), (x + side * half * 0.4, y - 1.2), (x + side * half, y),
        (x + side * half * 0.4, y + 1.2), (x - side * half, y + 1.1),
    ]  # fmt: skip
    c.shadow(hull, 0.9)
    c.polygon(hull, shade((232, 230, 224), c.rng.uniform(0.85, 1.08)))
    c.box((x - side * half * 0.2, y), EAST, half * 0.8, 1.1, (112, 118, 128))


def orchard(c: Canvas) -> None:
    """Equal trees on a grid."""
    rng = c.rng
    row, step = rng.uniform(9, 12), rng.uniform(8, 10.5)
    radius, shift = rng.uniform(2.6, 3.4), rng.choice([0.0, 0.5])
    for number, y in enumerate(np.arange(-row, c.extent + row, row)):
        c.line([(0, y + row / 2), (c.extent, y + row / 2)], 1.4, (*shade(c.palette.soil, 1.1), 120))
        for x in np.arange(-step + shift * step * (number % 2), c.extent + step, step):
            if rng.random() < 0.96:
                jitter = rng.normal(0, 0.35, 2)
                c.tree(x + jitter[0], y + jitter[1], radius * rng.uniform(0.9, 1.12))


def river(c: Canvas) -> None:
    """One winding band of water."""
    rng, far = c.rng, c.extent
    c.trees(60, 130, low=1.3, high=3.4)
    # A sine-generated curve (Langbein and Leopold, 1966): the course's direction swings along it.
    along = np.arange(0, 2.2 * far, 1.5)
    turn, wave = rng.uniform(0.8, 1.35), rng.uniform(75, 120)
    swing = turn * np.sin(2 * np.pi * along / wave + rng.uniform(0, 2 * np.pi))
    swing += 0.25 * np.sin(2 * np.pi * along / (0.37 * wave) + rng.uniform(0, 2 * np.pi))
    x, y = 1.5 * np.cumsum(np.cos(swing)), 1.5 * np.cumsum(np.sin(swing))
    x += far / 2 - x.mean() + rng.uniform(-6, 6)
    y += far / 2 - y.mean() + rng.uniform(-6, 6)
    width = rng.uniform(11, 17) * (1 + 0.12 * np.sin(along / 17))
    sand, deep = shade(c.palette.soil, 1.3), shade(c.palette.water, 0.8)
    bank = 2.5 + 1.8 * np.sin(along / 13)
    for colour, radius in (
        (sand, width / 2 + bank),
        (c.palette.water, width / 2),
        (deep, width / 4),
    ):
        for place in zip(x, y, radius, strict=True):
            c.disc(*place, colour)


def roofs(c: Canvas) -> None:
    """Streets of houses, wall to wall almost."""
    rng, far = c.rng, c.extent
    deep, street = rng.uniform(10, 12.5), rng.uniform(6, 8)
    block = 2 * deep + 5 + street
    for top in np.arange(-rng.uniform(0, block), far, block):
        c.polygon([(0, top), (far, top), (far, top + street), (0, top + street)], c.palette.road)
        for x in np.arange(0, far, 7):
            if rng.random() < 0.35:
                c.car((x, top + rng.choice([1.6, street - 1.6])), EAST)
        for row in (top + street + 1.5 + deep / 2, top + street + 3.5 + 1.5 * deep):
            x = -rng.uniform(0, 9)
            while x < far:
                length = rng.uniform(8.5, 13)
                along = EAST if rng.random() < 0.7 else SOUTH
                sides = (length, deep * 0.85) if along is EAST else (deep * 0.85, length)
                c.house((x + length / 2, row + rng.normal(0, 0.4)), along, *sides)
                x += length + rng.uniform(1.2, 2.6)
                if rng.random() < 0.25:
                    c.tree(x, row + rng.choice([-1, 1]) * deep / 2, rng.uniform(1.3, 2.2))


def tanks(c: Canvas) -> None:
    """Large round tanks, each with its shadow, in a yard."""
    rng, far = c.rng, c.extent
    c.trees(10, 30, low=1.4, high=2.8)
    step = rng.uniform(27, 35)
    start = rng.uniform(-step / 2, step / 2, 2)
    yard = shade(c.palette.soil, 1.15)
    for at in np.arange(start[1], far + step, step):
        c.line([(0, at - step / 2), (far, at - step / 2)], 3, shade(c.palette.road, 1.1))
    for y in np.arange(start[1], far + step, step):
        for x in np.arange(start[0], far + step, step):
            c.box((x, y), EAST, step * 0.9, step * 0.84, yard)
            if rng.random() < 0.12:
                continue
            _tank(c, x + rng.normal(0, 1), y + rng.normal(0, 1), step * rng.uniform(0.27, 0.38))


def _tank(c: Canvas, x: float, y: float, radius: float) -> None:
    metal = shade((206, 204, 196), c.rng.uniform(0.8, 1.15))
    for part in np.linspace(0.1, 0.45, 5):
        c.disc(
            x + c.shadow_x * radius * part, y + c.shadow_y * radius * part, radius, (8, 12, 24, 70)
        )
    c.disc(x, y, radius, shade(metal, 0.82))
    c.disc(x, y, radius * 0.92, metal)
    c.disc(
        x - c.shadow_x * radius * 0.2,
        y - c.shadow_y * radius * 0.2,
        radius * 0.6,
        shade(metal, 1.06),
    )
    c.line([(x, y), (x + radius * 0.9, y)], 0.7, shade(metal, 0.7))


SCENES: dict[str, Callable[[Canvas], None]] = {
    draw.__name__: draw
    for draw in (crossing, fields, forest, harbour, orchard, river, roofs, tanks)
}
