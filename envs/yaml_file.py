"""YAML as people write it: safe, and a key given twice is refused, never silently the last."""

from __future__ import annotations

import re
from typing import Any

import yaml

EXPONENT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")
"""Numbers such as 1e-7, which YAML 1.2 and JSON have and PyYAML, of YAML 1.1, takes for text."""
MAX_REPEATED = 100_000
"""Characters that aliases may stand for, all together: aliases of aliases of aliases stand for any number."""
MISTAKES = (yaml.YAMLError, ValueError, TypeError, RecursionError)
"""What `parse` raises for text that is not YAML; TypeError for a key that cannot be one."""


def parse(text: str) -> Any:
    """The content of YAML text. Raises one of `MISTAKES`."""
    return yaml.load(text, _Loader)  # a SafeLoader


def dump(content: Any) -> str:
    """YAML text that `parse` reads as the same content."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Loader(yaml.SafeLoader):
    """Refuses a key given twice: the second would silently replace a list of guardrails. And aliases without end."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._sizes: dict[yaml.Node, int] = {}  # of nodes, with all that stands in them
        self._repeated = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node; an alias is the one that it stands for."""
        alias, line = self.check_event(yaml.AliasEvent), self.peek_event().start_mark.line + 1
        node = super().compose_node(parent, index)
        assert node is not None
        if not alias:
            self._sizes[node] = 1 + _own(node) + sum(self._sizes[part] for part in _parts(node))
            return node
        self._repeated += self._sizes.get(node, MAX_REPEATED + 1)  # a node without a size has not ended: it is its own
        if self._repeated > MAX_REPEATED:
            raise yaml.YAMLError(f"aliases that stand for more than {MAX_REPEATED:,} characters, in line {line}")
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping as it is written; here, as merge keys (`<<`) may repeat keys once they are resolved."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # no key of ours
            if key.value in seen:
                line = key.start_mark.line + 1
                raise yaml.YAMLError(f"key {key.value!r} a second time, in line {line}")
            seen.add(key.value)
        return node


def _own(node: yaml.Node) -> int:
    """Characters of a node that is no collection."""
    return len(node.value) if isinstance(node, yaml.ScalarNode) else 0


def _parts(node: yaml.Node) -> list[yaml.Node]:
    """What stands in a node."""
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


class _Dumper(yaml.SafeDumper):
    """Puts text that looks like a number in quotes, as far as `_Loader` is concerned."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+.0123456789"))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+.0123456789"))
