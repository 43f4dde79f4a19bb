"""Diffusion: faces from text, from a training face, or with part of a training face repainted.

Stable Diffusion generates the pixels. For inpainting, Grounding DINO finds the part that a text
names, and SAM segments it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from moppet.synthesis.generators import SyntheticImage
from moppet.synthesis.pretrained import (
    check_folder,
    find_pretrained,
    missing_library,
    model_fingerprint,
    print_conditions,
    reason_of,
)
from moppet.synthesis.sampling_plan import NEGATIVE_PROMPT, ImageRequest
from moppet.synthesis.settings import SynthesisSettings
from moppet.synthesis.training_images import StartingFaces
from moppet.values import Image, ModelError, MoppetError

_LOAD_ERRORS: Final = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError)


def load_pipeline(kind: str, folder: Path, device: str) -> Any:
    """Return a diffusers pipeline of Stable Diffusion from a folder; nothing is downloaded.

    kind: "StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline" or
        "StableDiffusionInpaintPipeline". A safety checker in the folder stays on.
    Raises ModelError if the folder contains no such pipeline.
    """
    try:
        import diffusers
        from diffusers.utils import logging
        from transformers.utils import logging as more_logging
    except ModuleNotFoundError as error:
        raise missing_library(error) from None
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
    except _LOAD_ERRORS as error:
        raise ModelError(
            f"{folder} cannot be loaded as {kind.removesuffix('Pipeline')}: {reason_of(error)}"
        ) from None
    pipeline.set_progress_bar_config(disable=True)
    checker = getattr(pipeline, "safety_checker", None)
    print_conditions(folder, "Stable Diffusion", checked=checker is not None)
    return pipeline.to(device)


def run_pipeline(
    pipeline: Any, prompt: str, seed: int, settings: SynthesisSettings, **more: Any
) -> Image | None:
    """Return the image of a pipeline for a prompt, (size, size, 3) RGB uint8.

    None if its safety checker rejects the image. The negative prompt is always sent.
    more: other inputs of the pipeline, such as image and strength.
    Raises ModelError if the pipeline fails, for example for lack of memory.
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
        raise ModelError(f"{settings.model} cannot generate: {reason_of(error)}") from None
    flags = result.nsfw_content_detected
    if flags is not None and any(flags):
        return None
    values = np.nan_to_num(np.asarray(result.images[0], np.float32))
    image = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    side = settings.size
    if image.shape[:2] != (side, side):
        image = np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA))
    return np.asarray(image, np.uint8)


def in_color(image: Image, settings: SynthesisSettings) -> Image:
    """Return an RGB image in the color of the settings."""
    if settings.color == "rgb":
        return image
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def to_pil(image: Image) -> Any:
    """Return an image in the form that the libraries take."""
    from PIL import Image as Images

    return Images.fromarray(image)


class Diffusion:
    """Generates images with Stable Diffusion, from text or from a training face."""

    def __init__(
        self, settings: SynthesisSettings, sources: StartingFaces, device: str = "cpu"
    ) -> None:
        folder = find_pretrained(settings.model, "a folder of Stable Diffusion", "model")
        from_text = settings.start == "text"
        kind = "StableDiffusionPipeline" if from_text else "StableDiffusionImg2ImgPipeline"
        self.pipeline = load_pipeline(kind, folder, device)
        self.settings, self.sources = settings, None if from_text else sources
        self.model = model_fingerprint(folder)

    def __call__(self, request: ImageRequest) -> SyntheticImage | None:
        assert request.prompt is not None
        more: dict[str, Any] = {}
        face = None
        if self.sources is not None:
            face = self.sources.draw(request)
            more = {"image": to_pil(face.image), "strength": self.settings.strength}
        image = run_pipeline(self.pipeline, request.prompt, request.seed, self.settings, **more)
        if image is None:
            return None
        image = in_color(image, self.settings)
        if face is None:
            return SyntheticImage(image)
        return SyntheticImage(image, (face.sha256,), face.age_band)


OCCLUDED_PARTS: Final[Mapping[str, str]] = {
    "hair": "forehead. hair.",
    "sunglasses": "eyes.",
    "scarf": "chin. neck.",
    "hat": "forehead. hair.",
    "hand": "cheek.",
    "pacifier": "mouth.",
}
"""Occlusion → the part of the face that it covers, as a text for Grounding DINO."""
EXPRESSIVE_PARTS: Final = "mouth. eyes. eyebrows."
ATTEMPTS: Final = 5
_MARGIN: Final = 1 / 32
_LARGEST_PART: Final = 0.9


