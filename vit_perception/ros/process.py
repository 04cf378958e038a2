"""Run one ROS node as a process: signals, one-sentence errors, and a shutdown in the right order."""

import os
import signal
import sys
import threading

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor

from ..errors import EngineLost, PerceptionError

# What a user can cause: our own errors, bad parameter values, and what rcl says of arguments (RuntimeError).
USER_ERRORS = (PerceptionError, ParameterException, RuntimeError)


def run(name, make_node, args=None):
    """Run until SIGINT, SIGTERM, or the event given to the node is set.

    Args:
        name: of the program, for error messages.
        make_node: make_node(stop) -> a Node with close(), which ends its threads, and failed(exception), which counts
            what a callback raised; stop is a threading.Event.

    Returns:
        the exit code: 0, or 1 after one sentence on stderr.
    """
    stop = threading.Event()
    try:
        init(args)
        for s in (signal.SIGINT, signal.SIGTERM):
            signal.signal(s, lambda *_: stop.set())
        node = make_node(stop)
    except USER_ERRORS as e:
        return _fail(name, e)
    try:
        _spin(node, stop)
    finally:
        stop.set()
        try:
            node.close()
        except EngineLost as e:  # no orderly end is possible with a thread that never returns, or a lost GPU
            _fail(name, e)
            os._exit(1)
        except PerceptionError as e:
            return _fail(name, e)
        finally:
            node.destroy_node()
            rclpy.shutdown()
    return 0


def _fail(name, error):
    print("{}: {}".format(name, " ".join(str(error).split())), file=sys.stderr)
    sys.stderr.flush()
    return 1


def init(args):
    """rclpy.init without its signal handlers, which would invalidate the context under a working thread."""
    try:
        from rclpy.signals import SignalHandlerOptions
    except ImportError:  # before Humble there are none to switch off
        rclpy.init(args=args)
    else:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)


def _spin(node, stop):
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not stop.is_set():
        try:
            executor.spin_once(timeout_sec=0.1)
        except Exception as e:  # a request or message that cannot be served must not end the flight
            node.failed(e)
            stop.wait(0.01)
    executor.shutdown()  # before the node's threads end and before rclpy.shutdown(), or the process aborts
