"""Windows and macOS, simulated: what only some systems have is missing."""

import ast
import errno
import os
import re
import signal
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from clearpane import files, locks
from clearpane.app import cli, doctor
from clearpane.files import atomic_folder, atomic_path
from clearpane.separation.compact import runtime

PACKAGE = Path(__file__).parents[1] / "src" / "clearpane"

# What the documentation of `os`, `signal`, `time` and `socket` marks as available on Unix or Linux only.
UNIX_ONLY = frozenset(
    re.findall(
        r"\w+",
        """
        chroot chown lchown fchown fchmod fork forkpty getegid geteuid getgid getgroups getloadavg getpgid
        getpgrp getresuid getsid getuid initgroups killpg lockf major minor makedev mkfifo mknod nice openpty
        pathconf posix_fadvise posix_fallocate posix_spawn pread preadv pwrite pwritev sendfile
        sched_getaffinity sched_setaffinity sched_yield setegid seteuid setgid setpgid setpriority setsid
        setuid statvfs sync sysconf tcgetpgrp ttyname uname wait wait3 wait4 waitid
        alarm getitimer pause pthread_kill pthread_sigmask setitimer sigpending sigwait sigtimedwait
        SIGHUP SIGKILL SIGUSR1 SIGUSR2 SIGPIPE SIGALRM SIGCHLD SIGQUIT SIG_BLOCK SIG_SETMASK SIG_UNBLOCK
        clock_settime pthread_getcpuclockid tzset AF_UNIX
        O_DIRECTORY O_NOFOLLOW O_CLOEXEC O_SYNC O_DSYNC O_NONBLOCK
        """,
    )
)
UNIX_MODULES = {"curses", "fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
# Where such a name may stand: each has a fallback, which a test below takes.
GUARDED = {
    "app/doctor.py": {"sched_getaffinity", "sysconf"},
    "files.py": {"getuid"},
    "locks.py": {"fcntl"},
    "separation/compact/runtime.py": {"sched_getaffinity"},
    "synthesis/dataset/parallel.py": {"pthread_sigmask", "SIG_BLOCK", "SIG_SETMASK"},
}


def unix_only(path):
    """The names that only some systems have, used in a file as attributes of a module or imported."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in ("os", "signal", "time", "socket") and node.attr in UNIX_ONLY:
                found.add(node.attr)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & UNIX_MODULES
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} & UNIX_MODULES
            if node.module in ("os", "signal", "time", "socket"):
                found |= {alias.name for alias in node.names} & UNIX_ONLY
    return found


def test_what_only_some_systems_have_is_used_in_known_places():
    words = re.compile(rf"\b({'|'.join(UNIX_ONLY | UNIX_MODULES)})\b")  # parsing the others would take time
    texts = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    users = [path for path, text in texts.items() if words.search(text)]
    found = {path.relative_to(PACKAGE).as_posix(): unix_only(path) for path in users}
    assert {name: names for name, names in found.items() if names} == GUARDED


def test_the_search_finds_every_form(tmp_path):
    file = tmp_path / "a.py"
    file.write_text(
        "import os, fcntl\nfrom signal import SIGHUP\nfrom resource import getrlimit\nos.fork()\n"
    )
    assert unix_only(file) == {"fcntl", "SIGHUP", "resource", "fork"}


def test_doctor_and_threads_without_affinity_and_sysconf(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "sysconf", raising=False)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)  # PyTorch and Mitsuba are another matter
    devices = doctor._devices()
    assert devices["cpu_cores"] == os.cpu_count() and devices["memory_bytes"] is None
    assert runtime._default_threads() == 0


@pytest.fixture
def windows_locks(monkeypatch):
    """`msvcrt.locking` instead of `fcntl.flock`: one holder for each file, freed when its handle closes."""
    held = {}

    def locking(handle, mode, count):
        file = os.fstat(handle).st_ino
        owner = held.get(file)
        if owner is not None and owner != handle:
            try:
                open_still = os.fstat(owner).st_ino == file
            except OSError:
                open_still = False
            if open_still:
                raise PermissionError(errno.EACCES, "Permission denied")
        held[file] = handle

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(LK_LOCK=1, LK_NBLCK=2, locking=locking))


def test_locks_without_fcntl(windows_locks, tmp_path):
    handle = locks.hold(tmp_path / "lock")
    assert locks.take(tmp_path / "lock") is None
    locks.remove(tmp_path / "lock", handle)
    assert not (tmp_path / "lock").exists()
    with locks.only_run(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".clearpane-run"]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def windows_files(windows_locks, monkeypatch):
    """No links, no users; a handle that only reads cannot be synced, and no folder can be opened."""
    real_open, modes = os.open, {}

    def open_file(path, flags, *others, **named):
        if isinstance(path, str | os.PathLike) and Path(path).is_dir() and "dir_fd" not in named:
            raise PermissionError(errno.EACCES, "Permission denied")
        handle = real_open(path, flags, *others, **named)
        modes[handle] = flags
        return handle

    def fsync(handle):
        if not modes[handle] & (os.O_RDWR | os.O_WRONLY):
            raise OSError(errno.EBADF, "Bad file descriptor")

    def no_links(self, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(files.os, "open", open_file)
    monkeypatch.setattr(files.os, "fsync", fsync)
    monkeypatch.delattr(os, "getuid", raising=False)
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    monkeypatch.setattr(files, "_exchange", lambda one, other: False)


def test_files_and_folders_are_written_without_links_users_and_folder_handles(windows_files, tmp_path):
    with atomic_path(tmp_path / "a.txt") as path:
        path.write_text("first")
    with pytest.raises(files.ExistsError), atomic_path(tmp_path / "a.txt"):
        pass
    with atomic_path(tmp_path / "a.txt", overwrite=True) as path:
        path.write_text("second")
    for text in ("one", "two"):
        with atomic_folder(tmp_path / "folder", overwrite=True) as folder:
            (folder / "b.txt").write_text(text)
    files.remove_leftovers(tmp_path)
    assert (tmp_path / "a.txt").read_text() == "second"
    assert (tmp_path / "folder" / "b.txt").read_text() == "two"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "folder"]


def test_a_folder_is_replaced_without_an_exchange_of_names(monkeypatch, tmp_path):
    monkeypatch.setattr(files.ctypes, "CDLL", lambda name: SimpleNamespace())  # macOS: no renameat2
    for text in ("one", "two"):
        with atomic_folder(tmp_path / "folder", overwrite=True) as folder:
            (folder / "b.txt").write_text(text)
    assert (tmp_path / "folder" / "b.txt").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_the_command_without_sighup(monkeypatch, capsys):
    monkeypatch.delattr(signal, "SIGHUP", raising=False)
    assert cli.main(["train"]) == 0
    assert "train compact" in capsys.readouterr().out


def test_workers_start_without_masks_of_signals(monkeypatch):
    pytest.importorskip("torch")
    for name in ("pthread_sigmask", "SIG_BLOCK", "SIG_SETMASK"):
        monkeypatch.delattr(signal, name, raising=False)
    parallel = import_module("clearpane.synthesis.dataset.parallel")
    with parallel._interrupts_blocked():
        started = True
    assert started
