"""What the real TensorRT has: names, kinds and signatures of its Python API, one table ("surface") for each version.

    surface = load(path_of("10.3.0"))
    surface["classes"]["Builder"]["methods"]["create_network"]     ["flags: int = 0"], one entry for each overload
    surface["classes"]["ILayer"]["properties"]["precision"]        "rw"
    surface["classes"]["BuilderFlag"]["members"]["FP16"]           0
    surface["values"]["float32"]                                   "DataType.FLOAT"

`make test` unpacks the real bindings of requirements/tensorrt.txt into .venv/tensorrt/VERSION. They import over an
empty libnvinfer, and pybind11 writes the signature of a method into the first line of its docstring. The table is kept
beside the bindings, never in the repository: they are NVIDIA's. 8.2 to 8.5, which no registry has, are in
test/tensorrt_8_*.json: read from the sources of the bindings, in a way that gave for 8.6.1 what introspection gives.
"""

import functools
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINDINGS = ROOT / ".venv" / "tensorrt"
REQUIREMENTS = ROOT / "requirements" / "tensorrt.txt"
STANDIN = ROOT / "test" / "standin"
TABLES = {
    version: ROOT / "test" / "helpers" / f"tensorrt_{version.replace('.', '_')}.json"
    for version in ("8.2", "8.4", "8.5")
}
VERSIONS = [*TABLES, *re.findall(r"^[^#\s]+==(\S+)", REQUIREMENTS.read_text(), re.MULTILINE)]


def path_of(version: str) -> Path:
    """The surface of a version, made if need be. Raises FileNotFoundError if its bindings are not installed."""
    if version in TABLES:
        return TABLES[version]
    folder = BINDINGS / version
    path = folder / "surface.json"
    if not path.exists() or path.stat().st_mtime < Path(__file__).stat().st_mtime:
        command = [sys.executable, __file__]
        output = subprocess.run(command, env=real_environment(version), check=True, stdout=subprocess.PIPE).stdout
        temporary = path.with_suffix(f".{os.getpid()}")  # several test processes may come here at once
        temporary.write_bytes(output)
        temporary.replace(path)
    return path


def load(path: Path) -> dict:
    return json.loads(path.read_text())


_folders: list[tempfile.TemporaryDirectory] = []  # removed when this process ends


def _temporary_folder(name: str) -> Path:
    _folders.append(tempfile.TemporaryDirectory(prefix=f"standin_{name}_"))
    return Path(_folders[-1].name)


@functools.cache
def real_environment(version: str) -> dict[str, str]:
    """Variables under which `import tensorrt_bindings` gives the real one. Raises FileNotFoundError as `path_of`."""
    bindings = BINDINGS / version / "tensorrt_bindings" / "tensorrt.so"
    if not bindings.is_file():
        raise FileNotFoundError(f"the bindings of TensorRT {version} are not in {BINDINGS} (make test installs them)")
    libraries = _temporary_folder(version)
    _empty_libraries(bindings, libraries)
    return os.environ | {"LD_LIBRARY_PATH": str(libraries), "PYTHONPATH": str(BINDINGS / version)}


@functools.cache
def cuda_library() -> str:
    """Compile the stand-in CUDA runtime; returns the path of its libcudart.so. Needs a C compiler."""
    library = _temporary_folder("cuda") / "libcudart.so"
    source = STANDIN / "cudart.c"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-lpthread"], check=True)
    return str(library)


def standin_environment(version: str, gpu: str = "", fault: str = "", cuda_fault: str = "", log="") -> dict[str, str]:
    """Variables under which `import tensorrt` gives the stand-in of this version, and CUDA the stand-in library.

    PYTHONPATH must be set before a process starts; within one, put STANDIN on sys.path.

    Args:
        gpu, fault, cuda_fault, log: STANDIN_GPU, STANDIN_FAULT, STANDIN_CUDA_FAULT, STANDIN_TENSORRT_LOG, as
            test/standin/tensorrt/__init__.py and test/standin/cudart.c tell; '' leaves the default.

    Raises:
        FileNotFoundError: the bindings of this version are not installed.
    """
    variables = {
        "STANDIN_TENSORRT": str(path_of(version)),
        "VIT_PERCEPTION_CUDART": cuda_library(),
        "PYTHONPATH": os.pathsep.join([str(STANDIN), str(ROOT)]),
        "STANDIN_GPU": gpu,
        "STANDIN_FAULT": fault,
        "STANDIN_CUDA_FAULT": cuda_fault,
        "STANDIN_TENSORRT_LOG": str(log),
    }
    return {name: value for name, value in variables.items() if value}


