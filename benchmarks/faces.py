"""The faces that a bundle answers with: pictures for docs/faces.md and docs/screens.md.

    .venv/bin/python benchmarks/faces.py [--model models/nano] [--out docs/images]

The texts were written for the page and are in none of the training data. What is printed below a
face is the model's own label, whatever the text was meant to be.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.progress import track

from contextface_ros.contextface import ContextFace
from contextface_ros.face.attitude import Attention
from contextface_ros.face.decode import blendshapes_of
from contextface_ros.face.drawn import DrawnFace
from contextface_ros.face.drawn_themes import THEMES
from contextface_ros.face.idle import Idle
from contextface_ros.face.live_head import LiveHead
from contextface_ros.face.motion import Motion
from contextface_ros.types import Context, Prediction, UInt8Array

SEVEN = (  # a row from mild to strong, a column for an emotion
    (
        "You could have told me before I paid for it.",
        "I suppose we won't see each other for a while.",
        "Wait, you two know each other?",
        "The bus leaves at ten past four.",
        "The brakes feel soft, and it's all downhill from here.",
        "This coffee is rather good.",
        "This milk smells a bit off.",
    ),
    (
        "You read my letters again. All of them!",
        "We buried him under the apple tree.",
        "Hang on, twins? Both of them?",
        "I put the keys on the second shelf.",
        "Did you hear something downstairs?",
        "She said my first word today: grandpa!",
        "There's a hair in my soup. A long one.",
    ),
    (
        "Get out of my house and don't you ever come back!",
        "She died this morning and I wasn't there.",
        "What? You won the whole thing?!",
        "It takes about twenty minutes.",
        "There's smoke under the door, we can't get out!",
        "We won! We actually won the cup!",
        "Ugh, maggots! The whole bin is crawling with maggots!",
    ),
)
ONE_EMOTION = (
    (
        "Finally a chair.",
        "This coffee is rather good.",
        "They said yes. The house is ours!",
        "I passed. After the third time, I passed!",
        "We won! We actually won the cup!",
    ),
    (
        "The shop on the corner has closed for good.",
        "I sold her piano today.",
        "Nobody came to my table all evening.",
        "They took the dog back to the shelter.",
        "She died this morning and I wasn't there.",
    ),
)
QUOTE = "You came."
SITUATIONS = (
    "The plumber is here at the time that was agreed.",
    "Her brother, whom she had not seen for eleven years, stands at the door.",
    "He has come back into the burning house for her.",
    "He was told to keep away from her, and now he stands at her door.",
    "The hall is empty; of all whom she invited only one has come.",
)
SCENE = (
    "Did you hear something downstairs?",
    "What? You all came for my birthday?",
    "This is the best birthday of my life!",
    "Ugh, who put fish into this cake?",
    "You let the dog sleep on my coat again!",
    "He would have loved this. I miss him so much.",
    "The last bus leaves at ten past eleven.",
)

_FACE = 200  # side of a picture in pixels
_CAPTION = 76
_SCENE_FACE, _SCENE_CAPTION = 300, 44
_RATE_HZ = 12.5
_HEAR_S, _THINK_S, _SHOW_S = 0.6, 0.2, 2.4


@dataclass(frozen=True)
class Cell:
    """A face with what it answers."""

    prediction: Prediction
    text: str


def main() -> None:
    """Ask the model, and save the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="models/nano")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    with ContextFace.load(options.model) as model:
        seven, one = (ask(model, rows) for rows in (SEVEN, ONE_EMOTION))
        by_situation = [
            Cell(model.predict(Context(quote=QUOTE, situation=situation)), situation)
            for situation in SITUATIONS
        ]
        scene = ask(model, [SCENE])[0]
    head = LiveHead(width=2 * _FACE, height=2 * _FACE, basis="open-1")
    for name, rows in (("seven", seven), ("one_emotion", one), ("one_quote", [by_situation])):
        path = options.out / f"{name}.png"
        save_sheet(head, rows, path)
        print(f"wrote {path}")
    save_screens(head, [cell.prediction for cell in seven[-1]], options.out / "screens.png")
    head.close()
    animate(scene, options.out / "scene.webp")
    print(f"wrote {options.out / 'scene.webp'}")


