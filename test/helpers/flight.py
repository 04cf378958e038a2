"""For tests over real DDS: the programs as processes, and a client that feeds and hears them."""

import array
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import ListParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, LaserScan
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection2DArray, Detection3DArray, LabelInfo

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NAME = "/vit_perception"
WIDTH, HEIGHT = 128, 96  # twice the size of the blob model's input


def start(module, log, remap=None, **parameters):
    """Start `python -m vit_perception.<module>` with ROS parameters; its output goes to the file `log`."""
    arguments = [x for k, v in parameters.items() for x in ("-p", f"{k}:={v}")]
    arguments += [x for k, v in (remap or {}).items() for x in ("-r", f"{k}:={v}")]
    command = [sys.executable, "-m", "vit_perception." + module, "--ros-args", *arguments]
    with open(log, "wb") as f:
        return subprocess.Popen(command, cwd=ROOT, stdout=f, stderr=subprocess.STDOUT)


@contextlib.contextmanager
def running(module, log, remap=None, **parameters):
    """The program for the length of a `with` block; ends it by SIGINT and expects a clean exit."""
    process = start(module, log, remap, **parameters)
    try:
        yield process
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0, Path(log).read_text()
    except BaseException:
        print(Path(log).read_text())  # pytest shows it beside what failed
        raise
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGABRT)  # its log tells where it stood
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()


def white_blocks(*cells):
    """Black image with the given 16 x 16 cells (column, row) white: the blob model finds exactly these."""
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    for x, y in cells:
        image[16 * y : 16 * y + 16, 16 * x : 16 * x + 16] = 255
    return image


def positions(client):
    """(x, y, z) of each object in the newest ~/obstacles."""
    found = client.messages("obstacles")[-1].detections
    return [(p.x, p.y, p.z) for p in (d.results[0].pose.pose.position for d in found)]


