"""A trained model as a file: named tensors, and a header that says what they are and where they come from.

The format is safetensors, which holds numbers and text and runs no code. The digest of a checkpoint is the SHA-256 of
its file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from envs.errors import TelosError
from envs.files import contents, write

SCHEMA = 1
KEY = "telos"  # of the header among the file's metadata
MAX_BYTES = 2**30
WRITTEN = "a checkpoint as `telos train` wrote it"


class Header(BaseModel):
    """What a checkpoint says of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = SCHEMA
    kind: str  # of world model
    task: str
    features: int = Field(ge=1, le=10**7)  # F, numbers of an observation
    action_size: int = Field(ge=1, le=10**5)
    control_period: float = Field(gt=0)  # s
    parts: dict[str, Any]  # part -> how it is rebuilt
    signals: dict[str, int] = Field(default_factory=dict)  # predicted signal -> its components
    frames: int = 0  # environment frames that it was trained on
    updates: int = 0
    seed: int = 0
    data: dict[str, str] = Field(default_factory=dict)  # store -> digest
    parents: list[str] = Field(default_factory=list)  # digests of checkpoints that it was trained on from
    versions: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Tensors by part and name, and the header."""

    header: Header
    tensors: Mapping[str, Tensor]  # "PART/NAME"
    sha256: str = ""  # of the file; "" before it is written

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of one part by name. Raises TelosError where there is none."""
        found = {key.partition("/")[2]: value for key, value in self.tensors.items() if key.startswith(f"{name}/")}
        if name not in self.header.parts:
            raise TelosError("checkpoint", f"no part {name!r}", list(self.header.parts))
        return found

    def has(self, name: str) -> bool:
        return name in self.header.parts

    def fill(self, name: str, module: nn.Module) -> None:
        """Load a part's tensors into a module. Raises TelosError where they do not fit it."""
        try:
            module.load_state_dict(self.part(name))
        except RuntimeError as error:
            raise TelosError(f"checkpoint: {name}", " ".join(str(error).split())[:200], WRITTEN) from None

    def written(self, path: Path) -> Checkpoint:
        """Write the file atomically, and return the checkpoint with its digest."""
        data = packed(self.tensors, {KEY: self.header.model_dump_json()})
        write(path, data)
        return Checkpoint(self.header, self.tensors, hashlib.sha256(data).hexdigest())

    @staticmethod
    def read(path: Path) -> Checkpoint:
        """Read a checkpoint file, or that of a training run's directory.

        Raises:
            TelosError: the file is missing, too large, cut short, of another schema, or no checkpoint.
        """
        path = path / "model.safetensors" if path.is_dir() else path
        where = f"checkpoint {path}"
        size = path.stat().st_size if path.is_file() else 0
        if size > MAX_BYTES:
            raise TelosError(where, f"{size} bytes", f"at most {MAX_BYTES} bytes")
        data = contents(path)
        try:
            header = json.loads(metadata(data)[KEY])
            version = header.get("version")
            if version != SCHEMA:
                raise TelosError(f"{where}: version", repr(version), f"{SCHEMA}, which this telos reads")
            made = Checkpoint(Header.model_validate(header), MappingProxyType(load(data)))
        except (SafetensorError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
            given = f"an unreadable file ({(str(error).strip() or type(error).__name__).splitlines()[0][:120]})"
            raise TelosError(where, given, WRITTEN) from None
        for name, tensor in made.tensors.items():
            if tensor.dtype not in (torch.float32, torch.float64, torch.int64, torch.bool):
                raise TelosError(f"{where}: {name}", f"numbers of {tensor.dtype}", WRITTEN)
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise TelosError(f"{where}: {name}", "numbers that are not finite", WRITTEN)
        return Checkpoint(made.header, made.tensors, hashlib.sha256(data).hexdigest())


def tensors_of(parts: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The tensors of modules as a checkpoint names them."""
    return {f"{part}/{name}": tensor for part, module in parts.items() for name, tensor in module.state_dict().items()}


def packed(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> bytes:
    """Tensors and text as the content of a safetensors file."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(plain, dict(about))


def metadata(data: bytes) -> dict[str, str]:
    """The text in the content of a safetensors file. Raises ValueError, KeyError or TypeError for anything else."""
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size])["__metadata__"]