def _empty_libraries(bindings: Path, folder: Path) -> None:
    """Libraries under the names that the bindings need, with NVIDIA's functions that return NULL."""
    symbols = subprocess.run(
        ["nm", "-D", "--undefined-only", bindings], check=True, capture_output=True, text=True
    ).stdout
    names = [line.split()[-1] for line in symbols.splitlines()]
    # Versioned names are glibc's or libstdc++'s, those with Py the interpreter's; weak ones may be missing.
    weak = {line.split()[-1] for line in symbols.splitlines() if line.split()[0] in "wv"}
    ours = [n for n in names if "@" not in n and not re.match("_?Py", n) and n not in weak]
    (folder / "empty.c").write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in ours))
    needed = subprocess.run(["objdump", "-p", bindings], check=True, capture_output=True, text=True).stdout
    for library in re.findall(r"NEEDED\s+(libnv\S+)", needed):
        subprocess.run(["cc", "-w", "-shared", "-fPIC", "-o", folder / library, folder / "empty.c"], check=True)


def introspect(module) -> dict:
    """The surface of an imported tensorrt module."""
    surface: dict = {"version": module.__version__, "values": {}, "functions": {}, "classes": {}}
    found = [(name, getattr(module, name)) for name in sorted(dir(module)) if not name.startswith("_")]
    for name, value in found:
        if inspect.isclass(value):
            _add_class(surface["classes"], name, value)
        elif hasattr(type(value), "__members__"):
            surface["values"][name] = _type_name(str(value))
        elif callable(value):
            surface["functions"][name] = _signatures(value)
    return surface


def _add_class(classes: dict, name: str, cls) -> None:
    if hasattr(cls, "__members__"):
        classes[name] = {
            "members": {key: int(value) for key, value in cls.__members__.items()},
            "ordered": "__lt__" in vars(cls),
            "value": hasattr(cls, "value"),
        }
        return
    bases = [b.__name__ for b in cls.__bases__ if b.__name__ not in ("object", "pybind11_object")]
    table: dict = {"bases": bases, "init": None, "methods": {}, "properties": {}, "values": {}}
    classes[name] = table
    if (cls.__init__.__doc__ or "").startswith("__init__("):
        table["init"] = _signatures(cls.__init__)
    for key, value in sorted(vars(cls).items()):
        if key.startswith("_"):
            continue
        if isinstance(value, property):
            table["properties"][key] = "r" * bool(value.fget) + "w" * bool(value.fset)
        elif inspect.isclass(value):
            nested = f"{value.__module__}.{value.__qualname__}".partition(".tensorrt.")[2]
            table["values"][key] = nested
            _add_class(classes, nested, value)
        elif hasattr(type(value), "__members__"):
            table["values"][key] = f"{type(value).__qualname__}.{value.name}"
        elif callable(getattr(cls, key)):
            table["methods"][key] = _signatures(getattr(cls, key))


def _signatures(function) -> list[str]:
    """Parameters without self, one text for each overload, from the docstring that pybind11 makes."""
    lines = (function.__doc__ or "").splitlines()
    name = function.__name__
    heads = [line for line in lines if re.match(rf"(\d+\. )?{re.escape(name)}\(", line)]
    if len(heads) > 1:
        heads = [line for line in heads if line[0].isdigit()]
    if not heads:  # written in Python
        return [", ".join(p for p in inspect.signature(function).parameters if p != "self")]
    return [_normal(head[head.index("(") + 1 : head.rindex(") ->")]) for head in heads]


def _normal(parameters: str) -> str:
    """One way of writing types, whatever the version of pybind11."""
    parameters = re.sub(r"^self: [^,]+(, )?", "", _type_name(parameters))
    parameters = re.sub(r"typing\.SupportsInt( \| typing\.SupportsIndex)?", "int", parameters)
    parameters = re.sub(r"typing\.SupportsFloat( \| typing\.SupportsIndex)?", "float", parameters)
    parameters = re.sub(r"(typing_extensions|collections\.abc)\.Buffer", "buffer", parameters)
    parameters = re.sub(r"collections\.abc\.Sequence", "List", parameters)
    return re.sub(r"= <([\w.]+): -?\d+>", r"= \1", parameters)


def _type_name(text: str) -> str:
    return re.sub(r"\btensorrt(_bindings)?\.(tensorrt\.)?", "", text)


if __name__ == "__main__":
    import tensorrt_bindings

    json.dump(introspect(tensorrt_bindings), sys.stdout, indent=1)
