"""The lifecycle node `agent`: frames, utterances and situations in, emotions and expressions out.

    speech ----> coroutine ----> ModelThread ----> coroutine ----> emotion, expression
    ~/express ->  (executor)      (inference)       (executor)      (and the call's answer)

Each input is one coroutine on the executor's only thread, which reads as the line above: check the
text, await the answer, publish. Inference runs on the model's own thread, so that the executor
stays free for transitions. `_answer` is the one place that publishes a face.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures import Future as ThreadFuture
from dataclasses import replace
from functools import partial

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from contextface_ros.errors import Aborted, BadInput, ContextFaceError
from contextface_ros.face.attitude import Attention
from contextface_ros.face.decode import check_basis, in_basis
from contextface_ros.language.runtime import Runtime
from contextface_ros.msg import Emotion as EmotionMsg
from contextface_ros.msg import Expression as ExpressionMsg
from contextface_ros.nodes import convert, diagnostics, process, qos
from contextface_ros.nodes.diagnostics import Tally
from contextface_ros.nodes.inputs import Background, Inputs
from contextface_ros.nodes.lifecycle import transition
from contextface_ros.nodes.model_thread import Model, ModelThread
from contextface_ros.nodes.parameters import OWN_BASIS, AgentParameters, NodeParameters
from contextface_ros.nodes.sight import Sight
from contextface_ros.prompts import clean_text
from contextface_ros.srv import Express
from contextface_ros.types import Context, Perspective, Prediction
from contextface_ros.vision.detectors import Box

DISCOVERY_S = (0.5, 1.2)
"""Ages of the node before and after loading at which it looks for another of its name.

On a busy machine discovery takes up to a second; loading takes most of that anyway.
"""


def load_model(bundle: str, runtime: Runtime) -> Model:
    """Load a bundle: the default of the node's `load`."""
    from contextface_ros.contextface import ContextFace

    return ContextFace.load(bundle, runtime)


def _runtime(settings: AgentParameters) -> Runtime:
    return Runtime(
        device=settings.device,
        threads=settings.threads,
        gpu_layers=settings.gpu_layers,
        flash_attention=settings.flash_attention,
        context_length=settings.context_length,
    )


