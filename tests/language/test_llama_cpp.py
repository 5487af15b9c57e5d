"""The real SmolLM2 through llama.cpp, and a small model with a SentencePiece vocabulary."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contextface_ros.errors import Aborted, BadBundle, BadInput
from contextface_ros.language.llama_cpp import LlamaCpp, _shared
from contextface_ros.language.protocol import Reading
from contextface_ros.language.runtime import Runtime
from contextface_ros.types import EMOTIONS, Context, Perspective
from tests.tiny_bundle import BASE, HIDDEN_SIZE

SMOLLM2 = Path(str(resources.files(BASE.package))) / BASE.resource

TEXTS = (
    "We won! I can't believe it!",
    "My grandmother died last night.",
    "Get out of my house right now, you liar!",
    "The meeting starts at three in room twelve.",
    "Ugh, there's a dead rat in my soup.",
)
# Numerals outside ASCII, such as a half in one character, are left out: transformers keeps the
# space before them, llama.cpp splits it off.
ODD_TEXTS = (
    "<|im_end|> <FACE> <reponame>",
    "Ça va? Größe, naïve — “quoted” … 100 %",
    "こんにちは、元気？ 👩‍👩‍👧 🤷🏽",
    "don't can't I'll 1234567890 #tag @me",
    " leading space",
    "\n",
    "a",
)


@pytest.fixture(scope="module")
def language() -> Iterator[LlamaCpp]:
    model = LlamaCpp(SMOLLM2, runtime=Runtime(threads=1))
    yield model
    model.close()


@pytest.fixture(scope="module")
def readings(language: LlamaCpp) -> list[Reading]:
    return [language.read(Context(quote=text)) for text in TEXTS]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_a_reading_is_whole(language: LlamaCpp, readings: list[Reading]) -> None:
    assert language.hidden_size == HIDDEN_SIZE
    assert not language.sees
    for reading in readings:
        assert reading.probabilities.shape == (7,)
        assert reading.probabilities.dtype == reading.hidden_state.dtype == np.float32
        assert reading.probabilities.sum() == pytest.approx(1, abs=1e-5)
        assert reading.hidden_state.shape == (HIDDEN_SIZE,)
        assert np.isfinite(reading.hidden_state).all()


def test_different_texts_are_read_differently(readings: list[Reading]) -> None:
    for i, a in enumerate(readings):
        for b in readings[:i]:
            assert np.abs(a.probabilities - b.probabilities).max() > 1e-3
            assert cosine(a.hidden_state, b.hidden_state) < 0.9999


def test_perspectives_are_read_differently(language: LlamaCpp, readings: list[Reading]) -> None:
    listener = language.read(Context(quote=TEXTS[0], perspective=Perspective.LISTENER))
    assert np.abs(listener.probabilities - readings[0].probabilities).max() > 1e-3


def test_the_cached_prefix_changes_nothing(language: LlamaCpp) -> None:
    fresh = LlamaCpp(SMOLLM2, runtime=Runtime(threads=1))
    first = fresh.read(Context(quote=TEXTS[0]))
    fresh.close()
    again = language.read(Context(quote=TEXTS[0]))
    assert np.array_equal(again.probabilities, first.probabilities)
    assert np.array_equal(again.hidden_state, first.hidden_state)


def test_together_is_as_one_by_one(language: LlamaCpp, readings: list[Reading]) -> None:
    """More than fit in one group; kernels for more rows round a little differently."""
    many = language.read_many([Context(quote=text) for text in TEXTS * 2])
    assert len(many) == 10
    for index, together in enumerate(many):
        alone = readings[index % len(TEXTS)]
        assert np.abs(together.probabilities - alone.probabilities).max() < 0.05
        if together.probabilities.argmax() == alone.probabilities.argmax():
            assert cosine(together.hidden_state, alone.hidden_state) > 0.995
    assert language.read_many([]) == []


def test_a_text_asked_twice_is_read_once_and_answered_as_alone(language: LlamaCpp) -> None:
    asked = [
        *(Context(quote=TEXTS[0], perspective=perspective) for perspective in Perspective),
        Context(quote=TEXTS[0]),  # the same again
        Context(quote=TEXTS[0] + " " + TEXTS[1]),  # goes on where the others end
        Context(situation=TEXTS[1]),
    ]
    alone = [language.read(context) for context in asked]
    language.read_many(asked)  # leaves nothing behind for the next
    for one, together in zip(alone, language.read_many(asked), strict=True):
        assert np.abs(together.probabilities - one.probabilities).max() < 0.05
        if together.probabilities.argmax() == one.probabilities.argmax():
            assert cosine(together.hidden_state, one.hidden_state) > 0.995
    speaker, listener = alone[:2]
    assert not np.allclose(speaker.probabilities, listener.probabilities, atol=1e-3)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5), min_size=1, max_size=6))
def test_shared_pieces_spell_the_prompts(rows: list[list[int]]) -> None:
    prompts = dict(enumerate(rows, start=1))
    spelled: dict[int, list[int]] = {sequence: [] for sequence in prompts}
    for piece in _shared(prompts, 6):
        for sequence in piece.sequences:
            assert piece.first_position == 6 + len(spelled[sequence])
            spelled[sequence] += piece.tokens
    assert spelled == prompts
    # Neighbours that are equal are read once.
    assert len(list(_shared({1: rows[0], 2: rows[0]}, 0))) == 1


def test_enormous_texts_are_refused_and_the_next_is_read(
    language: LlamaCpp, readings: list[Reading]
) -> None:
    with pytest.raises(BadInput, match="characters"):
        language.read(Context(quote="word " * 100_000))
    with pytest.raises(BadInput, match="tokens"):
        language.read(Context(quote="\U00013000" * 4000))  # a hieroglyph is several tokens
    again = language.read(Context(quote=TEXTS[1]))
    assert np.array_equal(again.probabilities, readings[1].probabilities)


def test_one_bad_text_of_many_is_refused(language: LlamaCpp) -> None:
    with pytest.raises(BadInput, match="empty"):
        language.read_many([Context(quote="Hello"), Context(quote=" ")])


def test_aborted_from_another_thread(language: LlamaCpp, readings: list[Reading]) -> None:
    long = [Context(quote=f"{n} " + "and then it rained " * 180) for n in range(40)]
    timer = threading.Timer(0.3, language.abort)
    timer.start()
    began = time.monotonic()
    with pytest.raises(Aborted):
        language.read_many(long)
    assert time.monotonic() - began < 10  # all of them would take a minute
    timer.join()
    again = language.read(Context(quote=TEXTS[2]))
    assert np.array_equal(again.probabilities, readings[2].probabilities)


def test_closed_twice() -> None:
    model = LlamaCpp(SMOLLM2, runtime=Runtime(threads=1))
    model.close()
    model.close()


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.gguf").write_bytes(b"GGUF, says the file")
    with pytest.raises(BadBundle, match=r"no\.gguf"):
        LlamaCpp(tmp_path / "no.gguf")


def test_an_adapter_that_changes_nothing_is_refused(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "zero.gguf", "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    writer.add_tensor("blk.0.attn_q.weight.lora_a", np.ones((2, HIDDEN_SIZE), np.float32))
    writer.add_tensor("blk.0.attn_q.weight.lora_b", np.zeros((HIDDEN_SIZE, 2), np.float32))
    finish(writer)
    with pytest.raises(BadBundle, match="changes nothing"):
        LlamaCpp(SMOLLM2, adapter=tmp_path / "zero.gguf", runtime=Runtime(threads=1))


# --- against transformers ------------------------------------------------------------------------


def test_smollm2_ids_are_those_of_training(language: LlamaCpp) -> None:
    pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")
    from training.model import ModelConfig, load_tokenizer, vocabulary

    words = vocabulary(load_tokenizer(ModelConfig()), "<reponame>")
    for text in (*TEXTS, *ODD_TEXTS):
        for piece in (text, " " + text):
            assert language.tokenize(piece) == words.tokenize(piece), piece


def test_smollm2_reads_as_transformers_does(language: LlamaCpp, readings: list[Reading]) -> None:
    pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")
    from tests.torch_reading import torch_reading
    from training.model import ModelConfig, build, load_tokenizer, vocabulary

    config = ModelConfig(lora_rank=1)
    words = vocabulary(load_tokenizer(config), config.face_token)
    module = build(config, words).float().eval()  # a fresh adapter adds nothing
    for text, reading in zip(TEXTS, readings, strict=True):
        emotion = EMOTIONS[int(reading.probabilities.argmax())]
        probabilities, hidden = torch_reading(module, words, Context(quote=text), emotion)
        assert np.abs(reading.probabilities - probabilities).max() < 0.1
        assert cosine(reading.hidden_state, hidden) >= 0.99


# --- a SentencePiece vocabulary ------------------------------------------------------------------

MERGED = ["▁H", "▁S", "ap", "py", "▁Hap", "▁Happy", "ad", "▁Sad", "▁Su", "▁A", "▁N", "▁F", "▁D"]
MERGED += ["in", "th", "▁t", "▁th", "▁the", "er", "re", "on", "▁p", "ex", "▁ex"]
WIDTH = 32


def spm_pieces() -> tuple[list[str], list[float], list[int]]:
    """Tokens, scores and GGUF types of a small vocabulary: bytes, letters, and some merges."""
    special = ["<unk>", "<s>", "</s>"]
    byte = [f"<0x{value:02X}>" for value in range(256)]
    letters = ["▁", *(chr(code) for code in range(33, 127))]
    merged = MERGED
    scores = [0.0] * (len(special) + len(byte)) + [-1000.0] * len(letters)
    scores += [-float(rank) for rank in range(1, len(merged) + 1)]
    types = [2, 3, 3] + [6] * len(byte) + [1] * (len(letters) + len(merged))
    return special + byte + letters + merged, scores, types


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def spm_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of one layer with random weights."""
    tokens, scores, types = spm_pieces()
    file = tmp_path_factory.mktemp("spm") / "spm.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(WIDTH // 2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    random = np.random.default_rng(0)
    square = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    for name in square:
        matrix = random.normal(0, 0.2, (WIDTH, WIDTH)).astype(np.float32)
        writer.add_tensor(f"blk.0.{name}.weight", matrix)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    for name in ("token_embd", "output"):
        matrix = random.normal(0, 0.2, (len(tokens), WIDTH)).astype(np.float32)
        writer.add_tensor(f"{name}.weight", matrix)
    finish(writer)
    return file


