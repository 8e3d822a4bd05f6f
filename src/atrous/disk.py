"""Files and folders come under their names whole or not at all: written beside, then renamed.

The name beside is `.NAME.HOST-PROCESS-RANDOM.part`: hidden, in the same folder, and different for every writer, so that
two processes never write into one file. What a killed process left is removed by the next write into that folder.

Whatever the system refuses becomes one line that names the final file, what the system said, and what to do.
"""

import errno
import os
import re
import shutil
import stat
import time
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from atrous.errors import AtrousError, UsageError
from atrous.processes import is_dead, machine

__all__ = [
    "alone",
    "final_name",
    "leftovers",
    "name_beside",
    "remove_leftovers",
    "restore",
    "write_bytes",
    "write_errors",
    "write_text",
    "writing",
    "writing_folder",
]

INSTEAD = "choose another place"
LONGEST = 160  # bytes of a name that are repeated in the name beside; file systems take 255 in all
LOOKED_AT = 64  # entries of a folder that each write may look at, taken on average
PATIENCE = 10.0  # seconds to wait for another process that exchanges a folder, which takes it milliseconds

_BESIDE = re.compile(r"\.(?P<name>.+)\.(?P<host>[0-9a-f]{8})-(?P<process>[0-9]{1,9})-[0-9a-f]{8}\.part")
_IN_RUST = re.compile(r"\(os error ([0-9]+)\)")
_CURES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free space there"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "make it writable"),
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EFBIG: "raise the limit on the size of a file",
}
_unseen: dict[str, int] = {}  # writes into a folder until it is searched again


def write_text(
    path: str | Path, text: str, *, error: type[AtrousError] = UsageError, instead: str = INSTEAD, durable: bool = True
) -> Path:
    """Write a text file as UTF-8 with the line ends that the text has; the rest as `write_bytes`.

    Names of files that are no UTF-8 are written as the bytes that they are.
    """
    return write_bytes(path, text.encode("utf-8", "surrogateescape"), error=error, instead=instead, durable=durable)


def write_bytes(
    path: str | Path,
    content: bytes,
    *,
    error: type[AtrousError] = UsageError,
    instead: str = INSTEAD,
    durable: bool = True,
) -> Path:
    """Write a file whole or not at all.

    Args:
        path: the final name; missing folders above it are made.
        content: all of it.
        error: the class of what is raised.
        instead: what the user can do but mend the disk; the end of the message.
        durable: whether the file must survive a power cut that follows at once.

    Returns:
        The path.

    Raises:
        AtrousError: of the class `error`, if the system refuses.
    """
    path = Path(path)
    with writing(path, error=error, instead=instead, durable=durable) as beside:
        beside.write_bytes(content)
    return path


@contextmanager
def writing(
    path: str | Path,
    *,
    error: type[AtrousError] = UsageError,
    instead: str = INSTEAD,
    durable: bool = False,
    parents: bool = True,
) -> Iterator[Path]:
    """Give a new, empty file beside a path; when the block ends well, it takes the path's name.

    When the block fails, what stood under the name before still stands, and nothing is left beside it. The file gets
    the permissions of any new file, also where a library replaces it by a private one. A pipe or a device, such as
    /dev/null, is given as it is.

    Args:
        path: the final name.
        error: the class of what is raised where the system refuses.
        instead: what the user can do but mend the disk; the end of the message.
        durable: push the file to the disk before it gets its name, and the name after it.
        parents: make missing folders above it.

    Raises:
        AtrousError: of the class `error`, if the system refuses. Other exceptions of the block pass unchanged.
    """
    path = Path(path)
    with write_errors(path, error=error, instead=instead):
        if not _is_file_or_absent(path):
            yield path
            return
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        beside = name_beside(path)
        beside.touch(exist_ok=False)
        mode = beside.stat().st_mode
        try:
            yield beside
            if beside.stat().st_mode != mode:
                beside.chmod(stat.S_IMODE(mode))
            if durable:
                _sync(beside)
            beside.replace(path)
            if durable:
                _sync_names(path.parent)
        finally:
            with suppress(OSError):
                beside.unlink(missing_ok=True)


@contextmanager
def writing_folder(
    path: str | Path,
    *,
    owns: Collection[str] | None = None,
    error: type[AtrousError] = UsageError,
    instead: str = INSTEAD,
    durable: bool = False,
) -> Iterator[Path]:
    """Give a new, empty folder beside a path; when the block ends well, it takes the path's place.

    An older folder is exchanged by two renames, between which it waits as `.NAME.old`: a process killed there loses
    nothing, because the next writer, or a reader that calls `restore`, puts it back.

    Args:
        path: the final place; a symbolic link to a folder stays one, and the folder that it points to is exchanged.
        owns: names of the files that make up such a folder. An older folder is replaced, and what else lies in it is
            moved to the new one. With None the place must be free, or an empty folder.
        error: the class of what is raised where the system refuses.
        instead: what the user can do but mend the disk; the end of the message.
        durable: push all files to the disk before the folder takes its place, and its name after it.

    Raises:
        AtrousError: of the class `error`, if the system refuses. Other exceptions of the block pass unchanged.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 (Path.resolve would follow links above the folder too)
    if path.is_symlink():
        path = path.resolve()
    with write_errors(path, error=error, instead=instead):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        building = name_beside(path)
        building.mkdir()
        try:
            yield building
            if durable:
                _sync_all(building)
            with alone(path.parent):
                _exchange(building, path, owns)
            if durable:
                _sync_names(path.parent)
        finally:
            shutil.rmtree(building, ignore_errors=True)


def restore(path: str | Path) -> None:
    """Put back a folder whose exchange was interrupted between the two renames."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 ("." has no name)
    if path.name and _old(path).is_dir() and not path.exists():
        with alone(path.parent):
            _put_back(path)