class Outputs:
    """The publishers of one configuration."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._emotion = node.create_publisher(EmotionMsg, "emotion", qos.LAST_ANSWER)
        self._expression = node.create_publisher(ExpressionMsg, "expression", qos.LAST_ANSWER)
        self._attention = node.create_publisher(String, "attention", qos.LAST_WISH)
        self._publishers = [self._emotion, self._expression, self._attention]
        try:
            from hri_msgs.msg import Expression as HriExpression
        except ImportError:  # optional
            self._hri_type = None
            return
        self._hri_type = HriExpression
        self._hri = node.create_publisher(HriExpression, "robot_face/expression", qos.LAST_ANSWER)
        self._publishers.append(self._hri)

    def publish(
        self, emotion: EmotionMsg, expression: ExpressionMsg, prediction: Prediction
    ) -> None:
        """Publish one answer; the emotion first, so that its face is known when it comes."""
        self._emotion.publish(emotion)
        self._expression.publish(expression)
        if self._hri_type is not None:
            stamp = emotion.header.stamp
            self._hri.publish(convert.hri_expression(prediction, stamp, self._hri_type))

    def attend(self, attention: Attention) -> None:
        """Tell the face what the agent is about."""
        self._attention.publish(String(data=attention.value))

    def close(self) -> None:
        """Take the topics off the graph."""
        for publisher in self._publishers:
            self._node.destroy_publisher(publisher)


class Agent(LifecycleNode):
    """Answers what is said, and what happens, with an emotion and a face.

    Configured: `_model` and `_outputs` are there. Active: `_inputs` is there too; each activation
    has its own, so that a coroutine knows whether the activation it belongs to is over.
    """

    def __init__(self, load: Callable[..., Model] = load_model) -> None:
        super().__init__("agent")
        self._born_s = time.monotonic()
        self._load = load
        self._settings = NodeParameters(self, AgentParameters)
        self._model: ModelThread | None = None
        self._outputs: Outputs | None = None
        self._inputs: Inputs | None = None
        self._awaited: set[Future[Prediction]] = set()  # answers that coroutines wait for
        self._sight: Sight | None = None
        self._said_blind = False  # that the model does not see
        self._tally = Tally()
        self._frame_fault = ""  # the last one that was logged
        self._missed_camera = False  # whether the present silence was logged

        # A coroutine holds its group until it has its answer: in rclpy's default, mutually
        # exclusive group it would hold up every transition.
        self._answers = ReentrantCallbackGroup()
        self.create_service(Express, "~/express", self._on_express, callback_group=self._answers)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self.create_timer(1.0, self._on_second)

    # --- transitions ------------------------------------------------------------------------------

    @transition
    def on_configure(self) -> None:
        """Load the model."""
        settings = self._settings.read()
        if settings.basis != OWN_BASIS:
            check_basis(settings.basis)
        before, after = DISCOVERY_S
        self._refuse_namesake(before)  # which may have the GPU's memory
        start = time.monotonic()
        load = partial(self._load, settings.bundle, _runtime(settings))
        self._model = ModelThread(load, settings.queue_size)
        model = self._model.model
        loaded_s = time.monotonic() - start
        try:
            self._refuse_namesake(after)
            if model.sees and settings.image_transport != "none":
                self._sight = Sight(settings.face_detector, settings.target)
            self._outputs = Outputs(self)
        except Exception:
            self._release()
            raise
        self._settings.locked = True
        self._said_blind = False
        self.get_logger().info(
            f"bundle {settings.bundle} loaded in {loaded_s:.1f} s, runs on {model.device}"
        )

    @transition
    def on_activate(self) -> None:
        """Begin to listen."""
        self._inputs = Inputs(
            self,
            self._settings.read().image_transport,
            self._on_speech,
            self._on_situation,
            self._on_bad_frame,
            self._answers,
        )
        self._frame_fault = ""
        self._missed_camera = False

    @transition
    def on_deactivate(self) -> None:
        """Stop listening, and abort the answer under way."""
        self._stop_listening()

    @transition
    def on_cleanup(self) -> None:
        """Free the model."""
        self._release()

    @transition
    def on_shutdown(self) -> None:
        """Stop listening and free the model, from any state."""
        self._release()

    def on_error(self, state: LifecycleState) -> object:
        """Free what is left after an error; the node can be configured again."""
        try:
            self._release()
        except Exception:
            self.get_logger().error(f"Not everything was freed:\n{traceback.format_exc()}")
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """Free everything, from whatever state, in the little time that a signal leaves."""
        try:
            self._release(patience_s=0.5)
        except TimeoutError:
            self.get_logger().warning("the model does not stop; it ends with the process")

    def _stop_listening(self) -> None:
        inputs, self._inputs = self._inputs, None
        if inputs is not None:
            inputs.close()
        if self._model is not None and not self._model.abort():
            self.get_logger().warning("the model does not stop; its late answer will be ignored")
        for answer in self._awaited:  # nobody waits for a model that does not stop
            if not answer.done():
                answer.set_exception(CancelledError())

    def _release(self, patience_s: float = 5.0) -> None:
        self._stop_listening()
        self._settings.locked = False
        model, self._model = self._model, None
        outputs, self._outputs = self._outputs, None
        self._sight = None
        if outputs is not None:
            outputs.close()
        if model is not None:
            model.close(patience_s)

    def _refuse_namesake(self, age_s: float) -> None:
        """Raise BadInput if another node of this name is in the graph: two would answer.

        Args:
            age_s: age of this node up to which is waited before the look.
        """
        time.sleep(max(0.0, self._born_s + age_s - time.monotonic()))
        own = (self.get_name(), self.get_namespace())
        if self.get_node_names_and_namespaces().count(own) > 1:
            raise BadInput(
                f"another node named {self.get_fully_qualified_name()} is running: end it, or"
                " start this one in a namespace of its own (--ros-args -r __ns:=/robot2)."
            )

    # --- inputs -----------------------------------------------------------------------------------

    async def _on_speech(self, message: String) -> None:
        stamp = self.get_clock().now().to_msg()
        await self._hear("utterance", stamp, message.data)

    async def _on_situation(self, message: String) -> None:
        stamp = self.get_clock().now().to_msg()
        await self._hear("situation", stamp, message.data)

    async def _hear(self, kind: str, stamp: Time, raw_text: str) -> None:
        """Answer what came on a topic. An error ends with it: one line in the log."""
        inputs = self._inputs
        if inputs is None:  # taken from the middleware just before the subscription was destroyed
            return
        try:
            text = self._clean(raw_text)
            settings = self._settings.read()
            perspective = Perspective(settings.perspective)
            if kind == "situation":
                inputs.background = Background(text, time.monotonic())
                context = Context(situation=text, perspective=perspective)
            else:
                background = inputs.situation(settings.situation_max_age_s)
                context = Context(quote=text, situation=background, perspective=perspective)
            frame = inputs.frame(settings.image_max_age_s)
            await self._answer(context, stamp, frame, droppable=True)
        except ContextFaceError as error:
            self.get_logger().warning(f"{kind} not answered: {error}")

    async def _on_express(
        self, request: Express.Request, response: Express.Response
    ) -> Express.Response:
        """Answer a call. An error goes to the caller."""
        stamp = self.get_clock().now().to_msg()
        try:
            inputs, settings = self._inputs, self._settings.read()
            if inputs is None:
                raise Aborted("the agent is not active: configure and activate it first")
            context = Context(
                quote=self._clean(request.quote) if request.quote else None,
                situation=self._clean(request.situation) if request.situation else None,
                perspective=self._perspective(request.perspective or settings.perspective),
            )
            if context.quote is None and context.situation is None:
                raise BadInput("both quote and situation are empty: fill in at least one")
            frame = inputs.frame(settings.image_max_age_s) if request.use_camera else None
            response.emotion, response.expression = await self._answer(
                context, stamp, frame, droppable=False
            )
            response.success = True
        except ContextFaceError as error:
            response.message = str(error)
        return response

    def _clean(self, text: str) -> str:
        try:
            return clean_text(text)
        except BadInput:
            self._tally.refused += 1
            raise

    def _perspective(self, name: str) -> Perspective:
        try:
            return Perspective(name)
        except ValueError:
            self._tally.refused += 1
            known = ", ".join(p.value for p in Perspective)
            raise BadInput(f"perspective {name[:40]!r} is unknown: use one of {known}") from None

    def _on_bad_frame(self, error: BadInput) -> None:
        self._tally.refused_frames += 1
        if str(error) != self._frame_fault:  # a camera repeats its fault with every frame
            self._frame_fault = str(error)
            self.get_logger().warning(
                f"frame on {self.resolve_topic_name('image')} refused: {error}"
            )

    # --- the one way from a context to a face -----------------------------------------------------

    async def _answer(
        self,
        context: Context,
        stamp: Time,
        frame: Image | CompressedImage | None,
        *,
        droppable: bool,
    ) -> tuple[EmotionMsg, ExpressionMsg]:
        """Await the model's answer and publish it.

        Raises:
            ContextFaceError: there is no answer; says why. Counted here.
        """
        received_s = time.monotonic()
        inputs, model, outputs = self._inputs, self._model, self._outputs
        assert inputs is not None and model is not None and outputs is not None
        try:
            look = partial(self._look, context, frame, inputs.region)
            answer = model.ask(look, droppable=droppable)
            outputs.attend(Attention.THINKING)
            prediction = self._in_basis(convert.check(await self._completed(answer)))
            if self._inputs is not inputs:
                raise Aborted  # answered, but too late
            frame_id = frame.header.frame_id if frame is not None and prediction.used_image else ""
            emotion = convert.emotion(prediction, context, stamp, frame_id)
            expression = convert.expression(prediction, stamp, frame_id)
            outputs.publish(emotion, expression, prediction)
        except (Aborted, CancelledError):
            if self._inputs is inputs:
                self._tally.dropped += 1
                raise Aborted("dropped, since the queue was full of later ones") from None
            raise Aborted("the agent was deactivated before it could answer") from None
        except ContextFaceError:
            self._tally.failed += 1
            raise
        except Exception as error:
            self._tally.failed += 1
            self.get_logger().error(traceback.format_exc())
            raise ContextFaceError(f"the model failed ({error!r})") from error
        finally:
            if not self._awaited and self._outputs is outputs:
                outputs.attend(Attention.IDLE)
        self._tally.answered += 1
        self._tally.used_image = prediction.used_image
        self._tally.latency_ms.append((time.monotonic() - received_s) * 1e3)
        return emotion, expression

    def _in_basis(self, prediction: Prediction) -> Prediction:
        """The answer with its face in the basis that was asked for; takes a few ms."""
        basis = self._settings.read().basis
        if basis == OWN_BASIS:
            return prediction
        return replace(prediction, expression=in_basis(prediction.expression, basis))

    def _look(
        self, context: Context, frame: Image | CompressedImage | None, region: Box | None
    ) -> Context:
        """The context with what the model sees. Runs on the model's thread: decoding takes time."""
        if frame is None:
            return context
        if self._sight is None:
            self._say_blind()
            return context
        try:
            return replace(context, image=self._sight.of(frame, region))
        except BadInput as error:  # what is said can be answered without
            self.executor.create_task(self._on_bad_frame, error)
            return context

    def _say_blind(self) -> None:
        if not self._said_blind:
            self._said_blind = True
            self.get_logger().info("this bundle does not see: camera frames are not used")

    async def _completed(self, answer: ThreadFuture[Prediction]) -> Prediction:
        """Await what the model's thread completes, without holding up the executor."""
        executor = self.executor
        completed: Future[Prediction] = Future()

        def pass_on(done: ThreadFuture[Prediction]) -> None:
            if completed.done():  # given up
                return
            if done.cancelled():
                completed.set_exception(CancelledError())
            elif error := done.exception():
                completed.set_exception(error)
            else:
                completed.set_result(done.result())
            executor.wake()  # it polls its coroutines only when something wakes it

        answer.add_done_callback(pass_on)
        self._awaited.add(completed)
        try:
            return await completed
        finally:
            self._awaited.discard(completed)

    # --- once a second ----------------------------------------------------------------------------

    def _on_second(self) -> None:
        level, message = self._health()
        tally, inputs = self._tally, self._inputs
        values: dict[str, object] = {
            "queue": self._model.waiting if self._model else 0,
            "answered": tally.answered,
            "refused": tally.refused,
            "dropped": tally.dropped,
            "failed": tally.failed,
            "refused frames": tally.refused_frames,
            "latency p50 (ms)": tally.latency(50),
            "latency p95 (ms)": tally.latency(95),
            "device": self._model.model.device if self._model else "-",
            "frame age (s)": f"{inputs.silence_s:.2f}" if inputs and inputs.seen else "-",
            "used image": tally.used_image,
        }
        name = self.get_fully_qualified_name()
        stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(
            diagnostics.array(stamp, name, "contextface", level, message, values)
        )

    def _health(self) -> tuple[bytes, str]:
        """Level and message for /diagnostics. Says once in the log that a camera is silent."""
        inputs = self._inputs
        if inputs is None:
            return diagnostics.OK, "inactive" if self._model else "unconfigured"
        settings, topic = self._settings.read(), self.resolve_topic_name("image")
        cameras = self.get_publishers_info_by_topic(topic)
        camera_expected = settings.image_transport != "none" and (cameras or inputs.seen)
        if not camera_expected or inputs.silence_s < settings.image_timeout_s:
            self._missed_camera = False
            return diagnostics.OK, "active"
        offers = sorted({f"{c.topic_type} ({c.qos_profile.reliability.name})" for c in cameras})
        message = (
            f"no {settings.image_transport} frame on {topic} for {inputs.silence_s:.0f} s;"
            f" it is published as: {', '.join(offers) or 'nothing any more'}"
        )
        if not self._missed_camera:
            self._missed_camera = True
            self.get_logger().warning(message)
        return diagnostics.WARN, message


def main() -> int:
    """Entry point of the executable `agent`."""
    return process.run(Agent)


if __name__ == "__main__":
    raise SystemExit(main())
