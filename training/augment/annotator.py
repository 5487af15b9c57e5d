"""Who writes the contexts: one small protocol, and which services there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from training.augment.answer import Answer
from training.augment.prompt import Request

Service = Literal["anthropic", "openai"]
Structure = Literal["json_schema", "json_object", "tool"]

STRUCTURES: dict[Service, tuple[Structure, ...]] = {
    "anthropic": ("json_schema", "tool"),
    "openai": ("json_schema", "json_object"),
}
"""How the form of an answer can be asked for, the usual one first.

    json_schema  the server holds the model to the schema (Anthropic's structured outputs; OpenAI,
                 vLLM, llama.cpp's own server)
    json_object  the schema beside "JSON please": llama-cpp-python's server
    tool         a tool that must be called with the answer: Anthropic's models without structured
                 outputs. It does not go with thinking.
"""


@dataclass(frozen=True)
class AnnotatorSpec:
    """All that is needed to open an annotator, on this machine or on another.

    Attributes:
        service: whose protocol is spoken. Keys are taken from the service's usual environment
            variable, never from here.
        model: name of the model at the service.
        base_url: of the server; None for the service's own.
        structure: how the form of an answer is asked for.
        max_tokens: most tokens of one answer, thinking included.
        retries: how often a request is repeated after a 408, 409, 429, 5xx or a lost connection,
            each time after a longer wait, or after what the server asks for.
        timeout_s: of one try.
    """

    service: Service
    model: str
    base_url: str | None
    structure: Structure
    max_tokens: int
    retries: int
    timeout_s: float

    @property
    def name(self) -> str:
        """Who it is, as it stands in the journal and in the annotations."""
        return f"{self.service}/{self.model}"


class AskFailed(Exception):
    """A request that ended without an answer, after all tries.

    Attributes:
        hopeless: whether the others would end in the same way, as with a wrong key.
    """

    def __init__(self, why: str, *, hopeless: bool = False) -> None:
        super().__init__(why)
        self.hopeless = hopeless


def failed(error: Exception, status: int | None) -> AskFailed:
    """What to make of an SDK's error: an HTTP status, or None for no answer at all."""
    why = f"{status}: {error}" if status else str(error) or type(error).__name__
    return AskFailed(" ".join(why.split())[:500], hopeless=status in (401, 402, 403, 404))


class Annotator(Protocol):
    """Answers questions about pictures. Usable from one event loop."""

    async def ask(self, request: Request) -> Answer:
        """One answer. Raises AskFailed."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


def open_annotator(spec: AnnotatorSpec) -> Annotator:
    """The annotator of a service.

    Raises:
        MissingDependency: its SDK is not installed.
        BadInput: it has no key.
    """
    if spec.service == "anthropic":
        from training.augment.anthropic_messages import AnthropicMessages

        return AnthropicMessages(spec)
    from training.augment.openai_chat import OpenAIChat

    return OpenAIChat(spec)
