"""One node as a process: started, spun, and ended cleanly by SIGINT or SIGTERM."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

GRACE_S = 1.7
"""Time to end in, after which the process goes without asking native code (2 s are promised)."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class ClosingNode(Protocol):
    """A node with work to end before it is destroyed."""

    def close(self) -> None:
        """End what is under way. Called once, on the executor's thread."""

    def destroy_node(self) -> None:
        """Free the node (rclpy.node.Node)."""


def run(make_node: Callable[[], ClosingNode], args: Sequence[str] | None = None) -> int:
    """Spin one node until SIGINT or SIGTERM.

    rclpy's own handlers are not used: they invalidate the context before the node could say
    goodbye. Here a thread awaits the signals, so that they are seen at once even while the main
    thread, which alone runs Python's handlers, is inside native code.

    Args:
        make_node: called after rclpy is initialised.
        args: command line without the program's name; sys.argv by default.

    Returns:
        The exit code: 0 after a signal, 2 where the node could not be made.
    """
    stop: Future[None] = Future()
    _watch_signals(stop)
    try:
        rclpy.init(
            args=sys.argv if args is None else ["node", *args],
            signal_handler_options=SignalHandlerOptions.NO,
        )
        node = make_node()
    except Exception as error:  # a params file or remapping that cannot be read
        print(f"The node cannot start: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2

    executor = SingleThreadedExecutor()
    executor.add_node(node)
    executor.spin_until_future_complete(stop)

    node.close()
    for _ in range(20):  # pending service calls receive their refusal
        executor.spin_once(timeout_sec=0)
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    # Python puts the default handlers back when it ends, and a second signal, from the terminal or
    # from who launched this, would then kill what is ending well. What is ignored stays ignored.
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    return 0


def _watch_signals(stop: Future[None]) -> None:
    """Complete `stop` at the first SIGINT or SIGTERM, and end the process if it does not end."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno())  # written to by the handler that Python has in C
    for number in _SIGNALS:
        signal.signal(number, lambda *_: None)

    def watch() -> None:
        with reader, writer:
            reader.recv(1)
            stop.set_result(None)
            time.sleep(GRACE_S)
            print("The node did not end in time and is cut off.", file=sys.stderr, flush=True)
            os._exit(0)

    threading.Thread(target=watch, daemon=True, name="signals").start()
