"""Processes that this package starts of itself."""

import os


def child_environment():
    """The environment in which a child process finds this very package, installed or not."""
    source = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    paths = [source] + [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    return dict(os.environ, PYTHONPATH=os.pathsep.join(paths))