class PartSegmenter:
    """Segments the parts of an image that a text names."""

    def __init__(self, settings: SynthesisSettings, device: str = "cpu") -> None:
        try:
            import transformers
        except ModuleNotFoundError as error:
            raise missing_library(error) from None
        s, self.device, self.threshold = settings, device, settings.detector_threshold
        detector = find_pretrained(s.detector_model, "a folder of Grounding DINO", "detector_model")
        segmenter = find_pretrained(s.segmenter_model, "a folder of SAM", "segmenter_model")
        self.models = (model_fingerprint(detector), model_fingerprint(segmenter))
        t: Any = transformers
        self.processor, self.detector = _load(
            detector,
            t.GroundingDinoProcessor,
            t.GroundingDinoForObjectDetection,
            "Grounding DINO",
            device,
        )
        self.sam_processor, self.sam = _load(segmenter, t.SamProcessor, t.SamModel, "SAM", device)

    @torch.no_grad()
    def find_boxes(self, image: Image, text: str) -> NDArray[np.float32]:
        """Return (m, 4) boxes of what the text names, x1, y1, x2, y2 in pixels of the image."""
        inputs = self.processor(images=to_pil(image), text=text, return_tensors="pt")
        inputs = inputs.to(self.device)
        found = self.processor.post_process_grounded_object_detection(
            self.detector(**inputs),
            inputs["input_ids"],
            threshold=self.threshold,
            text_threshold=self.threshold,
            target_sizes=[image.shape[:2]],
        )[0]["boxes"]
        boxes = found.float().cpu().numpy().reshape(-1, 4)
        height, width = image.shape[:2]
        boxes = np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)
        large = (boxes[:, 2] - boxes[:, 0] >= 2) & (boxes[:, 3] - boxes[:, 1] >= 2)
        return np.asarray(boxes[large], np.float32)

    @torch.no_grad()
    def segment(self, image: Image, boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return (h, w) the mask of the objects in the boxes.

        If nothing is segmented in a box, the whole box counts.
        """
        whole = np.zeros(image.shape[:2], bool)
        inputs = self.sam_processor(
            to_pil(image), input_boxes=[boxes.tolist()], return_tensors="pt"
        ).to(self.device)
        outputs = self.sam(
            pixel_values=inputs["pixel_values"].float(),
            input_boxes=inputs["input_boxes"].float(),
            multimask_output=False,
        )
        masks = self.sam_processor.image_processor.post_process_masks(
            outputs.pred_masks.cpu(),
            inputs["original_sizes"].cpu(),
            inputs["reshaped_input_sizes"].cpu(),
        )[0]
        for mask, box in zip(np.asarray(masks[:, 0], bool), boxes, strict=True):
            x1, y1, x2, y2 = (int(v) for v in (*np.floor(box[:2]), *np.ceil(box[2:])))
            inside = np.zeros_like(whole)
            inside[y1:y2, x1:x2] = mask[y1:y2, x1:x2]
            if not inside.any():
                inside[y1:y2, x1:x2] = True
            whole |= inside
        return whole

    def find_part(self, image: Image, text: str) -> NDArray[np.bool_] | None:
        """Return (h, w) the mask of the part that the text names, with a small margin.

        None if the part is not found, or would cover nearly the whole image.
        """
        boxes = self.find_boxes(image, text)
        if not len(boxes):
            return None
        side = 2 * max(1, round(image.shape[0] * _MARGIN)) + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        wider = cv2.dilate(self.segment(image, boxes).astype(np.uint8), kernel) > 0
        return np.asarray(wider, bool) if 0 < wider.mean() <= _LARGEST_PART else None


class Inpainting:
    """Changes the expression of training faces, or covers part of them."""

    def __init__(
        self, settings: SynthesisSettings, sources: StartingFaces, device: str = "cpu"
    ) -> None:
        folder = find_pretrained(
            settings.model, "a folder of Stable Diffusion for inpainting", "model"
        )
        self.segmenter = PartSegmenter(settings, device)
        self.pipeline = load_pipeline("StableDiffusionInpaintPipeline", folder, device)
        self.settings, self.sources = settings, sources
        self.model = ", ".join((model_fingerprint(folder), *self.segmenter.models))

    def __call__(self, request: ImageRequest) -> SyntheticImage | None:
        assert request.prompt is not None
        text = OCCLUDED_PARTS[request.occlusion] if request.occlusion else EXPRESSIVE_PARTS
        for attempt in range(ATTEMPTS):
            face = self.sources.draw(request, attempt)
            part = self.segmenter.find_part(face.image, text)
            if part is not None:
                break
        else:
            raise MoppetError(
                f"Grounding DINO found nothing to repaint ({text}) in {ATTEMPTS} training faces "
                f"for {request.label!r}. Set detector_threshold below "
                f"{self.settings.detector_threshold:g}."
            )
        painted = run_pipeline(
            self.pipeline,
            request.prompt,
            request.seed,
            self.settings,
            image=to_pil(face.image),
            mask_image=to_pil(part.astype(np.uint8) * 255),
            strength=self.settings.strength,
        )
        if painted is None:
            return None
        # The pipeline's autoencoder changes every pixel a little; outside the part none may change.
        whole = np.where(part[:, :, None], painted, face.image)
        image = in_color(np.asarray(whole, np.uint8), self.settings)
        return SyntheticImage(image, (face.sha256,), face.age_band)


def _load(folder: Path, processor: Any, model: Any, what: str, device: str) -> tuple[Any, Any]:
    check_folder(folder, "config.json", what)
    try:
        prepare = processor.from_pretrained(folder, local_files_only=True)
        network = model.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except _LOAD_ERRORS as error:
        raise ModelError(f"{folder} cannot be loaded as {what}: {reason_of(error)}") from None
    return prepare, network.eval().to(device)
