"""An obstacle without a class through the node, over real DDS: images of a wall that comes nearer, and a velocity."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")
pytest.importorskip("onnx", reason="onnx is not installed (make setup)")

from flight import running  # noqa: E402
from geometry_msgs.msg import TwistStamped  # noqa: E402
from textured_way import FOCAL, FPS, SIZE, image  # noqa: E402

from vit_perception.avoidance.geometry import rotation_about  # noqa: E402

SPEED, START_M = 4.0, 17.0
K = [FOCAL, 0.0, 320.0, 0.0, FOCAL, 256.0, 0.0, 0.0, 1.0]


def test_a_wall_is_an_obstacle_a_ray_and_an_alert_by_motion(client, bundle, log):
    twists = client.node.create_publisher(TwistStamped, "twist", 10)
    twist = TwistStamped()
    twist.header.frame_id = "base_link"
    twist.twist.linear.x = SPEED
    with running("node", log, model=bundle, class_id_as_name=True, **{"motion_obstacles.enabled": True}):
        client.connect()
        client.calibrate(width=SIZE[0], height=SIZE[1], k=K)
        assert [c.class_name for c in client.messages("label_info")[-1].class_map][-1] == "obstacle"
        began = client.node.get_clock().now().nanoseconds
        # By stamps, and one image after the other is answered: how long they take to draw is nothing that moves.
        stamps = [divmod(began + int(1e9 * k / FPS), 10**9) for k in range(int(3.2 * FPS) + 1)]
        for k, stamp in enumerate(stamps[:-1]):
            twists.publish(twist)
            client.spin(0.01)
            # Dark enough that the blob model finds nothing in it.
            assert client.answer(image(START_M - SPEED * k / FPS) // 3, stamp) is not None
            seen = client.messages("obstacles")
            if seen and seen[-1].detections and client.messages("alert"):
                break
        assert client.messages("alert"), log.read_text()
        stamp = client.messages("obstacles")[-1].header.stamp
        to_wall = START_M - SPEED * (stamp.sec + 1e-9 * stamp.nanosec - 1e-9 * began)
        found, alert = client.messages("obstacles")[-1].detections[0], client.messages("alert")[-1]
        hypothesis, position = found.results[0], found.results[0].pose.pose.position
        assert hypothesis.hypothesis.class_id == "obstacle" and int(found.id) >= 1000000
        assert position.x == pytest.approx(to_wall, abs=0.3 * to_wall + 1.0)
        assert "by motion" in alert.message and "ttc_s" in alert.message
        assert not any(m.detections for m in client.messages("detections"))
        _, _, values = client.diagnostics()
        assert values["motion_obstacles"].startswith("watching") and "unclassed_ms_p50" in values
        done, reason = client.set_parameter("motion_obstacles.enabled", False)
        assert done, reason
        # Not by the clock: a fast machine has answered some of the images before their time has come.
        assert client.answer(image(5.0) // 3, stamps[-1]) is not None
        assert client.wait(lambda: client.diagnostics()[2]["motion_obstacles"] == "off", 5.0)


def test_bad_input_is_told_in_diagnostics_and_alerts_nobody(client, bundle, log):
    twists = client.node.create_publisher(TwistStamped, "twist", 10)
    twist = TwistStamped()
    twist.header.frame_id = "base_link"
    noise, turned, stamp = np.random.default_rng(1), np.eye(3), 100.0

    def told(text, frames, speed=SPEED, yaw=0.0, size=None):
        """Whether /diagnostics begins to say so within 24 images, 15 a second."""
        nonlocal stamp
        twist.twist.linear.x, twist.twist.angular.z = speed, yaw
        for k in range(24):
            stamp += 1 / FPS
            whole = int(stamp)
            twist.header.stamp.sec, twist.header.stamp.nanosec = whole, int(1e9 * (stamp - whole))
            twists.publish(twist)
            client.spin(0.01)
            assert client.answer(frames(k), (whole, int(1e9 * (stamp - whole)))) is not None
        return client.wait(lambda: client.diagnostics()[2]["motion_obstacles"].startswith(text), 5.0)

    def turning(k):
        nonlocal turned
        turned = rotation_about(np.array([0.0, -0.3, 0.0]) / FPS).dot(turned)  # to the right
        return image(60.0, turned, wall=False) // 3

    still = image(60.0, wall=False) // 3
    with running("node", log, model=bundle, **{"motion_obstacles.enabled": True, "stale_after_s": 5.0}):
        client.connect()
        assert told("blind: no calibrated camera", turning)
        client.calibrate(width=SIZE[0], height=SIZE[1], k=K)
        assert told("watching; gyro tells otherwise", turning, yaw=0.3)  # to the left, the twist says
        assert told("blind: odometry tells an impossible speed", turning, speed=1e3 * SPEED)
        assert told("blind: the image stands still", lambda k: still)
        assert told("blind: too little texture", lambda k: np.full(SIZE[::-1], 30 + k % 2, np.uint8))
        dark = [np.clip(noise.normal(4, 2, SIZE[::-1]), 0, 255).astype(np.uint8) for _ in range(24)]
        assert told("blind: too little texture", lambda k: dark[k])
        assert told("blind: no calibrated camera", lambda k: still[::2, ::2] + k % 2)
        assert not client.messages("alert") and "Traceback" not in log.read_text()
