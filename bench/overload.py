"""More images than the engine manages: is the output steady, are results fresh, does memory stay?

    python -m tools.ros_environment python bench/overload.py [--seconds 60] [--camera-hz 120] [--quick]

A camera at 120 Hz, and an engine that needs some 25 ms for an image (models/uav_thermal on one thread). Only the newest
image waits, so the age of a result, from the image's stamp to its reception, must stay within 1.5 engine times
and one frame, however long it goes on. The last line is one JSON object.
"""

import argparse
import json

import numpy as np

from bench.parts.rig import ROOT, Client, programs, render, start_node


def fly(client: Client, messages: list, node, seconds: float, hz: float) -> tuple[list[float], float]:
    """Fly for a while. Returns (RSS in MB every second, seconds it took)."""
    client.forget()
    rss = []
    for _ in range(round(seconds)):
        client.fly(messages, 1.0, hz)
        rss.append(node.rss_mb)
    times = [t for _, t, _ in client.answers]
    return rss, times[-1] - times[0]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=str(ROOT / "models" / "uav_thermal"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--camera-hz", type=float, default=120.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--quick", action="store_true", help="8 seconds")
    args = parser.parse_args(argv)
    seconds = 8.0 if args.quick else args.seconds
    frames = render((640, 512), "thermal", 24)
    with programs() as (stack, folder):
        node = start_node(stack, folder / "log", model=args.model, threads=args.threads)
        client = Client()
        stack.callback(client.close)
        client.connect(node)
        messages = [client.message(pixels) for pixels in frames]
        client.fly(messages, 4.0, args.camera_hz)  # everything has been allocated once
        client.spin(1.2)
        before = client.diagnostics
        rss, took = fly(client, messages, node, seconds, args.camera_hz)
        answers = client.answers
        client.spin(1.5)
        after = client.diagnostics
    # The node's own clock on its engine, under this very load; percentiles of the last 200 frames.
    engine_ms = float(after["infer_ms_p50"])
    age = client.end_to_end_ms()
    gaps = 1e3 * np.diff([t for _, t, _ in answers])
    half = len(rss) // 2
    figures = {
        "output_hz": (len(answers) - 1) / took,
        "engine_hz": 1e3 / engine_ms,
        "age_ms_p50": float(np.percentile(age, 50)),
        "age_ms_p95": float(np.percentile(age, 95)),
        "age_limit_ms": 1.5 * engine_ms + 1e3 / args.camera_hz,
        "gap_ms_p50": float(np.percentile(gaps, 50)),
        "gap_ms_p95": float(np.percentile(gaps, 95)),
        "rss_growth_mb": float(np.median(rss[half:]) - np.median(rss[: max(half, 1)])),
        "sent": len(client.sent),
        "dropped": int(after["dropped"]) - int(before["dropped"]),
    }
    for key, value in figures.items():
        print(f"{key:<15}{value:>10.1f}")
    print(json.dumps({k: round(v, 2) for k, v in figures.items()}))


if __name__ == "__main__":
    main()
