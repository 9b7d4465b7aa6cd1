"""What sample scenes are drawn with: a palette, a canvas in metres, trees, roofs and textures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

FRAME = 96.0  # metres across what is seen; the canvas is larger, for the rotation
_MARGIN = 1.5  # of canvas to frame: more than √2
_SUPERSAMPLE = 2

# Ground, second ground, bare soil, trees, water of four kinds of country.
_FAMILIES: tuple[tuple[Colour, Colour, Colour, Colour, Colour], ...] = (
    ((104, 128, 74), (134, 150, 92), (158, 136, 102), (48, 78, 44), (58, 90, 104)),
    ((156, 146, 98), (180, 168, 118), (182, 152, 112), (78, 92, 52), (76, 106, 108)),
    ((150, 120, 88), (172, 142, 104), (188, 146, 108), (72, 88, 56), (70, 104, 112)),
    ((92, 112, 84), (118, 134, 104), (138, 124, 106), (36, 62, 48), (46, 72, 92)),
)
_ROOFS: tuple[Colour, ...] = (
    (172, 98, 74), (150, 84, 66), (196, 190, 180), (132, 130, 130), (104, 108, 118),
    (186, 158, 128),
)  # fmt: skip
_ROADS: tuple[Colour, ...] = ((128, 126, 124), (146, 142, 136), (108, 108, 112))
_CARS: tuple[Colour, ...] = ((222, 222, 220), (40, 42, 46), (160, 44, 40), (52, 72, 122))


def shade(colour: Colour, factor: float) -> Colour:
    """A colour made darker (below 1) or lighter."""
    red, green, blue = (max(0, min(255, round(value * factor))) for value in colour)
    return red, green, blue


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of one scene; every class draws from the same."""

    ground: Colour
    meadow: Colour
    soil: Colour
    tree: Colour
    water: Colour
    road: Colour

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Palette":
        """One kind of country, each colour a little off."""
        family = _FAMILIES[rng.integers(len(_FAMILIES))]
        colours = [*family, _ROADS[rng.integers(len(_ROADS))]]
        return cls(*(shade(colour, rng.uniform(0.88, 1.12)) for colour in colours))