def ask(model: ContextFace, rows: Sequence[Sequence[str]]) -> list[list[Cell]]:
    """The model's answers to quotes."""
    return [[Cell(model.predict(Context(quote=text)), text) for text in row] for row in rows]


def save_sheet(head: LiveHead, rows: Sequence[Sequence[Cell]], path: Path) -> None:
    """A table of faces, with label and text under each."""
    sheet = Image.new("RGB", (_FACE * len(rows[0]), (_FACE + _CAPTION) * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            left, top = x * _FACE, y * (_FACE + _CAPTION)
            picture = head.picture(blendshapes_of(cell.prediction.expression))
            sheet.paste(Image.fromarray(picture).resize((_FACE, _FACE)), (left, top))
            write(draw, (left + 8, top + _FACE + 4), cell.prediction.emotion.value, 15)
            text = "\n".join(textwrap.wrap(cell.text, 31))
            write(draw, (left + 8, top + _FACE + 24), text, 12)
    sheet.save(path, optimize=True)


def save_screens(head: LiveHead, answers: Sequence[Prediction], path: Path) -> None:
    """The same faces on every face that there is for a screen, a row each."""
    faces = [blendshapes_of(answer.expression) for answer in answers]
    painters = [head, *(DrawnFace(width=2 * _FACE, height=2 * _FACE, theme=t) for t in THEMES)]
    rows = [np.hstack([painter.picture(face) for face in faces]) for painter in painters]
    sheet = Image.fromarray(np.vstack(rows))
    sheet.resize((_FACE * len(faces), _FACE * len(rows))).save(path, optimize=True)


def write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int) -> None:
    """Dark letters."""
    draw.multiline_text(place, text, (40, 40, 40), ImageFont.load_default(size), spacing=3)


def animate(scene: Sequence[Cell], path: Path) -> None:
    """A head and a drawn face that listen, think and answer, with what was said below them."""
    head = LiveHead(width=_SCENE_FACE, height=_SCENE_FACE, basis="open-1")
    drawn = DrawnFace(width=_SCENE_FACE, height=_SCENE_FACE)
    motion, start_s, frames = Motion(Idle(seed=7)), 0.0, []
    for cell in track(scene, "drawing the scene"):
        heard_s, shown_s = start_s + _HEAR_S, start_s + _HEAR_S + _THINK_S
        motion = motion.attend(Attention.LISTENING, start_s, 10.0)
        frames += played(motion, start_s, heard_s, head, drawn, cell.text, "")
        motion = motion.attend(Attention.THINKING, heard_s, 10.0)
        frames += played(motion, heard_s, shown_s, head, drawn, cell.text, "")
        answer = cell.prediction
        motion = motion.attend(Attention.IDLE, shown_s, 10.0)
        motion = motion.express(blendshapes_of(answer.expression), answer.emotion, shown_s)
        start_s = shown_s + _SHOW_S
        frames += played(motion, shown_s, start_s, head, drawn, cell.text, answer.emotion.value)
    head.close()
    first, *rest = frames
    first.save(
        path, save_all=True, append_images=rest, duration=round(1000 / _RATE_HZ), loop=0, quality=60
    )


def played(
    motion: Motion,
    start_s: float,
    end_s: float,
    head: LiveHead,
    drawn: DrawnFace,
    text: str,
    label: str,
) -> list[Image.Image]:
    """The frames from one time to another."""
    frames = []
    for time_s in np.arange(start_s, end_s - 1e-9, 1 / _RATE_HZ):
        pose = motion.pose(float(time_s))
        faces: UInt8Array = np.hstack([head.picture(pose), drawn.picture(pose)])
        frame = Image.new("RGB", (2 * _SCENE_FACE, _SCENE_FACE + _SCENE_CAPTION), "white")
        frame.paste(Image.fromarray(faces), (0, 0))
        draw = ImageDraw.Draw(frame)
        write(draw, (10, _SCENE_FACE + 4), text, 15)
        write(draw, (10, _SCENE_FACE + 24), label, 13)
        frames.append(frame)
    return frames


if __name__ == "__main__":
    main()
