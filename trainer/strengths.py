"""How strongly crops are disturbed, in physical units."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from appliance.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Strengths:
    """The most that a picture is disturbed; less is as frequent.

    Args:
        light_percent: brightness up or down, of full scale.
        contrast_percent: contrast up or down.
        shadow_percent: how much darker the darkest place of a shadow is.
        defocus_px: standard deviation of the blur.
        motion_px: length of the smear.
        noise_levels: standard deviation of the noise, in grey levels of 255.
        jpeg_quality: of the worst coding, 1..100.
        dust_px: diameter of the largest speck; none below 1.
        turn_deg: rotation of the part in its fixture, either way.
        scale_percent: how much larger or smaller the part is shown.
        misplaced_px: standard deviation of what an alignment leaves between a part and its reference.
    """

    light_percent: float = 20.0
    contrast_percent: float = 20.0
    shadow_percent: float = 40.0
    defocus_px: float = 1.2
    motion_px: float = 5.0
    noise_levels: float = 10.0
    jpeg_quality: float = 60.0
    dust_px: float = 3.0
    turn_deg: float = 2.0
    scale_percent: float = 40.0
    misplaced_px: float = 0.5

    def check(self) -> None:
        """Refuse what no picture can be disturbed by.

        Raises:
            ConfigError: a value is out of range; the message names the option.
        """
        for name, value in asdict(self).items():
            most = 100 if name.endswith(("percent", "quality")) else 180 if name.endswith("deg") else 255
            if not (1 if name == "jpeg_quality" else 0) <= value <= most:
                raise ConfigError(
                    f"--vary {name}={value:g}: must be 0 to {most}{', and not 0' * (name == 'jpeg_quality')}"
                )

    def times(self, variation: float) -> Strengths:
        """Return all of them so many times as strong; 0 is none."""
        return replace(
            self,
            **{name: value * variation for name, value in asdict(self).items() if name != "jpeg_quality"},
            jpeg_quality=max(1.0, 100 - (100 - self.jpeg_quality) * variation),
        )
