"""What one rendered image shows: who, what the face does, and in which world.

A Scene is a description only: plain numbers and names that fit a manifest, a TOML file and a
seed. Both renderers draw the same Scene.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from moppet.values import UsageError
from moppet.vocabulary import MOVEMENT_CHANNELS, TWO_WAY_MOVEMENTS

CHANNELS: Final = MOVEMENT_CHANNELS
"""Every facial movement as it is rendered: left and right apart where they can differ."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """One invented person. The same person always has the same head, skin and hair.

    seed: of what no other field says: freckles, moles, strands of hair, the shape's details.
    age_years: 0 to 90. sex: 0 female to 1 male.
    ancestry: African, Asian and European share of the head's shape; they sum to 1.
    weight: 0 thin to 1 heavy. shape: name of an identity target → -1 to 1.
    skin_tone: 1 to 10 on the Monk scale; fractions lie between two tones.
    hair, brows: names of styles ("" for none). skin: of an asset folder's, which lends its detail;
        "" for none. hair_color, eye_color: sRGB, 0 to 1.
    """

    seed: int
    age_years: float
    sex: float = 0.5
    ancestry: tuple[float, float, float] = (0.0, 0.0, 1.0)
    weight: float = 0.5
    shape: Mapping[str, float] = field(default_factory=dict)
    skin_tone: float = 4.0
    hair: str = "short"
    hair_color: tuple[float, float, float] = (0.2, 0.13, 0.08)
    eye_color: tuple[float, float, float] = (0.3, 0.2, 0.1)
    brows: str = "natural"
    skin: str = ""
    clothing_color: tuple[float, float, float] = (0.25, 0.4, 0.6)


@dataclass(frozen=True, kw_only=True)
class HeadPose:
    """Where the head points, in degrees: 0, 0, 0 looks into the camera.

    yaw: positive turns the face to the viewer's right. pitch: positive looks up.
    roll: positive tilts the head clockwise as the viewer sees it; 90 is a head that lies.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Light:
    """The light of a scene.

    kind: "softbox", "window", "lamp", "outdoor" or "dim".
    azimuth, elevation: of the main light in degrees; 0, 0 comes from the camera, a positive
        azimuth from the viewer's right.
    strength: of the main light. fill: light from everywhere else, as a share of it.
    warmth: -1 bluish to 1 orange.
    """

    kind: Literal["softbox", "window", "lamp", "outdoor", "dim"] = "softbox"
    azimuth: float = 30.0
    elevation: float = 35.0
    strength: float = 1.0
    fill: float = 0.4
    warmth: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Occluder:
    """Something in front of the face or on it.

    kind: "hand", "pacifier", "sunglasses", "glasses", "scarf", "hat", "hair" or
        "blanket".
    seed: of its shape, place and pattern. color: sRGB, 0 to 1.
    amount: 0 barely touches the face to 1 covers all that this kind can cover.
    """

    kind: Literal["hand", "pacifier", "sunglasses", "glasses", "scarf", "hat", "hair", "blanket"]
    seed: int = 0
    color: tuple[float, float, float] = (0.5, 0.5, 0.5)
    amount: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Background:
    """What lies behind the person. kind "plain" is one color; others are drawn from the seed."""

    kind: Literal["plain", "room", "garden", "fabric", "shelf", "blur"] = "plain"
    seed: int = 0
    color: tuple[float, float, float] = (0.55, 0.58, 0.6)


@dataclass(frozen=True, kw_only=True)
class Camera:
    """How the image is taken.

    face_share: height of the face (chin to hairline) as a share of the image's height.
    shift: (right, down) of the face's middle from the image's, as shares of the image's height.
    exposure: 1 gives the person's skin its usual brightness; 0.5 is one stop darker.
    white_balance: -1 too blue to 1 too orange.
    auto_exposure: 0 to 1: how far the camera evens out dark and light skin by itself.
    blur_px: standard deviation of defocus. motion_px, motion_degrees: length and direction of
        motion blur.
    noise: standard deviation of the sensor's noise at middle gray, as a share of white.
    resolution: the image is taken at this share of its size and enlarged again.
    jpeg_quality: 1 to 100; None for no compression. gray: a camera without color.
    """

    face_share: float = 0.55
    shift: tuple[float, float] = (0.0, 0.0)
    exposure: float = 1.0
    auto_exposure: float = 0.35
    white_balance: float = 0.0
    blur_px: float = 0.0
    motion_px: float = 0.0
    motion_degrees: float = 0.0
    noise: float = 0.005
    resolution: float = 1.0
    jpeg_quality: int | None = None
    gray: bool = False


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One image: a person, the facial movements, and the world around.

    movements: names of CHANNELS → intensity, 0 to 1 (of TWO_WAY_MOVEMENTS -1 to 1); what is
        missing is 0. This is the truth of the image.
    """

    person: Person
    movements: Mapping[str, float] = field(default_factory=dict)
    pose: HeadPose = field(default_factory=HeadPose)
    light: Light = field(default_factory=Light)
    occluders: tuple[Occluder, ...] = ()
    background: Background = field(default_factory=Background)
    camera: Camera = field(default_factory=Camera)

    def __post_init__(self) -> None:
        for name, intensity in self.movements.items():
            if name not in CHANNELS:
                raise UsageError(f"{name!r} is no facial movement: {', '.join(CHANNELS)}")
            low = -1 if name in TWO_WAY_MOVEMENTS else 0
            if not low <= intensity <= 1 or math.isnan(intensity):
                raise UsageError(f"{name} must lie between {low} and 1, not {intensity!r}")
