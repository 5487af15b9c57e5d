"""The commands of docs/augment.md are ones that the program takes."""

from __future__ import annotations

import re
import shlex

from tests.conftest import ROOT
from training.augment.__main__ import _parser
from training.augment.answer import Reject
from training.augment.cost import find_price
from training.data.annotations import OPTIONAL, REQUIRED, TargetKind

PAGE = (ROOT / "docs" / "augment.md").read_text(encoding="utf-8")


def test_every_command_is_taken() -> None:
    commands = re.findall(r"^ {4}\.venv/bin/python -m training\.augment (.*)$", PAGE, re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        args = _parser().parse_args(shlex.split(command))
        if args.annotator == "anthropic":
            assert find_price(f"anthropic/{args.model}", None) is not None


def test_options_fields_reasons_and_kinds_are_the_programs() -> None:
    options = {option for action in _parser()._actions for option in action.option_strings}
    assert set(re.findall(r"`(--[a-z-]+)", PAGE)) <= options
    for name in (*REQUIRED, *OPTIONAL, *(kind.value for kind in TargetKind)):
        assert f"`{name}`" in PAGE
    for reject in Reject:
        assert reject.value in PAGE
