"""YAML as people write it: safe, and a key given twice is refused, never silently the last."""

from __future__ import annotations

from typing import Any

import yaml

MISTAKES = (yaml.YAMLError, ValueError, TypeError, RecursionError)
"""What `parse` raises for text that is not YAML; TypeError for a key that cannot be one."""


def parse(text: str) -> Any:
    """The content of YAML text. Raises one of `MISTAKES`."""
    return yaml.load(text, _Loader)  # a SafeLoader


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
