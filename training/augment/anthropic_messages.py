"""Anthropic's Messages API through its SDK."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from contextface_ros.errors import BadInput, MissingDependency
from training.augment.annotator import AnnotatorSpec, failed
from training.augment.answer import Answer, Stop
from training.augment.prompt import SCHEMA, SYSTEM, Request

if TYPE_CHECKING:
    from anthropic.types import Message

TOOL = "write_context"

_STOPS = {
    "refusal": Stop.REFUSED,
    "max_tokens": Stop.CUT_SHORT,
    "model_context_window_exceeded": Stop.CUT_SHORT,
}


class AnthropicMessages:
    """An annotator behind the Messages API."""

    def __init__(self, spec: AnnotatorSpec) -> None:
        """Raises MissingDependency, and BadInput where there is no key."""
        anthropic = sdk()
        self._error = anthropic.AnthropicError
        self._spec = spec
        self._client = anthropic.AsyncAnthropic(
            base_url=spec.base_url, max_retries=spec.retries, timeout=spec.timeout_s
        )
        check_key(self._client)

    async def ask(self, request: Request) -> Answer:
        """One answer. Raises AskFailed."""
        try:
            message = await self._client.messages.create(**parameters(self._spec, request))
        except self._error as error:
            raise failed(error, getattr(error, "status_code", None)) from error
        return read_message(message)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def sdk() -> Any:
    """The module `anthropic`. Raises MissingDependency."""
    try:
        import anthropic
    except ImportError as error:
        raise MissingDependency("pip install -r requirements/augment.txt") from error
    return anthropic


def check_key(client: Any) -> None:
    """Raise BadInput unless the SDK found a key: without one each request raises TypeError."""
    if client.api_key is None and client.auth_token is None and client.credentials is None:
        raise BadInput("ANTHROPIC_API_KEY is not set: set it to a key of your account")


def parameters(spec: AnnotatorSpec, request: Request) -> dict[str, Any]:
    """What a request is made of, for the Messages API and for its batches alike."""
    content: list[dict[str, Any]] = []
    if request.jpeg is not None:
        data = base64.b64encode(request.jpeg).decode()
        source = {"type": "base64", "media_type": "image/jpeg", "data": data}
        content.append({"type": "image", "source": source})
    content.append({"type": "text", "text": request.text})
    asked: dict[str, Any] = {
        "model": spec.model,
        "max_tokens": spec.max_tokens,
        "system": SYSTEM,
        "messages": [{"role": "user", "content": content}],
    }
    if spec.structure == "tool":
        tool = {"name": TOOL, "description": "Hand in the context.", "input_schema": SCHEMA}
        return asked | {
            "tools": [tool | {"strict": True}],
            "tool_choice": {"type": "tool", "name": TOOL},
        }
    return asked | {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}


def read_message(message: Message, *, half_price: bool = False) -> Answer:
    """The answer in a message: the tool's input, or else all its text."""
    text = "".join(block.text for block in message.content if block.type == "text")
    for block in message.content:
        if block.type == "tool_use" and block.name == TOOL:
            text = json.dumps(block.input)
    usage = message.usage
    read = (usage.input_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens)
    return Answer(
        text=text,
        stop=_STOPS.get(message.stop_reason or "", Stop.DONE),
        input_tokens=sum(count or 0 for count in read),
        output_tokens=usage.output_tokens,
        half_price=half_price,
    )
