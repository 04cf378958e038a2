"""For benchmarks of the node over DDS: programs as processes, and a camera with a listener.

    python bench/parts/rig.py FRAMES.npy NAMESPACE best_effort|reliable

is the camera and listener as a process of its own: for each line of JSON on stdin, {"seconds": 5, "hz": 30}, it flies
that long and answers with one line of JSON. With "masks": true it listens to ~/segmentation too.
"""

import array
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vit_perception.health.board import rss_mb

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")


def render(size: tuple[int, int], look: str, count: int, crowd: bool = False) -> np.ndarray:
    """Frames of a rendered flight: uint8 (count, H, W) if look is 'thermal', (count, H, W, 3) bgr if it is 'color'.

    In the thermal ones the shipped detectors find about 11 objects (HIT-UAV has 8.7 an image), in a crowd about 70.
    """
    from offline.render import Flight

    preset, seed = ("search", 2) if crowd else ("survey", 6)
    return np.stack([frame.image for frame in Flight(preset, look, size, frames=count, fps=30.0, seed=seed)])


class Program:
    """A child process; its output goes to `log`. Knows what it takes of the CPU and of memory."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None):
        self.log = log
        with open(log, "wb") as f:
            self.process = subprocess.Popen(  # in a process group of its own: Ctrl-C is for the bench alone
                [sys.executable, *command],
                cwd=ROOT,
                stdout=f,
                stderr=subprocess.STDOUT,
                env=environment,
                process_group=0,
            )

    @property
    def cpu_s(self) -> float:
        """User and system time so far, seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @property
    def rss_mb(self) -> float:
        return self.memory_mb("VmRSS")

    def memory_mb(self, name: str) -> float:
        """As `vit_perception.health.board.rss_mb`; NaN when it has ended."""
        return rss_mb(f"/proc/{self.process.pid}/status", name) or float("nan")

    def end(self) -> int:
        """SIGINT, and after 10 s SIGKILL. Returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


@contextlib.contextmanager
def programs() -> Iterator[tuple[contextlib.ExitStack, Path]]:
    """(stack, folder): programs ended, folder removed at the end of the `with` block."""
    with contextlib.ExitStack() as stack:
        yield stack, Path(stack.enter_context(tempfile.TemporaryDirectory()))


def start_node(stack, log: Path, namespace="", script=("-m", "vit_perception.node"), environment=None, **parameters):
    """Start the node, or the script in its place, with ROS parameters; ends with the stack."""
    arguments = [x for k, v in parameters.items() for x in ("-p", f"{k}:={v}")]
    command = [*script, "--ros-args", "-r", f"__ns:=/{namespace}", *arguments]
    program = Program(command, log, environment)
    stack.callback(program.end)
    return program


class Client:
    """A camera, and a listener to what the node called `name` in `namespace` publishes.

    Attributes:
        sent: {stamp in ns: when its publication began, s on the steady clock}.
        answers: list of (stamp in ns, when its detections were received, number of them).
        diagnostics: {key: text} of the newest report, with its sentence as 'message' and its level as 'level'.
        masks: list of (stamp in ns, when its mask was received), while `listen_to_masks`.
    """

    def __init__(self, namespace: str = "", reliable: bool = False, name: str = "vit_perception"):
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from rclpy.signals import SignalHandlerOptions
        from sensor_msgs.msg import CameraInfo, Image
        from vision_msgs.msg import Detection2DArray

        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        self.sent: dict[int, float] = {}
        self.answers: list[tuple[int, float, int]] = []
        self.diagnostics: dict[str, str] = {}
        self.masks: list[tuple[int, float]] = []
        self._mask_subscription: object | None = None
        self._image, self._info, self._next = Image, CameraInfo, 0
        self.node = rclpy.create_node("camera", namespace="/" + namespace)
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(depth=10, reliability=reliability)
        self.images = self.node.create_publisher(Image, "image_raw", qos)
        self.infos = self.node.create_publisher(CameraInfo, "camera_info", qos)
        self.topic = f"/{namespace}/{name}/detections".replace("//", "/")
        self.node.create_subscription(Detection2DArray, self.topic, self._on_detections, QoSProfile(depth=50))
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._name = f"{namespace}/{name}: detector".lstrip("/")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)

    def _on_detections(self, msg):
        now = time.monotonic()
        self.answers.append((msg.header.stamp.sec * 10**9 + msg.header.stamp.nanosec, now, len(msg.detections)))

    def listen_to_masks(self, wanted: bool) -> None:
        """Subscribe to the node's masks, or leave them alone."""
        if self._mask_subscription is not None:
            self.node.destroy_subscription(self._mask_subscription)
            self._mask_subscription = None
        if wanted:
            topic = self.topic.replace("/detections", "/segmentation")
            self._mask_subscription = self.node.create_subscription(self._image, topic, self._on_mask, 10)
        self.spin(0.5)  # until both sides know

    def _on_mask(self, msg):
        self.masks.append((msg.header.stamp.sec * 10**9 + msg.header.stamp.nanosec, time.monotonic()))

    def _on_diagnostics(self, msg):
        for status in msg.status:
            if status.name == self._name:
                values = {v.key: v.value for v in status.values}
                self.diagnostics = values | {"message": status.message, "level": str(status.level[0])}

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=min(0.05, seconds))

    def connect(self, program: Program | None = None, timeout_s: float = 30.0) -> None:
        """Wait until somebody takes images and answers; ends this program, with what `program` said, if nobody does."""
        deadline = time.monotonic() + timeout_s
        while not (self.images.get_subscription_count() and self.node.count_publishers(self.topic)):
            if time.monotonic() > deadline or (program and program.process.poll() is not None):
                said = program.log.read_text()[-2000:] if program else ""
                sys.exit(f"error: the node did not come up\n{said}")
            self.spin(0.1)
        self.spin(0.5)

    def message(self, pixels: np.ndarray):
        """sensor_msgs/Image of uint8 (H, W) mono8 or (H, W, 3) bgr8."""
        height, width = pixels.shape[:2]
        encoding = "mono8" if pixels.ndim == 2 else "bgr8"
        msg = self._image(height=height, width=width, encoding=encoding, step=pixels[0].size)
        msg.header.frame_id = "camera"
        msg.data = array.array("B", pixels.tobytes())
        return msg

    def send(self, msg) -> None:
        """Publish `msg` with the stamp of now."""
        stamp = time.time_ns()
        msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp, 10**9)
        self.sent[stamp] = time.monotonic()
        self.images.publish(msg)

    def calibrate(self, width: int, height: int) -> None:
        k = [0.8 * width, 0.0, width / 2, 0.0, 0.8 * width, height / 2, 0.0, 0.0, 1.0]
        self.infos.publish(self._info(width=width, height=height, k=k))

    def fly(self, messages: list, seconds: float, hz: float, stop=None, calibrated: bool = True) -> None:
        """Send `messages` in a circle from a thread of its own, at a steady rate, and listen meanwhile.

        Args:
            stop: threading.Event that ends it. calibrated: with a camera_info, of an invented camera.
        """
        halt = stop or threading.Event()
        if calibrated:
            self.calibrate(messages[0].width, messages[0].height)
        camera = threading.Thread(target=self._fly, args=(messages, seconds, hz, halt))
        camera.start()
        while camera.is_alive():
            self._executor.spin_once(timeout_sec=0.05)
        camera.join()

    def _fly(self, messages, seconds, hz, halt):
        start = time.monotonic()
        for i in range(round(seconds * hz)):
            if halt.wait(max(0.0, start + i / hz - time.monotonic())):
                return
            self.send(messages[self._next % len(messages)])
            self._next += 1

    def forget(self) -> None:
        self.sent, self.answers, self.masks = {}, [], []

    def masks_after_ms(self) -> list[float]:
        """From the reception of an image's detections to that of its mask."""
        boxes = {stamp: t for stamp, t, _ in self.answers}
        return [1e3 * (t - boxes[stamp]) for stamp, t in self.masks if stamp in boxes]

    def end_to_end_ms(self) -> list[float]:
        """From the publication of an image to the reception of its detections, of each image answered."""
        return [1e3 * (t - self.sent[stamp]) for stamp, t, _ in self.answers if stamp in self.sent]

    def close(self) -> None:
        import rclpy

        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown()


def main() -> None:
    frames, namespace, reliability = sys.argv[1:4]
    name = sys.argv[4] if len(sys.argv) > 4 else "vit_perception"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the bench ends it by closing stdin
    client = Client(namespace, reliability == "reliable", name)
    messages = [client.message(pixels) for pixels in np.load(frames)]
    client.connect()
    for line in sys.stdin:
        order = json.loads(line)
        if "masks" in order:
            client.listen_to_masks(order["masks"])
        client.forget()
        client.fly(messages, order["seconds"], order["hz"])
        client.spin(0.3)
        boxes = [n for _, _, n in client.answers]
        result = {"sent": len(client.sent), "ms": client.end_to_end_ms(), "boxes": float(np.mean(boxes or [0]))}
        result["mask_after_ms"] = client.masks_after_ms()
        print(json.dumps(result | {"diagnostics": client.diagnostics}), flush=True)
    client.close()


if __name__ == "__main__":
    main()
