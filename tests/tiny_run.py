"""Runs of training.instruct that were never trained: random adapters on random bases."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, LlamaTokenizerFast

from tests.tiny_bundle import BASE
from training import checkpoint
from training.instruct_config import AdapterConfig, InstructConfig
from training.llava import load_for_training

TINY = Path(__file__).parents[1] / "training" / "configs" / "tiny.yaml"


def make_run(
    folder: Path,
    base: Path,
    lora: AdapterConfig | None = None,
    *,
    prompt: str = "edge",
    face_token: str = "<reponame>",
) -> Path:
    """A run whose checkpoint holds random values in all that learns."""
    config = InstructConfig.read(TINY)
    config = replace(
        config,
        base=replace(config.base, path=str(base)),
        lora=lora or AdapterConfig(rank=4, alpha=8, embeddings="face_token"),
        prompt=prompt,
        face_token=face_token,
    )
    module = load_for_training(config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in checkpoint.learned(module).items():
            drawn = torch.randn(weight.shape, generator=generator)
            if not name.startswith("projection."):
                weight += 0.1 * drawn
    folder.mkdir(parents=True, exist_ok=True)
    config.write(folder / "config.yaml")
    taken = checkpoint.take(module, None)
    checkpoint.write(folder, module, taken, config, checkpoint.Place(step=1, ranks=1))
    return folder


def make_tiny_llama(folder: Path, *, tied: bool, sentencepiece: bool = False) -> Path:
    """A causal LM without eyes; as SmolLM2's, or with a vocabulary as Llama 2's."""
    tokenizer = sentencepiece_tokenizer() if sentencepiece else _smollm2_tokenizer()
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 5,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        rope_theta=50_000.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=tied,
        initializer_range=0.1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _smollm2_tokenizer() -> object:
    resource = Path(str(resources.files(BASE.package))) / str(BASE.resource)
    return AutoTokenizer.from_pretrained(resource.parent, gguf_file=resource.name)


def sentencepiece_tokenizer() -> LlamaTokenizerFast:
    """Bytes, letters and a few merges, in the form that Llama 2's tokenizer.json has."""
    words = ["▁Angry", "▁Sad", "▁Surprise", "▁Neutral", "▁Fear", "▁Happy", "▁Disgust", "▁the"]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{value:02X}>" for value in range(256))]
    pieces += ["▁", *(chr(code) for code in range(33, 127))]
    merges: list[tuple[str, str]] = []
    for word in words:
        for end in range(2, len(word) + 1):
            if word[:end] not in pieces:
                pieces.append(word[:end])
                merges.append((word[: end - 1], word[end - 1]))
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    model = models.BPE(vocabulary, merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return LlamaTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
