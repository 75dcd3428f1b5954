"""Strict number types for files and configurations: "5" and true are not numbers, and 1 is not true."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

SMALLEST, LARGEST = 1e-9, 1e9  # bounds of values that are squared and inverted, far from overflow
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Scale = Annotated[Number, Field(ge=SMALLEST, le=LARGEST)]
Whole = Annotated[int, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
