"""Colours of the drawn face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Theme:
    """Colours, RGB in 0..255, by what they are the colours of."""

    background: Colour
    skin: Colour
    ear: Colour
    blush: Colour
    crease: Colour
    line: Colour
    brow: Colour
    white: Colour
    iris: Colour
    iris_light: Colour
    pupil: Colour
    lip: Colour
    lip_light: Colour
    mouth: Colour
    teeth: Colour
    tongue: Colour


THEMES: Mapping[str, Theme] = {
    "sky": Theme(
        background=(36, 48, 74),
        skin=(150, 205, 236),
        ear=(104, 168, 210),
        blush=(244, 154, 168),
        crease=(70, 128, 172),
        line=(28, 44, 78),
        brow=(32, 50, 88),
        white=(255, 255, 255),
        iris=(44, 96, 160),
        iris_light=(96, 168, 224),
        pupil=(12, 18, 36),
        lip=(96, 128, 190),
        lip_light=(116, 152, 208),
        mouth=(58, 26, 62),
        teeth=(252, 252, 250),
        tongue=(232, 112, 124),
    ),
    "sand": Theme(
        background=(92, 74, 70),
        skin=(250, 212, 172),
        ear=(232, 180, 138),
        blush=(244, 150, 128),
        crease=(196, 134, 96),
        line=(70, 42, 36),
        brow=(78, 48, 38),
        white=(255, 254, 250),
        iris=(104, 66, 36),
        iris_light=(168, 112, 62),
        pupil=(28, 16, 12),
        lip=(206, 124, 104),
        lip_light=(222, 148, 124),
        mouth=(88, 26, 30),
        teeth=(255, 252, 244),
        tongue=(228, 110, 110),
    ),
    "night": Theme(
        background=(6, 8, 14),
        skin=(20, 26, 40),
        ear=(30, 40, 60),
        blush=(92, 40, 78),
        crease=(64, 120, 140),
        line=(92, 226, 240),
        brow=(92, 226, 240),
        white=(226, 246, 250),
        iris=(22, 132, 158),
        iris_light=(64, 214, 232),
        pupil=(6, 14, 24),
        lip=(92, 226, 240),
        lip_light=(92, 226, 240),
        mouth=(8, 40, 54),
        teeth=(226, 246, 250),
        tongue=(196, 84, 132),
    ),
}
"""`sky` is a friendly robot, `sand` warm, `night` glows on a dark screen."""
