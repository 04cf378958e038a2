"""The site: `make docs` builds it from these pages into out/site; rosdoc2 finds it by rosdoc2.yaml."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from vit_perception import __version__  # noqa: E402

project, release = "vit_perception", __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["README.md"]

# Pages are Markdown that GitHub shows too: headings are link targets there, and so they are here.
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

# The API reference imports the modules themselves: nothing is mocked.
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_ivar = True
highlight_language = "text"
default_role = "code"  # docstrings set code in single backticks


def keep_layout(app, what, name, obj, options, lines):
    """Indented blocks of a module's docstring are commands, code or small tables: show them as they stand."""
    if what != "module":
        return
    out, inside = [], False
    for before, line in zip(["", *lines], lines, strict=False):
        starts = line.startswith("    ") and not before and not inside
        if starts and not (out and "".join(out[-2:-1]).endswith("::")):
            out += ["::", ""]
        inside = line.startswith(" ") or (inside and not line)
        out.append(line)
    lines[:] = out


def setup(app):
    app.connect("autodoc-process-docstring", keep_layout)


html_theme = "furo"
html_title = "vit_perception"
html_theme_options = {"source_directory": "docs/"}
html_static_path, html_css_files = ["_static"], ["site.css"]
html_show_sphinx = False
