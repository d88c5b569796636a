"""The colours of states, as style.css has them: legible, and apart for eyes that lack a kind of cone.

Eyes are simulated by Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision
deficiency" (2009), at full severity; distances are CIEDE2000, contrasts WCAG 2.2. A state is never told by its colour
alone, so this is about finding it at a glance.
"""

from __future__ import annotations

import re
from itertools import combinations
from math import atan2, cos, degrees, exp, hypot, radians, sin, sqrt
from pathlib import Path

import pytest

import procession.web

CSS = (Path(procession.web.__file__).parent / "static" / "style.css").read_text("utf-8")
STATES = ("delayed", "queued", "running", "processed", "retried", "failed", "cancelled")
"""What stands side by side; `blocked` looks like `queued`, with another sign."""
APART, FLOW_APART = 8.0, 15.0
"""The least CIEDE2000 distance of any two, and of the four that charts set side by side. 1 is just seen."""
GREY = {frozenset(("queued", "cancelled"))}
"""Two greys by intention: neither asks for anybody."""
Vector = tuple[float, float, float]
EYES: dict[str, tuple[Vector, Vector, Vector]] = {
    "usual": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def palettes() -> dict[str, dict[str, str]]:
    """The custom properties of each block that sets them."""
    blocks = re.findall(r"^\s*(:root[^{]*)\{([^}]*)\}", CSS, re.MULTILINE)
    found = {head.strip(): dict(re.findall(r"--(\w+): (#\w+);", body)) for head, body in blocks}
    return {"light": found[":root"], "dark": found[':root[data-theme="dark"]'], **found}


def linear(colour: str) -> Vector:
    """A colour as linear light."""
    code = colour[1:] if len(colour) == 7 else "".join(it * 2 for it in colour[1:])
    parts = (int(code[at : at + 2], 16) / 255 for at in (0, 2, 4))
    red, green, blue = (it / 12.92 if it <= 0.04045 else ((it + 0.055) / 1.055) ** 2.4 for it in parts)
    return red, green, blue


def times(matrix: tuple[Vector, Vector, Vector], vector: Vector) -> Vector:
    one, two, three = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return one, two, three


def contrast(one: str, two: str) -> float:
    """Of WCAG 2.2: from 1 to 21."""
    lights = [0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in (linear(one), linear(two))]
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def lab(colour: str, eyes: str) -> Vector:
    """CIELAB (D65) of a colour as these eyes see it."""
    seen = times(EYES[eyes], linear(colour))
    red, green, blue = (min(max(it, 0.0), 1.0) for it in seen)
    xyz = times(
        ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041)),
        (red, green, blue),
    )
    x, y, z = (
        (it / white) ** (1 / 3) if it / white > 216 / 24389 else (24389 / 27 * it / white + 16) / 116
        for it, white in zip(xyz, (0.95047, 1.0, 1.08883), strict=True)
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def ciede2000(one: Vector, two: Vector) -> float:
    """Sharma, Wu and Dalal, "The CIEDE2000 color-difference formula" (2005), equations 2 to 22."""
    (light1, a1, b1), (light2, a2, b2) = one, two
    mean7 = ((hypot(a1, b1) + hypot(a2, b2)) / 2) ** 7
    grey = 1.5 - 0.5 * sqrt(mean7 / (mean7 + 25.0**7))
    chroma1, chroma2 = hypot(a1 * grey, b1), hypot(a2 * grey, b2)
    hue1, hue2 = (degrees(atan2(b, a * grey)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = 0.0 if chroma1 * chroma2 == 0 else (hue2 - hue1 + 180) % 360 - 180
    light, chroma = light2 - light1, chroma2 - chroma1
    hue = 2 * sqrt(chroma1 * chroma2) * sin(radians(turn / 2))
    mean_light, mean_chroma = (light1 + light2) / 2, (chroma1 + chroma2) / 2
    mean_hue = hue1 + hue2 if chroma1 * chroma2 == 0 else (hue1 + turn / 2) % 360
    weight = (
        1 - 0.17 * cos(radians(mean_hue - 30)) + 0.24 * cos(radians(2 * mean_hue))
        + 0.32 * cos(radians(3 * mean_hue + 6)) - 0.20 * cos(radians(4 * mean_hue - 63))
    )  # fmt: skip
    scale_light = 1 + 0.015 * (mean_light - 50) ** 2 / sqrt(20 + (mean_light - 50) ** 2)
    scale_chroma, scale_hue = 1 + 0.045 * mean_chroma, 1 + 0.015 * mean_chroma * weight
    chroma7 = mean_chroma**7
    bent = radians(60 * exp(-(((mean_hue - 275) / 25) ** 2)))
    rotation = -2 * sqrt(chroma7 / (chroma7 + 25.0**7)) * sin(bent)
    parts = light / scale_light, chroma / scale_chroma, hue / scale_hue
    return sqrt(sum(it * it for it in parts) + rotation * parts[1] * parts[2])


@pytest.mark.parametrize(
    ("one", "two", "distance"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, -1.1848, -84.8006), (50, 0, -82.7485), 1.0000),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((50, 2.5, 0), (58, 24, 15), 19.4535),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
        ((6.7747, -0.2908, -2.4247), (5.8714, -0.0985, -2.2286), 0.6377),
    ],
)
def test_the_distance_is_that_of_the_published_pairs(one: Vector, two: Vector, distance: float) -> None:
    assert round(ciede2000(one, two), 4) == distance


def test_both_ways_to_the_dark_palette_are_the_same() -> None:
    found = palettes()
    assert found["dark"] == found[':root:not([data-theme="light"])']


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_is_legible(theme: str) -> None:
    its = palettes()[theme]
    words, grounds = (*STATES, "blocked", "text", "dim", "accent"), ("panel", "bg", "wash")
    texts = [(name, ground) for name in words for ground in grounds]
    low = {(name, ground): contrast(its[name], its[ground]) for name, ground in texts}
    assert {pair: round(ratio, 2) for pair, ratio in low.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_states_are_apart_for_every_kind_of_eyes(theme: str, eyes: str) -> None:
    its = palettes()[theme]
    seen = {name: lab(its[name], eyes) for name in STATES}
    flow = {"running", "processed", "retried", "failed"}
    near = {}
    for pair in combinations(STATES, 2):
        least = FLOW_APART if flow >= {*pair} else APART
        distance = ciede2000(seen[pair[0]], seen[pair[1]])
        if distance < least and frozenset(pair) not in GREY:
            near[pair] = round(distance, 1)
    assert near == {}
