"""In-painting: part of a training face is found, outlined and painted anew, the rest is kept.

Grounding DINO finds the part that words name, SAM outlines it, Stable Diffusion paints it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from moppet.synthesis.diffusion import as_input, in_color, load_pipeline, paint
from moppet.synthesis.pretrained import check_folder, find_model, needs, told_apart
from moppet.synthesis.sampling_plan import Request
from moppet.synthesis.settings import Settings
from moppet.synthesis.synthetic_folder import Made
from moppet.synthesis.training_images import Sources
from moppet.values import Image, ModelError, MoppetError

PLACES: Final[Mapping[str, str]] = {
    "hair": "forehead. hair.",
    "sunglasses": "eyes.",
    "scarf": "chin. neck.",
    "hat": "forehead. hair.",
    "hand": "cheek.",
    "dummy": "mouth.",
}
"""Where each occlusion goes, in the words that Grounding DINO takes."""
EXPRESSIVE: Final = "mouth. eyes. eyebrows."
ATTEMPTS: Final = 5
_ROOM: Final = 1 / 32
_MOST: Final = 0.9


class Finder:
    """Outlines the parts of an image that words name."""

    def __init__(self, settings: Settings, device: str = "cpu") -> None:
        try:
            import transformers
        except ModuleNotFoundError as error:
            raise needs(error) from None
        s, self.device, self.sure = settings, device, settings.sure
        detector = find_model(s.detector_model, "a folder of Grounding DINO", "detector_model")
        segmenter = find_model(s.segmenter_model, "a folder of SAM", "segmenter_model")
        self.models = (told_apart(detector), told_apart(segmenter))
        t: Any = transformers
        self.words, self.detector = _load(
            detector,
            t.GroundingDinoProcessor,
            t.GroundingDinoForObjectDetection,
            "Grounding DINO",
            device,
        )
        self.prepare, self.segmenter = _load(segmenter, t.SamProcessor, t.SamModel, "SAM", device)

    @torch.no_grad()
    def boxes(self, image: Image, words: str) -> NDArray[np.float32]:
        """Return (m, 4) boxes of what the words name, x1, y1, x2, y2 in pixels of the image."""
        inputs = self.words(images=as_input(image), text=words, return_tensors="pt")
        inputs = inputs.to(self.device)
        found = self.words.post_process_grounded_object_detection(
            self.detector(**inputs),
            inputs["input_ids"],
            threshold=self.sure,
            text_threshold=self.sure,
            target_sizes=[image.shape[:2]],
        )[0]["boxes"]
        boxes = found.float().cpu().numpy().reshape(-1, 4)
        height, width = image.shape[:2]
        boxes = np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)
        large = (boxes[:, 2] - boxes[:, 0] >= 2) & (boxes[:, 3] - boxes[:, 1] >= 2)
        return np.asarray(boxes[large], np.float32)

    @torch.no_grad()
    def outline(self, image: Image, boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return (h, w) what lies inside the boxes and belongs to what they show.

        A box in which nothing is outlined counts whole.
        """
        whole = np.zeros(image.shape[:2], bool)
        inputs = self.prepare(
            as_input(image), input_boxes=[boxes.tolist()], return_tensors="pt"
        ).to(self.device)
        outputs = self.segmenter(
            pixel_values=inputs["pixel_values"].float(),
            input_boxes=inputs["input_boxes"].float(),
            multimask_output=False,
        )
        masks = self.prepare.image_processor.post_process_masks(
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

    def part(self, image: Image, words: str) -> NDArray[np.bool_] | None:
        """Return (h, w) the part that the words name, with a little room; None if it is not there.

        Nor is it there where it would be all of the image.
        """
        boxes = self.boxes(image, words)
        if not len(boxes):
            return None
        side = 2 * max(1, round(image.shape[0] * _ROOM)) + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        grown = cv2.dilate(self.outline(image, boxes).astype(np.uint8), kernel) > 0
        return np.asarray(grown, bool) if 0 < grown.mean() <= _MOST else None


class Inpaint:
    """Changes the expression of training faces, or hides part of them; see `made.Make`."""

    def __init__(self, settings: Settings, sources: Sources, device: str = "cpu") -> None:
        folder = find_model(settings.model, "a folder of Stable Diffusion for in-painting", "model")
        self.finder = Finder(settings, device)
        self.pipeline = load_pipeline("StableDiffusionInpaintPipeline", folder, device)
        self.settings, self.sources = settings, sources
        self.model = ", ".join((told_apart(folder), *self.finder.models))

    def __call__(self, request: Request) -> Made | None:
        assert request.prompt is not None
        words = PLACES[request.occlusion] if request.occlusion else EXPRESSIVE
        for attempt in range(ATTEMPTS):
            source = self.sources.draw(request, attempt)
            part = self.finder.part(source.image, words)
            if part is not None:
                break
        else:
            raise MoppetError(
                f"Grounding DINO found nothing to paint over ({words}) in any of {ATTEMPTS} "
                f"training faces for {request.label!r}: set sure lower than {self.settings.sure:g}."
            )
        painted = paint(
            self.pipeline,
            request.prompt,
            request.seed,
            self.settings,
            image=as_input(source.image),
            mask_image=as_input(part.astype(np.uint8) * 255),
            strength=self.settings.strength,
        )
        if painted is None:
            return None
        # The pipeline's autoencoder changes every pixel a little; outside the part none may.
        whole = np.where(part[:, :, None], painted, source.image)
        image = in_color(np.asarray(whole, np.uint8), self.settings)
        return Made(image, (source.sha256,), source.age_band)


def _load(folder: Path, processor: Any, model: Any, what: str, device: str) -> tuple[Any, Any]:
    check_folder(folder, "config.json", what)
    try:
        prepare = processor.from_pretrained(folder, local_files_only=True)
        network = model.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"{folder} cannot be loaded as {what}: {reason[0]}") from None
    return prepare, network.eval().to(device)
