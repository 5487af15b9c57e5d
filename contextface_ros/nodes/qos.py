"""The quality of service of every topic, by name.

Subscriptions and publishers keep rclpy's default events, which warn with topic and policy when
the other side's quality of service does not fit.
"""

from __future__ import annotations

from rclpy.qos import (
    DurabilityPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_profile_sensor_data,
)

NEWEST_FRAME = QoSProfile(
    depth=1,
    reliability=qos_profile_sensor_data.reliability,
    durability=qos_profile_sensor_data.durability,
)
"""Camera frames: best effort, which also receives from reliable cameras; only the newest counts."""

REGION = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
"""The region of interest: the last one counts, until the next."""

UTTERANCE = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
"""Speech and situations: each is delivered. The agent's own queue decides what is dropped."""

LAST_WISH = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
"""What the face is to attend to, and lend: the last one counts, until the next."""

POSE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
"""The face at 60 Hz: only the newest counts, and whatever a subscriber asks for can be had."""

PICTURE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
"""Pictures of the face: only the newest counts; a screen may ask for reliable ones or not."""

LAST_ANSWER = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""Emotion and expression: who joins late receives the last one."""

DIAGNOSTICS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
"""The state of a node, once a second."""
