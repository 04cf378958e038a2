"""Least privilege: the SROS2 policy is exactly what the programs do, seen from another process. And nothing leaves."""

import os
import re
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import cv2
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")

from flight import ROOT, running, white_blocks  # noqa: E402
from segment_bundle import make_segment_bundle  # noqa: E402

POLICY = os.path.join(ROOT, "config", "sros2_policy.xml")
KINDS = (("topics", "publish"), ("topics", "subscribe"), ("services", "reply"), ("services", "request"))


def allowed(node, *parameters):
    """{what: full names} that the policy allows the node, with what comments add for `parameters`."""
    with open(POLICY) as f:
        text = f.read()
    for name in parameters:
        text, found = re.subn(r"<!-- " + name + r": (.*?) -->", r"\1", text, flags=re.DOTALL)
        assert found == 1, name
    root = ElementTree.fromstring(text)
    profile = root.find(f"./enclaves/enclave[@path='/{node}']/profiles/profile")
    assert (profile.get("ns"), profile.get("node")) == ("/", node)
    names = {kind: set() for _, kind in KINDS}
    for group in profile:
        (kind,) = group.keys()
        assert (group.tag, kind) in KINDS and group.get(kind) == "ALLOW"
        names[kind] |= {full_name(e.text, node) for e in group}
    return names


def full_name(name, node):
    return name if name.startswith("/") else f"/{node}{name[1:]}" if name.startswith("~") else "/" + name


def graph(client, node):
    """The same as `allowed`, of a running node, as DDS discovery tells it."""
    ask = client.node
    calls = (
        ask.get_publisher_names_and_types_by_node,
        ask.get_subscriber_names_and_types_by_node,
        ask.get_service_names_and_types_by_node,
        ask.get_client_names_and_types_by_node,
    )
    return {kind: {name for name, _ in call(node, "/")} for (_, kind), call in zip(KINDS, calls, strict=True)}


def settled(client, node, expected):
    """The graph once it is as expected, or as it is after 10 s."""

    def found():
        return node in client.node.get_node_names() and graph(client, node) == expected

    client.wait(found, 10.0)
    client.spin(0.3)  # what is announced later would be too much
    return graph(client, node)


@pytest.mark.parametrize(
    "options, extras",
    [
        ({}, ()),
        ({"height_source": "range", "publish_px4": True, "use_sim_time": True},
         ("height_source", "publish_px4", "use_sim_time")),
    ],
)  # fmt: skip
def test_policy_is_the_nodes_graph(client, bundle, log, options, extras):
    expected = allowed("vit_perception", *extras)
    with running("node", log, model=bundle, **{"dump.seconds": 1.0}, **options):
        assert settled(client, "vit_perception", expected) == expected


def test_policy_is_the_graph_of_a_node_that_segments(client, log, tmp_path):
    expected = allowed("vit_perception", "model of a bundle that segments", "landing.enabled")
    model = make_segment_bundle(tmp_path / "both", "both")
    with running("node", log, model=model, **{"landing.enabled": True, "dump.seconds": 1.0}):
        assert settled(client, "vit_perception", expected) == expected


@pytest.mark.parametrize(
    "options, extras", [({}, ()), ({"lockstep_topic": "vit_perception/detections"}, ("lockstep_topic",))]
)
def test_policy_is_the_players_graph(client, tmp_path, log, options, extras):
    cv2.imwrite(str(tmp_path / "0.png"), white_blocks((1, 1)))
    expected = allowed("player", *extras)
    with running("player", log, folder=tmp_path, loop=True, wait_for_subscribers=2, **options):
        assert settled(client, "player", expected) == expected


def test_policy_is_the_guards_and_the_links_graph(client, tmp_path, log):
    pytest.importorskip("pymavlink", reason="pymavlink is the user's own, and not installed: pip install pymavlink")
    for name, options in (("guard", {"on_stale": "blocked"}), ("mavlink", {"mavlink_url": "udpout:127.0.0.1:9"})):
        expected = allowed(name)
        with running(name, log, **options):
            assert settled(client, name, expected) == expected


# In a network of its own, with one interface beside lo: runs a command and prints how many packets went out there.
SEND = """
ip link set lo up
ip link add out0 type veth peer name out1
echo 1 > /proc/sys/net/ipv6/conf/out0/disable_ipv6
ip addr add 192.0.2.1/24 dev out0
ip link set out1 up; ip link set out0 multicast on up; ip route add default dev out0
sent() { awk '/out0:/ { print $11 }' /proc/net/dev; }
before=$(sent)
"$@" || exit
echo sent $(( $(sent) - before ))
"""


def sent(command, **environment):
    """Packets that `command` sends beyond this machine. Skips where a network namespace cannot be made."""
    tools = shutil.which("unshare") and shutil.which("ip")
    if not tools or subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode:
        pytest.skip("needs root and iproute2, to make a network of its own")
    variables = {k: v for k, v in {**os.environ, **environment}.items() if v}
    result = subprocess.run(
        ["unshare", "--net", "bash", "-c", SEND, "bash", *command],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = re.search(r"^sent (\d+)$", result.stdout, re.MULTILINE)
    assert found, result.stdout + result.stderr
    return int(found.group(1))


def test_nothing_leaves_this_machine(bundle, tmp_path):
    """Node and player on a machine with a network: not one packet. Without the confinement, discovery asks around."""
    cv2.imwrite(str(tmp_path / "0.png"), white_blocks((1, 1)))
    node = f"{sys.executable} -m vit_perception.node --ros-args -p model:={bundle}"
    player = f"{sys.executable} -m vit_perception.player --ros-args -p folder:={tmp_path}"
    flight = ["bash", "-c", f"{node} & {player}; e=$?; kill -INT $!; wait $! && exit $e"]
    assert sent(flight) == 0
    free = ["bash", "-c", f"{player} -p wait_for_subscribers:=0"]
    open_to_all = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET", "FASTRTPS_DEFAULT_PROFILES_FILE": ""}
    assert sent(free, FASTDDS_DEFAULT_PROFILES_FILE="", **open_to_all) > 0, "the count counts nothing"
