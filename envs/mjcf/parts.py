"""The files that MuJoCo may open when it loads a model: includes, attached models, meshes, textures, height fields.

MuJoCo can list them too (`mju_getXMLDependencies`), but it resolves some names differently when listing than when
loading, and it blocks for ever on a pipe. So this module looks for every name wherever MuJoCo might: beside each XML
file, and in each folder that any `meshdir`, `texturedir` or `assetdir` names. Every file found counts as a part of the
model. The text is not parsed as XML, because MuJoCo's own parser accepts files that other parsers refuse.
"""

from __future__ import annotations

import html
import os
import re
import stat
from pathlib import Path

from envs.errors import TelosError

_FILE = re.compile(rb"""\b(?:file\w*|value)\s*=\s*(?:"([^"]*)"|'([^']*)')""")  # `value`: in a plugin's configuration
_SNIFFED = 512  # bytes read to tell whether a file is XML
_FOLDER = re.compile(rb"""\b(?:meshdir|texturedir|assetdir)\s*=\s*(?:"([^"]*)"|'([^']*)')""")


def parts(where: str, model: Path) -> tuple[Path, ...]:
    """Every existing file that MuJoCo may open for the MJCF file `model`, itself included, absolute and sorted.

    Args:
        where: the name of the model in error messages.

    Raises:
        TelosError: one of them is a pipe, a socket or a device, reading which may never end.
    """
    texts: dict[Path, bytes] = {}  # of the XML files
    found: set[Path] = set()
    seen: set[Path] = set()
    waiting = {Path(os.path.abspath(model))}
    while waiting:
        seen |= waiting
        for file in waiting:
            check_regular(where, file, "regular files alone")
            text = _text(file)
            if text is not None:
                found.add(file)
            if text:
                texts[file] = text
        waiting = _named(texts) - seen
    return tuple(sorted(found))


def check_regular(where: str, file: Path, kind: str) -> None:
    """Raises TelosError for anything but a regular file, because reading others may never end; follows links."""
    if not stat.S_ISREG(file.stat().st_mode):
        raise TelosError(where, f"{str(file)!r}, which is not a regular file", kind)


def _text(file: Path) -> bytes | None:
    """The content of an XML file, b"" for another file, None for an unreadable one.

    An unreadable file is no error here, because MuJoCo raises one if it needs the file.
    """
    try:
        with file.open("rb") as stream:
            begin = stream.read(_SNIFFED)
            looks_like_xml = begin.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
            return begin + stream.read() if looks_like_xml else b""
    except OSError:
        return None


def _named(texts: dict[Path, bytes]) -> set[Path]:
    """The existing files that the texts name."""
    below = [name for text in texts.values() for name in _values(_FOLDER, text)]
    folders = {os.path.join(file.parent, name) for file in texts for name in ("", *below)}
    names = {name for text in texts.values() for name in _values(_FILE, text)}
    names |= {os.path.basename(name) for name in names}  # for the compiler's `strippath`
    paths = {os.path.normpath(os.path.join(folder, name)) for folder in folders for name in names if name}
    return {Path(path) for path in paths if os.path.exists(path) and not os.path.isdir(path)}


def _values(pattern: re.Pattern[bytes], text: bytes) -> set[str]:
    """The attribute values that the pattern finds, as file names; MuJoCo accepts both kinds of slash."""
    values = {os.fsdecode(double or single) for double, single in pattern.findall(text)}
    values = {html.unescape(value) for value in values} | values
    return values | {value.replace("\\", "/") for value in values}
