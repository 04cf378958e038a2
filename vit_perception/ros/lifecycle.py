"""A lifecycle node whose transitions may raise, and which can make the first two by itself."""

from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

from ..errors import PerceptionError
from .process import USER_ERRORS

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class ManagedNode(LifecycleNode):
    """Calls `_configure`, `_activate`, `_deactivate` and `_release` of a subclass, in the executor's thread.

    The node logs what they raise and stays in its state. After `_autostart` it ends the program instead: the node sets
    `stop`, and `close` raises the error.

    Args:
        name: of the node. stop: threading.Event that ends the program.

    Attributes:
        state (str): as lifecycle nodes call it.
    """

    def __init__(self, name, stop):
        super().__init__(name)
        self._stop, self._failure, self.state = stop, None, "unconfigured"
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)  # timers run on, whatever simulated time does
        self._starter: Any = None  # the timer of _autostart

    def _autostart(self):
        """Configure and activate as soon as the node spins."""
        self._starter = self.create_timer(0.0, self._start, clock=self._steady)

    def _start(self):
        self._starter.cancel()
        if self.trigger_configure() == SUCCESS:
            self.trigger_activate()
        self._starter = None  # what fails from now on is no failed start
        if self._failure is not None:
            self._stop.set()

    def on_configure(self, state):
        return self._change("inactive", self._configure)

    def on_activate(self, state):
        return self._change("active", self._activate)

    def on_deactivate(self, state):
        return self._change("inactive", self._deactivate)

    def on_cleanup(self, state):
        return self._change("unconfigured", self._release)

    def on_shutdown(self, state):
        return self._change("finalized", self._release)

    def on_error(self, state):
        return self._change("unconfigured", self._release)

    def _change(self, state, action):
        """Do what leads to `state`. What goes wrong is logged, and the node stays where it was."""
        try:
            action()
        except Exception as e:  # rclpy would swallow it
            if self._stop.is_set():  # whatever a signal cut short
                return FAILURE
            known = isinstance(e, USER_ERRORS)
            failure = PerceptionError(str(e) if known else "cannot become {}: {!r}".format(state, e))
            if self._starter is None:
                self.get_logger().error(str(failure))
            else:
                self._failure = failure
            return FAILURE
        self.state = state
        self.get_logger().debug(state)
        return SUCCESS

    def give_up(self, error):
        """End the program with `error`, a PerceptionError."""
        self._failure = error
        self._stop.set()

    def close(self):
        """Release everything. The executor must no longer spin this node.

        Raises:
            PerceptionError: it could not start, or gave up.
        """
        self._release()
        if self._failure is not None:
            raise self._failure
