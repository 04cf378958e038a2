"""Every TensorRT call of the onboard code exists in every generation; NVIDIA's own bindings tell what exists.

No GPU is here: the stand-ins in test/standin compute with ONNX Runtime. What this cannot show is what a GPU computes.
"""

import ast
import functools
import json
import os
import subprocess
import sys

import pytest
import tensorrt_surfaces as surfaces

pytest.importorskip("torch", reason="torch is not installed (make setup)")

from bundles import write_bundle  # noqa: E402
from engines import NANO, ORIN, write_full_bundle  # noqa: E402

DISCRETE = "NVIDIA A10,8.6,discrete"
OWN = {"file", "logger", "shape"}  # attributes of our own objects that TensorRT's happen to have too
ENGINES = str(surfaces.STANDIN / "run_engines.py")


def release(version):
    return tuple(int(n) for n in version.split(".")[:2])


def standin(version, **options):
    """The environment of a process on the stand-ins; skips where the version's bindings are not installed."""
    try:
        return os.environ | {"OMP_NUM_THREADS": "1"} | surfaces.standin_environment(version, **options)
    except FileNotFoundError as e:
        pytest.skip(str(e))


def python(environment, *arguments):
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, cwd=surfaces.ROOT, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_full_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def conform(bundle, tmp_path_factory):
    """version -> (figures of the whole path in all precisions, names touched, names missing), run once each."""

    @functools.cache
    def run(version):
        folder = tmp_path_factory.mktemp(version)
        log = folder / "log"
        result = python(standin(version, gpu=ORIN, log=log), ENGINES, str(bundle), str(folder), "fp32", "fp16", "int8")
        assert result.returncode == 0, result.stderr
        # A parser that refuses touches what says why.
        wrong = standin(version, gpu=ORIN, log=log, fault="parse_error")
        refused = python(wrong, ENGINES, str(bundle), str(folder / "other"), "fp32")
        assert refused.returncode != 0 and "a size is negative" in refused.stderr, refused.stderr
        lines = [line.split() for line in log.read_text().splitlines()]
        names = {what: {name for kind, name in lines if kind == what} for what in ("touched", "missing")}
        return json.loads(result.stdout), names["touched"], names["missing"]

    return run


@pytest.mark.parametrize("version", surfaces.VERSIONS)
def test_the_whole_path_uses_only_what_the_version_has(version, conform):
    figures, touched, missing = conform(version)
    assert missing == set()
    assert list(figures) == ["fp32", "fp16", "int8"] and len(touched) > 30
    for precision, figure in figures.items():
        assert figure["precision"] == precision and "cosine" in figure["proof"]
        assert figure["steady"] and figure["allocations_by_frames"] == 0
        assert figure["live"] == 3 and figure["live_after_close"] == 0  # one block for each tensor