@contextmanager
def write_errors(path: str | Path, *, error: type[AtrousError] = UsageError, instead: str = INSTEAD) -> Iterator[None]:
    """Turn what the system refuses within the block into one line about the path.

    An error that names a file elsewhere, such as a source that cannot be read, is told of that file.

    Args:
        path: what is written.
        error: the class of what is raised.
        instead: what the user can do but mend the disk.

    Raises:
        AtrousError: of the class `error`; other exceptions pass unchanged.
    """
    try:
        yield
    except AtrousError:
        raise
    except Exception as problem:
        refusal = _refusal(problem)
        if refusal is None:
            raise
        raise error(_explain(refusal, final_name(path), instead)) from problem


def name_beside(path: Path) -> Path:
    """A name beside a path that no other writer has."""
    return path.with_name(f".{_short(path.name)}.{machine()}-{os.getpid()}-{os.urandom(4).hex()}.part")


def final_name(path: str | Path) -> Path:
    """The path under which something written beside will stand.

    Example:
        >>> final_name("out/.cells.0123abcd-77-89abcdef.part/masks/a.png").as_posix()
        'out/cells/masks/a.png'
    """
    parts = [found["name"] if (found := _BESIDE.fullmatch(part)) else part for part in Path(path).parts]
    return Path(*parts)


def leftovers(path: Path) -> list[Path]:
    """What dead processes of this machine left beside a path, and what belongs to no process: `.NAME.part`.

    A dead process needs none of its files, whatever their names: the next command may write others into the folder.
    """
    found, count = [], 0
    with suppress(OSError), os.scandir(path.parent) as entries:
        for count, entry in enumerate(entries, start=1):  # noqa: B007
            if not entry.name.endswith(".part"):
                continue
            match = _BESIDE.fullmatch(entry.name)
            dead = match is not None and is_dead(match["host"], int(match["process"]))
            if dead or entry.name == f".{path.name}.part":
                found.append(path.with_name(entry.name))
    _unseen[os.fspath(path.parent)] = count // LOOKED_AT
    return found


def remove_leftovers(path: Path) -> None:
    """Remove what `leftovers` finds; a folder of very many files is not searched at every write."""
    folder = os.fspath(path.parent)
    if _unseen.get(folder, 0) > 0:
        _unseen[folder] -= 1
        return
    for left in leftovers(path):
        with suppress(OSError):  # it does no harm
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()


def _short(name: str) -> str:
    """The name as it is repeated in a name beside: cut where that would be longer than the file system takes."""
    whole = os.fsencode(name)
    return name if len(whole) <= LONGEST else f"{name[:32]}~{zlib.crc32(whole):08x}"


def _is_file_or_absent(path: Path) -> bool:
    """False for a pipe or a device; refuses a folder, and a path that cannot be, before any work is done."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return True
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return stat.S_ISREG(mode)


def _refusal(problem: Exception) -> OSError | None:
    """The system's own error in an exception, where it holds one."""
    if isinstance(problem, OSError):
        return problem
    found = _IN_RUST.search(str(problem))  # safetensors hands on the text alone
    return OSError(int(found[1]), os.strerror(int(found[1]))) if found else None


def _explain(problem: OSError, path: Path, instead: str) -> str:
    why = problem.strerror or " ".join(str(problem).split()) or type(problem).__name__
    if isinstance(problem.filename, str | os.PathLike) and problem.filename2 is None:  # a copy names both of its files
        named = final_name(os.path.abspath(problem.filename))  # noqa: PTH100 (links are not followed)
        whole = Path(os.path.abspath(path))  # noqa: PTH100
        if not (named.is_relative_to(whole) or whole.is_relative_to(named)):
            return f"{named}: {why}; it is needed to write {path}, which was left as it was."
    cure = _CURES.get(problem.errno or 0)
    return f"{path}: cannot be written ({why}); {f'{cure}, or ' if cure else ''}{instead}."


def _sync(path: Path) -> None:
    """Push a file's bytes to the disk, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_names(folder: Path) -> None:
    with suppress(OSError):  # not every system can
        _sync(folder)


def _sync_all(folder: Path) -> None:
    for path in folder.rglob("*"):
        _sync_names(path) if path.is_dir() else _sync(path)
    _sync_names(folder)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes from exchanging names in a folder meanwhile, where the system can lock a folder."""
    try:
        import fcntl  # not on Windows

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.005)
            except OSError:  # a file system without locks
                break
        yield
    finally:
        os.close(handle)


def _old(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _put_back(path: Path) -> None:
    old = _old(path)
    if old.is_dir() and not path.exists():
        old.rename(path)


def _exchange(building: Path, path: Path, owns: Collection[str] | None) -> None:
    """Give a finished folder its place."""
    _put_back(path)
    if owns is None:
        if path.is_dir():
            path.rmdir()  # an empty one: Windows does not rename onto it
        building.rename(path)
        return
    _discard(path, owns)
    try:
        if path.exists():
            path.rename(_old(path))
        building.rename(path)
    except BaseException:
        _put_back(path)
        raise
    _discard(path, owns)


def _discard(path: Path, owns: Collection[str]) -> None:
    """Remove the folder that was put away, once the files that are none of its own have moved to the new one."""
    old = _old(path)
    if old.is_dir() and path.is_dir():
        for kept in old.iterdir():
            if kept.name not in owns and not (path / kept.name).exists():
                kept.rename(path / kept.name)
        shutil.rmtree(old, ignore_errors=True)
