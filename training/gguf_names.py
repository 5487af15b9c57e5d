"""Names of a Llama layer's matrices, in transformers and in GGUF: the runtime's, for training."""

from contextface_ros.language.gguf_adapter import MATRICES, ROTARY

__all__ = ["MATRICES", "ROTARY"]
