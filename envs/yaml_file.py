"""Loads YAML safely, and refuses text that would silently mean something unexpected.

It refuses a key given twice, a number with a leading 0 (octal) or with colons (base 60), and a merge that loses rules.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from envs.errors import TelosError

EXPONENT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")
"""Numbers such as 1e-7, which YAML 1.2 and JSON allow, and which PyYAML (YAML 1.1) reads as text."""
MAX_REPEATED = 100_000
"""The most characters to which all aliases together may expand; nested aliases could expand to any number."""
OCTAL = re.compile(r"[-+]?0[0-7_]+$")
SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?$")
"""Notations of YAML 1.1 with an unexpected value: 010 is 8, and 1:30 is 90."""
UNWRITABLE = re.compile("[\\0\ud800-\udfff]")  # NUL, and halves of surrogate pairs
MAX_DEPTH = 50  # levels of collections in collections
RULES = ("guardrails", "back_up")  # keys whose value a merge must not lose
MISTAKES = (yaml.YAMLError, ValueError, TypeError, RecursionError)
"""The errors that `parse` raises for text that is not YAML; TypeError is for an invalid key."""


class Misleading(yaml.MarkedYAMLError):
    """YAML whose meaning differs from what it seems to say."""

    def __init__(self, given: str, allowed: str, mark: yaml.Mark) -> None:
        super().__init__(problem=f"{given}; allowed: {allowed}", problem_mark=mark)
        self.given, self.allowed = given, allowed


def parse(text: str) -> Any:
    """The content of YAML text. Raises one of `MISTAKES`."""
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except (LookupError, AttributeError):  # raised for `!!bool x` and `!!int ''`
        raise yaml.YAMLError("a value that its tag (!!) does not fit") from None


def content(text: str, where: str, allowed: str) -> Any:
    """The content of YAML text.

    Args:
        where: the file or the flag from which the text comes.
        allowed: the expected content, in words.

    Raises:
        TelosError: the text is not YAML, or misleading; with its line, where there is more than one.
    """
    try:
        return parse(text)
    except MISTAKES as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}:{mark.line + 1}" if mark is not None and "\n" in text.strip() else where
        if isinstance(error, Misleading):
            raise TelosError(place, error.given, error.allowed) from None
        why = "nested too deeply" if isinstance(error, RecursionError) else getattr(error, "problem", None) or error
        given = f"not YAML ({' '.join(str(why).split())})"
        raise TelosError(place, given, allowed) from None


def dump(content: Any) -> str:
    """YAML text that `parse` reads as the same content, unless it contains text that `parse` refuses (NUL)."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Loader(yaml.SafeLoader):
    """Refuses unlimited aliases and repeated keys; a repeated key would silently replace a list of guardrails."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._sizes: dict[yaml.Node, int] = {}  # node -> its size, contents included
        self._depths: dict[yaml.Node, int] = {}  # node -> its levels of collections, aliases followed
        self._repeated = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node; for an alias, the node to which it refers."""
        alias, line = self.check_event(yaml.AliasEvent), self.peek_event().start_mark.line + 1
        node = super().compose_node(parent, index)
        assert node is not None
        if not alias:
            self._sizes[node] = 1 + _own(node) + sum(self._sizes[part] for part in _parts(node))
            self._depths[node] = 1 + max((self._depths[part] for part in _parts(node)), default=0)
            if self._depths[node] > MAX_DEPTH:
                raise yaml.YAMLError(f"more than {MAX_DEPTH} levels deep, in line {line}")
            return node
        # A node without a size has not ended: the alias refers to a node that contains it.
        self._repeated += self._sizes.get(node, MAX_REPEATED + 1)
        if self._repeated > MAX_REPEATED:
            raise yaml.YAMLError(f"aliases that stand for more than {MAX_REPEATED:,} characters, in line {line}")
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping, checked for repeated keys here because resolving merge keys (`<<`) may repeat keys."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # not a key of our files
            if key.value in seen:
                line = key.start_mark.line + 1
                raise yaml.YAMLError(f"key {key.value!r} a second time, in line {line}")
            seen.add(key.value)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Resolve merge keys (`<<`). Raises Misleading where that would lose rules."""
        _check_merges(node)
        super().flatten_mapping(node)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """The number in `node`. Raises Misleading for octal and for base 60."""
        text, whole = node.value, node.tag.endswith(":int")
        value = self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)
        if whole and OCTAL.match(text) and value != (decimal := int(text.replace("_", ""))):
            given, allowed = f"{text}, which YAML 1.1 reads as {value} (octal)", f"{value} or {decimal}"
            raise Misleading(given, f"{allowed}, or quotes for text", node.start_mark)
        if SEXAGESIMAL.match(text) and ":" in text:
            given = f"{text}, which YAML 1.1 reads as {value} (base 60)"
            raise Misleading(given, f"{value}, or quotes for text", node.start_mark)
        return value

    def construct_text(self, node: yaml.ScalarNode) -> str:
        """The text in `node`. Raises Misleading for characters that files and names cannot contain."""
        strange = UNWRITABLE.search(node.value)
        if strange:
            given = f"{node.value!r}, with the character U+{ord(strange[0]):04X}"
            raise Misleading(given, "text that can be written as UTF-8, without NUL", node.start_mark)
        return self.construct_yaml_str(node)


def _check_merges(node: yaml.MappingNode) -> None:
    """Raises Misleading where a merge key and the mapping beside it, or two merges, give different rules."""
    given: dict[str, yaml.Node] = {}
    for source in [*_merged(node), node]:
        for key, value in source.value:
            if key.value not in RULES:
                continue
            if given.setdefault(key.value, value) is not value:
                what = f"{key.value} in a merged mapping (<<) and again beside it, which would replace the first"
                raise Misleading(what, f"{key.value} in one place", key.start_mark)


def _merged(node: yaml.MappingNode) -> list[yaml.MappingNode]:
    """The mappings that a mapping merges, recursively."""
    found: list[yaml.MappingNode] = []
    for key, value in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            parts = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for part in parts:
                if isinstance(part, yaml.MappingNode):
                    found += [*_merged(part), part]
    return found


def _own(node: yaml.Node) -> int:
    """The number of characters in a scalar node; 0 for a collection."""
    return len(node.value) if isinstance(node, yaml.ScalarNode) else 0


def _parts(node: yaml.Node) -> list[yaml.Node]:
    """The child nodes of a node."""
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


class _Dumper(yaml.SafeDumper):
    """Quotes text that `_Loader` would read as a number."""


_Loader.add_constructor("tag:yaml.org,2002:str", _Loader.construct_text)
for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+.0123456789"))


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Quote text with Unicode line breaks, which double quotes escape; other styles would read them as spaces."""
    style = '"' if any(character in text for character in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+.0123456789"))
