"""card.md of an exported bundle: what it is, and what the rounding of its weights costs."""

from __future__ import annotations

from pathlib import Path

from contextface_ros.bundle import Bundle
from contextface_ros.language.weights_folder import model_type
from training.fidelity import Cost


def write_card(bundle: Bundle, rounding: str, price: Cost | None) -> None:
    """Write card.md into the bundle's folder.

    Args:
        bundle: as saved.
        rounding: what its weights are in, such as "Q4_K_M".
        price: what that costs; None where nothing was rounded, or measured.
    """
    parts = "\n".join(
        f"| {name} | {path.name} | {_size(path):,.1f} MB |" for name, _, path in bundle.parts()
    )
    licences = "\n".join(f"- {part}: {text}" for part, text in bundle.licences.items())
    measured = (
        "Not measured."
        if price is None
        else f"{rounding} against whole weights, through the same runtime:\n\n{price.table()}"
    )
    text = f"""# {bundle.name} {bundle.version}

Runs on {bundle.backend}, weights in {rounding}; faces in the basis {bundle.basis}. It reads \
{"images and words" if _sees(bundle) else "words"}, prompt order {bundle.prompt}.

| part | | |
|---|---|---|
{parts}

## Trained on

{bundle.trained_on}

## What the rounding of the weights costs

{measured}

## Licences

{licences or "Not stated: those of the base model and of the training data apply."}
"""
    (bundle.folder / "card.md").write_text(text, encoding="utf-8")


def _size(path: Path) -> float:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def _sees(bundle: Bundle) -> bool:
    if bundle.backend == "llama_cpp":
        return bundle.mmproj is not None
    return model_type(bundle.base_path) == "llava"
