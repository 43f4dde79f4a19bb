"""The camera: where it stands, and what it makes of the light: exposure, blur, noise, JPEG."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np

from moppet.synthesis.render.mesh import View
from moppet.synthesis.render.scene import Camera, Scene
from moppet.values import Floats, Image, UsageError

FOV_DEGREES: Final = 18.0
LUMINANCE: Final = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Shares of linear red, green and blue in luminance (ITU-R BT.709)."""

_HAIRLINE: Final = 0.8  # height of the hairline on the way from the chin to the top of the head
_MIDDLE_GRAY: Final = 0.18
_EVEN_SKIN: Final = 0.3  # luminance that an auto-exposure brings skin to
_SHOULDER: Final = 0.6  # where highlights start to be compressed
_CONTRAST: Final = 0.18
_LIGHT_METERING: Final = 0.85  # how far the camera makes up for little light
_DARK_NOISE: Final = 0.02  # the sensor's noise without light, as a share of white


def view_of(scene: Scene, landmarks: Mapping[str, Floats]) -> View:
    """Return the view in which the face has the size and place that the scene's camera asks for.

    landmarks: points of the head: chin and head_top; hairline and resting_chin where they are
        known, so that an open mouth does not move the camera. Take the posed head's for a still;
        for a clip those of one pose, or the camera follows the head.
    Raises UsageError if the face has no height.
    """
    chin, top = landmarks.get("resting_chin", landmarks["chin"]), landmarks["head_top"]
    hairline = landmarks.get("hairline", chin + _HAIRLINE * (top - chin))
    face_height = float(np.linalg.norm(hairline - chin))
    if not face_height > 0:
        raise UsageError("The chin and the top of the head coincide: give a head with a height.")
    camera = scene.camera
    height = face_height / camera.face_share
    right, down = camera.shift
    target = (chin + hairline) / 2 + np.array([-right * height, down * height, 0.0])
    distance = height / 2 / math.tan(math.radians(FOV_DEGREES / 2))
    return View(
        eye=(target + np.array([0.0, 0.0, distance])).astype(np.float32),
        target=target.astype(np.float32),
        up=np.array([0, 1, 0], np.float32),
        fov_degrees=FOV_DEGREES,
    )


def develop(
    linear: Floats,
    camera: Camera,
    skin_luminance: float,
    rng: np.random.Generator,
    *,
    light_level: float = 1.0,
) -> Image:
    """Return the image that the camera makes of the light: (height, width, 3), RGB, uint8.

    linear: (height, width, 3), 0 or more, as a renderer returns it.
    skin_luminance: of the person's skin itself, 0 to 1 (0.02 to 0.85 on the Monk scale), which an
        auto-exposure partly evens out.
    light_level: brightness of a white surface in the face's place (`light_level` of
        moppet.synthesis.render.surroundings), which the camera mostly makes up for.
    rng: of the noise.
    """
    height, width = linear.shape[:2]
    light = _defocus(np.maximum(linear, 0).astype(np.float32), camera)
    if camera.resolution < 1:
        small = [max(8, round(side * camera.resolution)) for side in (width, height)]
        light = np.asarray(cv2.resize(light, small, interpolation=cv2.INTER_AREA), np.float32)
    gain = _gain(camera, skin_luminance, light_level)
    light = light * (gain * _white_balance(camera.white_balance))
    light = _with_noise(light, camera.noise, gain, rng)
    if camera.gray:
        light = np.repeat((light @ LUMINANCE)[..., None], 3, axis=2)
    image = np.rint(tone_curve(light) * 255).astype(np.uint8)
    if image.shape[:2] != (height, width):
        enlarged = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
        image = np.asarray(enlarged, np.uint8)
    if camera.jpeg_quality is not None:
        image = _jpeg(image, camera.jpeg_quality)
    return image


