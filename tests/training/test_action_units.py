"""Rows as OpenFace 2.2 and py-feat write them: their headers, shortened by landmarks and gaze."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contextface_ros.errors import BadInput
from contextface_ros.face.blendshapes import ACTION_UNITS
from training.data.action_units import PyfeatFile, read_openface, read_units

OPENFACE_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
PYFEAT_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)


def openface(*rows: dict[str, object], spaced: bool = False, video: bool = False) -> str:
    """The file of an image (FaceLandmarkImg), or of a video (FeatureExtraction)."""
    head = ["frame", "face_id", "timestamp"] if video else ["face"]
    head += ["confidence", *(["success"] if video else []), "gaze_0_x"]
    head += [f"AU{number:02}_r" for number in OPENFACE_UNITS]
    head += [f"AU{number:02}_c" for number in (*OPENFACE_UNITS, 28)]
    return table(head, rows, ", " if spaced else ",")


def pyfeat(*rows: dict[str, object]) -> str:
    head = ["", "FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore", "Pitch"]
    head += [f"AU{number:02}" for number in PYFEAT_UNITS] + ["anger", "happiness", "input", "frame"]
    return table(head, rows, ",")


def table(head: list[str], rows: tuple[dict[str, object], ...], comma: str) -> str:
    usual = {"confidence": 0.98, "success": 1, "FaceScore": 0.99, "input": "Happy/0001.png"}
    lines = [[str((usual | row).get(name, 0)) for name in head] for row in rows]
    return "".join(comma.join(line) + "\n" for line in [head, *lines])


def written(folder: Path, text: str) -> Path:
    file = folder / "faces.csv"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("spaced", [True, False])
@pytest.mark.parametrize("video", [True, False])
def test_openface_goes_from_0_to_5(tmp_path: Path, spaced: bool, video: bool) -> None:
    text = openface({"AU12_r": 2.5, "AU06_r": 5, "AU45_r": 1}, spaced=spaced, video=video)
    units = read_openface(written(tmp_path, text))
    assert units["AU12"] == 0.5 and units["AU6"] == 1.0
    assert units["AU43"] == 0.2 and "AU45" not in units  # a blink is, on a still, closed eyes
    assert sum(units.values()) == pytest.approx(1.7)
    assert set(units) <= set(ACTION_UNITS) and len(units) == len(OPENFACE_UNITS)


def test_the_surest_of_several_faces_counts(tmp_path: Path) -> None:
    faces = ({"confidence": 0.6, "AU12_r": 1}, {"confidence": 0.9, "AU12_r": 4})
    assert read_openface(written(tmp_path, openface(*faces)))["AU12"] == 0.8


def test_pyfeat_goes_from_0_to_1(tmp_path: Path) -> None:
    rows = ({"AU12": 0.5, "AU11": 0.9}, {"AU12": 0.25, "input": "/data/train/Happy/0002.png"})
    file = written(tmp_path, pyfeat(*rows))
    first, second = (PyfeatFile(file).units(f"Happy/000{n}.png") for n in (1, 2))
    assert first["AU12"] == 0.5 and second["AU12"] == 0.25
    assert "AU11" not in first and set(first) <= set(ACTION_UNITS)
    with pytest.raises(BadInput, match=r"has no row for Sad/0001\.png"):
        PyfeatFile(file).units("Sad/0001.png")


def test_pyfeat_may_name_an_image_alone(tmp_path: Path) -> None:
    file = PyfeatFile(
        written(tmp_path, pyfeat({"input": "0001.png"}, {"input": "a\\\\b\\\\c.png"}))
    )
    assert file.units("Happy/0001.png") and file.units("b/c.png")
    with pytest.raises(BadInput, match=r"no row for x/c\.png"):
        file.units("x/c.png")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("a,b\n1,2\n", "no columns of action units as OpenFace writes them"),
        (openface(), "has no face"),
        (openface({}).replace("confidence", "trust"), "no column 'confidence'"),
        (openface({}) + "1,2,3\n", "line 3: 3 fields in place of"),
        (openface({}).rstrip("\n") + ",7\n", "line 2: "),
        (openface({"AU12_r": 7.2}), "line 2: AU12_r is 7.2, not 0 to 5"),
        (openface({"AU12_r": -0.1}), "AU12_r is -0.1"),
        (openface({"AU12_r": "nan"}), "AU12_r is nan"),
        (openface({"AU12_r": ""}), "AU12_r is empty"),
        (openface({"AU12_r": "strong"}), "AU12_r is strong"),
        (openface({"confidence": 0.02}), "the face is unsure (confidence 0.02"),
        (openface({"confidence": "?"}), "the face is unsure"),
        (openface({"success": 0}, video=True), "no success"),
        # OpenFace 3 numbers its columns from 1 to 8, whatever the units are.
        (openface({}).replace("AU02_r", "AU03_r"), "AU03_r is no unit that OpenFace is known"),
    ],
)
def test_a_bad_row_of_openface_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(BadInput) as caught:
        read_openface(file)
    assert str(caught.value).startswith(str(file)) and said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (pyfeat({"AU12": 1.5}), "AU12 is 1.5, not 0 to 1"),
        (pyfeat({"FaceScore": "", "AU12": ""}), "the face is unsure"),
        (pyfeat({}).replace("input", "path"), "no column 'input'"),
        (openface({}), "no columns of action units as py-feat writes them"),
    ],
)
def test_a_bad_row_of_pyfeat_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        PyfeatFile(written(tmp_path, text)).units("Happy/0001.png")
    assert said in str(caught.value)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "faces.csv"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="cannot be read"):
        read_openface(file)


@given(
    st.text()
    | st.lists(
        st.lists(
            st.sampled_from(["AU01_r", "AU01", "confidence", "FaceScore", "input"])
            | st.text(max_size=5)
            | st.floats().map(str)
        )
    ).map(lambda rows: "\n".join(",".join(row) for row in rows))
)
def test_any_text_is_a_face_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.mktemp("any") / "faces.csv"
    file.write_bytes(text.encode(errors="surrogatepass"))
    for read in (read_openface, lambda file: PyfeatFile(file).units("a.png"), read_units):
        with contextlib.suppress(BadInput):
            assert all(0 <= strength <= 1 for strength in read(file).values())


def test_a_field_without_end(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is no CSV file"):
        read_openface(written(tmp_path, "x" * 200_000))
