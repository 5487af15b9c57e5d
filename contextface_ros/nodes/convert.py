"""Between ROS messages and the package's own types. No logic of its own."""

from __future__ import annotations

from array import array
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from contextface_ros.errors import ContextFaceError
from contextface_ros.msg import Emotion as EmotionMsg
from contextface_ros.msg import Expression as ExpressionMsg
from contextface_ros.types import Context, Emotion, Expression, Prediction, UInt8Array
from contextface_ros.vision.image import check_compressed, check_raw, decode_compressed, decode_raw

HRI_EXPRESSION = {
    Emotion.ANGRY: "angry",
    Emotion.SAD: "sad",
    Emotion.SURPRISE: "surprised",
    Emotion.NEUTRAL: "neutral",
    Emotion.FEAR: "scared",
    Emotion.HAPPY: "happy",
    Emotion.DISGUST: "disgusted",
}
"""The seven emotions in the words of hri_msgs/Expression (REP-155)."""


def check_frame(message: Image | CompressedImage) -> None:
    """Look at a frame without decoding it: cheap enough for each that a camera sends.

    Raises:
        BadInput: encoding, size, step or data that cannot make a picture.
    """
    if isinstance(message, CompressedImage):
        check_compressed(message.data)
    else:
        check_raw(message.data, message.height, message.width, message.step, message.encoding)


def rgb(message: Image | CompressedImage) -> UInt8Array:
    """The picture of a message as (H, W, 3) uint8 RGB.

    Raises:
        BadInput: encoding, size, step or data that do not make a picture.
    """
    if isinstance(message, CompressedImage):
        return decode_compressed(message.data)
    return decode_raw(
        message.data,
        message.height,
        message.width,
        message.step,
        message.encoding,
        bool(message.is_bigendian),
    )


def image(
    frame: UInt8Array, encoding: str, stamp: Time, frame_id: str, jpeg_quality: int = 85
) -> Image | CompressedImage:
    """A picture as a message.

    Args:
        frame: (H, W, 3) uint8 RGB.
        encoding: `rgb8` or `bgr8` for an Image, `jpeg` for a CompressedImage.
        stamp: when the picture was taken.
        frame_id: the coordinate frame that is named in the header.
        jpeg_quality: of `jpeg`, in percent.
    """
    header = Header(stamp=stamp, frame_id=frame_id)
    if encoding != "rgb8":
        frame = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)  # type: ignore[assignment]
    data = array("B")  # the one type that rclpy's setters take over without a look at each byte
    if encoding == "jpeg":
        quality = cv2.IMWRITE_JPEG_QUALITY, jpeg_quality
        data.frombytes(cv2.imencode(".jpg", frame, quality)[1].data)
        return CompressedImage(header=header, format="jpeg", data=data)
    data.frombytes(frame.data)
    height, width, _ = frame.shape
    return Image(
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        step=3 * width,
        data=data,
    )


def check(prediction: Prediction) -> Prediction:
    """The prediction itself, if it may move a face.

    Raises:
        ContextFaceError: a number in it is not finite.
    """
    numbers = np.concatenate(
        [
            prediction.probabilities,
            prediction.expression.coefficients,
            prediction.expression.jaw_pose,
            [prediction.valence, prediction.arousal, prediction.expression.intensity],
        ]
    )
    if not np.isfinite(numbers).all():
        raise ContextFaceError("the model answered with numbers that are not finite: not published")
    return prediction


def emotion(prediction: Prediction, context: Context, stamp: Time, frame_id: str) -> EmotionMsg:
    """The emotion of an answer, with the context that caused it."""
    return EmotionMsg(
        header=Header(stamp=stamp, frame_id=frame_id),
        label=prediction.emotion.value,
        probabilities=prediction.probabilities.astype(np.float32),
        valence=float(prediction.valence),
        arousal=float(prediction.arousal),
        quote=context.quote or "",
        situation=context.situation or "",
        perspective=context.perspective.value,
        used_image=prediction.used_image,
    )


def expression(prediction: Prediction, stamp: Time, frame_id: str) -> ExpressionMsg:
    """The face of an answer."""
    face = prediction.expression
    return ExpressionMsg(
        header=Header(stamp=stamp, frame_id=frame_id),
        basis=face.basis,
        expression=face.coefficients.astype(np.float32),
        jaw_pose=face.jaw_pose.astype(np.float32),
        intensity=float(face.intensity),
    )


def face(message: ExpressionMsg) -> Expression:
    """The face of a message. Nothing in it is checked."""
    return Expression(
        basis=message.basis,
        coefficients=np.asarray(message.expression, dtype=np.float32),
        jaw_pose=np.asarray(message.jaw_pose, dtype=np.float32),
        intensity=float(message.intensity),
    )


def hri_expression(prediction: Prediction, stamp: Time, message_type: type[Any]) -> Any:
    """An answer as hri_msgs/Expression, whose package may not be installed.

    Args:
        prediction: the answer.
        stamp: that of its input.
        message_type: hri_msgs.msg.Expression.
    """
    return message_type(
        header=Header(stamp=stamp),
        expression=HRI_EXPRESSION[prediction.emotion],
        valence=float(prediction.valence),
        arousal=float(prediction.arousal),
        confidence=float(prediction.probabilities.max()),
    )
