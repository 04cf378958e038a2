"""From .msg files to C, C++ and Python sources, by the rosidl generators of the ROS wheels."""

import contextlib
import io
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

from tools.ros_messages import BuildError

TYPE_SUPPORTS = ["rosidl_typesupport_introspection_c", "rosidl_typesupport_fastrtps_c"]


class Package:
    """A message package as its author wrote it: package.xml and msg/*.msg under ``root``."""

    def __init__(self, root: Path):
        manifest = root / "package.xml"
        try:
            tree = ElementTree.parse(manifest)
        except (OSError, ElementTree.ParseError) as error:
            raise BuildError(f"{manifest}: not a readable package manifest ({error})") from None
        self.root = root.resolve()
        self.manifest = manifest.resolve()
        self.name = (tree.findtext("name") or "").strip()
        self.version = (tree.findtext("version") or "").strip()
        if not self.name or not self.version:
            raise BuildError(f"{manifest}: <name> and <version> are required")
        self.messages = sorted((self.root / "msg").glob("*.msg"))
        if not self.messages:
            raise BuildError(f"{root / 'msg'}: no .msg files to build")


def check_messages(package: Package, share: Path) -> None:
    """Parse every .msg file and look up every type it names, so that a mistake is reported by its file.

    ``share`` is the prefix's share folder, where installed message packages keep their descriptions.
    """
    from rosidl_adapter.parser import parse_message_string

    local = {path.stem for path in package.messages}
    for path in package.messages:
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                spec = parse_message_string(package.name, path.stem, path.read_text(encoding="utf-8"))
        except Exception as error:  # the parser raises whatever its own helpers raise
            raise BuildError(f"{path}: not a valid message definition: {error or type(error).__name__}") from None
        for field in spec.fields:
            kind = field.type
            if kind.is_primitive_type():
                continue
            known = kind.type in local if kind.pkg_name == package.name else _described(share, kind).exists()
            if not known:
                raise BuildError(
                    f"{path}: field '{field.name}' has type {kind.pkg_name}/{kind.type},"
                    f" which is neither in this package nor installed in {share.parent}"
                )


def _described(share: Path, kind) -> Path:
    return share / kind.pkg_name / "msg" / f"{kind.type}.json"


def generate(package: Package, out: Path, share: Path) -> set[str]:
    """Write all generated sources below ``out`` and return the names of the packages that they depend on.

    ``out`` then holds idl/, c/, fastrtps_c/, introspection_c/, typesupport_c/ and py/, each with a folder
    named as the package. introspection_c has its own folder because the names of its sources equal those
    of the C generator.
    """
    log = io.StringIO()
    try:
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            return _generate(package, out, share)
    except Exception as error:
        detail = log.getvalue().strip().splitlines()[-1:] or [str(error)]
        raise BuildError(f"{package.name}: the rosidl generators failed: {detail[0]}") from error


def _generate(package: Package, out: Path, share: Path) -> set[str]:
    from rosidl_adapter.msg import convert_msg_to_idl
    from rosidl_generator_c import generate_c
    from rosidl_generator_py import generate_py
    from rosidl_generator_type_description import generate_type_hash
    from rosidl_typesupport_c import generate_c as generate_dispatch
    from rosidl_typesupport_fastrtps_c import generate_typesupport_fastrtps_c
    from rosidl_typesupport_introspection_c import generate_c as generate_introspection

    name = package.name
    idl = out / "idl" / name
    for path in package.messages:
        convert_msg_to_idl(package.root, name, path.relative_to(package.root), idl / "msg")

    def arguments(folder: str, generator: str) -> str:
        """Write the JSON file that the generator reads, and its visibility header; return the file's path."""
        target = out / folder / name
        (target / "msg").mkdir(parents=True, exist_ok=True)
        resource = share / generator / "resource"
        for template in resource.glob("*__visibility_control.h.in"):
            text = template.read_text().replace("@PROJECT_NAME@", name)
            text = text.replace("@PROJECT_NAME_UPPER@", name.upper())
            (target / "msg" / template.stem).write_text(text)
        stems = [path.stem for path in package.messages]
        content = {
            "package_name": name,
            "output_dir": str(target),
            "template_dir": str(resource),
            "idl_tuples": [f"{idl}:msg/{stem}.idl" for stem in stems],
            "ros_interface_files": [str(path) for path in package.messages],
            "type_description_tuples": [f"msg/{stem}.idl:{idl}/msg/{stem}.json" for stem in stems],
            "include_paths": [f"{path.parent.name}:{path.parent}" for path in share.glob("*/msg")],
            "target_dependencies": [],
        }
        file = out / f"{folder}.json"
        file.write_text(json.dumps(content))
        return str(file)

    described = generate_type_hash(arguments("idl", "rosidl_generator_type_description"))
    generate_c(arguments("c", "rosidl_generator_c"))
    generate_typesupport_fastrtps_c(arguments("fastrtps_c", "rosidl_typesupport_fastrtps_c"))
    generate_introspection(arguments("introspection_c", "rosidl_typesupport_introspection_c"))
    generate_dispatch(arguments("typesupport_c", "rosidl_typesupport_c"), TYPE_SUPPORTS)
    python = arguments("py", "rosidl_generator_py")
    (out / "py" / name / "__init__.py").touch()
    generate_py(python, ["rosidl_typesupport_c"])

    types = [entry["type_name"] for path in described for entry in json.loads(path.read_text())["type_hashes"]]
    return {type_name.split("/")[0] for type_name in types} - {name}


def type_hashes(package_name: str, prefix: Path = Path(sys.prefix)) -> dict[str, str]:
    """RIHS01 hash (REP-2011) of every message of an installed package, by message name."""
    hashes = {}
    for path in sorted((prefix / "share" / package_name / "msg").glob("*.json")):
        for entry in json.loads(path.read_text())["type_hashes"]:
            if entry["type_name"] == f"{package_name}/msg/{path.stem}":
                hashes[path.stem] = entry["hash_string"]
    return hashes
