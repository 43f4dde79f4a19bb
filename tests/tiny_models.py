"""Stable Diffusion, Grounding DINO and SAM in miniature, random weights, saved as their makers do.

They know nothing; what they make is noise. What is loaded, called and kept is the real thing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

LICENSE = "a-tiny-licence"


def write_diffusion(
    folder: Path, *, inpaint: bool = False, checker: str | None = "lenient", seed: int = 0
) -> Path:
    """Write a pipeline. checker: "lenient" refuses nothing, "strict" everything, None: there is
    none."""
    torch.manual_seed(seed)
    marks = {"<|startoftext|>": 0, "<|endoftext|>": 1}
    letters = {
        chr(97 + i) + end: 2 + 2 * i + (end != "") for i in range(26) for end in ("", "</w>")
    }
    text = transformers.CLIPTextConfig(
        vocab_size=60, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=77, bos_token_id=0, eos_token_id=1,
        pad_token_id=1,
    )  # fmt: skip
    parts: dict[str, Any] = {
        "vae": AutoencoderKL(
            block_out_channels=(4, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            latent_channels=4,
            sample_size=32,
        ),
        "text_encoder": transformers.CLIPTextModel(text),
        "tokenizer": transformers.CLIPTokenizer(
            vocab=marks | letters, merges=[], model_max_length=77
        ),
        "unet": UNet2DConditionModel(
            block_out_channels=(8, 16),
            layers_per_block=1,
            sample_size=16,
            in_channels=9 if inpaint else 4,
            out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=2,
            norm_num_groups=4,
        ),
        "scheduler": DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        "safety_checker": _checker(checker) if checker else None,
        "feature_extractor": transformers.CLIPImageProcessorPil(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        ),
    }
    kind = StableDiffusionInpaintPipeline if inpaint else StableDiffusionPipeline
    kind(**parts, requires_safety_checker=False).save_pretrained(folder)
    index = folder / "model_index.json"  # as published folders have it
    index.write_text(index.read_text().replace("CLIPImageProcessorPil", "CLIPImageProcessor"))
    (folder / "README.md").write_text(f"---\nlicense: {LICENSE}\n---\n# Tiny\n")
    return folder


def _checker(kind: str) -> StableDiffusionSafetyChecker:
    marks = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = transformers.CLIPConfig(
        vision_config={**small, "num_attention_heads": 2, "image_size": 32, "patch_size": 16},
        text_config={**small, **marks, "num_attention_heads": 2, "vocab_size": 60},
        projection_dim=8,
    )
    checker = StableDiffusionSafetyChecker(config)
    with torch.no_grad():
        checker.concept_embeds_weights.fill_(2.0 if kind == "lenient" else -2.0)
        checker.special_care_embeds_weights.fill_(2.0)
    return checker


def write_detector(folder: Path, words: tuple[str, ...] = ("mouth", "eyes", "eyebrows")) -> Path:
    """Write a Grounding DINO."""
    torch.manual_seed(1)
    vocab = {f"[unused{i}]": i for i in range(1030)}
    for at, token in ((0, "[PAD]"), (100, "[UNK]"), (101, "[CLS]"), (102, "[SEP]"), (103, "[MASK]"),
                      (1012, "."), (1029, "?"), *enumerate(words, 200)):  # fmt: skip
        vocab = {t: i for t, i in vocab.items() if i != at} | {token: at}
    config = transformers.GroundingDinoConfig(
        backbone_config=transformers.SwinConfig(
            image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1],
            window_size=7, out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=transformers.BertConfig(
            vocab_size=1030, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16,
        ),
        d_model=32, num_queries=6, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16, encoder_attention_heads=4, decoder_attention_heads=4, max_text_len=32,
        disable_custom_kernels=True,
    )  # fmt: skip
    transformers.GroundingDinoForObjectDetection(config).save_pretrained(folder)
    pictures = transformers.GroundingDinoImageProcessorPil(
        size={"shortest_edge": 128, "longest_edge": 128}
    )
    tokens = transformers.BertTokenizer(vocab=vocab)
    transformers.GroundingDinoProcessor(pictures, tokens).save_pretrained(folder)
    return folder


def write_segmenter(folder: Path) -> Path:
    """Write a SAM."""
    torch.manual_seed(2)
    config = transformers.SamConfig(
        vision_config={
            "hidden_size": 16, "output_channels": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "image_size": 64, "patch_size": 8, "window_size": 4,
            "global_attn_indexes": [0], "num_pos_feats": 8, "initializer_range": 0.1,
        },
        prompt_encoder_config={
            "hidden_size": 16, "image_size": 64, "patch_size": 8, "mask_input_channels": 4,
        },
        mask_decoder_config={
            "hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16,
        },
    )  # fmt: skip
    transformers.SamModel(config).save_pretrained(folder)
    pictures = transformers.SamImageProcessorPil(
        size={"longest_edge": 64}, pad_size={"height": 64, "width": 64}
    )
    transformers.SamProcessor(pictures).save_pretrained(folder)
    return folder
