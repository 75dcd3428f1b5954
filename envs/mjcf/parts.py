"""The files that MuJoCo may open when it loads a model: includes, attached models, meshes, textures, height fields.

MuJoCo can list them too (`mju_getXMLDependencies`), but it resolves some names differently when it lists than when it
loads, and it waits for ever on a pipe. So this looks for every name wherever MuJoCo might: beside each XML file, and in
each of the folders that any `meshdir`, `texturedir` or `assetdir` names. What exists there counts as a part of the
model. The text is not parsed as XML, because MuJoCo's own parser takes what others refuse.
"""

from __future__ import annotations

import html
import os
import re
import stat
from pathlib import Path

from envs.errors import TelosError

_FILE = re.compile(rb"""\b(?:file\w*|value)\s*=\s*(?:"([^"]*)"|'([^']*)')""")  # `value`: of a plugin's configuration
_SNIFFED = 512  # bytes that tell whether a file is XML
_FOLDER = re.compile(rb"""\b(?:meshdir|texturedir|assetdir)\s*=\s*(?:"([^"]*)"|'([^']*)')""")


def parts(where: str, model: Path) -> tuple[Path, ...]:
    """Every existing file that the MJCF file `model` may open, itself included, absolute and sorted.

    Args:
        where: what the model is called, for the errors.

    Raises:
        TelosError: one of them is a pipe, a socket or a device, which may never end.
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
    """Raises TelosError for anything but a regular file, which alone is sure to end; links are followed."""
    if not stat.S_ISREG(file.stat().st_mode):
        raise TelosError(where, f"{str(file)!r}, which is not a regular file", kind)


def _text(file: Path) -> bytes | None:
    """The content of an XML file, nothing of another one, None where it cannot be read: MuJoCo says so if it must."""
    try:
        with file.open("rb") as stream:
            begin = stream.read(_SNIFFED)
            looks_like_xml = begin.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
            return begin + stream.read() if looks_like_xml else b""
    except OSError:
        return None


def _named(texts: dict[Path, bytes]) -> set[Path]:
    """What the texts name and is there; folders are no files."""
    below = [name for text in texts.values() for name in _values(_FOLDER, text)]
    folders = {os.path.join(file.parent, name) for file in texts for name in ("", *below)}
    names = {name for text in texts.values() for name in _values(_FILE, text)}
    names |= {os.path.basename(name) for name in names}  # with the compiler's `strippath`
    paths = {os.path.normpath(os.path.join(folder, name)) for folder in folders for name in names if name}
    return {Path(path) for path in paths if os.path.exists(path) and not os.path.isdir(path)}


def _values(pattern: re.Pattern[bytes], text: bytes) -> set[str]:
    """The attribute values that the pattern finds, as file names; MuJoCo takes both slashes."""
    values = {os.fsdecode(double or single) for double, single in pattern.findall(text)}
    values = {html.unescape(value) for value in values} | values
    return values | {value.replace("\\", "/") for value in values}
