import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from clearpane.errors import ClearpaneError
from clearpane.web.visits import Visits
from clearpane.web.work import Cancelled, Gate


@pytest.fixture
def visits(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = Visits()
    yield made
    made.close()
    assert not made.root.exists()


def upload(visits: Visits, name: str = "a.jpg", age: float = 0) -> Path:
    path = visits.root / "hash" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_the_end_of_a_visit_removes_its_files_and_cancels_its_jobs(visits):
    visit = visits.of("one")
    path = visits.claim(visit, upload(visits, age=100))
    (visit.new_folder("result") / "r.png").touch()
    visits.end("one")
    assert not visit.folder.exists() and not path.exists()
    assert visit.cancelled.is_set()


def test_a_programs_job_goes_on_when_its_heartbeat_is_lost(visits):
    visit = visits.of("program")
    visit.running = 1
    visits.end("program")
    assert visit.folder.exists() and not visit.cancelled.is_set()
    visit.running = 0
    visits.sweep(ahead=2 * 3600)
    assert not visit.folder.exists()


def test_a_program_that_hangs_up_cancels_its_job_whose_files_go_when_it_ends(visits):
    visit = visits.of("program")
    visit.running = 1
    visits.leave("program")
    assert visit.cancelled.is_set() and visit.folder.exists()
    visits.finish(visit)
    assert not visit.folder.exists() and len(visits) == 0


def test_a_page_that_loses_its_stream_goes_on(visits):
    visit = visits.of("page")
    visit.has_page, visit.running = True, 1
    visits.leave("page")
    visits.finish(visit)
    assert visit.folder.exists() and not visit.cancelled.is_set()


def test_an_upload_that_another_visit_uses_stays(visits):
    path = upload(visits, age=100)
    for name in ("one", "two"):
        visits.claim(visits.of(name), path)
    visits.end("one")
    assert path.exists()
    visits.end("two")
    assert not path.exists()


def test_a_fresh_upload_may_be_on_its_way_to_another_visit(visits):
    path = upload(visits)
    visits.claim(visits.of("one"), path)
    visits.end("one")
    assert path.exists()
    visits.sweep(ahead=1000)
    assert not path.exists()


def test_the_sweep_leaves_what_is_in_use(visits):
    claimed, forgotten = upload(visits, "a.jpg", 1000), upload(visits, "b.jpg", 1000)
    visits.claim(visits.of("one"), claimed)
    visits.sweep()
    assert claimed.exists() and not forgotten.exists()


@pytest.mark.parametrize("path", ["/etc/passwd", "{root}/../x", "{root}/missing"])
def test_only_uploads_are_taken(visits, path):
    with pytest.raises(ClearpaneError, match="is not a file that was uploaded"):
        visits.claim(visits.of("one"), path.format(root=visits.root))


def test_a_link_does_not_lead_out(visits, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.touch()
    link = visits.root / "link.jpg"
    link.symlink_to(secret)
    with pytest.raises(ClearpaneError, match="is not a file that was uploaded"):
        visits.claim(visits.of("one"), link)


def test_folders_of_pages_that_were_killed_are_removed_and_those_of_others_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = "import os; from clearpane.web.visits import Visits; v = Visits(); print(v.root); os._exit(9)"
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    left = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env
    ).stdout.strip()
    assert Path(left).is_dir()
    first = Visits()
    assert not Path(left).exists()
    second = Visits()
    assert first.root.exists()
    first.close()
    second.close()


def test_the_gate_waits_for_the_running_job_and_lets_no_other_in():
    gate = Gate()
    ended = threading.Event()
    with gate.job():
        gate.close()
        with pytest.raises(ClearpaneError, match="being closed"), gate.job():
            pass
        with pytest.raises(Cancelled):
            gate.check(threading.Event())
        waiter = threading.Thread(target=lambda: (gate.wait(), ended.set()))
        waiter.start()
        assert not ended.wait(0.1)
    assert ended.wait(5)
