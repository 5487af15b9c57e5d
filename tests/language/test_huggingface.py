"""Tiny random models through transformers: a Llama and a LLaVA, whole and in 4 and 8 bits."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import gguf
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")

import peft  # noqa: E402
from transformers import (  # noqa: E402
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaForConditionalGeneration,
    MistralConfig,
    MistralForCausalLM,
)

from contextface_ros import checksum, cli, prompts  # noqa: E402
from contextface_ros.base_weights import BaseWeights  # noqa: E402
from contextface_ros.bundle import (  # noqa: E402
    Adapter,
    Bundle,
    BundleFile,
    load_bundle,
    save_bundle,
)
from contextface_ros.contextface import ContextFace  # noqa: E402
from contextface_ros.errors import (  # noqa: E402
    Aborted,
    BadBundle,
    BadInput,
    MissingDependency,
)
from contextface_ros.language import huggingface  # noqa: E402
from contextface_ros.language.huggingface import HuggingFace  # noqa: E402
from contextface_ros.language.huggingface_sight import image_processor  # noqa: E402
from contextface_ros.language.llama_cpp import LlamaCpp  # noqa: E402
from contextface_ros.language.protocol import Reading  # noqa: E402
from contextface_ros.language.runtime import Runtime  # noqa: E402
from contextface_ros.language.weights_folder import (  # noqa: E402
    check_model_folder,
    folder_sha256,
)
from contextface_ros.types import EMOTIONS, Context, Perspective, UInt8Array  # noqa: E402
from tests.language.test_gguf_header import write_adapter  # noqa: E402
from tests.language.test_llama_cpp import WIDTH, finish, spm_file  # noqa: E402, F401
from tests.tiny_bundle import head_model  # noqa: E402
from tests.tiny_llava import IMAGE_SIZE, IMAGE_TOKENS, make_tiny_llava  # noqa: E402

HIDDEN_SIZE = 64
ONE = Runtime(threads=1, device="cpu")
TEXTS = (
    "We won! I can't believe it!",
    "My grandmother died last night.",
    "No.",
    "Ugh, there's a dead rat in my soup, and nobody but me seems to be surprised by it at all.",
)


@pytest.fixture(scope="module")
def llava_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llava(tmp_path_factory.mktemp("llava"), hidden_size=HIDDEN_SIZE)


def save_text_model(folder: Path, tokens_from: Path, model: Any) -> Path:
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokens_from).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def llama_folder(llava_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=49_280,
        hidden_size=HIDDEN_SIZE,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.1,
    )
    folder = tmp_path_factory.mktemp("llama")
    return save_text_model(folder, llava_folder, LlamaForCausalLM(config))


@pytest.fixture(scope="module")
def llama(llama_folder: Path) -> HuggingFace:
    return HuggingFace(llama_folder, precision="float32", runtime=ONE)


@pytest.fixture(scope="module")
def llava(llava_folder: Path) -> HuggingFace:
    return HuggingFace(llava_folder, precision="float32", runtime=ONE)


def frame(seed: int, height: int = 40, width: int = 70) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


@torch.no_grad()
def plainly(
    model: Any, language: HuggingFace, context: Context, version: prompts.PromptVersion = "edge"
) -> Reading:
    """The same from one whole forward without a cache, as anyone would write it."""
    prompt = prompts.prompt(context, version)
    tokenizer = language._tokenizer
    ids = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids += prompts.token_ids(prompt.prefix, language.tokenize)
    inputs = {}
    if context.image is not None:
        ids += [tokenizer.convert_tokens_to_ids("<image>")] * IMAGE_TOKENS
        ids += language.tokenize("\n")
        processor = image_processor(IMAGE_SIZE)
        inputs = dict(processor(images=context.image, return_tensors="pt"))
    ids += prompts.token_ids(prompt.text + prompt.question, language.tokenize)
    emotions = [language.tokenize(f" {emotion.value}")[0] for emotion in EMOTIONS]
    logits = model(input_ids=torch.tensor([ids]), **inputs).logits[0, -1, emotions].float()
    tail = prompts.mesh_tail(EMOTIONS[int(logits.argmax())])
    ids += prompts.token_ids(tail, language.tokenize)
    out = model(input_ids=torch.tensor([ids]), output_hidden_states=True, **inputs)
    hidden = out.hidden_states[-1][0, -1].float().numpy()
    return Reading(logits.softmax(0).numpy(), hidden, context.image is not None)


def assert_same(found: Reading, expected: Reading, tolerance: float = 1e-4) -> None:
    assert np.abs(found.probabilities - expected.probabilities).max() < tolerance
    assert np.abs(found.hidden_state - expected.hidden_state).max() < 10 * tolerance
    assert found.used_image == expected.used_image


# --- the single pass ----------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["edge", "paper"])
def test_a_text_is_read_as_in_one_whole_forward(
    llama_folder: Path, llama: HuggingFace, version: prompts.PromptVersion
) -> None:
    language = (
        llama if version == "edge" else HuggingFace(llama_folder, version, None, 1, "float32")
    )
    model = LlamaForCausalLM.from_pretrained(llama_folder, dtype=torch.float32)
    for text in TEXTS:
        context = Context(quote=text, perspective=Perspective.LISTENER)
        reading = language.read(context)
        assert reading.hidden_state.shape == (language.hidden_size,) == (HIDDEN_SIZE,)
        assert reading.hidden_state.dtype == reading.probabilities.dtype == np.float32
        assert reading.probabilities.sum() == pytest.approx(1, abs=1e-5)
        assert_same(reading, plainly(model, language, context, version))
    assert not language.sees


def test_an_image_is_read_as_in_one_whole_forward(llava_folder: Path, llava: HuggingFace) -> None:
    model = LlavaForConditionalGeneration.from_pretrained(llava_folder, dtype=torch.float32)
    assert llava.sees
    for image in (None, frame(0), frame(1, 90, 30)):
        context = Context(quote=TEXTS[0], image=image)
        assert_same(llava.read(context), plainly(model, llava, context))


def test_every_frame_has_its_own_reading(llava: HuggingFace) -> None:
    states = [llava.read(Context(quote="Oh", image=frame(n))).hidden_state for n in range(5)]
    for number, state in enumerate(states):
        for other in states[:number]:
            assert np.abs(state - other).max() > 1e-4


def test_a_model_without_eyes_says_so(llama: HuggingFace) -> None:
    seen, unseen = (llama.read(Context(quote="Oh", image=image)) for image in (frame(0), None))
    assert not seen.used_image
    assert np.array_equal(seen.hidden_state, unseen.hidden_state)


@pytest.mark.parametrize("kind", ["llama", "llava"])
def test_together_is_as_one_by_one(kind: str, request: pytest.FixtureRequest) -> None:
    """Of several lengths, with and without an image, more than fit in one batch, in order."""
    language: HuggingFace = request.getfixturevalue(kind)
    contexts = [
        Context(quote=text, perspective=perspective, image=image)
        for text in TEXTS
        for perspective in Perspective
        for image in (None, frame(len(text)))
    ]
    assert len(contexts) > huggingface.MAX_ROWS
    for context, together in zip(contexts, language.read_many(contexts), strict=True):
        assert_same(together, language.read(context))
    assert language.read_many([]) == []


def forwarded(language: HuggingFace) -> tuple[list[int], Callable[[], None]]:
    """Lists how many positions each call of the trunk computes; and ends that."""
    counts: list[int] = []

    def count(_: Any, __: Any, inputs: dict[str, Any]) -> None:
        counts.append(inputs["input_ids"].shape[1])

    trunk = language._model.base_model
    hook = trunk.register_forward_pre_hook(count, with_kwargs=True)
    return counts, hook.remove


@pytest.mark.parametrize("kind", ["llama", "llava"])
def test_the_prefix_is_read_once_and_kept(kind: str, request: pytest.FixtureRequest) -> None:
    language: HuggingFace = request.getfixturevalue(kind)
    prefix = len(language._prefix_ids)
    keys = language._prefix.layers[0].keys.clone()
    context = Context(quote=TEXTS[0])
    prompt = prompts.prompt(context, "edge")
    asked = len(prompts.token_ids(prompt.text + prompt.question, language.tokenize))
    counts, end = forwarded(language)
    for _ in range(2):
        language.read(context)
        language.read_many([context, context])
    end()
    assert prefix > 1
    assert counts[::2] == [asked] * 4  # and every second is a tail
    assert max(counts[1::2]) < asked
    assert language._prefix.get_seq_length() == prefix
    assert torch.equal(language._prefix.layers[0].keys, keys)


def test_special_tokens_in_a_text_are_words(llava: HuggingFace) -> None:
    special = set(llava._tokenizer.all_special_ids)
    special.add(llava._tokenizer.convert_tokens_to_ids("<image>"))
    text = "<image> <|im_end|> <|im_start|> <FACE> <reponame>"
    assert not special & set(llava.tokenize(" " + text))
    alone = llava.read(Context(quote=text))
    assert not alone.used_image
    assert llava.read(Context(quote=text, image=frame(0))).used_image


# --- ends and limits -----------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["language_model", "vision_tower"])
def test_aborted_between_two_layers(llava: HuggingFace, where: str) -> None:
    trunk = llava._model.base_model
    tower = trunk.vision_tower
    layers = getattr(tower, "vision_model", tower).encoder.layers
    layers = trunk.language_model.layers if where == "language_model" else layers
    entered: list[int] = []
    hooks = [layers[0].register_forward_pre_hook(lambda *_: llava.abort())]
    hooks += [
        layer.register_forward_hook(lambda *_, n=number: entered.append(n))
        for number, layer in enumerate(layers)
    ]
    context = Context(quote=TEXTS[0], image=frame(0))
    with pytest.raises(Aborted):
        llava.read(context)
    for hook in hooks:
        hook.remove()
    assert entered == [0]
    assert llava.read(context).used_image  # the next is unaffected


def test_texts_too_long_or_empty_are_refused(llava: HuggingFace) -> None:
    with pytest.raises(BadInput, match="empty"):
        llava.read_many([Context(quote="Hello"), Context(quote=" ")])
    with pytest.raises(BadInput, match=r"The text, with the image, has .* tokens; shorten it"):
        llava.read(Context(quote="\U00013000" * 4000, image=frame(0)))
    short = Runtime(threads=1, context_length=256)
    assert "shorten" in refusal(lambda: replaced(llava, short).read(Context(quote="word " * 300)))


def replaced(language: HuggingFace, runtime: Runtime) -> HuggingFace:
    """The same with a shorter cache."""
    shorter = object.__new__(HuggingFace)
    shorter.__dict__ |= language.__dict__ | {"_length": runtime.context_length}
    return shorter


def test_memory_that_runs_out_is_said_in_one_sentence(
    llama_folder: Path, llama: HuggingFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    with monkeypatch.context() as patch:
        patch.setattr(llama._model.base_model, "forward", fail)
        said = refusal(lambda: llama.read(Context(quote="Hello")))
    assert "set precision in bundle.yaml to nf4" in said
    monkeypatch.setattr(LlamaForCausalLM, "__init__", fail)
    monkeypatch.setattr(huggingface, "choose_device", lambda _: "cuda")
    said = refusal(lambda: HuggingFace(llama_folder, runtime=ONE))
    assert "does not fit into memory" in said
    assert "use device cpu" in said


def test_closed_twice(llama_folder: Path) -> None:
    language = HuggingFace(llama_folder, precision="float16", runtime=ONE)
    assert np.isfinite(language.read(Context(quote="Hello")).hidden_state).all()
    language.close()
    language.close()


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises((BadBundle, BadInput, MissingDependency)) as refused:
        call()
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_gpu_that_is_not_there(llama_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    said = refusal(lambda: HuggingFace(llama_folder, runtime=Runtime(device="cuda")))
    assert "finds no CUDA device" in said
    HuggingFace(llama_folder, runtime=Runtime(threads=1))
    assert "runs on the CPU, slowly" in caplog.text


# --- precision -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("precision", "layer", "bound"),
    [("bfloat16", "Linear", 0.999), ("int8", "Linear8bitLt", 0.99), ("nf4", "Linear4bit", 0.9)],
)
def test_rounded_weights_read_about_the_same(
    llava_folder: Path, llava: HuggingFace, precision: str, layer: str, bound: float
) -> None:
    rounded = HuggingFace(llava_folder, precision=precision, runtime=ONE)
    trunk = rounded._model.base_model
    assert type(trunk.language_model.layers[0].mlp.up_proj).__name__ == layer
    assert type(trunk.multi_modal_projector.linear_1).__name__ == "Linear"
    contexts = [Context(quote=text, image=frame(0)) for text in TEXTS[:2]]
    for context, reading in zip(contexts, rounded.read_many(contexts), strict=True):
        whole = llava.read(context)
        assert reading.used_image
        assert np.abs(reading.probabilities - whole.probabilities).max() < 0.1
        if reading.probabilities.argmax() == whole.probabilities.argmax():
            assert cosine(reading.hidden_state, whole.hidden_state) > bound


def test_bitsandbytes_is_missing(llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    said = refusal(lambda: HuggingFace(llama_folder, precision="nf4", runtime=ONE))
    assert said == "precision nf4 needs bitsandbytes: pip install 'contextface_ros[huggingface]'"


# --- adapters ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lora_folder(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lora")
    torch.manual_seed(2)
    model = LlamaForCausalLM.from_pretrained(llama_folder)
    config = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], init_lora_weights=False
    )
    peft.get_peft_model(model, config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_an_adapter_acts_as_in_peft(
    llama_folder: Path, lora_folder: Path, llama: HuggingFace, scale: float
) -> None:
    adapted = HuggingFace(llama_folder, "edge", lora_folder, scale, "float32", ONE)
    model = LlamaForCausalLM.from_pretrained(llama_folder, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(model, lora_folder)
    for layer in model.modules():
        if isinstance(layer, peft.tuners.lora.LoraLayer):
            layer.scale_layer(scale)
    context = Context(quote=TEXTS[0])
    assert_same(adapted.read(context), plainly(model, adapted, context))
    assert cosine(adapted.read(context).hidden_state, llama.read(context).hidden_state) < 0.999


def test_an_adapter_beside_weights_in_8_bits(llama_folder: Path, lora_folder: Path) -> None:
    whole = HuggingFace(llama_folder, "edge", lora_folder, 1.0, "float32", ONE)
    rounded = HuggingFace(llama_folder, "edge", lora_folder, 1.0, "int8", ONE)
    for text in TEXTS[:2]:
        found, expected = (m.read(Context(quote=text)) for m in (rounded, whole))
        assert np.abs(found.probabilities - expected.probabilities).max() < 0.05


def test_adapters_that_do_not_fit(
    llama_folder: Path, lora_folder: Path, tmp_path: Path, llava_folder: Path
) -> None:
    idle = tmp_path / "idle"
    model = LlamaForCausalLM.from_pretrained(llama_folder)
    peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"])).save_pretrained(idle)
    said = refusal(lambda: HuggingFace(llama_folder, adapter=idle, runtime=ONE))
    assert "changes nothing" in said
    other = tmp_path / "other"
    shutil.copytree(lora_folder, other)
    settings = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps({**settings, "r": 5}))
    said = refusal(lambda: HuggingFace(llama_folder, adapter=other, runtime=ONE))
    assert "cannot be loaded" in said
    (other / "adapter_config.json").write_text(
        json.dumps({**settings, "target_modules": ["q_proj", "k_proj", "down_proj"]})
    )
    said = refusal(lambda: HuggingFace(llama_folder, adapter=other, runtime=ONE))
    assert "missing adapter keys" in said


# --- a GGUF, as for llama.cpp --------------------------------------------------------------------


def test_a_gguf_with_its_adapter_reads_as_in_llama_cpp(
    spm_file: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    """A SentencePiece vocabulary too, which puts a space before a text of its own accord."""
    writer = gguf.GGUFWriter(tmp_path / "adapter.gguf", "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    random = np.random.default_rng(0)
    for name in ("attn_q", "attn_k", "attn_output", "ffn_down"):
        for side, shape in (("a", (2, WIDTH)), ("b", (WIDTH, 2))):
            matrix = random.normal(0, 0.2, shape).astype(np.float16)
            writer.add_tensor(f"blk.0.{name}.weight.lora_{side}", matrix)
    finish(writer)
    texts = ("Happy to see the sea <s></s>", "Größe", TEXTS[3])
    readings: list[list[Reading]] = []
    for adapter in (None, tmp_path / "adapter.gguf"):
        ours = HuggingFace(spm_file, "edge", adapter, 1.0, "float32", ONE)
        theirs = LlamaCpp(spm_file, adapter=adapter, runtime=ONE)
        readings.append([ours.read(Context(quote=text)) for text in texts])
        for text, reading in zip(texts, readings[-1], strict=True):
            assert ours.tokenize(" " + text) == theirs.tokenize(" " + text)
            expected = theirs.read(Context(quote=text))
            assert np.abs(reading.probabilities - expected.probabilities).max() < 0.01
            assert cosine(reading.hidden_state, expected.hidden_state) > 0.999
        theirs.close()
    assert cosine(readings[0][0].hidden_state, readings[1][0].hidden_state) < 0.99


# --- weights that cannot be trusted --------------------------------------------------------------


@pytest.fixture
def copied(llama_folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(llama_folder, tmp_path / "copied")
    return tmp_path / "copied"


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def pickle_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def shard(folder: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"lm_head.weight": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (pickle_weights, "its weights are pickled, which can run code"),
        (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors: get it again"),
        (lambda f: shard(f, "model-2-of-2.safetensors"), "model-2-of-2.safetensors is missing"),
        (lambda f: shard(f, "../x.safetensors"), "no safetensors file beside it"),
        (lambda f: (f / "config.json").unlink(), "config.json cannot be read: No such file"),
        (lambda f: (f / "config.json").write_text("{"), "it is not JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "holds no keys and values"),
        (lambda f: (f / "adapter_config.json").write_text("{}"), "holds an adapter, where"),
        (lambda f: change_config(f, quantization_config={}), "are quantised already: use whole"),
        (lambda f: change_config(f, hidden_size=32), "a hidden state of width 32, but the bundle"),
    ],
)
def test_folders_that_are_refused(
    copied: Path, damage: Callable[[Path], None], message: str
) -> None:
    check_model_folder(copied, HIDDEN_SIZE)
    damage(copied)
    assert message in refusal(lambda: check_model_folder(copied, HIDDEN_SIZE))


def test_weights_that_cannot_be_loaded(copied: Path, llama_folder: Path) -> None:
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    said = refusal(lambda: HuggingFace(copied, runtime=ONE))
    assert "cannot be loaded" in said
    shutil.copy(llama_folder / "model.safetensors", weights)
    change_config(copied, num_hidden_layers=4)
    said = refusal(lambda: HuggingFace(copied, runtime=ONE))
    assert "lacks 9 of the model's tensors" in said
    change_config(copied, num_hidden_layers=3, model_type="unheard_of", architectures=["X"])
    assert "cannot be loaded" in refusal(lambda: HuggingFace(copied, runtime=ONE))


def test_a_model_with_another_kind_of_memory_is_refused(llava_folder: Path, tmp_path: Path) -> None:
    config = MistralConfig(
        vocab_size=49_280,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        sliding_window=8,
    )
    folder = save_text_model(tmp_path, llava_folder, MistralForCausalLM(config))
    said = refusal(lambda: HuggingFace(folder, runtime=ONE))
    assert "take one with full attention" in said


# --- as a bundle ---------------------------------------------------------------------------------


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield


def make_bundle(folder: Path, base: Path, adapter: Path | None = None) -> Bundle:
    folder.mkdir()
    (folder / "face_head.onnx").write_bytes(head_model(HIDDEN_SIZE).SerializeToString())
    shutil.copytree(base, folder / "base")
    if adapter is not None:
        shutil.copytree(adapter, folder / "adapter")
    bundle = Bundle(
        name=folder.name,
        version="1",
        backend="huggingface",
        prompt="edge",
        basis="open-1",
        hidden_size=HIDDEN_SIZE,
        face_token="<reponame>",
        base=BaseWeights(path="base"),
        face_head=BundleFile("face_head.onnx"),
        adapter=Adapter("adapter") if adapter else None,
        precision="float32",
    )
    return save_bundle(bundle, folder)


def test_a_folder_has_the_checksum_that_sha256sum_gives(llama_folder: Path) -> None:
    (llama_folder / "training_args.bin").write_bytes(b"never read")
    command = (
        r"ls | grep -E '\.(jinja|json|model|safetensors|txt)$' | LC_ALL=C sort | "
        "xargs sha256sum | sha256sum"
    )
    printed = subprocess.run(
        ["sh", "-c", command], cwd=llama_folder, capture_output=True, text=True, check=True
    ).stdout
    assert folder_sha256(llama_folder, checksum.sha256) == printed.split()[0]


@pytest.mark.usefixtures("own_cache")
def test_a_bundle_of_folders(
    tmp_path: Path, llama_folder: Path, lora_folder: Path, llama: HuggingFace
) -> None:
    bundle = make_bundle(tmp_path / "mine", llama_folder, lora_folder)
    assert bundle.base.sha256
    assert bundle.adapter is not None
    assert bundle.adapter.sha256
    with ContextFace.load(bundle.folder, ONE) as model:
        prediction = model.predict(Context(quote=TEXTS[0]))
    plain = llama.read(Context(quote=TEXTS[0])).probabilities
    assert np.abs(prediction.probabilities - plain).max() > 1e-4  # the adapter is in place
    for changed in ("base/tokenizer_config.json", "adapter/adapter_model.safetensors"):
        file = bundle.folder / changed
        was = file.read_bytes()
        file.write_bytes(was + b" ")
        said = refusal(lambda: load_bundle(bundle.folder))
        assert "it was changed or damaged, get it again" in said
        file.write_bytes(was)
    (bundle.folder / "base" / "chat_template.jinja").write_text("added later")
    assert "changed or damaged" in refusal(lambda: load_bundle(bundle.folder))


@pytest.mark.usefixtures("own_cache")
def test_bundles_that_ask_for_what_cannot_be(
    tmp_path: Path,
    llama_folder: Path,
    spm_file: Path,  # noqa: F811
) -> None:
    bundle = make_bundle(tmp_path / "mine", llama_folder)

    def said(**changes: Any) -> str:
        return refusal(lambda: save_bundle(replace(bundle, **changes), bundle.folder))

    assert "precision is 'int4', known are: float32" in said(precision="int4")
    assert "which is for huggingface" in said(backend="llama_cpp")
    assert "which is for llama_cpp" in said(mmproj=BundleFile("face_head.onnx"))
    assert "save the adapter in a folder" in said(adapter=Adapter("face_head.onnx"))
    assert "adapter_config.json cannot be read" in said(adapter=Adapter("base"))
    assert "is missing" in said(base=BaseWeights(path="elsewhere"))
    whole = BaseWeights(path=str(spm_file))
    assert "needs a base in a folder" in said(base=whole, precision="nf4")
    write_adapter(bundle.folder / "adapter.gguf")
    assert "adapter.gguf" in said(base=whole, hidden_size=WIDTH, adapter=Adapter("adapter.gguf"))


@pytest.mark.usefixtures("own_cache")
def test_torch_is_missing(
    tmp_path: Path, llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(tmp_path / "mine", llama_folder)
    for name in [name for name in sys.modules if name.startswith(huggingface.__name__)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    said = refusal(lambda: ContextFace.load(bundle.folder, ONE))
    assert "torch is missing: pip install 'contextface_ros[huggingface]'" in said


def run_cli(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> Any:
    assert cli.main(arguments) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("own_cache")
def test_through_the_command_line(
    tmp_path: Path, llava_folder: Path, llava: HuggingFace, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = make_bundle(tmp_path / "seeing", llava_folder)
    image = frame(3)
    cv2.imwrite(str(tmp_path / "frame.png"), image[:, :, ::-1])
    arguments = ["express", "--model", str(bundle.folder), "--quote", TEXTS[0], "--json"]
    arguments += ["--threads", "1", "--image", str(tmp_path / "frame.png")]
    said = run_cli(arguments, capsys)
    expected = llava.read(Context(quote=TEXTS[0], image=image)).probabilities
    assert said["emotion"] == EMOTIONS[int(expected.argmax())].value
    assert list(said["probabilities"].values()) == pytest.approx(expected.tolist(), abs=1e-3)
