"""Transitions whose errors are seen."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import TypeVar

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from contextface_ros.errors import ContextFaceError

N = TypeVar("N", bound=LifecycleNode)


def transition(callback: Callable[[N], None]) -> Callable[[N, LifecycleState], object]:
    """Make an on_* callback of a method that raises when it cannot do its work.

    rclpy takes any exception for ERROR without a word. Here an error that a user can mend is one
    line in the log and FAILURE: the node stays where it was, and the transition can be tried again.
    Anything else is a traceback and ERROR, after which `on_error` frees what there is.
    """

    @functools.wraps(callback)
    def on_transition(self: N, state: LifecycleState) -> object:
        try:
            callback(self)
        except ContextFaceError as error:
            self.get_logger().error(f"Cannot {_verb(callback.__name__)}: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().error(
                f"Error in {callback.__name__}, the node is cleaned up:\n{traceback.format_exc()}"
            )
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    return on_transition


def _verb(name: str) -> str:
    return name.removeprefix("on_").replace("cleanup", "clean up").replace("shutdown", "shut down")
