"""YAML as people write it: safe, and a key given twice is refused, never silently the last."""

from __future__ import annotations

import re
from typing import Any

import yaml

EXPONENT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")
"""Numbers such as 1e-7, which YAML 1.2 and JSON have and PyYAML, of YAML 1.1, takes for text."""
MISTAKES = (yaml.YAMLError, ValueError, TypeError, RecursionError)
"""What `parse` raises for text that is not YAML; TypeError for a key that cannot be one."""


def parse(text: str) -> Any:
    """The content of YAML text. Raises one of `MISTAKES`."""
    return yaml.load(text, _Loader)  # a SafeLoader


def dump(content: Any) -> str:
    """YAML text that `parse` reads as the same content."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Loader(yaml.SafeLoader):
    """Refuses a key given twice: the second would silently replace a list of guardrails."""

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


class _Dumper(yaml.SafeDumper):
    """Puts text that looks like a number in quotes, as far as `_Loader` is concerned."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+.0123456789"))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+.0123456789"))