class Client:
    """A camera and a listener. `received` maps topics to (arrival on the steady clock, message)."""

    def __init__(self, context):
        self.node = rclpy.create_node("client", context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self.images = self.node.create_publisher(Image, "image_raw", 10)
        self.infos = self.node.create_publisher(CameraInfo, "camera_info", 10)
        self.received = {}
        latched = QoSProfile(
            depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE
        )
        for topic, kind, qos in (
            (NAME + "/detections", Detection2DArray, 50),
            (NAME + "/obstacles", Detection3DArray, 50),
            (NAME + "/label_info", LabelInfo, latched),
            ("obstacle_scan", LaserScan, 10),
            (NAME + "/alert", DiagnosticStatus, 50),
            ("/diagnostics", DiagnosticArray, 10),
        ):
            self.listen(topic, kind, qos)
        self._set_parameters = None

    def listen(self, topic, kind, qos=10):
        """Hear one more topic; its last name is the key of what is received."""
        key = topic.rpartition("/")[2]
        self.received[key] = []
        self.node.create_subscription(kind, topic, lambda m, k=key: self._keep(k, m), qos)

    def _keep(self, key, msg):
        self.received[key].append((time.monotonic(), msg))

    def messages(self, key):
        return [m for _, m in self.received[key]]

    def forget(self):
        for kept in self.received.values():
            kept.clear()

    def spin(self, seconds):
        self.wait(lambda: False, seconds)

    def wait(self, condition, timeout_s=5.0, each=None):
        """Spin until `condition()`, calling each() 20 times a second; returns whether it came true in time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            if each is None:
                self._executor.spin_once(timeout_sec=0.02)
            else:
                each()
                self.wait(condition, 0.05)
        return True

    def meet(self, node=NAME, timeout_s=10.0, each=None):
        """Wait until `node` knows every publisher, subscription and service client that was made here so far.

        What this side sees tells only that it knows the node. A node that does not know a service's client yet drops
        the answer after 0.1 s. It hears of endpoints in the order in which they were made: when it answers the newest
        service client, it knows all that were made before.
        """
        newest = self.node.create_client(ListParameters, node + "/list_parameters")
        deadline = time.monotonic() + timeout_s
        try:
            assert self.wait(newest.service_is_ready, timeout_s, each), f"{node} did not appear"
            while not self.wait(newest.call_async(ListParameters.Request()).done, 1.0, each):
                assert time.monotonic() < deadline, f"{node} does not answer"
        finally:
            self.node.destroy_client(newest)

    def service(self, kind, name, each=None):
        """A client of the service `name`, from which `call` will get an answer."""
        client = self.node.create_client(kind, name)
        assert self.wait(client.service_is_ready, 10.0, each), f"no service {name}"
        self.meet(name.rpartition("/")[0], each=each)
        return client

    def call(self, service, request, timeout_s=10.0, each=None):
        """The answer to `request`, or None if none came."""
        future = service.call_async(request)
        return future.result() if self.wait(future.done, timeout_s, each) else None

    def ask(self, name, each=None):
        """The answer of a service of type Trigger."""
        service = self.service(Trigger, name, each)
        answer = self.call(service, Trigger.Request(), each=each)
        self.node.destroy_client(service)
        assert answer is not None, f"{name} does not answer"
        return answer

    def connect(self):
        """Wait until the node's image subscription and its detections have been found."""
        assert self.wait(
            lambda: (
                self.images.get_subscription_count() > 0
                and self.infos.get_subscription_count() > 0
                and self.node.count_publishers(NAME + "/detections") > 0
                and self.received["label_info"]
            ),
            15.0,
        ), "the node did not appear"
        self.meet()

    def send(self, image, stamp=(7, 5), frame_id="cam", **changes):
        """Publish a mono8 image; `changes` overwrite fields of the message."""
        msg = Image(height=image.shape[0], width=image.shape[1], encoding="mono8", step=image.shape[1])
        msg.header.stamp.sec, msg.header.stamp.nanosec = stamp
        msg.header.frame_id = frame_id
        msg.data = array.array("B", image.tobytes())
        for name, value in changes.items():
            setattr(msg, name, value)
        self.images.publish(msg)

    def send_now(self, image, **changes):
        now = self.node.get_clock().now().to_msg()
        self.send(image, (now.sec, now.nanosec), **changes)
        return now.sec, now.nanosec

    def fly(self, image, seconds, rate=20.0, each=None, **changes):
        """Send `image` with real stamps for a while; each() is called before every one.

        What each() tells of the vehicle is then known when the image comes, also where this process stood still before.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if each is not None:
                each()
            self.send_now(image, **changes)
            self.spin(1.0 / rate)

    def fly_until(self, image, condition, images=20, **how):
        """Send `image`, as `fly` does, until `condition()`; returns whether it came true within so many images.

        20 come in a second, and fewer where this process is held up: that is no time that the node took.
        """
        for _ in range(images):
            if condition():
                return True
            self.fly(image, 0.04, **how)  # one image
        return bool(condition())

    def settle(self, image):
        """Send `image` once more; returns its detections. Those of what was sent before have come by then, too."""
        answer = self.answer_to(self.send_now(image))
        assert answer is not None, "no detections came"
        return answer

    def calibrate(self, fx=100.0, **changes):
        """Publish a camera_info; `changes` overwrite fields of the message."""
        info = CameraInfo(width=WIDTH, height=HEIGHT, k=[fx, 0.0, WIDTH / 2, 0.0, fx, HEIGHT / 2, 0.0, 0.0, 1.0])
        for name, value in changes.items():
            setattr(info, name, value)
        self.infos.publish(info)
        self.spin(0.1)

    def answer(self, image, stamp, **changes):
        """The detections of one image, or None if none came."""
        self.send(image, stamp, **changes)
        return self.answer_to(stamp)

    def answer_to(self, stamp, timeout_s=5.0):
        def found():
            return [m for m in self.messages("detections") if (m.header.stamp.sec, m.header.stamp.nanosec) == stamp]

        return found()[0] if self.wait(found, timeout_s) else None

    def diagnostics(self, image=None):
        """(level, message, values) of the next report; `image` flies on while waiting for it."""
        self.received["diagnostics"].clear()
        deadline = time.monotonic() + 3.0
        while image is not None and not self.received["diagnostics"] and time.monotonic() < deadline:
            self.fly(image, 0.05)
        assert self.wait(lambda: self.received["diagnostics"], 3.0), "no diagnostics"
        status = self.messages("diagnostics")[-1].status[0]
        return status.level[0], status.message, {v.key: v.value for v in status.values}

    def set_parameter(self, name, value):
        """(successful, reason) of a run-time change."""
        kinds = {
            bool: ("bool_value", ParameterType.PARAMETER_BOOL),
            int: ("integer_value", ParameterType.PARAMETER_INTEGER),
            float: ("double_value", ParameterType.PARAMETER_DOUBLE),
            str: ("string_value", ParameterType.PARAMETER_STRING),
        }
        field, kind = kinds[type(value)]
        request = SetParameters.Request()
        request.parameters = [Parameter(name=name, value=ParameterValue(type=kind, **{field: value}))]
        if self._set_parameters is None:
            self._set_parameters = self.service(SetParameters, NAME + "/set_parameters")
        answer = self.call(self._set_parameters, request, 5.0)
        assert answer is not None, "no answer"
        return answer.results[0].successful, answer.results[0].reason

    def close(self):
        self._executor.shutdown()
        self.node.destroy_node()


PERSON = white_blocks((4, 2))


def scans(client, image, seconds=0.5, **changes):
    """How many scans come while `image` flies on."""
    client.forget()
    client.fly(image, seconds, **changes)
    return len(client.messages("obstacle_scan"))


def flies(client, image, **how):
    """Whether scans come, and at their rate, while `image` flies on: three within 0.3 s. See `fly_until`."""
    client.forget()

    def steady():
        newest = [t for t, _ in client.received["obstacle_scan"][-3:]]
        return len(newest) == 3 and newest[-1] - newest[0] < 0.3

    return client.fly_until(image, steady, **how)


def stamps_of(client, topic):
    """(sec, nanosec) of each message."""
    return {(m.header.stamp.sec, m.header.stamp.nanosec) for m in client.messages(topic)}
