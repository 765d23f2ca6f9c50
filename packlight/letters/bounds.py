"""How far an image may stray from the clean glyph."""

from __future__ import annotations

from dataclasses import dataclass, fields

from packlight.errors import BadInput


@dataclass(frozen=True)
class Bounds:
    """How far an image may stray from the clean glyph: enough, and no more.

    A small network has only so much room. Shown letters upside down it will learn them, and pay
    with the accuracy of the upright ones that the camera really sees. So each distortion has a
    bound, set to what a hand-held phone does to a sign, and a draw is uniform inside it.

    Args:
        rotation: degrees, to either side, 0..45; beyond that an N becomes a Z.
        shift: along each axis, to either side, as a fraction of the frame, 0..0.25.
        scale: larger or smaller by this fraction, 0..0.5.
        blur: standard deviation in pixels of the strongest Gaussian blur, 0..4.
        noise: standard deviation of the strongest pixel noise, black to white being 1, 0..0.5.
        contrast: the least difference between ink and paper, 0.05..1. Either may be the darker.
        background: how much the light may change from one side to the other, 0..1.
    """

    rotation: float = 12.0
    shift: float = 0.08
    scale: float = 0.15
    blur: float = 1.0
    noise: float = 0.08
    contrast: float = 0.4
    background: float = 0.3

    def __post_init__(self) -> None:
        for field in fields(self):
            low, high = ALLOWED[field.name]
            value = getattr(self, field.name)
            if not low <= value <= high:  # also true for NaN
                raise BadInput(f"{field.name} is {value}; a bound from {low:g} to {high:g} works")

    def times(self, factor: float) -> Bounds:
        """All distortions so many times as strong, as far as each is allowed; 0 for clean glyphs.

        Args:
            factor: 0 or more; of contrast, it is what may be missing that grows.
        Raises:
            BadInput: the factor is below 0.
        """
        if not factor >= 0:
            raise BadInput(f"bounds {factor:g} times as far are not possible; give 0 or more")
        grown = {}
        for field in fields(self):
            low, high = ALLOWED[field.name]
            value = getattr(self, field.name)
            if field.name == "contrast":
                grown[field.name] = max(1 - factor * (1 - value), low)
            else:
                grown[field.name] = min(factor * value, high)
        return Bounds(**grown)


ALLOWED = {
    "rotation": (0, 45),
    "shift": (0, 0.25),
    "scale": (0, 0.5),
    "blur": (0, 4),
    "noise": (0, 0.5),
    "contrast": (0.05, 1),
    "background": (0, 1),
}