def smooth_noise(rng: np.random.Generator, side: int, *, cells: int) -> NDArray[np.float32]:
    """(side, side) noise about 0 within ±1, with `cells` bumps across."""
    coarse = rng.uniform(-1, 1, (cells + 3, cells + 3)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


class Canvas:
    """A square of ground to draw on, in metres from its corner, with the sun to one side.

    Args:
        rng: All randomness of the scene.
        size: Height and width of the finished picture, pixels.
    """

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.rng = rng
        self.size = size
        self.palette = Palette.random(rng)
        self.zoom = rng.uniform(0.85, 1.2)
        self.scale = size * _SUPERSAMPLE / FRAME * self.zoom  # pixels a metre
        self.side = round(size * _SUPERSAMPLE * _MARGIN)
        self.extent = self.side / self.scale
        azimuth = rng.uniform(0, 2 * np.pi)
        self.shadow_x, self.shadow_y = np.cos(azimuth), np.sin(azimuth)
        self.cover(self.palette.ground, self.palette.meadow)

    def cover(self, first: Colour, second: Colour) -> None:
        """Begin with ground between two colours."""
        rng, side = self.rng, self.side
        blend = sum(smooth_noise(rng, side, cells=n) / (i + 1) for i, n in enumerate((3, 9, 27)))
        weight = np.clip(128 + 150 * np.asarray(blend), 0, 255).astype(np.uint8)
        self.image = Image.new("RGB", (side, side), first)
        self.image.paste(second, mask=Image.fromarray(weight))
        self.draw = ImageDraw.Draw(self.image, "RGBA")

    def _pixels(self, points: list[Point]) -> list[Point]:
        return [(x * self.scale, y * self.scale) for x, y in points]

    def polygon(self, points: list[Point], colour: tuple[int, ...]) -> None:
        """Fill a polygon."""
        self.draw.polygon(self._pixels(points), fill=colour)

    def line(self, points: list[Point], width: float, colour: tuple[int, ...]) -> None:
        """A line with round bends; `width` in metres."""
        pixels = max(1, round(width * self.scale))
        self.draw.line(self._pixels(points), fill=colour, width=pixels, joint="curve")

    def disc(self, x: float, y: float, radius: float, colour: tuple[int, ...]) -> None:
        """Fill a circle."""
        low, high = self._pixels([(x - radius, y - radius), (x + radius, y + radius)])
        self.draw.ellipse([low, high], fill=colour)

    def box(
        self, centre: Point, along: Point, length: float, width: float, colour: tuple[int, ...]
    ) -> None:
        """Fill a rectangle; `along` is the unit vector of its length."""
        self.polygon(corners(centre, along, length, width), colour)

    def shadow(self, points: list[Point], height: float) -> None:
        """Darken what a thing of some height and outline hides from the sun."""
        dx, dy = self.shadow_x * height, self.shadow_y * height
        self.polygon([(x + dx, y + dy) for x, y in points], (8, 12, 24, 120))

    def tree(self, x: float, y: float, radius: float) -> None:
        """A crown, lit on one side, and its shadow."""
        dx, dy = self.shadow_x * radius, self.shadow_y * radius
        crown = shade(self.palette.tree, self.rng.uniform(0.8, 1.25))
        self.disc(x + 0.7 * dx, y + 0.7 * dy, radius, (8, 12, 24, 110))
        self.disc(x, y, radius, crown)
        self.disc(x - 0.3 * dx, y - 0.3 * dy, 0.55 * radius, shade(crown, 1.35))

    def trees(self, fewest: int, most: int, *, low: float, high: float) -> None:
        """Trees anywhere, of radius `low` to `high`."""
        count = int(self.rng.integers(fewest, most))
        for x, y in self.rng.uniform(0, self.extent, (count, 2)):
            self.tree(x, y, self.rng.uniform(low, high))

    def house(self, centre: Point, along: Point, length: float, width: float) -> None:
        """A gabled roof: one half in the light."""
        outline = corners(centre, along, length, width)
        self.shadow(outline, self.rng.uniform(1.5, 2.6))
        roof = shade(_ROOFS[self.rng.integers(len(_ROOFS))], self.rng.uniform(0.85, 1.12))
        across = (-along[1], along[0])
        lit = -(across[0] * self.shadow_x + across[1] * self.shadow_y)
        self.polygon(outline, shade(roof, 1 - 0.16 * lit))
        x, y = centre[0] + across[0] * width / 4, centre[1] + across[1] * width / 4
        self.box((x, y), along, length, width / 2, shade(roof, 1 + 0.16 * lit))

    def car(self, centre: Point, along: Point) -> None:
        """A car."""
        self.box(centre, along, 4.2, 1.9, _CARS[self.rng.integers(len(_CARS))])

    def photograph(self) -> Image.Image:
        """The finished frame: turned at random, cut out, brought to size, with some grain."""
        rng, wide = self.rng, self.size * _SUPERSAMPLE
        turned = self.image.rotate(rng.uniform(0, 360), Image.Resampling.BILINEAR)
        start = (self.side - wide) // 2
        frame = turned.crop((start, start, start + wide, start + wide)).reduce(_SUPERSAMPLE)
        light = 1 + 0.08 * smooth_noise(rng, self.size, cells=2)
        grain = rng.normal(0, 3.0, (self.size, self.size))
        values = np.asarray(frame) * light[..., None] + grain[..., None]
        return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def corners(centre: Point, along: Point, length: float, width: float) -> list[Point]:
    """The four corners of a rectangle."""
    (x, y), (ux, uy) = centre, along
    half, side = length / 2, width / 2
    return [
        (x + a * half * ux - b * side * uy, y + a * half * uy + b * side * ux)
        for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]
