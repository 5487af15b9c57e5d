from __future__ import annotations

import importlib
import os
import pickle
import pickletools
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from contextface_ros.errors import BadBundle, BadInput
from contextface_ros.face.flame import JOINTS, FlameModel, rotation
from contextface_ros.face.open_head import OpenHead
from contextface_ros.face.pickled_arrays import dense, read_pickle

JAW, LEFT_EYE = JOINTS.index("jaw"), JOINTS.index("left_eye")


def fields_of(head: OpenHead) -> dict[str, Any]:
    with np.load(head.flame_path) as archive:
        return dict(archive)


# --- agreement with smplx, as it is -------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_smplx_reads_the_file_and_agrees(head: OpenHead, seed: int) -> None:
    torch = pytest.importorskip("torch")
    smplx = pytest.importorskip("smplx")
    reference = smplx.FLAME(
        str(head.flame_path.parent), ext="npz", num_expression_coeffs=100, num_betas=300
    )
    rng = np.random.default_rng(seed)
    expression = rng.standard_normal(100).astype(np.float32)
    shape = rng.standard_normal(300).astype(np.float32)
    pose = (0.4 * rng.standard_normal((5, 3))).astype(np.float32) * (seed > 0)
    keys = ("global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose")
    with torch.no_grad():
        answer = reference(
            betas=torch.tensor(shape)[None],
            expression=torch.tensor(expression)[None],
            **{key: torch.tensor(turn)[None] for key, turn in zip(keys, pose, strict=True)},
        )
    ours = head.model.vertices(expression, pose, shape)
    np.testing.assert_allclose(ours, answer.vertices[0].numpy(), atol=1e-5)
    assert answer.joints.shape == (1, 5 + 51, 3), "joints and the 51 landmarks"


def test_landmarks_of_smplx_lie_where_they_should(head: OpenHead) -> None:
    pytest.importorskip("torch")
    smplx = pytest.importorskip("smplx")
    reference = smplx.FLAME(str(head.flame_path.parent), ext="npz", num_expression_coeffs=100)
    points = reference().joints[0, 5:].detach().numpy()
    pairs = [(0, 9), (4, 5), (14, 18), (19, 28), (22, 25), (24, 29), (31, 37), (43, 47), (50, 48)]
    for right, left in pairs:  # the same point of either side
        np.testing.assert_allclose(points[right], points[left] * (-1, 1, 1), atol=1e-3)
        assert points[right, 0] < 0
    brows, eyes, lips = points[:10, 1], points[19:31, 1], points[31:, 1]
    assert brows.min() > eyes.max() and eyes.min() > points[14:19, 1].max() > lips.max()
    assert points[13, 2] == points[:, 2].max(), "the tip of the nose is in front"


# --- the model itself ---------------------------------------------------------------------------


@given(arrays(np.float64, 3, elements=st.floats(-6, 6)))
def test_a_rotation_turns_round_its_axis_by_its_length(vector: np.ndarray) -> None:
    turn = rotation(vector)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(turn @ vector, vector, atol=1e-9)
    assert np.trace(turn) == pytest.approx(1 + 2 * np.cos(np.linalg.norm(vector)), abs=1e-9)


