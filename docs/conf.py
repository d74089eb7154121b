"""Settings of the documentation site: Sphinx over the repository's own pages.

The root of the repository is Sphinx's source folder, so that the links of README.md, CHANGELOG.md and docs/
hold in the site as they do on a repository page. Build it with `make docs`.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "docs" / "site")]

import gallery  # noqa: E402

from clearpane import __version__  # noqa: E402

project = "Clearpane"
author = "The Clearpane authors"
copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.bibtex"]
root_doc = "README"
include_patterns = ["*.md", "docs/**", "examples/README.md", "integrations/*/README.md"]
exclude_patterns = [".*", "build", "src", "tests", "benchmarks", "requirements", "recipe", "web"]
exclude_patterns += ["demo-output", "docs/site/navigation.md"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"

default_role = "py:obj"  # docstrings name things in single backticks, as on a terminal
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80
nitpick_ignore_regex = [
    ("py:obj", ".*"),  # a name in backticks may be an argument or a module that has no page
    ("py:class", r"clearpane\..*\.(PixelRows|Description|Refined|Capture|ObjectState)"),  # of no use alone
    ("py:.*", r"(collections|numpy|os|pathlib|typing)\..*"),  # their pages are on other sites
]

html_theme = "furo"
html_title = f"Clearpane {release}"
html_static_path = ["site/static"]
html_css_files = ["site.css"]
html_extra_path = ["site/index.html"]
html_copy_source = False
html_math_renderer = "mathml"


def add_menus(app: Sphinx, name: str, source: list[str]) -> None:
    """Append the site's menus to the pages above others; on a repository page they would be noise."""
    if name == root_doc:
        menu = ROOT / "docs" / "site" / "navigation.md"
        source[0] += menu.read_text(encoding="utf-8")
        app.env.note_dependency(menu)
    elif name == "docs/figures/README":
        source[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n*\n```\n"


def write_inline_formula(writer: Any, node: nodes.math) -> None:
    """Write a formula in a line as MathML, which browsers draw without scripts or fonts from elsewhere."""
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def write_formula(writer: Any, node: nodes.math_block) -> None:
    """Write a formula of its own as MathML, in a box that scrolls on narrow screens."""
    writer.body.append(f'<div class="formula">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def make_gallery(app: Sphinx) -> None:
    """Make the gallery's pictures with the command that users run, and its page from the other pages."""
    folder = ROOT / "docs" / "gallery"
    examples = sorted(map(str, ROOT.glob("examples/*_input.jpg")))
    command = [sys.executable, "-m", "clearpane", "remove", *examples, "--output", str(folder), "--compare"]
    subprocess.run(command, check=True, cwd=ROOT / "src")
    gallery.write_page(ROOT, folder / "index.md")


def setup(app: Sphinx) -> None:
    """Register the parts that are this site's own."""
    app.add_html_math_renderer("mathml", (write_inline_formula, None), (write_formula, None))
    app.connect("source-read", add_menus)
    app.connect("builder-inited", make_gallery)
