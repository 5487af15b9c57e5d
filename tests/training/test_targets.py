from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from contextface_ros.errors import BadInput
from contextface_ros.face.blendshapes import action_units_to_blendshapes
from contextface_ros.face.open_head import OpenHead
from training.data.annotations import TargetFile, TargetKind
from training.data.targets import Targets, find_target, read_code
from training.metrics import frechet, l2

FLAT_KINDS = (TargetKind.EMOCA, TargetKind.DECA)


def saved(folder: Path, code: object, name: str = "code.npy") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, np.asarray(code))
    return file


@pytest.mark.parametrize("shape", [(100,), (1, 100)])
def test_an_inferno_code_is_taken_as_it_is(tmp_path: Path, shape: tuple[int, ...]) -> None:
    code = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    target = read_code(saved(tmp_path, code), TargetKind.INFERNO)
    assert target.basis == "flame2020"
    assert np.array_equal(target.coefficients, code.reshape(100))
    assert target.coefficients.dtype == np.float32
    assert target.known.dtype == np.bool_ and target.known.all()


@pytest.mark.parametrize("kind", FLAT_KINDS)
def test_a_code_of_50_is_padded_and_says_so(tmp_path: Path, kind: TargetKind) -> None:
    code = np.linspace(-2, 2, 50)
    target = read_code(saved(tmp_path, code), kind)
    assert np.array_equal(target.coefficients[:50], code.astype(np.float32))
    assert not target.coefficients[50:].any()
    assert target.known.tolist() == [True] * 50 + [False] * 50


def test_padding_counts_neither_in_l2_nor_in_fd(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    codes = random.normal(size=(60, 50)).astype(np.float32)
    targets = [read_code(saved(tmp_path, code), TargetKind.EMOCA) for code in codes]
    truth = np.stack([target.coefficients for target in targets])
    known = np.stack([target.known for target in targets])
    said = random.normal(size=(60, 100)).astype(np.float32)
    assert l2(said, truth, known) == pytest.approx(l2(said[:, :50], codes))
    assert frechet(said, truth, known) == pytest.approx(frechet(said[:, :50], codes))
    assert l2(said, truth, known) != pytest.approx(l2(said, truth))


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [
        (
            TargetKind.INFERNO,
            np.zeros(50),
            "has shape (50,): an expression code of inferno",
        ),
        (TargetKind.EMOCA, np.zeros(100), "of emoca has 50"),
        (TargetKind.INFERNO, np.zeros((2, 100)), "has shape (2, 100)"),
        (TargetKind.INFERNO, np.full(100, np.nan), "coefficient 0 is nan"),
        (TargetKind.DECA, np.r_[np.zeros(49), np.inf], "coefficient 49 is inf"),
        (TargetKind.DECA, np.r_[np.zeros(49), 1e3], "coefficient 49 is 1000"),
        (TargetKind.INFERNO, np.zeros(100, dtype=np.int64), "no floating-point numbers"),
        (TargetKind.INFERNO, np.array([{"exp": 1}], dtype=object), "no .npy file that can be read"),
    ],
)
def test_a_bad_code_is_refused(tmp_path: Path, kind: TargetKind, code: object, said: str) -> None:
    file = saved(tmp_path, code)
    with pytest.raises(BadInput) as caught:
        read_code(file, kind)
    assert str(caught.value).startswith(str(file)) and said in str(caught.value)


@given(junk=st.binary(max_size=300))
def test_any_bytes_are_a_code_or_refused(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes
) -> None:
    file = tmp_path_factory.mktemp("junk") / "code.npy"
    for content in (junk, b"\x93NUMPY\x01\x00" + junk):
        file.write_bytes(content)
        with pytest.raises(BadInput):
            read_code(file, TargetKind.INFERNO)


@given(hnp.arrays(np.float64, (100,)))
def test_no_code_has_a_number_that_is_none(
    tmp_path_factory: pytest.TempPathFactory, code: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> None:
    file = saved(tmp_path_factory.mktemp("any"), code)
    try:
        target = read_code(file, TargetKind.INFERNO)
    except BadInput:
        return
    assert np.isfinite(target.coefficients).all()


def test_a_header_that_lies_about_its_shape(tmp_path: Path) -> None:
    file = saved(tmp_path, np.zeros(100))
    for shape in (b"(9000000000000000,)", b"(9999999999999999999999,)"):
        more = len(shape) - len("(100,)")
        raw = file.read_bytes().replace(b"(100,), }" + b" " * more, shape + b", }")
        assert shape in raw and len(raw) == file.stat().st_size
        (tmp_path / "lie.npy").write_bytes(raw)
        with pytest.raises(BadInput, match=r"no \.npy file that can be read"):
            read_code(tmp_path / "lie.npy", TargetKind.INFERNO)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"absent\.npy"):
        Targets(tmp_path).read(TargetFile("absent.npy", TargetKind.INFERNO), "a.png")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Happy/0001.npy", TargetKind.INFERNO),
        ("Happy/0001.png.npy", TargetKind.INFERNO),
        ("Happy/0001/exp.npy", TargetKind.EMOCA),
        ("Happy/000100/exp.npy", TargetKind.DECA),
        ("Happy/0001.csv", TargetKind.OPENFACE),
        ("Happy/0001.json", TargetKind.ACTION_UNITS),
        ("pyfeat.csv", TargetKind.PYFEAT),
    ],
)
def test_the_file_of_an_image_is_found(tmp_path: Path, name: str, kind: TargetKind) -> None:
    assert find_target(tmp_path, kind, "Happy/0001.png") is None
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    assert find_target(tmp_path, kind, "Happy/0001.png") == TargetFile(name, kind)
    assert find_target(tmp_path, kind, "Happy/0002.png") in (None, TargetFile("pyfeat.csv", kind))


def test_action_units_take_the_open_route(tmp_path: Path) -> None:
    (tmp_path / "face.json").write_text('{"AU12": 0.8, "AU6": 0.5}')
    target = Targets(tmp_path).read(TargetFile("face.json", TargetKind.ACTION_UNITS), "a.png")
    weights = action_units_to_blendshapes({"AU12": 0.8, "AU6": 0.5})
    assert target.basis == "open-1"
    assert np.array_equal(target.coefficients, OpenHead.load().encode(weights))
    assert target.known.all()
    back = OpenHead.load().decode(target.coefficients)
    assert np.abs(back - weights).max() < 0.05  # the face can be shown again


@pytest.mark.parametrize(
    "text",
    [
        "[1]",
        "{",
        "[" * 100_000,
        '{"AU12": 1%s}' % ("0" * 400),
        '{"AU12": "strong"}',
        '{"AU12": true}',
        '{"AU3": 0.1}',
    ],
)
def test_bad_action_units_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "face.json").write_text(text)
    with pytest.raises(BadInput, match=r"face\.json"):
        Targets(tmp_path).read(TargetFile("face.json", TargetKind.ACTION_UNITS), "a.png")
