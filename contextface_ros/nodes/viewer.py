"""The node `viewer`: the face in a browser, what was said, and a box to type in.

    face/blendshapes, image (while somebody looks) --.
    emotion, expression, attention -------------------+--> Server --> browsers
    agent/express <------ what is typed -------------------'

Nothing here moves the face: what is typed is answered by the agent, which publishes the answer, and
the face_player plays it. Where no face_player runs, the expression is shown as it is.
"""

from __future__ import annotations

import time
from concurrent.futures import Future as ThreadFuture

from rclpy.node import Node
from rclpy.subscription import Subscription
from rclpy.task import Future
from std_msgs.msg import String

from contextface_ros.errors import BadBundle, BadInput, ContextFaceError
from contextface_ros.face.attitude import Attention, parse_attention
from contextface_ros.face.decode import blendshapes_of
from contextface_ros.msg import Blendshapes
from contextface_ros.msg import Emotion as EmotionMsg
from contextface_ros.msg import Expression as ExpressionMsg
from contextface_ros.nodes import convert, process, qos
from contextface_ros.nodes.camera_watch import CameraWatch
from contextface_ros.nodes.parameters import NodeParameters, ViewerParameters
from contextface_ros.nodes.pose_reader import PoseReader
from contextface_ros.srv import Express
from contextface_ros.viewer import protocol

_LOOK_S = 0.25  # between two looks at who is there
_PLAYER_GONE_S = 1.0  # without a pose, after which the face counts as still
_LONGEST_LATENCY_S = 600.0  # beyond which the clocks differ
_AGENTS = {
    Attention.IDLE: protocol.Agent.READY,
    Attention.LISTENING: protocol.Agent.LISTENING,
    Attention.THINKING: protocol.Agent.THINKING,
}


