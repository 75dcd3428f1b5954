# The wheel ships no type information; to the checker everything in it is Any.
from typing import Any

def __getattr__(name: str) -> Any: ...
