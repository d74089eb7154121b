"""Test what SECURITY.md promises: no file that is read is unpickled or evaluated."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}


def dangers(tree: ast.AST) -> list[str]:
    """List the calls in a module that could execute the content of a file, by line."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
            found += [f"{node.lineno}: {n}" for n in names if n.partition(".")[0] in FORBIDDEN_MODULES]
        if not isinstance(node, ast.Call):
            continue
        words = {word.arg: word.value for word in node.keywords if word.arg}
        name = ast.unparse(node.func)
        if name in FORBIDDEN_CALLS or name in ("os.system", "os.popen"):
            found.append(f"{node.lineno}: {name}")
        if name.endswith("torch.load") and not _is(words.get("weights_only"), True):
            found.append(f"{node.lineno}: torch.load without weights_only=True")
        if name in ("np.load", "numpy.load") and not _is(words.get("allow_pickle"), False):
            found.append(f"{node.lineno}: np.load without allow_pickle=False")
        for word, value in (("trust_remote_code", True), ("allow_pickle", True), ("shell", True)):
            if word in words and not _is(words[word], not value):
                found.append(f"{node.lineno}: {word}")
        model = name.endswith(".from_pretrained") and not name.endswith(
            ("Scheduler.from_pretrained", *_LIGHT)
        )
        if model and not _is(words.get("use_safetensors"), True):
            found.append(f"{node.lineno}: {name} without use_safetensors=True")
    return found


# What holds settings and no weights.
_LIGHT = ("Processor.from_pretrained", "Config.from_pretrained", "Tokenizer.from_pretrained")


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_unpickled_or_evaluated(path: Path) -> None:
    assert dangers(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from yaml import load",
        "eval(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(name, use_safetensors=True, trust_remote_code=True)",
        "AutoModel.from_pretrained(name)",
        "subprocess.run(command, shell=True)",
    ],
)
def test_the_check_sees_what_is_forbidden(code: str) -> None:
    assert dangers(ast.parse(code))


def test_the_check_passes_what_is_safe() -> None:
    code = "torch.load(path, weights_only=True); np.load(path, allow_pickle=False); network.eval()"
    assert dangers(ast.parse(code)) == []