class Viewer(Node):
    """Between the robot's topics and the page's server. All but `_ask` is the executor's."""

    def __init__(self) -> None:
        """Serve the page. Raises BadInput where that is impossible at its address."""
        super().__init__("viewer")
        # Without the extra it says what to install, and all else of this module can be imported.
        from contextface_ros.viewer.server import Server

        declared = NodeParameters(self, ViewerParameters)
        settings = declared.read()
        declared.locked = True
        self._express = self.create_client(Express, "agent/express")
        self._agent_seen = 0  # looks in a row at which the agent was there
        self._attention = Attention.IDLE
        self._poses = PoseReader()
        self._pose_subscription: Subscription | None = None
        self._pose_s = float("-inf")  # when the last one came
        self._watched_s = float("inf")  # since when somebody looks
        self._expression: ExpressionMsg | None = None
        self._shown: ExpressionMsg | None = None  # as it is, without a player
        self._face_note = ""
        self._server = Server(
            settings.host,
            settings.port,
            self._ask,
            names=tuple(name.strip() for name in settings.names.split(",")),
            most_browsers=settings.max_browsers,
            answer_timeout_s=settings.answer_timeout_s,
        )
        self._camera = CameraWatch(self, settings, self._server.show_picture)
        self.create_subscription(EmotionMsg, "emotion", self._on_emotion, qos.LAST_ANSWER)
        self.create_subscription(ExpressionMsg, "expression", self._on_expression, qos.LAST_ANSWER)
        self.create_subscription(String, "attention", self._on_attention, qos.LAST_WISH)
        self.create_timer(_LOOK_S, self._look)
        self.get_logger().info(f"the face is shown at {self._server.url}")

    def close(self) -> None:
        """End the page and the pictures."""
        self._camera.close()
        self._server.close()

    # --- what is shown ----------------------------------------------------------------------------

    def _on_emotion(self, message: EmotionMsg, info: object) -> None:
        stamp_s = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        sent_s = _sent_s(info)
        took_s = sent_s - stamp_s
        known = stamp_s > 0.0 and 0.0 <= took_s < _LONGEST_LATENCY_S
        self._server.show_answer(
            protocol.Answer(
                label=message.label,
                probabilities=tuple(float(p) for p in message.probabilities),
                quote=message.quote,
                situation=message.situation,
                perspective=message.perspective,
                time_ms=sent_s * 1e3,
                latency_ms=took_s * 1e3 if known else None,
            )
        )

    def _on_expression(self, message: ExpressionMsg) -> None:
        self._expression = message
        if not self._moving:
            self._show_still()

    def _on_attention(self, message: String) -> None:
        try:
            self._attention = parse_attention(message.data)
        except BadInput as error:
            self._warn("attention", error)
        self._show_status()

    def _on_pose(self, message: Blendshapes) -> None:
        try:
            self._poses.read(message)
        except BadInput as error:
            self._warn("pose", error)
            return
        now_s = time.monotonic()
        self._pose_s, self._shown, self._face_note = now_s, None, ""
        stamp = message.header.stamp  # that of the pose: sent late, it is not shown late
        self._server.show_pose(self._poses.weights, stamp.sec % 100_000 + stamp.nanosec * 1e-9)

    @property
    def _moving(self) -> bool:
        """Whether a player's poses come, or may be about to."""
        return time.monotonic() - max(self._pose_s, self._watched_s) < _PLAYER_GONE_S

    def _show_still(self) -> None:
        """Show the last expression as it is."""
        message = self._expression
        if message is None or message is self._shown:
            return
        self._shown = message
        try:
            weights = blendshapes_of(convert.face(message))
        except (BadInput, BadBundle) as error:
            self._face_note = f"The last expression is not shown: {error}"
            self._warn("expression", error)
            return
        self._face_note = "No face_player runs, so the face does not move by itself."
        self._server.show_pose(weights, time.monotonic() % 100_000)

    # --- who is there -----------------------------------------------------------------------------

    def _look(self) -> None:
        """See who watches and who is there, and listen to no more than that needs."""
        watched = self._server.watching > 0
        self._camera.watch(watched)
        if watched and self._pose_subscription is None:
            self._watched_s = time.monotonic()
            self._pose_subscription = self.create_subscription(
                Blendshapes, "face/blendshapes", self._on_pose, qos.POSE
            )
        elif not watched and self._pose_subscription is not None:
            self.destroy_subscription(self._pose_subscription)
            self._pose_subscription, self._shown = None, None
            self._watched_s = float("inf")
        self._agent_seen = self._agent_seen + 1 if self._express.service_is_ready() else 0
        if watched and not self._moving:
            self._show_still()
        self._show_status()

    def _show_status(self) -> None:
        face = protocol.Face.NONE if self._shown is None else protocol.Face.STILL
        if time.monotonic() - self._pose_s < _PLAYER_GONE_S:
            face = protocol.Face.MOVING
        agent = _AGENTS[self._attention] if self._agent_seen else protocol.Agent.ABSENT
        self._server.show_status(
            protocol.Status(agent, face, self._face_note, self._camera.seen, self._camera.note)
        )

    def _warn(self, what: str, error: ContextFaceError) -> None:
        self.get_logger().warning(f"{what} not shown: {error}", throttle_duration_sec=10.0)

    # --- what is typed ----------------------------------------------------------------------------

    def _ask(self, question: protocol.Question) -> ThreadFuture[None]:
        """Begin to answer. Called on the server's thread; the rest is the executor's."""
        answer: ThreadFuture[None] = ThreadFuture()
        self.executor.create_task(self._express_it, question, answer)
        return answer

    async def _express_it(self, question: protocol.Question, answer: ThreadFuture[None]) -> None:
        # A server that has just appeared may not know us yet, and its answer would be lost.
        if self._agent_seen < 2:
            _fail(
                answer, "there is no agent to answer: start it (contextface up), or wait a moment"
            )
            return
        request = Express.Request(
            quote=question.quote or "",
            situation=question.situation or "",
            perspective=question.perspective.value,
            use_camera=True,
        )
        call: Future[Express.Response] = self._express.call_async(request)

        def give_up(_: ThreadFuture[None]) -> None:
            self._express.remove_pending_request(call)
            if not call.done():  # the page waits no more
                call.set_result(None)
                self.executor.wake()

        answer.add_done_callback(give_up)
        response = await call
        if response is None:
            return
        if not response.success:
            _fail(answer, response.message)
        elif answer.set_running_or_notify_cancel():
            answer.set_result(None)


def _fail(answer: ThreadFuture[None], trouble: str) -> None:
    if answer.set_running_or_notify_cancel():
        answer.set_exception(ContextFaceError(trouble))


def _sent_s(info: object) -> float:
    """When a message was published, in s since 1970; when it came, where that is not told."""
    sent_ns = info.get("source_timestamp", 0) if isinstance(info, dict) else 0
    return sent_ns * 1e-9 if sent_ns > 0 else time.time()


def main() -> int:
    """Entry point of the executable `viewer`."""
    return process.run(Viewer)


if __name__ == "__main__":
    raise SystemExit(main())
