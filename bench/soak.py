"""Hours of flight: does memory grow, is every image accounted for, does anything go wrong?

    python -m tools.ros_environment python bench/soak.py [--minutes 60] [--quick] [--out out/soak]

A camera at 30 Hz, 640x512, and models/uav_thermal_tiny. Now and then an image cannot be used, a subscriber
comes and goes, a parameter changes, the node stands still for a second. Every image that the node received must have
been processed, dropped for a newer one, rejected, or counted as failed; best effort may lose some on the way, and those
are counted too. Memory is judged after the first minute, in which everything happens once. Ctrl-C ends it with the
figures so far; soak.json holds them once a minute, soak.png the memory. The last line is one JSON object.
"""

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

import numpy as np

from bench.parts.rig import ROOT, Client, Program, programs, render, start_node
from offline.files import write_json

HZ, SIZE = 30.0, (640, 512)
FATES = ("processed", "dropped", "rejected", "failures", "skipped")
TROUBLE = ("Traceback", "frame failed", "a callback failed", "Segmentation", "terminate called")


class Visitor:
    """A subscriber to everything that comes and goes, and a pilot who changes a parameter."""

    def __init__(self, client: Client):
        from rcl_interfaces.srv import SetParameters
        from sensor_msgs.msg import CompressedImage, Image
        from vision_msgs.msg import Detection3DArray
        from visualization_msgs.msg import MarkerArray

        self._node = client.node
        kinds = {
            "obstacles": Detection3DArray,
            "markers": MarkerArray,
            "debug_image": Image,
            "debug_image/compressed": CompressedImage,
        }
        self._topics = {"/vit_perception/" + name: kind for name, kind in kinds.items()}
        self._subscriptions: list = []
        self._service = self._node.create_client(SetParameters, "/vit_perception/set_parameters")
        self._kind = SetParameters
        self.visits = self.changes = self.heard = 0

    def step(self, second: int) -> None:
        """What is due in this second: every 20 s a visit of 5 s, every 10 s another threshold."""
        if second % 20 == 5:
            self._subscriptions = [
                self._node.create_subscription(kind, topic, self._hear, 5) for topic, kind in self._topics.items()
            ]
            self.visits += 1
        if second % 20 == 10:
            for subscription in self._subscriptions:
                self._node.destroy_subscription(subscription)
            self._subscriptions = []
        if second % 10 == 0 and self._service.service_is_ready():
            self._service.call_async(self._kind.Request(parameters=[self._parameter(0.3 + 0.1 * (second % 20 == 0))]))
            self.changes += 1

    def _hear(self, _) -> None:
        self.heard += 1

    def _parameter(self, value: float):
        from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue

        kind = ParameterType.PARAMETER_DOUBLE
        return Parameter(name="score_threshold", value=ParameterValue(type=kind, double_value=value))


def spoilt(client: Client, pixels: np.ndarray) -> list:
    """Messages that no camera should send: each is rejected."""
    unknown, short, small, empty = (client.message(pixels) for _ in range(4))
    unknown.encoding = "nonsense"
    short.data = short.data[:-1000]
    small.step = 10
    empty.width = empty.height = 0
    return [unknown, short, small, empty]


