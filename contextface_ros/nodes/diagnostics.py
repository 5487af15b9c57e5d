"""What a node says of itself on /diagnostics, once a second."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

OK = DiagnosticStatus.OK
WARN = DiagnosticStatus.WARN
ERROR = DiagnosticStatus.ERROR


@dataclass
class Tally:
    """What became of the inputs since the node started.

    Attributes:
        answered: inputs that led to an emotion and an expression.
        refused: inputs that could not be used (empty, too long, ...).
        dropped: utterances that a full queue pushed out.
        failed: inputs at which the model failed.
        refused_frames: camera frames that could not be used.
        used_image: whether the last answer used a camera frame.
        latency_ms: from reception to publication, of the last 200 answers.
    """

    answered: int = 0
    refused: int = 0
    dropped: int = 0
    failed: int = 0
    refused_frames: int = 0
    used_image: bool = False
    latency_ms: deque[float] = field(default_factory=lambda: deque(maxlen=200))

    def latency(self, percentile: float) -> str:
        """A percentile of the latency in ms, or "-" before the first answer."""
        if not self.latency_ms:
            return "-"
        return f"{np.percentile(self.latency_ms, percentile):.1f}"


def array(
    stamp: Time, name: str, hardware: str, level: bytes, message: str, values: Mapping[str, object]
) -> DiagnosticArray:
    """One status as the message that /diagnostics carries."""
    status = DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=hardware,
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )
    text = DiagnosticArray(status=[status])
    text.header.stamp = stamp
    return text
