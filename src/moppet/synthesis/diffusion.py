"""Stable Diffusion: faces from text, or from a training face and text."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from moppet.synthesis.pretrained import announce, check_folder, find_model, needs, told_apart
from moppet.synthesis.sampling_plan import NEGATIVE_PROMPT, Request
from moppet.synthesis.settings import Settings
from moppet.synthesis.synthetic_folder import Made
from moppet.synthesis.training_images import Sources
from moppet.values import Image, ModelError


def load_pipeline(kind: str, folder: Path, device: str) -> Any:
    """Return a diffusers pipeline of Stable Diffusion from a folder; nothing is downloaded.

    kind: "StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline" or
        "StableDiffusionInpaintPipeline". A safety checker in the folder stays on.
    Raises ModelError if the folder holds no such pipeline.
    """
    try:
        import diffusers
        from diffusers.utils import logging
        from transformers.utils import logging as more_logging
    except ModuleNotFoundError as error:
        raise needs(error) from None
    check_folder(folder, "model_index.json", "diffusers pipeline of Stable Diffusion")
    for each in (logging, more_logging):
        each.set_verbosity_error()
        each.disable_progress_bar()
    try:
        pipeline = getattr(diffusers, kind).from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float16 if device == "cuda" else torch.float32,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"{folder} cannot be loaded as {kind.removesuffix('Pipeline')}: {reason[0]}"
        ) from None
    pipeline.set_progress_bar_config(disable=True)
    announce(folder, "Stable Diffusion", checked=has_checker(pipeline))
    return pipeline.to(device)


def has_checker(pipeline: Any) -> bool:
    """Return whether a pipeline looks at what it made before it gives it away."""
    return getattr(pipeline, "safety_checker", None) is not None


def paint(pipeline: Any, prompt: str, seed: int, settings: Settings, **more: Any) -> Image | None:
    """Return what a pipeline makes of a prompt, (size, size, 3) RGB uint8.

    None where its safety checker refuses it. The negative prompt is always sent.
    more: what the pipeline's kind needs besides, such as image and strength.
    Raises ModelError where the pipeline fails, as one of another family does, or a full memory.
    """
    known = inspect.signature(type(pipeline).__call__).parameters
    if {"height", "width"} <= known.keys():
        more |= {"height": settings.size, "width": settings.size}
    try:
        result = pipeline(
            prompt=prompt,
            negative_prompt=NEGATIVE_PROMPT,
            num_inference_steps=settings.model_steps,
            guidance_scale=settings.guidance,
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
            **more,
        )
    except (RuntimeError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"{settings.model} fails while it paints: {reason[0]}") from None
    flags = result.nsfw_content_detected
    if flags is not None and any(flags):
        return None
    values = np.nan_to_num(np.asarray(result.images[0], np.float32))
    image = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    side = settings.size
    if image.shape[:2] != (side, side):
        image = np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA))
    return np.asarray(image, np.uint8)


def in_color(image: Image, settings: Settings) -> Image:
    """Return an RGB image in the settings' color."""
    if settings.colour == "rgb":
        return image
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


class Diffusion:
    """Makes each request's image with Stable Diffusion; see `synthetic_folder.Make`.

    sources: the training faces to begin with, where the settings start from an image.
    """

    def __init__(self, settings: Settings, sources: Sources, device: str = "cpu") -> None:
        folder = find_model(settings.model, "a folder of Stable Diffusion", "model")
        from_text = settings.start == "text"
        kind = "StableDiffusionPipeline" if from_text else "StableDiffusionImg2ImgPipeline"
        self.pipeline = load_pipeline(kind, folder, device)
        self.settings, self.sources = settings, None if from_text else sources
        self.model = told_apart(folder)

    def __call__(self, request: Request) -> Made | None:
        assert request.prompt is not None
        if self.sources is None:
            image = paint(self.pipeline, request.prompt, request.seed, self.settings)
            return None if image is None else Made(in_color(image, self.settings))
        source = self.sources.draw(request)
        image = paint(
            self.pipeline,
            request.prompt,
            request.seed,
            self.settings,
            image=as_input(source.image),
            strength=self.settings.strength,
        )
        if image is None:
            return None
        return Made(in_color(image, self.settings), (source.sha256,), source.age_band)


def as_input(image: Image) -> Any:
    """Return an image as the libraries take it."""
    from PIL import Image as Images

    return Images.fromarray(image)
