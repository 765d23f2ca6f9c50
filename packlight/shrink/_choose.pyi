def on_grid(
    targets: bytes,
    weights: bytes,
    prices: bytes,
    top: int,
    earlier: bytes,
    saving: float,
    below: bytes,
    group: int,
    width: int,
) -> bytes: ...

along_trellis = on_grid