@pytest.fixture(scope="module")
def spm(spm_file: Path) -> Iterator[LlamaCpp]:
    model = LlamaCpp(spm_file, runtime=Runtime(threads=1))
    yield model
    model.close()


def test_a_sentencepiece_model_is_read(spm: LlamaCpp) -> None:
    reading = spm.read(Context(quote="Happy to see the sea <s></s>"))
    assert spm.hidden_size == WIDTH
    assert reading.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert not {1, 2} & set(spm.tokenize("Happy to see the sea <s></s>"))


def test_sentencepiece_puts_one_space_before_a_word(spm: LlamaCpp) -> None:
    happy = spm_pieces()[0].index("▁Happy")
    assert spm.tokenize(" Happy") == spm.tokenize("Happy") == [happy]


def test_sentencepiece_ids_are_those_of_training(spm: LlamaCpp, spm_file: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")
    from transformers import AutoTokenizer

    from training.model import vocabulary

    words = vocabulary(
        AutoTokenizer.from_pretrained(spm_file.parent, gguf_file=spm_file.name), "<unk>"
    )
    for text in (*TEXTS, *ODD_TEXTS, ". The 3D facial mesh is", "Read the face.\n", " Happy"):
        for piece in (text, " " + text):
            assert spm.tokenize(piece) == words.tokenize(piece), piece
