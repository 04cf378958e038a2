"""What onboard code uses of NumPy and OpenCV, and what the libraries of a board are able to do. Python 3.6 and later.

JetPack 4.6 (Ubuntu 18.04) brings NumPy 1.13.3 and OpenCV 4.1.1. Renew old_libraries.json when onboard code uses
a further name, with Python 3.6 and those two installed (test_python36.py makes such an environment, "system"):

    .venv/python36/system/bin/python test/helpers/old_libraries.py > test/helpers/old_libraries.json
"""

import ast
import inspect
import json
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ONBOARD = ("vit_perception", "launch")
LIBRARIES = {"numpy": "np", "cv2": "cv2"}  # and the names that onboard code gives them
# Texts that a parameter may take, where the choice has grown over the versions: what to try them with.
CHOICES = {"np.argsort": ("kind", ("quicksort", "mergesort", "heapsort", "stable"), [2, 1])}


def onboard_files():
    """Paths of all onboard Python files, sorted."""
    found = []
    for folder in ONBOARD:
        for where, _, names in os.walk(os.path.join(ROOT, folder)):
            found += [os.path.join(where, n) for n in names if n.endswith(".py")]
    return sorted(found)


class Uses(ast.NodeVisitor):
    """Names such as 'np.float32' in one file, and calls of them.

    Attributes:
        names: {name: line}. calls: list of (name, line, positional arguments, {keyword: literal text or None}).
        strange: list of (line, sentence): imports that this reader does not follow.
    """

    def __init__(self):
        self.names, self.calls, self.strange = {}, [], []

    def visit_Attribute(self, node):
        name = dotted(node)
        if name:
            self.names.setdefault(name, node.lineno)
        else:
            self.generic_visit(node)

    def visit_Call(self, node):
        name = dotted(node.func)
        if name:
            starred = any(isinstance(a, ast.Starred) for a in node.args)
            self.calls.append(
                (
                    name,
                    node.lineno,
                    0 if starred else len(node.args),
                    {k.arg: text(k.value) for k in node.keywords if k.arg},
                )
            )
        self.generic_visit(node)

    def visit_Import(self, node):
        for alias in node.names:
            library = alias.name.split(".")[0]
            if library in LIBRARIES and (alias.name != library or (alias.asname or library) != LIBRARIES[library]):
                self.strange.append((node.lineno, f"import {library} as {LIBRARIES[library]}"))

    def visit_ImportFrom(self, node):
        if not node.level and node.module.split(".")[0] in LIBRARIES:
            self.strange.append((node.lineno, "import the module, not names out of it"))


def dotted(node):
    """'np.linalg.norm' of such an expression, or '' if it does not begin with one of the libraries."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    ours = parts and isinstance(node, ast.Name) and node.id in LIBRARIES.values()
    return ".".join([node.id] + parts[::-1]) if ours else ""


def text(node):
    """The value of a literal text, else None."""
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return value if isinstance(value, str) else None


def uses(path):
    """`Uses` of one file."""
    with open(path, encoding="utf-8") as f:
        return uses_of(f.read())


def uses_of(source):
    """`Uses` of a program's text."""
    found = Uses()
    found.visit(ast.parse(source))
    return found


def problems(found, table):
    """What `Uses` needs and the old libraries of `table` lack: list of (line, sentence)."""
    names, versions = table["names"], "NumPy {numpy} and OpenCV {cv2}".format(**table)
    wrong = list(found.strange)
    for name, line in found.names.items():
        if name not in names:
            wrong.append((line, f"{name} is not in test/helpers/old_libraries.json; renew it"))
        elif names[name] is None:
            wrong.append((line, f"{name} does not exist in {versions}"))
    for name, line, count, keywords in found.calls:
        entry = names.get(name) or {}
        known = entry.get("parameters")
        if known is None:
            continue
        if count > len(known):
            wrong.append((line, f"{name} takes {len(known)} arguments in {versions}"))
        for keyword, choice in keywords.items():
            choices = entry.get("choices", {}).get(keyword)
            if keyword not in known:
                wrong.append((line, f"{name} has no {keyword} in {versions}"))
            elif choices is not None and choice not in choices:
                wrong.append((line, "{} takes {} of {} in {}".format(name, keyword, ", ".join(choices), versions)))
            elif choices is None and choice is not None:
                wrong.append((line, f"{name}: add {keyword} to CHOICES of test/helpers/old_libraries.py"))
    return sorted(wrong)


def describe(names):
    """{name: None if it is missing here, else {"parameters": names or None, "choices": {parameter: texts}}}."""
    import cv2
    import numpy as np

    libraries = {"np": np, "cv2": cv2}
    return {name: _describe(name, libraries) for name in sorted(names)}


def _describe(name, libraries):
    value = libraries[name.split(".")[0]]
    for part in name.split(".")[1:]:
        if not hasattr(value, part):
            return None
        value = getattr(value, part)
    found = {"parameters": parameters(value)}
    if name in CHOICES:
        keyword, choices, argument = CHOICES[name]
        found["choices"] = {keyword: [c for c in choices if _takes(value, argument, {keyword: c})]}
    return found


def parameters(value):
    """Names of the parameters of a function, of a class too; None of anything else.

    Functions written in C have no signature before NumPy 2.4 and in OpenCV, but a line of documentation that shows it.
    """
    if not callable(value):
        return None
    try:
        return [p.name for p in inspect.signature(value).parameters.values() if p.kind != p.VAR_KEYWORD]
    except (TypeError, ValueError):
        pass
    first = (value.__doc__ or "").strip().split(")\n")[0].split(") ->")[0]
    if "(" not in first:
        return None
    inside = re.sub(r"\(\([^)]*\)", "(arrays", "(" + first.split("(", 1)[1]).strip("()")
    listed = [part.split("=")[0].strip(" []\n") for part in re.split(r"[,\[]", inside)]
    return [p for p in listed if p.isidentifier()]


def _takes(function, argument, keywords):
    try:
        function(argument, **keywords)
    except (TypeError, ValueError):
        return False
    return True


def main():
    import cv2
    import numpy as np

    names = {name for path in onboard_files() for name in uses(path).names}
    lines = [f"  {json.dumps(n)}: {json.dumps(d, sort_keys=True)}" for n, d in sorted(describe(names).items())]
    versions = f'"numpy": {json.dumps(np.__version__)}, "cv2": {json.dumps(cv2.__version__)}'
    sys.stdout.write('{{{},\n "names": {{\n{}\n }}}}\n'.format(versions, ",\n".join(lines)))


if __name__ == "__main__":
    main()