def tone_curve(light: Floats) -> Floats:
    """Return displayed brightness, 0 to 1, for linear light, 0 or more: it never decreases.

    A filmic curve: shadows and middle tones follow sRGB with a little more contrast, and
    highlights approach white without ever reaching a hard edge.
    """
    light = np.maximum(light, 0)
    left = 1 - _SHOULDER
    rolled = _SHOULDER + left * -np.expm1(-np.maximum(light - _SHOULDER, 0) / left)
    shown = encode_srgb(np.where(light > _SHOULDER, rolled, light))
    curved = shown * shown * (3 - 2 * shown)
    return np.asarray((1 - _CONTRAST) * shown + _CONTRAST * curved, np.float32)


def encode_srgb(linear: Floats) -> Floats:
    """Return sRGB values for linear ones, 0 to 1 each (IEC 61966-2-1)."""
    low = np.minimum(linear, 0.0031308)
    high = np.maximum(linear, 0.0031308)
    shown = np.where(linear <= 0.0031308, 12.92 * low, 1.055 * high ** (1 / 2.4) - 0.055)
    return np.asarray(shown, np.float32)


def decode_srgb(shown: Floats) -> Floats:
    """Return linear values for sRGB ones, 0 to 1 each (IEC 61966-2-1)."""
    linear = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    return np.asarray(linear, np.float32)


def _gain(camera: Camera, skin_luminance: float, light_level: float) -> float:
    """Return what the light is multiplied by: exposure, metering and evened-out skin."""
    metered = max(light_level, 1e-3) ** -_LIGHT_METERING
    evened = (_EVEN_SKIN / max(skin_luminance, 1e-3)) ** camera.auto_exposure
    return float(camera.exposure * metered * evened)


def _white_balance(cast: float) -> Floats:
    """Return factors for red, green and blue that keep the luminance of gray."""
    factors = np.exp(np.array([0.28, 0.0, -0.42], np.float32) * cast)
    return np.asarray(factors / (factors @ LUMINANCE), np.float32)


def _defocus(light: Floats, camera: Camera) -> Floats:
    if camera.blur_px > 0:
        light = np.asarray(cv2.GaussianBlur(light, (0, 0), camera.blur_px), np.float32)
    if camera.motion_px >= 1:
        kernel = _motion_kernel(camera.motion_px, camera.motion_degrees)
        light = np.asarray(
            cv2.filter2D(light, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.float32
        )
    return light


def _motion_kernel(length_px: float, degrees: float) -> Floats:
    """Return a line of that length through the middle of a square; its weights sum to 1."""
    half = math.ceil(length_px / 2) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    along = np.linspace(-length_px / 2, length_px / 2, 8 * half)
    x = half + along * math.cos(math.radians(degrees))
    y = half - along * math.sin(math.radians(degrees))
    left, above = np.floor(x).astype(int), np.floor(y).astype(int)
    for across, down in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = (1 - np.abs(x - left - across)) * (1 - np.abs(y - above - down))
        np.add.at(kernel, (above + down, left + across), share)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _with_noise(light: Floats, noise: float, gain: float, rng: np.random.Generator) -> Floats:
    """Return the light with a sensor's noise: it grows with the root of the light and the gain.

    noise: standard deviation at middle gray in the displayed image, at a gain of 1.
    """
    if noise <= 0:
        return light
    step = 0.01
    around = np.array([_MIDDLE_GRAY - step, _MIDDLE_GRAY + step], np.float32)
    slope = float(np.diff(tone_curve(around))[0]) / (2 * step)
    grain = rng.standard_normal(light.shape, dtype=np.float32)
    at_gray = noise / slope * max(gain, 1.0) ** 0.5
    deviation = at_gray * np.sqrt((light + _DARK_NOISE) / (_MIDDLE_GRAY + _DARK_NOISE))
    return np.asarray(np.maximum(light + deviation * grain, 0), np.float32)


def _jpeg(image: Image, quality: int) -> Image:
    done, data = cv2.imencode(
        ".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(np.clip(quality, 1, 100))]
    )
    if not done:
        raise UsageError(f"OpenCV cannot write a JPEG of {image.shape[1]}×{image.shape[0]} pixels.")
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.asarray(decoded, np.uint8)[..., ::-1].copy()
