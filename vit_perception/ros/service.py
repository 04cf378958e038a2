"""A std_srvs/Trigger service whose answer takes long: each call is answered in a thread of its own."""

import threading

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future

from ..errors import PerceptionError

try:
    from std_srvs.srv import Trigger
except ImportError:
    Trigger = None


def offer(node, name, answer, failed):
    """Create the service `name`; destroy it with node.destroy_service.

    Args:
        answer: answer() -> (success, message). A PerceptionError that it raises is the message of a failure.
        failed: what a caller hears, "{!r}" of the exception included, of one that is none of ours.
    """

    def work(future):
        try:
            future.set_result(answer())
        except PerceptionError as e:
            future.set_result((False, str(e)))
        except Exception as e:  # the one who asked hears it
            future.set_result((False, failed.format(e)))

    async def on_call(request, response):
        future = Future()
        threading.Thread(target=work, args=(future,), name=name.lstrip("~/"), daemon=True).start()
        response.success, response.message = await future  # the executor goes on meanwhile
        return response

    group = ReentrantCallbackGroup()  # an answer that waits must not stop the node's timers
    return node.create_service(Trigger, name, on_call, callback_group=group)
