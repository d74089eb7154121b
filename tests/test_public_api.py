import json
import subprocess
import sys

import clearpane

_HEAVY = ("onnxruntime", "OpenImageIO", "torch", "imagecodecs", "PIL", "numpy", "rich", "tyro")


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_is_quick_and_loads_nothing_heavy():
    code = (
        "import json, sys, time\n"
        "start = time.perf_counter()\n"
        "import clearpane\n"
        "seconds = time.perf_counter() - start\n"
        f"print(json.dumps([seconds, [name for name in {_HEAVY!r} if name in sys.modules]]))"
    )
    seconds, loaded = min(json.loads(run_python(code)) for _ in range(3))
    assert loaded == []
    assert seconds < 0.3


def test_separation_does_not_load_what_only_training_and_objects_need():
    code = (
        "import sys, clearpane\n"
        "for name in set(clearpane.__all__) - {'Asset', 'reconstruct', 'save_asset'}:\n"
        "    getattr(clearpane, name)\n"
        "print('torch' in sys.modules)"
    )
    assert run_python(code).strip() == "False"


def test_every_name_exported_exists_and_is_listed():
    assert len(clearpane.__all__) <= 16
    for name in clearpane.__all__:
        assert getattr(clearpane, name) is not None
    assert set(clearpane.__all__) <= set(dir(clearpane))


def test_a_mistyped_name_is_an_attribute_error():
    assert not hasattr(clearpane, "remove_reflections")


def test_errors_are_one_class():
    from clearpane.errors import ClearpaneError

    assert clearpane.ClearpaneError is ClearpaneError
