"""Shared by all tests: the ROS environment, set before anything imports rclpy, and the real data set."""

import importlib.util
import os
import signal
from pathlib import Path

import pytest

from tools.ros_environment import ROOT, free_domain, ros_environment

# Tests that run side by side (pytest-xdist) choose among domains of their own: two that look at once find the same one.
WORKER, WORKERS = (
    int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]),
    int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)),
)
if WORKERS > 1:  # before anything imports torch: threads of two workers on the same cores wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
if WORKERS > 2 and WORKER == WORKERS - 1:  # it computes (scheduling.py) while the others measure time
    os.nice(10)  # a tenth of a core at least: deadlines of minutes hold
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # `make test &`: what tests start would ignore Ctrl-C, too
    signal.signal(signal.SIGINT, signal.default_int_handler)
DOMAINS = range(1 + 100 * WORKER // WORKERS, 1 + 100 * (WORKER + 1) // WORKERS)
HAS_ROS = importlib.util.find_spec("rclpy") is not None
if HAS_ROS:
    os.environ.update(ros_environment())
    os.environ["PYTHONFAULTHANDLER"] = "1"  # a process that had to be aborted tells where it stood


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's, which not everybody has
def pytest_xdist_make_scheduler(config, log):
    from scheduling import Scheduling

    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """A DDS domain for each test: what one leaves behind, killed or hanging, cannot reach the next."""
    if HAS_ROS:
        os.environ["ROS_DOMAIN_ID"] = str(free_domain(int(os.environ["ROS_DOMAIN_ID"]), DOMAINS))


@pytest.fixture
def ros_context():
    """A context for tests with nodes of their own in this process; skips where no ROS is installed.

    Yields the initialised rclpy.Context. A test that spins an executor in a thread stops the executor and
    joins the thread before it returns: shutting down under a spinning executor aborts the process.
    """
    rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")
    context = rclpy.Context()
    rclpy.init(context=context)
    yield context
    rclpy.shutdown(context=context)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets: $VIT_PERCEPTION_DATA, else ../shared/data beside the repository."""
    path = Path(os.environ.get("VIT_PERCEPTION_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no data sets at {path}; set VIT_PERCEPTION_DATA to run this test")
    return path


@pytest.fixture
def client(ros_context):
    """A camera and a listener for tests of a node over DDS."""
    from flight import Client

    client = Client(ros_context)
    yield client
    client.close()


@pytest.fixture
def log(tmp_path) -> Path:
    """Where a node that a test starts may write its output."""
    return tmp_path / "log"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> str:
    """The bundle of tests over DDS: it finds bright blocks. A test file that needs another one has its own `bundle`."""
    from blob_bundle import make_bundle

    return make_bundle(tmp_path_factory.mktemp("bundle") / "blob")


@pytest.fixture
def standin(monkeypatch, tmp_path):
    """A stand-in TensorRT to choose a version of; skips where that version's real API is not known."""
    from engines import Standin

    standin = Standin(monkeypatch, tmp_path)
    yield standin
    standin.leave()


def pytest_report_header() -> str:
    if not HAS_ROS:
        return "ROS: not installed, tests that need it are skipped"
    return "ROS: a domain for each test, loopback only"