def test_a_quarter_turn_by_hand() -> None:
    np.testing.assert_allclose(rotation([0, 0, np.pi / 2]) @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def part(head: OpenHead, name: str) -> np.ndarray:
    return np.unique(head.model.faces[head.parts == name])


def test_the_jaw_joint_moves_what_a_jaw_moves(head: OpenHead) -> None:
    pose = np.zeros((5, 3))
    rest = head.model.vertices(np.zeros(100), pose)
    pose[JAW] = (0.3, 0, 0)
    moved = head.model.vertices(np.zeros(100), pose) - rest
    assert (moved[part(head, "lower_teeth"), 1] < -0.005).all()
    assert np.abs(moved[part(head, "upper_teeth")]).max() < 1e-6
    assert np.abs(moved[part(head, "left_eye")]).max() < 1e-6
    # The joint opens the mouth as the unit jawOpen does: the same teeth, the same way.
    by_unit = head.vertices(head.encode({"jawOpen": 1.0})) - rest
    one, other = (m[part(head, "lower_teeth")].ravel() for m in (moved, by_unit))
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.98


def test_an_eye_turns_in_its_socket(head: OpenHead) -> None:
    pose = np.zeros((5, 3))
    rest = head.model.vertices(np.zeros(100))
    pose[LEFT_EYE] = (0, 0.3, 0)
    moved = head.model.vertices(np.zeros(100), pose) - rest
    others = np.setdiff1d(np.arange(len(rest)), part(head, "left_eye"))
    assert np.abs(moved[others]).max() < 1e-7
    front = part(head, "left_eye")[rest[part(head, "left_eye"), 2].argmax()]
    assert moved[front, 0] > 0.003, "to the left"


def test_turning_the_root_turns_the_whole_head(head: OpenHead) -> None:
    face = head.encode({"jawOpen": 0.5})
    pose = np.zeros((5, 3))
    pose[0] = (0.1, -0.7, 0.3)
    rest, turned = head.model.vertices(face), head.model.vertices(face, pose)
    np.testing.assert_allclose(
        np.linalg.norm(turned[::50, None] - turned[::50], axis=-1),
        np.linalg.norm(rest[::50, None] - rest[::50], axis=-1),
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((np.zeros(101),), "expression"),
        ((np.full(5, np.inf),), "finite"),
        ((np.zeros(100), np.zeros(15)), "5 finite axis-angle"),
        ((np.zeros(100), None, np.zeros(301)), "shape"),
    ],
)
def test_bad_coefficients(head: OpenHead, arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        head.model.vertices(*arguments)


# --- reading files ------------------------------------------------------------------------------


@pytest.fixture
def released_libraries(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """Stand-ins with the names under which the released files pickled their arrays."""

    class Ch:
        def __init__(self, x: np.ndarray) -> None:
            # What chumpy 0.70 pickles beside the numbers: a set among them.
            self._dirty_vars: set[str] = {"x"}
            self._itr = None
            self._parents: dict[str, Any] = {}
            self._cache: dict[str, Any] = {"drs": {}}
            self._depends_on_deps: dict[str, Any] = {}
            self.x = x

    class csc_matrix:
        def __init__(self, dense: np.ndarray) -> None:
            columns, rows = np.nonzero(dense.T)
            self.data = dense[rows, columns]
            self.indices = rows.astype(np.int32)
            self.indptr = np.searchsorted(columns, np.arange(dense.shape[1] + 1)).astype(np.int32)
            self._shape = dense.shape

    for module, kind in (("chumpy.ch", Ch), ("scipy.sparse.csc", csc_matrix)):
        kind.__module__, kind.__qualname__ = module, kind.__name__
        names = module.split(".")
        for length in range(1, len(names) + 1):
            home = types.ModuleType(".".join(names[:length]))
            monkeypatch.setitem(sys.modules, home.__name__, home)
        setattr(home, kind.__name__, kind)
    return Ch, csc_matrix


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_like_the_released_ones(
    head: OpenHead,
    released_libraries: tuple[Any, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    protocol: int,
) -> None:
    Ch, csc_matrix = released_libraries
    fields = fields_of(head) | {"bs_style": "lbs", "J": np.zeros((5, 3))}
    fields["shapedirs"] = Ch(np.asfortranarray(fields["shapedirs"].astype(np.float64)))
    fields["J_regressor"] = csc_matrix(fields["J_regressor"].astype(np.float64))
    fields["kintree_table"] = fields["kintree_table"].astype(np.uint32)  # -1 as 4294967295
    fields["weights"] = fields["weights"].astype(">f4")
    del fields["parts"]
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(pickle.dumps(fields, protocol))
    monkeypatch.undo()  # the libraries are not there when the file is read
    assert "chumpy.ch" not in sys.modules

    model = FlameModel.load(path)
    face = np.random.default_rng(0).standard_normal(100)
    pose = np.full((5, 3), 0.1)
    np.testing.assert_allclose(
        model.vertices(face, pose), head.model.vertices(face, pose), atol=1e-6
    )


def test_the_oldest_protocol_is_read(
    released_libraries: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Ch, csc_matrix = released_libraries
    numbers = np.arange(12.0).reshape(3, 4)
    path = tmp_path / "old.pkl"
    path.write_bytes(pickle.dumps({"chumpy": Ch(numbers), "sparse": csc_matrix(numbers)}, 0))
    monkeypatch.undo()
    for value in read_pickle(path).values():
        np.testing.assert_array_equal(dense(value), numbers)


def test_a_part_of_a_chumpy_array_is_read(
    released_libraries: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Ch, _ = released_libraries
    home = types.ModuleType("chumpy.reordering")

    class Select:
        def __init__(self, a: Any, idxs: np.ndarray, shape: tuple[int, ...]) -> None:
            self.a, self.idxs, self.preferred_shape = a, idxs, shape

    Select.__module__, Select.__qualname__ = home.__name__, "Select"
    monkeypatch.setitem(sys.modules, home.__name__, home)
    home.Select = Select  # type: ignore[attr-defined]
    whole = np.arange(12.0).reshape(3, 4)
    part = Select(Ch(whole), np.array([0, 1, 4, 5]), (2, 2))
    path = tmp_path / "part.pkl"
    path.write_bytes(pickle.dumps({"part": part}, 2))
    np.testing.assert_array_equal(dense(read_pickle(path)["part"]), whole[:2, :2])


@pytest.mark.parametrize("kind", ["collections.OrderedDict", "builtins.dict", "builtins.set"])
def test_nothing_but_arrays_is_reconstructed(tmp_path: Path, kind: str) -> None:
    module, _, name = kind.rpartition(".")
    payload = f"ccopyreg\n_reconstructor\n(c{module}\n{name}\ncbuiltins\nobject\nNtR.".encode()
    path = tmp_path / "evil.pkl"
    path.write_bytes(payload)
    with pytest.raises(BadBundle, match=r"it asks for"):
        FlameModel.load(path)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def test_a_pickle_that_would_run_code_runs_nothing(head: OpenHead, tmp_path: Path) -> None:
    victim = tmp_path / "made"
    payload = pickle.dumps(fields_of(head) | {"extra": Evil(victim)}, 2)
    pickle.loads(payload)
    assert victim.exists(), "the payload works on a careless reader"
    victim.rmdir()
    path = tmp_path / "evil.pkl"
    path.write_bytes(payload)
    with pytest.raises(BadBundle, match=r"it asks for (posix|nt)\.mkdir"):
        FlameModel.load(path)
    assert not victim.exists()


@pytest.mark.parametrize("name", ["builtins.eval", "os.system", "numpy.load", "numpy.fromfile"])
def test_only_a_short_list_of_names_is_known(tmp_path: Path, name: str) -> None:
    module, _, function = name.rpartition(".")
    assert callable(getattr(importlib.import_module(module), function))
    payload = f"c{module}\n{function}\n(S'x'\ntR.".encode()
    pickletools.dis(payload, out=sys.stderr)
    path = tmp_path / "evil.pkl"
    path.write_bytes(payload)
    with pytest.raises(BadBundle, match=name):
        FlameModel.load(path)


def spoil(fields: dict[str, Any], name: str) -> dict[str, Any]:
    match name:
        case "no shapedirs":
            del fields["shapedirs"]
        case "few components":
            fields["shapedirs"] = fields["shapedirs"][..., :100]
        case "a hole":
            fields["v_template"] = fields["v_template"] * np.nan
        case "a face of nothing":
            fields["f"] = fields["f"] + 9_999_999
        case "a loop of joints":
            fields["kintree_table"] = np.array([[-1, 2, 1, 1, 1], range(5)])
        case "a word":
            fields["weights"] = "none"
        case "objects":
            fields["weights"] = np.array([object()])
    return fields


SPOILT = (
    "no shapedirs", "few components", "a hole", "a face of nothing", "a loop of joints", "a word",
    "objects",
)  # fmt: skip


@pytest.mark.parametrize("suffix", [".npz", ".pkl"])
@pytest.mark.parametrize("how", SPOILT)
def test_a_file_that_is_no_flame_file(
    head: OpenHead, tmp_path: Path, how: str, suffix: str
) -> None:
    fields = spoil(fields_of(head), how)
    path = tmp_path / f"flame{suffix}"
    if suffix == ".npz":
        np.savez(path, **fields)
    else:
        path.write_bytes(pickle.dumps(fields, 2))
    with pytest.raises(BadBundle, match=r"is no FLAME file"):
        FlameModel.load(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02}q\x00", b"PK\x03\x04broken"])
@pytest.mark.parametrize("suffix", [".npz", ".pkl"])
def test_a_broken_file(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"flame{suffix}"
    path.write_bytes(content)
    with pytest.raises(BadBundle, match=r"is no FLAME file|cannot be read"):
        FlameModel.load(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadBundle, match="No such file"):
        FlameModel.load(tmp_path / "flame.npz")
