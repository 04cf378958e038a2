"""A built message package as a wheel, so that pip installs, replaces and removes it as a whole."""

import base64
import hashlib
import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

from tools.ros_messages import BuildError


def distribution_name(package_name: str) -> str:
    """The name pip knows the package by; as the other ROS wheels do it."""
    return f"ros_{package_name}"


def installed(package_name: str, version: str) -> bool:
    """Whether exactly this version is installed here, with all its files in place."""
    try:
        found = metadata.distribution(distribution_name(package_name))
    except metadata.PackageNotFoundError:
        return False
    return found.version == version and all(Path(str(file.locate())).exists() for file in found.files or [])


def write_wheel(package_name: str, version: str, modules: Path, data: Path, folder: Path) -> Path:
    """Pack ``modules`` (for site-packages) and ``data`` (for the prefix) as a wheel in ``folder``."""
    stem = f"{distribution_name(package_name)}-{version}"
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    tag = f"{python}-{python}-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
    info = f"{stem}.dist-info"
    contents = {str(path.relative_to(modules)): path.read_bytes() for path in _files(modules)}
    contents.update({f"{stem}.data/data/{path.relative_to(data)}": path.read_bytes() for path in _files(data)})
    headers = f"Metadata-Version: 2.1\nName: {distribution_name(package_name)}\nVersion: {version}\n"
    contents[f"{info}/METADATA"] = (headers + f"Summary: ROS 2 message package {package_name}\n").encode()
    contents[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
    record = [f"{name},{_digest(content)},{len(content)}" for name, content in contents.items()]
    contents[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()

    wheel = folder / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return wheel


def install_wheel(wheel: Path) -> None:
    """Install with pip, which restores what was there before if it fails half-way."""
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--force-reinstall"]
    command = [sys.executable, "-m", "pip", "install", *options, str(wheel)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise BuildError(f"{wheel.name}: pip could not install it: {reason}")


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
