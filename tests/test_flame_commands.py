"""The commands about FLAME as a user runs them, on a file in FLAME's format that was made here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from contextface_ros import calibrate as calibrating
from contextface_ros.cli import main
from contextface_ros.doctor import CHECKS
from contextface_ros.face import decode
from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.face.calibration import load_calibration
from contextface_ros.face.live_head import LiveHead, newest_basis
from contextface_ros.face.open_head import OpenHead
from contextface_ros.retarget import _timecode
from tests.flame_like import FlameLike, flame_like, write_npz, write_pickle
from tests.tiny_bundle import make_tiny_bundle

HEAD = OpenHead.load()


@pytest.fixture(scope="module")
def like() -> FlameLike:
    return flame_like(HEAD)


@pytest.fixture(scope="module", autouse=True)
def home(like: FlameLike, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A user with a small model, a FLAME file, and what came of `contextface calibrate`."""
    home = tmp_path_factory.mktemp("home")
    make_tiny_bundle(home / "models" / "nano")
    (home / "FLAME2020").mkdir()
    write_pickle(home / "FLAME2020" / "generic_model.pkl", like)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(home / "cache"))
        environment.setenv("XDG_DATA_HOME", str(home / "data"))
        environment.setenv("CONTEXTFACE_MODELS", str(home / "models"))
        decode._calibration.cache_clear()
        flame = str(home / "FLAME2020" / "generic_model.pkl")
        assert main(["calibrate", "--flame", flame]) == 0
        yield home
    decode._calibration.cache_clear()


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command that fails says: one sentence, on stderr alone."""
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("contextface: ") and captured.err.count("\n") == 1
    return captured.err


# --- calibrate ------------------------------------------------------------------------------------


def test_calibrate_keeps_and_draws_what_it_found(home: Path) -> None:
    found = load_calibration("flame2020")
    assert found.flame_file == str((home / "FLAME2020" / "generic_model.pkl").resolve())
    assert found.path.is_file()
    picture = cv2.imread(str(found.path.with_suffix(".png")))
    red = picture[..., 2].astype(int) - picture[..., 1]
    assert picture.shape[0] > 1000 and red.max() > 100, "what is left of the jaw's units is red"


def test_the_live_head_is_then_the_user_s_own(home: Path) -> None:
    live = LiveHead(width=96, height=96)
    assert live.basis == "flame2020" == newest_basis()
    weights = np.zeros(len(ARKIT_NAMES), np.float32)
    rest = live.picture(weights).astype(int)
    weights[ARKIT_NAMES.index("jawOpen")] = 1.0
    moved = np.abs(live.picture(weights).astype(int) - rest).max(axis=2)
    assert (moved > 25).sum() > 20
    live.close()


def test_the_table_has_every_unit() -> None:
    rows = calibrating.table(load_calibration("flame2020")).splitlines()[2:]
    assert [row.split(" ")[1] for row in rows] == list(ARKIT_NAMES)
    (smile,) = [row for row in rows if "mouthSmileLeft" in row]
    moved, left = (float(cell) for cell in smile.split("|")[2:4])
    assert moved > 2 and left < 0.2


@pytest.mark.parametrize(
    ("path", "basis"),
    [
        ("FLAME2020/generic_model.pkl", "flame2020"),
        ("flame2023.pkl", "flame2023"),
        ("FLAME2023/flame2023_no_jaw.pkl", "flame2023_no_jaw"),
        ("flame2020/flame2023.npz", "flame2023"),
    ],
)
def test_the_release_by_the_name_of_the_file(path: str, basis: str) -> None:
    assert calibrating._basis(Path(path), None) == basis
    assert calibrating._basis(Path(path), "flame2020") == "flame2020"


def test_files_that_cannot_be_calibrated(
    home: Path, like: FlameLike, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flame = home / "FLAME2020" / "generic_model.pkl"
    unnamed = tmp_path / "generic_model.pkl"
    unnamed.write_bytes(flame.read_bytes())
    assert "add --name flame2020 or" in refusal(capsys, "calibrate", "--flame", unnamed)
    said = refusal(capsys, "calibrate", "--flame", flame, "--name", "flame2017")
    assert "'flame2017' is unknown" in said
    unnamed.write_bytes(flame.read_bytes()[:100_000])
    said = refusal(capsys, "calibrate", "--flame", unnamed, "--name", "flame2020")
    assert "is no FLAME file" in said
    said = refusal(capsys, "calibrate", "--flame", HEAD.flame_path, "--name", "flame2023")
    assert "5108 vertices, FLAME has 5023: it is a head of another topology" in said
    lacking = write_npz(tmp_path / "flame2023.npz", like)
    with np.load(lacking) as data:
        np.savez(lacking, **{k: v for k, v in data.items() if k != "posedirs"})
    assert "it has no posedirs" in refusal(capsys, "calibrate", "--flame", lacking)
    said = refusal(capsys, "calibrate", "--flame", flame, "--picture", tmp_path / "no" / "a.png")
    assert "there is no folder" in said


# --- retarget -------------------------------------------------------------------------------------


def some_faces(like: FlameLike) -> tuple[np.ndarray, np.ndarray]:
    """Weights (30, 52), and the true coefficients of these faces."""
    rng = np.random.default_rng(0)
    weights = rng.random((30, 52)) * (rng.random((30, 52)) < 0.15) * like.known
    return weights, weights @ like.coefficients.T


def test_retarget_into_npz(
    like: FlameLike, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, faces = some_faces(like)
    np.savez(tmp_path / "in.npz", expcode=faces, shapecode=np.ones(100))
    arguments = ["retarget", str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]
    assert main([*arguments, "--render", str(tmp_path / "faces.png")]) == 0
    said = capsys.readouterr().out
    assert "30 frames" in said and "vertex error: mean 0.0" in said
    with np.load(tmp_path / "out.npz") as out:
        assert out["names"].tolist() == list(ARKIT_NAMES)
        assert np.abs(out["weights"] - weights).mean() < 0.02
        assert out["weights"].min() >= 0 and out["weights"].max() <= 1
        assert out["error_mm"].shape == (30, 3)
        assert out["error_mm"][:, 0].max() < 0.1 < out["error_mm"].max()
    assert cv2.imread(str(tmp_path / "faces.png")).shape[1] == 6 * 240


def test_retarget_into_csv(like: FlameLike, tmp_path: Path) -> None:
    _, faces = some_faces(like)
    np.save(tmp_path / "in.npy", faces.astype(np.float32))
    out = tmp_path / "out.csv"
    assert main(["retarget", str(tmp_path / "in.npy"), str(out), "--rate", "60"]) == 0
    header, *rows = (line.split(",") for line in out.read_text().splitlines())
    assert header[:3] == ["Timecode", "BlendShapeCount", "EyeBlinkLeft"]
    assert [name[0].lower() + name[1:] for name in header[2:]] == list(ARKIT_NAMES)
    assert len(rows) == 30 and {len(row) for row in rows} == {54}
    assert rows[3][0] == "00:00:00:03.000"


def test_timecodes() -> None:
    assert _timecode(60 * 3725 + 59, 60.0) == "01:02:05:59.000"
    codes = [_timecode(k, 29.97) for k in range(5000)]
    assert codes == sorted(codes) and len(set(codes)) == 5000


def test_retarget_of_the_open_basis_needs_no_flame(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    weights = rng.random((300, 52)) * (rng.random((300, 52)) < 0.2) * HEAD.encoder.any(axis=0)
    np.savez(tmp_path / "in.npz", expression=HEAD.encode(weights))
    out = tmp_path / "out.npz"
    arguments = ["retarget", str(tmp_path / "in.npz"), str(out), "--basis", "open-1"]
    assert main([*arguments, "--render", str(tmp_path / "faces.png")]) == 0
    assert "vertex error: mean 0.00 mm" in capsys.readouterr().out
    with np.load(out) as data:
        np.testing.assert_allclose(data["weights"], weights, atol=1e-3)
        assert data["error_mm"].max() < 0.01
    np.savez(tmp_path / "in.npz", expression=-HEAD.encode(weights))
    assert main(arguments) == 0, "a face that no weights show"
    with np.load(out) as data:
        assert data["error_mm"][:, 0].min() > 0.05


def test_what_cannot_be_retargeted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "in.npz", tmp_path / "out.npz"
    np.savez(source, expression=np.zeros((3, 100)))
    said = refusal(capsys, "retarget", source, out, "--basis", "flame2023")
    assert "contextface calibrate --flame FILE --name flame2023" in said
    assert "use one of open-1, flame2020" in refusal(
        capsys, "retarget", source, out, "--basis", "arkit"
    )
    assert "must end in .npz or .csv" in refusal(capsys, "retarget", source, tmp_path / "out.txt")
    assert "there is no folder" in refusal(capsys, "retarget", source, tmp_path / "no" / "o.csv")
    assert "--rate 0 is no rate" in refusal(capsys, "retarget", source, out, "--rate", "0")
    assert "No such file" in refusal(capsys, "retarget", tmp_path / "none.npz", out)
    np.savez(source, expression=np.full((3, 100), np.nan))
    assert "expression 0 of frame 0 is nan" in refusal(capsys, "retarget", source, out)
    np.savez(source, expression=np.zeros((0, 100)))
    assert "holds no frame" in refusal(capsys, "retarget", source, out)
    assert not out.exists()


# --- express --------------------------------------------------------------------------------------


def test_express_in_flame_on_a_persons_head(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "shape.npz", shape=np.r_[3.0, -2.0, 2.0, np.zeros(97)])
    pictures = []
    for name, shape in (("average.png", []), ("person.png", ["--shape", "shape.npz"])):
        arguments = ["--quote", "Oh!", "--json", "--basis", "flame2020"]
        picture = str(tmp_path / name)
        shape = [str(tmp_path / s) if s.endswith("npz") else s for s in shape]
        assert main(["express", *arguments, "--render", picture, *shape]) == 0
        pictures.append(cv2.imread(picture).astype(int))
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert answer["basis"] == "flame2020"
    assert len(answer["expression"]) == 100 and len(answer["jaw_pose"]) == 3
    assert answer["blendshapes"]["mouthSmileLeft"] >= 0
    assert np.abs(pictures[0] - pictures[1]).mean() > 1, "another person's head"


def test_express_for_a_person_without_flame(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "shape.npy", np.zeros(100))
    said = refusal(capsys, "express", "--quote", "Oh!", "--shape", tmp_path / "shape.npy")
    assert "the open head has no space of shapes: add --basis flame2020" in said
    said = refusal(capsys, "express", "--quote", "Oh!", "--basis", "flame2023")
    assert "contextface calibrate" in said


def test_a_flame_file_that_is_gone_or_another(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home / "FLAME2020" / "generic_model.pkl"
    aside = file.rename(tmp_path / "aside.pkl")
    render = ("--basis", "flame2020", "--render", tmp_path / "face.png", "--json")
    try:
        assert main(["express", "--quote", "Oh!", *map(str, render[:2]), "--json"]) == 0
        assert CHECKS["flame"]("flame").status == "note"
        assert main(["express", "--quote", "Oh!", *map(str, render)]) == 2
        assert "bring it back, or run contextface calibrate again" in capsys.readouterr().err
        file.write_bytes(b"another")
        assert main(["express", "--quote", "Oh!", *map(str, render)]) == 2
        assert "is another one than was calibrated" in capsys.readouterr().err
    finally:
        aside.replace(file)


def test_doctor_says_whether_flame_is_calibrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CHECKS["flame"]("flame").detail == "flame2020 calibrated"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    finding = CHECKS["flame"]("flame")
    assert finding.status == "absent" and "contextface calibrate" in finding.fix