class Soak:
    """One flight, second by second."""

    def __init__(self, client: Client, node: Program, frames: np.ndarray):
        self._client, self._node = client, node
        good = [client.message(pixels) for pixels in frames]
        self._messages = [m for bad in spoilt(client, frames[0]) for m in (*good, *good, bad)]
        self.visitor = Visitor(client)
        self.stop = threading.Event()
        self.rss: list[float] = []
        self.anonymous: list[float] = []  # of it what is shared with nobody, MB
        self.sent = self.answered = 0
        self.late: list[float] = []  # end to end, ms, one median a second

    def second(self) -> None:
        client = self._client
        self.visitor.step(len(self.rss))
        # As if other programs had taken the CPU. What piles up is read then: all of the camera's shared memory counts
        # as memory of the node from the first time on.
        stall = len(self.rss) % 300 == 15
        if stall:
            self._node.process.send_signal(signal.SIGSTOP)
        try:
            client.fly(self._messages, 1.0, HZ, self.stop)
        finally:
            if stall:
                self._node.process.send_signal(signal.SIGCONT)
        self.rss.append(self._node.rss_mb)
        self.anonymous.append(self._node.memory_mb("RssAnon"))
        self._count()

    def _count(self) -> None:
        client = self._client
        self.sent += len(client.sent)
        self.answered += len(client.answers)
        self.late.append(float(np.median(client.end_to_end_ms() or [np.nan])))
        client.forget()

    def settle(self) -> None:
        """Wait for the report after the last image."""
        self._client.spin(2.5)
        self.answered += len(self._client.answers)
        self._client.forget()

    def figures(self) -> dict:
        """What is known now; exact once settled."""
        values = self._client.diagnostics
        fates = {name: int(values.get(name, 0)) for name in FATES}
        said = self._node.log.read_text(errors="replace")
        start = min(60, len(self.rss) // 3)  # the first minute is for what is allocated once
        growth = grown(self.rss[start:])
        return {
            "minutes": round(len(self.rss) / 60, 2),
            "rss_growth_mb": round(growth, 2),
            "rss_anonymous_growth_mb": round(grown(self.anonymous[start:]), 2),
            "rss_mb": round(self.rss[-1], 1),
            "rss_max_mb": round(max(self.rss), 1),
            "frames_sent": self.sent,
            "frames_lost_in_transport": self.sent - int(values.get("received", 0)),
            "frames_in": int(values.get("received", 0)),
            "frames_accounted": sum(fates.values()),
            **fates,
            "answers": self.answered,
            "end_to_end_ms_median": round(float(np.nanmedian(self.late)), 2),
            "exceptions": sum(said.count(word) for word in TROUBLE) + int(values.get("callback_failures", 0)),
            "visits": self.visitor.visits,
            "parameter_changes": self.visitor.changes,
            "visitor_heard": self.visitor.heard,
            "alive": self._node.process.poll() is None,
        }


def grown(values: list[float]) -> float:
    """How much the last sixth lies above the first."""
    part = max(len(values) // 6, 1)
    return float(np.median(values[-part:]) - np.median(values[:part]))


def plot(rss: list[float], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3), layout="constrained")
    axes.plot(np.arange(len(rss)) / 60, rss, linewidth=0.8)
    axes.set(xlabel="minutes", ylabel="RSS of the node, MB", title=f"{HZ:.0f} Hz, {SIZE[0]}x{SIZE[1]}")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--model", default=str(ROOT / "models" / "uav_thermal_tiny"))
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "soak")
    parser.add_argument("--quick", action="store_true", help="half a minute")
    args = parser.parse_args(argv)
    seconds = round(60 * (0.5 if args.quick else args.minutes))
    args.out.mkdir(parents=True, exist_ok=True)
    with programs() as (stack, _):
        node = start_node(stack, args.out / "node.log", model=args.model)
        client = Client()
        stack.callback(client.close)
        client.connect(node)
        soak = Soak(client, node, render(SIZE, "thermal", 25))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: soak.stop.set())
        while len(soak.rss) < seconds and not soak.stop.is_set() and node.process.poll() is None:
            soak.second()
            if len(soak.rss) % 60 == 0:
                write_json(args.out / "soak.json", soak.figures() | {"rss": np.round(soak.rss, 2).tolist()})
            if len(soak.rss) % 10 == 0:
                text = f"{len(soak.rss)} of {seconds} s, RSS {soak.rss[-1]:.1f} MB, {soak.answered} answers"
                print(f"\r{text} ", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        soak.settle()
        figures = soak.figures()
    write_json(args.out / "soak.json", figures | {"rss": np.round(soak.rss, 2).tolist()})
    plot(soak.rss, args.out / "soak.png")
    for key, value in figures.items():
        print(f"{key:<26}{value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
