"""A stand-in for the Python package tensorrt, for machines without NVIDIA's libraries. Python 3.6 and later.

It has exactly the names of one real version and holds callers to its signatures; what is not there raises as the real
one does. It computes with ONNX Runtime, on the memory of the stand-in CUDA runtime (test/standin/cudart.c).

STANDIN_TENSORRT      path of the surface of a version, as test/tensorrt_surfaces.py makes them. Needed.
STANDIN_TENSORRT_LOG  file to which every name that is touched is appended: 'touched Builder.create_network';
                      a name that an object of the version lacks: 'missing IBuilderConfig.max_workspace_size'.
STANDIN_GPU           as in cudart.c.
STANDIN_FAULT         what goes wrong, separated by commas:
    parse_error         the ONNX parser finds two errors
    build_none          the builder runs out of memory
    build_slow=SECONDS  the builder takes longer
    timing_none         a timing cache cannot be made of what was kept
    deserialize_none    no engine can be read
    context_none        no execution context can be made
    execute_false       an inference cannot be started
    wrong_output=NAME   3 is added to every other value of this output
    nan_output=NAME     this output is not a number
    half_overflow       if a square, as in LayerNorm, is computed in fp16, all outputs are not numbers
"""

import sys
import types

from . import _builder, _engine, _logger, _network, _surface  # noqa: F401  (they register what the names do)


class _Module(types.ModuleType):
    def __getattr__(self, name):
        if name in _surface.PUBLIC:
            _surface.record("touched", name)
            return _surface.PUBLIC[name]
        if not name.startswith("_"):
            _surface.record("missing", name)
        raise AttributeError("module 'tensorrt' has no attribute '{}'".format(name))


__version__ = _surface.VERSION
sys.modules[__name__].__class__ = _Module
