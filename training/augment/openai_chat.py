"""Any server that speaks OpenAI's chat completions: OpenAI, vLLM, llama.cpp, llama-cpp-python."""

from __future__ import annotations

import base64
import os
from typing import Any

from contextface_ros.errors import BadInput, MissingDependency
from training.augment.annotator import AnnotatorSpec, failed
from training.augment.answer import Answer, Stop
from training.augment.prompt import SCHEMA, SYSTEM, Request

_STOPS = {"length": Stop.CUT_SHORT, "content_filter": Stop.REFUSED}


class OpenAIChat:
    """An annotator behind chat completions."""

    def __init__(self, spec: AnnotatorSpec) -> None:
        """Raises MissingDependency, and BadInput where OpenAI's own server is asked with no key."""
        try:
            import openai
        except ImportError as error:
            raise MissingDependency("pip install -r requirements/augment.txt") from error
        # Servers of one's own mostly want no key, but the SDK does.
        key = os.environ.get("OPENAI_API_KEY") or ("none" if spec.base_url else "")
        if not key:
            raise BadInput("OPENAI_API_KEY is not set: set it, or give --base-url of your server")
        self._error = openai.OpenAIError
        self._spec = spec
        self._client = openai.AsyncOpenAI(
            api_key=key,
            base_url=spec.base_url,
            max_retries=spec.retries,
            timeout=spec.timeout_s,
        )

    async def ask(self, request: Request) -> Answer:
        """One answer. Raises AskFailed."""
        try:
            completion = await self._client.chat.completions.create(
                model=self._spec.model,
                messages=_messages(request),
                max_tokens=self._spec.max_tokens,
                response_format=self._form(),
            )
        except self._error as error:
            raise failed(error, getattr(error, "status_code", None)) from error
        usage = completion.usage
        choice = completion.choices[0]
        stop = _STOPS.get(choice.finish_reason, Stop.DONE)
        return Answer(
            text=choice.message.content or choice.message.refusal or "",
            stop=Stop.REFUSED if choice.message.refusal else stop,
            input_tokens=usage.prompt_tokens if usage else 0,
            output_tokens=usage.completion_tokens if usage else 0,
        )

    def _form(self) -> Any:
        if self._spec.structure == "json_object":
            return {"type": "json_object", "schema": SCHEMA}
        described = {"name": "context", "strict": True, "schema": SCHEMA}
        return {"type": "json_schema", "json_schema": described}

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _messages(request: Request) -> Any:
    # Plain text where there is no picture: the templates of text models know nothing else.
    content: Any = request.text
    if request.jpeg is not None:
        data = base64.b64encode(request.jpeg).decode()
        content = [
            {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}},
            {"type": "text", "text": request.text},
        ]
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": content}]