def test_every_name_that_the_code_uses_was_used_in_some_generation(conform):
    """Else it could be misspelt: nothing else runs it."""
    known, touched = set(), set()
    met = surfaces.load(surfaces.path_of("8.5"))["classes"]  # the table holds the classes that the code can meet
    for version in surfaces.VERSIONS:
        touched |= {name.split(".")[-1] for name in conform(version)[1]}
        surface = surfaces.load(surfaces.path_of(version))
        known |= {*surface["values"], *surface["classes"]}
        for name in met.keys() & surface["classes"].keys():
            known.update(*(surface["classes"][name].get(kind, ()) for kind in ("members", "methods", "properties")))
    used = set()
    for path in (surfaces.ROOT / "vit_perception" / "engines").glob("tensorrt*.py"):
        used |= {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert len(used & known) > 40
    assert (used & known) - touched - OWN == set()


@pytest.mark.parametrize("version", ["8.2", "10.3.0"])
def test_a_gpu_with_memory_of_its_own_is_copied_to_and_from(version, bundle, tmp_path):
    result = python(standin(version, gpu=DISCRETE), ENGINES, str(bundle), str(tmp_path), "fp16")
    assert result.returncode == 0, result.stderr
    figure = json.loads(result.stdout)["fp16"]
    assert figure["steady"] and figure["live"] == 6 and figure["live_after_close"] == 0


@pytest.mark.parametrize("version", ["8.2", "8.6.1", "10.3.0", "11.4.0.106"])
def test_layers_that_overflow_in_half_are_kept_in_fp32(version, bundle, tmp_path):
    """By pinning the layers or, from 11 on, by the casts in the file. Where nothing is pinned, the fault is seen."""
    environment = standin(version, gpu=NANO, fault="half_overflow")
    result = python(environment, ENGINES, str(bundle), str(tmp_path / "a"), "fp16")
    assert result.returncode == 0, result.stderr
    if release(version) < (11, 0):
        bare = write_bundle(tmp_path / "bare")  # without fp32_layers
        result = python(environment, ENGINES, str(bare), str(tmp_path / "b"), "fp16")
        assert result.returncode != 0 and "not finite" in result.stderr


SETUP = """
import ctypes, json, sys
import tensorrt as trt
class Forgetful(trt.ILogger):
    def __init__(self): pass
logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
builder = trt.Builder(logger)
config = builder.create_builder_config()
network = builder.create_network(int(sys.argv[2]))
parser = trt.OnnxParser(network, logger)
parsed = parser.parse(open(sys.argv[1], "rb").read())
memory = builder.build_serialized_network(network, config)
engine = trt.Runtime(logger).deserialize_cuda_engine(memory)
context = engine.create_execution_context()
"""
TRY = """
def outcome(probe):
    try:
        return repr(eval(probe))
    except Exception as e:
        return type(e).__name__
print(json.dumps([outcome(probe) for probe in json.loads(sys.stdin.read())]))
"""
ALWAYS, UP_TO_10 = (0, 0), (99, 0)
MISUSE = [  # from this release on, up to below this release, what is done, what the real one raises
    (ALWAYS, (8, 4), "config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1)", "AttributeError"),
    (ALWAYS, (8, 5), "engine.num_io_tensors", "AttributeError"),
    (ALWAYS, (8, 5), "context.set_tensor_address('images', 1)", "AttributeError"),
    (ALWAYS, (8, 5), "context.execute_async_v3(0)", "AttributeError"),
    (ALWAYS, (8, 5), "config.max_workspace_size", "0"),
    ((10, 0), UP_TO_10, "engine.num_bindings", "AttributeError"),
    ((10, 0), UP_TO_10, "engine.get_binding_name(0)", "AttributeError"),
    ((10, 0), UP_TO_10, "context.execute_async_v2([1, 2, 3], 0)", "AttributeError"),
    ((10, 0), UP_TO_10, "setattr(config, 'max_workspace_size', 1)", "AttributeError"),
    ((11, 0), UP_TO_10, "trt.BuilderFlag.FP16", "AttributeError"),
    ((11, 0), UP_TO_10, "trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH", "AttributeError"),
    ((11, 0), UP_TO_10, "builder.platform_has_fast_fp16", "AttributeError"),
    ((11, 0), UP_TO_10, "setattr(network.get_layer(0), 'precision', trt.float32)", "AttributeError"),
    ((11, 0), UP_TO_10, "network.get_layer(0).set_output_type(0, trt.float32)", "AttributeError"),
    (ALWAYS, (10, 0), "context.execute_async_v2([1, None, 3], 0)", "TypeError"),
    (ALWAYS, (10, 0), "context.execute_async_v2(bindings=[1, 2, 3], stream=0)", "TypeError"),
    ((8, 5), UP_TO_10, "context.execute_async_v3(ctypes.c_void_p(1))", "TypeError"),
    ((8, 5), UP_TO_10, "context.set_tensor_address('images', None)", "TypeError"),
    ((8, 5), UP_TO_10, "context.execute_async_v3(0)", "False"),  # no address is set
    (ALWAYS, UP_TO_10, "builder.create_network(flag=1)", "TypeError"),
    (ALWAYS, UP_TO_10, "builder.build_serialized_network(config, network)", "TypeError"),
    (ALWAYS, UP_TO_10, "config.create_timing_cache(None)", "TypeError"),
    (ALWAYS, UP_TO_10, "config.set_timing_cache(None, True)", "TypeError"),
    (ALWAYS, UP_TO_10, "config.set_timing_cache(config.create_timing_cache(b''))", "TypeError"),
    (ALWAYS, UP_TO_10, "config.set_flag(0)", "TypeError"),
    (ALWAYS, UP_TO_10, "setattr(network, 'num_layers', 1)", "AttributeError"),
    (ALWAYS, UP_TO_10, "len(memory)", "TypeError"),
    (ALWAYS, UP_TO_10, "memory.decode()", "AttributeError"),
    (ALWAYS, UP_TO_10, "len(bytes(memory)) == memory.nbytes", "True"),
    (ALWAYS, UP_TO_10, "parsed and parser.num_errors", "0"),
]


@pytest.mark.parametrize("version", surfaces.VERSIONS)
def test_misuse_fails_as_with_the_real_one(version, bundle):
    cases = [case for case in MISUSE if case[0] <= release(version) < case[1]]
    explicit = str(int(release(version) < (10, 0)))  # 1 << EXPLICIT_BATCH
    command = [sys.executable, "-c", SETUP + TRY, str(bundle / "model.onnx"), explicit]
    probes = json.dumps([case[2] for case in cases])
    result = subprocess.run(command, env=standin(version), input=probes, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert [(case[2], outcome) for case, outcome in zip(cases, found, strict=True)] == [case[2:] for case in cases]


BOTH = [  # what the stand-in and the real bindings must answer alike, without a GPU
    "[str(trt.float32), repr(trt.float32), trt.float32 == trt.DataType.FLOAT, trt.float32 == 0]",
    "[trt.DataType.FLOAT < trt.DataType.HALF]",
    "[1 << trt.TensorIOMode.INPUT]",
    "[1 << int(trt.TensorIOMode.INPUT), trt.TensorIOMode.INPUT.name]",
    "[trt.ILogger.Severity.ERROR < trt.ILogger.WARNING, trt.Logger.ERROR == trt.ILogger.Severity.ERROR]",
    "trt.ILogger.ERROR in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)",
    "[trt.Logger().min_severity, trt.Logger(trt.Logger.INFO).min_severity, isinstance(trt.Logger(), trt.ILogger)]",
    "trt.Logger(3)",
    "trt.Logger(severity=trt.Logger.INFO)",
    "setattr(trt.Logger(), 'colour', 1)",
    "trt.ILogger().log(trt.ILogger.ERROR, 'a')",
    "trt.Builder(Forgetful())",
    "trt.Builder(None)",
    "trt.Builder(trt.Logger(trt.Logger.INTERNAL_ERROR))",
    "trt.Runtime(logger=trt.Logger(trt.Logger.INTERNAL_ERROR))",
    "trt.IBuilderConfig()",
    "trt.IHostMemory()",
    "trt.NoSuchThing",
    "trt.BuilderFlag.NO_SUCH_FLAG",
    "{f: int(m) for f, m in trt.BuilderFlag.__members__.items()}",
    *[
        f"sorted(n for n in dir(trt.{name}) if not n.startswith('_'))"
        for name in (
            "Builder",
            "IBuilderConfig",
            "INetworkDefinition",
            "ILayer",
            "ITensor",
            "OnnxParser",
            "ParserError",
        )
        + ("Runtime", "ICudaEngine", "IExecutionContext", "IHostMemory", "ITimingCache", "ILogger", "Logger")
    ],
]


@pytest.mark.parametrize("version", [v for v in surfaces.VERSIONS if v not in surfaces.TABLES])
def test_the_stand_in_answers_as_the_real_bindings_do(version):
    without_gpu = {key: value for key, value in standin(version).items() if key != "VIT_PERCEPTION_CUDART"}
    forgetful = SETUP[SETUP.index("class") : SETUP.index("logger =")]
    answers = []
    for module, environment in (("tensorrt", without_gpu), ("tensorrt_bindings", surfaces.real_environment(version))):
        code = f"import json, sys\nimport {module} as trt\n{forgetful}{TRY}"
        command = [sys.executable, "-c", code]
        result = subprocess.run(command, env=environment, input=json.dumps(BOTH), capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        answers.append(dict(zip(BOTH, json.loads(result.stdout), strict=True)))
    assert answers[0] == answers[1]


def test_the_onnx_parser_of_8_wants_an_explicit_batch(bundle):
    code = SETUP[: SETUP.index("memory =")] + "print(parsed, parser.get_error(0).desc())"
    result = python(standin("8.2"), "-c", code, str(bundle / "model.onnx"), "0")
    assert result.stdout.startswith("False") and "EXPLICIT_BATCH" in result.stdout, result.stderr


def test_the_stand_ins_parse_as_python_3_6():
    files = list(surfaces.STANDIN.rglob("*.py"))
    assert len(files) > 5
    for path in files:
        ast.parse(path.read_text(), filename=str(path), feature_version=(3, 6))


def test_the_surfaces_read_from_sources_hold_what_8_6_still_has():
    """The tables were read, not introspected: what stayed until 8.6.1 must have the same kind and arguments."""
    try:
        later = surfaces.load(surfaces.path_of("8.6.1"))["classes"]
    except FileNotFoundError as e:
        pytest.skip(str(e))
    compared = 0
    for version in surfaces.TABLES:
        for name, table in surfaces.load(surfaces.path_of(version))["classes"].items():
            for kind in ("members", "properties", "methods"):
                for key in table.get(kind, {}).keys() & later[name].get(kind, {}).keys():
                    ours, theirs = table[kind][key], later[name][kind][key]
                    if kind == "methods":  # an overload may have been added
                        same = [_names(s) for s in ours] == [_names(s) for s in theirs][: len(ours)]
                    else:
                        same = ours == theirs
                    assert same, (version, name, key, ours, theirs)
                    compared += 1
    assert compared > 900


def _names(signature):
    return [part.split(":")[0] for part in signature.split(", ")]
