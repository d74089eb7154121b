"""What stands around the code agrees with it: versions, links, pins."""

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from clearpane import __version__

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "clearpane"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")])


def test_version_is_the_same_everywhere() -> None:
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.M)
    newest = re.search(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert citation is not None and newest is not None
    page = re.search(r'"version": "(\S+)"', (ROOT / "web" / "package.json").read_text())
    assert page is not None
    assert (citation[1], newest[1], page[1]) == (__version__, __version__, __version__)


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "Typing :: Typed" in project["project"]["classifiers"]
    # Hatchling ships every file of these folders.
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"] == {"packages": ["src/clearpane"]}


def test_the_recipe_for_conda_forge_agrees_with_the_project() -> None:
    recipe = (ROOT / "recipe" / "recipe.yaml").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    run = recipe.partition("\n  run:\n")[2].partition("\n\n")[0]
    wanted = {line.removeprefix("    - ").replace(" ", "") for line in run.splitlines()}
    names = {"openimageio": "py-openimageio"}  # conda-forge's, where they differ
    needs = {
        re.sub(r"^[A-Za-z-]+", lambda n: names.get(n[0].lower(), n[0]), d) for d in project["dependencies"]
    }
    assert wanted == {"python>=${{python_min}}"} | needs
    assert f"  version: {__version__}\n" in recipe and f"license: {project['license']}\n" in recipe
    assert f"- clearpane = {project['scripts']['clearpane']}\n" in recipe


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    local = [t.partition("#")[0] for t in targets if not re.match(r"[a-z]+:|#", t)]
    assert [t for t in local if not (page.parent / t).exists()] == []


def test_every_dependency_is_pinned_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = _pins("base.txt")
    assert _names(project["dependencies"]) <= set(base)
    extras = project["optional-dependencies"]
    wanted = [
        requirement
        for extra in ("photo", "watch", "train", "synthesis", "flux", "hub", "3d", "web", "cluster", "test")
        for requirement in extras[extra]
    ]
    tests = _pins("test.txt")
    assert _names(wanted) - {"clearpane"} | {"ruff", "mypy"} <= set(tests) | set(base)
    assert not set(tests) & set(base)
    docs = _pins("docs.txt")
    assert _names(extras["docs"]) <= set(docs)
    assert not set(docs) & {*base, *tests}


def test_everything_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    shipped = ("photo", "watch", "train", "synthesis", "flux", "hub", "3d", "web", "cluster")
    product = _names([*project["dependencies"], *(r for extra in shipped for r in extras[extra])])
    used = {name for path in (ROOT / "src").rglob("*.py") for name in _imports(path, everywhere=True)}
    assert used - product == set()
    # torch.onnx, torch.utils.tensorboard, diffusers, transformers and Dr.Jit load these.
    assert product - used == {"onnxscript", "tensorboard", "sentencepiece", "karellen-llvm-core"}
    tests = {name for path in (ROOT / "tests").rglob("*.py") for name in _imports(path, everywhere=True)}
    assert tests - product - _names(extras["test"]) == set()


def test_only_learning_and_geometry_import_torch_at_module_level() -> None:
    allowed = re.compile(
        r"(training|synthesis|reconstruction|geometry)/|separation/(flux|panel|gensirr|windowseat)/(?!options\.py)"
        r"|separation/\w+/(network|features|export|full_graph)\.py$"
    )
    heavy = {"torch", "onnx", "onnxscript"}
    files = {p.relative_to(PACKAGE).as_posix(): p for p in PACKAGE.rglob("*.py")}
    loads = {name for name, path in files.items() if heavy & _imports(path, everywhere=False)}
    assert {name for name in loads if not allowed.match(name)} == set()


# Lower floors know nothing of higher ones; rooms of one floor know nothing of each other.
FLOORS = (
    {"errors", "_version"},
    {"locks"},
    {"files", "json_files", "named_files", "tensor_files", "optics", "mitsuba_variant"},
    {"streams", "hub", "cluster"},
    {"geometry", "images"},
    {"synthesis", "separation", "reconstruction"},
    {"evaluation"},
    {"training", "web"},
    {"", "app"},
    {"__main__"},
)


def test_no_import_circle() -> None:
    TopologicalSorter(_arrows(PACKAGE)).prepare()  # raises CycleError, which names the circle


def test_imports_run_downwards_only() -> None:
    floor = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
    upwards = set()
    for module, targets in _arrows(PACKAGE).items():
        for target in targets:
            here, there = (name.split(".")[1] if "." in name else "" for name in (module, target))
            if here != there and floor[there] >= floor[here]:
                upwards.add((module, target))
    assert upwards == set()


def test_the_import_checks_see_hidden_imports(tmp_path: Path) -> None:
    package = tmp_path / "clearpane"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "one.py").write_text("from clearpane import two\n")
    (package / "two.py").write_text("def f():\n    import clearpane.one\n")
    arrows = _arrows(package)
    assert arrows["clearpane.one"] == {"clearpane.two"}
    with pytest.raises(CycleError):
        TopologicalSorter(arrows).prepare()


def _arrows(package: Path) -> dict[str, set[str]]:
    """Map each module of a package to the modules that it imports anywhere in its file."""
    files = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).with_suffix("").parts
        files[".".join(parts).removesuffix(".__init__")] = path
    arrows: dict[str, set[str]] = {}
    for module, path in files.items():
        wanted = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                wanted |= names & files.keys() or {node.module}
        arrows[module] = wanted & files.keys() - {module}
    return arrows


def test_base_pins_hold_no_torch() -> None:
    assert not {name for name in _pins("base.txt") if name.startswith(("torch", "nvidia"))}


def test_readme_names_only_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {
        name
        for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md")
        for name in re.findall(r"^make ([a-z]+)", page.read_text(), re.M)
    }
    assert {"demo", "test", "lint"} <= named <= targets


def test_import_loads_no_heavy_package() -> None:
    code = "import sys, clearpane; print(*{m.partition('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "onnxruntime", "OpenImageIO", "imagecodecs", "skimage"} & set(loaded.split())


_DISTRIBUTIONS = {"PIL": "pillow", "skimage": "scikit-image", "pillow_heif": "pillow-heif"}


def _imports(path: Path, *, everywhere: bool) -> set[str]:
    """The distributions that a file imports: anywhere in it, or when it is imported itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module)
    tops = (
        {module.partition(".")[0] for module in modules}
        - set(sys.stdlib_module_names)
        - {"clearpane", "benchmarks"}
    )
    return {_normal(_DISTRIBUTIONS.get(top, top)) for top in tops}


def _pins(file: str) -> list[str]:
    lines = (ROOT / "requirements" / file).read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith(("#", "-r "))]
    assert all("==" in pin for pin in pins)
    return [_normal(pin.partition("==")[0]) for pin in pins]


def _names(requirements: list[str]) -> set[str]:
    return {_normal(re.split(r"[<>=!~\[; ]", requirement)[0]) for requirement in requirements}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
