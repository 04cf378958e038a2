"""From generated sources to shared libraries, with the system's compiler and no build system."""

import itertools
import os
import shlex
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.ros_messages import BuildError

# Folder of sources -> suffix of the library made of them. The first is linked into all others.
LIBRARIES = {
    "c": "rosidl_generator_c",
    "fastrtps_c": "rosidl_typesupport_fastrtps_c",
    "introspection_c": "rosidl_typesupport_introspection_c",
    "typesupport_c": "rosidl_typesupport_c",
    "py": "rosidl_generator_py",
}
RUNTIME = [
    "rosidl_runtime_c",
    "rosidl_typesupport_c",
    "rosidl_typesupport_fastrtps_c",
    "rosidl_typesupport_fastrtps_cpp",
    "rosidl_typesupport_introspection_c",
    "rcutils",
    "rmw",
    "fastcdr",
]
# -w because generated code is not ours to tidy.
FLAGS = ["-O1", "-fPIC", "-w"]


class Toolchain:
    """The C and C++ compilers ($CC and $CXX where set) and the flags that generated code needs."""

    def __init__(self, prefix: Path, package_name: str, sources: Path):
        import numpy

        self.c = _compiler("CC", "gcc")
        self.cxx = _compiler("CXX", "g++")
        python = Path(sysconfig.get_path("include"))
        if not (python / "Python.h").exists():
            raise BuildError(f"{python / 'Python.h'} is missing: install Python's development headers")
        include = [python, Path(numpy.get_include()), prefix / "include"]
        include += [sources / folder for folder in LIBRARIES]
        include += sorted(path for path in (prefix / "include").iterdir() if path.is_dir())
        self.flags = [*FLAGS, f"-DROSIDL_GENERATOR_C_BUILDING_DLL_{package_name}"]
        self.flags += [f"-I{path}" for path in include]
        self.libraries = prefix / "lib"

    def compile(self, source: Path) -> Path:
        """Compile one source beside itself and return the object file."""
        compiler = [*self.cxx, "-std=c++17"] if source.suffix == ".cpp" else [*self.c, "-std=gnu11"]
        target = source.with_suffix(".o")
        _run([*compiler, *self.flags, "-c", str(source), "-o", str(target)], source.name)
        return target

    def link(self, target: Path, objects: list[Path], libraries: list[str], rpath: str) -> None:
        """Link ``objects`` into the shared library ``target``; ``libraries`` are sought beside it first."""
        target.parent.mkdir(parents=True, exist_ok=True)
        search = [f"-L{target.parent}", f"-L{target.parents[1] / 'lib'}", f"-L{self.libraries}"]
        needed = [f"-l{name}" for name in libraries]
        command = [*self.cxx, "-shared", "-Wl,--as-needed", f"-Wl,-rpath,{rpath}"]
        _run([*command, "-o", str(target), *map(str, objects), *search, *needed], target.name)


def build(name: str, sources: Path, dependencies: set[str], prefix: Path, out: Path) -> tuple[list[Path], Path]:
    """Build the five libraries of message package ``name`` and its Python extension into ``out``.

    sources: what `generate` wrote. dependencies: message packages whose libraries are linked by suffix.
    Returns (libraries, extension). The libraries belong into <prefix>/lib, because the dispatching type
    support opens them by name; the extension belongs into site-packages/<name>/.
    """
    tools = Toolchain(prefix, name, sources)
    entry = sources / "py" / name / f"_{name}_s.ep.rosidl_typesupport_c.c"
    units = {folder: _sources(sources / folder / name / "msg") for folder in LIBRARIES}
    # C++ first: those take longest.
    queue = sorted([entry, *itertools.chain.from_iterable(units.values())], key=lambda path: path.suffix != ".cpp")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(tools.compile, queue))

    built: list[Path] = []
    for folder, suffix in LIBRARIES.items():
        target = out / "lib" / f"lib{name}__{suffix}.so"
        own = [path.stem[3:] for path in built]
        needed = own + [f"{package}__{suffix}" for package in sorted(dependencies)]
        needed += [f"{package}__rosidl_generator_c" for package in sorted(dependencies)]
        tools.link(target, [path.with_suffix(".o") for path in units[folder]], needed + RUNTIME, "$ORIGIN")
        built.append(target)
    extension = out / name / f"{name}_s__rosidl_typesupport_c{sysconfig.get_config_var('EXT_SUFFIX')}"
    tools.link(extension, [entry.with_suffix(".o")], [path.stem[3:] for path in built], "$ORIGIN/../../..")
    return built, extension


def _sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in (".c", ".cpp"))


def _compiler(variable: str, default: str) -> list[str]:
    command = shlex.split(os.environ.get(variable, "")) or [default]
    if shutil.which(command[0]) is None:
        raise BuildError(f"compiler '{command[0]}' not found: install gcc and g++, or name others in $CC and $CXX")
    return command


def _run(command: list[str], what: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        telling = ("error:", "undefined reference", "cannot find")
        lines = [line for line in result.stderr.splitlines() if any(word in line for word in telling)]
        reason = (lines or result.stderr.splitlines() or [f"exit status {result.returncode}"])[0]
        raise BuildError(f"{what}: {Path(command[0]).name} failed: {reason}")
