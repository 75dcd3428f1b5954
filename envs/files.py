"""Reading and writing of files: atomic writes, and reads only of regular files."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envs.errors import TelosError

_ALLOWED = {
    errno.ENOSPC: "free space on the disk, then try again",
    errno.EDQUOT: "room in the disk quota, then try again",
    errno.EFBIG: "a larger limit on file sizes (ulimit -f), then try again",
    errno.EROFS: "a file system that can be written",
    errno.EACCES: "a place that this user may write and read",
    errno.EEXIST: "a path whose parents are directories",
    errno.ENOTDIR: "a path whose parents are directories",
    errno.EPERM: "a place that this user may write and read",
}
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def refusal(where: object, error: OSError) -> TelosError:
    """The TelosError for an error of the operating system, with what the user can do about it."""
    what = error.strerror or type(error).__name__
    return TelosError(str(error.filename or where), what.lower(), _ALLOWED.get(error.errno or 0, "a path that works"))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the errors of a full or read-only disk into TelosError."""
    from safetensors import SafetensorError

    try:
        yield
    except OSError as error:
        raise refusal(path, error) from None
    except SafetensorError as error:  # safetensors raises it in place of OSError
        raise TelosError(str(path), f"a failed write ({error})", "space to write") from None


def write(path: Path, data: bytes) -> None:
    """Write a file atomically: write a temporary file beside it, sync it, rename it."""
    scratch = path.with_name(f".{path.name}.part")
    with writing(path):
        scratch.unlink(missing_ok=True)  # may be left from a killed process; open("xb") refuses an existing path
        try:
            with scratch.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Keep other processes that lock this directory out.

    Args:
        what: is going on there, for the error's text.

    Raises:
        TelosError: another process holds the lock, or there is no such directory.
    """
    with writing(path):
        descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            given = f"{what}: another process is writing there"
            raise TelosError(str(path), given, "waiting until it ends, or another --out") from None
        yield
    finally:
        os.close(descriptor)


def contents(file: Path) -> bytes:
    """All bytes of a regular file. Other kinds are refused, because opening a FIFO, say, could block for ever.

    Raises:
        TelosError: the file is missing, may not be read, or is a FIFO, a device, a socket or a directory.
    """
    try:
        if (kind := irregular(os.stat(file))) is None:
            with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
                if (kind := irregular(os.fstat(stream.fileno()))) is None:
                    return stream.read()
    except OSError as error:
        raise refusal(file, error) from None
    raise TelosError(str(file), kind, "a regular file")


def irregular(found: os.stat_result) -> str | None:
    """What a path is if it is not a regular file; None if it is one."""
    kind = stat.S_IFMT(found.st_mode)
    return None if kind == stat.S_IFREG else _KINDS.get(kind, "no regular file")
