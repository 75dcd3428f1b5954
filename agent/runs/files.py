"""Files of a run directory: written whole or not at all; read only where they are regular files."""

from __future__ import annotations

import errno
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
    """What the system refused, as a message a user can act on."""
    what = error.strerror or type(error).__name__
    return TelosError(str(error.filename or where), what.lower(), _ALLOWED.get(error.errno or 0, "a path that works"))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what a full or read-only disk raises into TelosError."""
    from safetensors import SafetensorError

    try:
        yield
    except OSError as error:
        raise refusal(path, error) from None
    except SafetensorError as error:  # its own kind, whatever the system said
        raise TelosError(str(path), f"a failed write ({error})", "space to write") from None


def write(path: Path, data: bytes) -> None:
    """A whole file or none: written aside, synced, renamed."""
    scratch = path.with_name(f".{path.name}.part")
    with writing(path):
        scratch.unlink(missing_ok=True)  # of a killed write; a FIFO in its place would be waited for
        try:
            with scratch.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)


def contents(file: Path) -> bytes:
    """All bytes of a regular file; opening one of another kind could wait for ever.

    Raises:
        TelosError: it is missing, may not be read, or is a FIFO, a device, a socket or a directory.
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
    """What a path is, where it is no regular file; None where it is one."""
    kind = stat.S_IFMT(found.st_mode)
    return None if kind == stat.S_IFREG else _KINDS.get(kind, "no regular file")
