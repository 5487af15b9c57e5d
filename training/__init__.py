"""The workstation stack: data, fine-tuning, evaluation and export of ContextFace."""
