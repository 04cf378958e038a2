"""Build a ROS 2 message package and install it into the running virtual environment.

    python -m tools.ros_messages tools/ros_messages/vision_msgs

PACKAGE_DIR is an ordinary ROS 2 message package: package.xml and msg/*.msg (services and actions are not
built). The environment must hold the ROS wheels with their rosidl generators (``make setup``). Nothing is
done where the same definitions are already installed; otherwise the package is built in a temporary folder
and installed as one wheel, so that ``pip uninstall ros_<name>`` removes it.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from importlib import metadata
from pathlib import Path

from tools.ros_messages import BuildError
from tools.ros_messages.compile import build
from tools.ros_messages.generate import Package, check_messages, generate, type_hashes
from tools.ros_messages.wheel import distribution_name, install_wheel, installed, write_wheel

# To be raised when this tool's result changes for the same definitions.
RECIPE = 1
GENERATORS = ["adapter", "generator_c", "generator_py", "typesupport_c", "typesupport_fastrtps_c"]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.ros_messages",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("package_dir", type=Path, metavar="PACKAGE_DIR", help="folder with package.xml and msg/")
    parser.add_argument("--force", action="store_true", help="build even where the same is installed")
    parser.add_argument("--hashes", action="store_true", help="print the RIHS01 type hash of each message")
    options = parser.parse_args(argv)
    try:
        package = Package(options.package_dir)
        print(ensure(package, options.force))
    except (BuildError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.hashes:
        for name, value in type_hashes(package.name).items():
            print(f"{package.name}/msg/{name} {value}")
    return 0


def ensure(package: Package, force: bool = False) -> str:
    """Have ``package`` installed in this environment; return one line that says what was done."""
    prefix = Path(sys.prefix)
    share = prefix / "share"
    if sys.prefix == sys.base_prefix or not (share / "rosidl_generator_py" / "resource").is_dir():
        raise BuildError(
            f"{prefix} is not a virtual environment with the ROS wheels: run `make setup` and use .venv/bin/python"
        )
    check_messages(package, share)
    version = f"{package.version}+b{_fingerprint(package)}"
    what = f"{package.name} {package.version} ({len(package.messages)} messages)"
    if installed(package.name, version) and not force:
        return f"{what} is installed already"
    if (share / package.name).exists() and not _ours(package.name):
        raise BuildError(f"{share / package.name} was installed by something else: uninstall that first")

    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ros_messages_") as folder:
        work = Path(folder)
        dependencies = generate(package, work, share)
        libraries, extension = build(package.name, work, dependencies, prefix, work / "built")
        _lay_out(package, work, libraries, extension, dependencies)
        install_wheel(write_wheel(package.name, version, work / "modules", work / "data", work))
    _verify(package, libraries)
    return f"{what} built and installed in {time.monotonic() - start:.0f} s"


def _fingerprint(package: Package) -> str:
    """Digest of all that decides what comes out: definitions, generators, Python's ABI and this recipe."""
    digest = hashlib.sha256(f"{RECIPE} {sysconfig.get_config_var('EXT_SUFFIX')}".encode())
    for generator in GENERATORS:
        digest.update(metadata.version(f"ros_rosidl_{generator}").encode())
    for path in [package.manifest, *package.messages]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _ours(package_name: str) -> bool:
    try:
        return "+b" in metadata.version(distribution_name(package_name))
    except metadata.PackageNotFoundError:
        return False


def _lay_out(package: Package, work: Path, libraries: list[Path], extension: Path, dependencies: set[str]) -> None:
    """Arrange what was built as it lies in a ROS prefix, with the entries of the ament resource index.

    ``work``/modules is what goes into site-packages, ``work``/data what goes into the prefix.
    """
    name, modules, data = package.name, work / "modules", work / "data"
    shutil.copytree(work / "py" / name, modules / name, ignore=shutil.ignore_patterns("*.c", "*.o", "*.h"))
    shutil.copy(extension, modules / name)
    (data / "lib").mkdir(parents=True)
    for library in libraries:
        shutil.copy(library, data / "lib")
    for folder in ("c", "fastrtps_c", "introspection_c"):  # for packages whose messages contain these
        for header in (work / folder).rglob("*.h"):
            target = data / "include" / name / header.relative_to(work / folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(header, target)

    interfaces = data / "share" / name / "msg"
    interfaces.mkdir(parents=True)
    shutil.copy(package.manifest, interfaces.parent)
    described = [path for path in (work / "idl" / name / "msg").iterdir() if path.suffix in (".idl", ".json")]
    for path in [*package.messages, *described]:
        shutil.copy(path, interfaces)
    listed = sorted(f"msg/{path.name}" for path in interfaces.iterdir() if path.suffix != ".json")
    index = {
        "packages": "",
        "package_run_dependencies": ";".join(sorted(dependencies)),
        "rosidl_interfaces": "\n".join(listed),
    }
    for resource, content in index.items():
        entry = data / "share" / "ament_index" / "resource_index" / resource / name
        entry.parent.mkdir(parents=True)
        entry.write_text(content)


def _verify(package: Package, libraries: list[Path]) -> None:
    """Load the libraries and the extension in a fresh interpreter, where a missing symbol shows."""
    names = [f"lib/{path.name}" for path in libraries]
    extension = f"{package.name}.{package.name}_s__rosidl_typesupport_c"
    code = f"import ctypes, os, sys\nfor name in {names!r}: ctypes.CDLL(f'{{sys.prefix}}/{{name}}', os.RTLD_NOW)"
    code += f"\nimport {package.name}.msg, {extension}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise BuildError(f"{package.name} was installed but does not load: {reason}")


if __name__ == "__main__":
    sys.exit(main())
