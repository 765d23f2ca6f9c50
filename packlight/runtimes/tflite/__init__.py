"""Network -> TFLite flatbuffer: what LiteRT runs, on phones and here."""

from __future__ import annotations

from typing import Literal

#: how values between layers are held: see `lowering`
Values = Literal["fitted", "int8", "float"]
