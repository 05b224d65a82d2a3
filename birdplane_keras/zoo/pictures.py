"""Models of pictures: KerasHub's backbones and those of transformers and timm."""

from typing import Any

import timm
import transformers
from keras_hub import models

from birdplane_keras.parity import channels_last
from birdplane_keras.zoo.inputs import TOKENS, hidden, pictures, tokens
from birdplane_keras.zoo.registry import lively, pair

SIDE = 64  # pixels, of pictures for convolutions
PATCHED: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}


EFFICIENTNET = {  # as KerasHub builds its own, from timm's weights
    "stackwise_kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
    "stackwise_num_repeats": [1, 2, 2, 3, 3, 4, 1],
    "stackwise_input_filters": [32, 16, 24, 40, 80, 112, 192],
    "stackwise_output_filters": [16, 24, 40, 80, 112, 192, 320],
    "stackwise_expansion_ratios": [1, 6, 6, 6, 6, 6, 6],
    "stackwise_strides": [1, 2, 2, 2, 1, 2, 1],
    "stackwise_block_types": ["v1"] * 7,
    "min_depth": None,
    "include_stem_padding": True,
    "use_depth_divisor_as_min_depth": True,
    "cap_round_filter_decrease": True,
    "stem_conv_padding": "valid",
    "batch_norm_momentum": 0.9,
    "batch_norm_epsilon": 1e-5,
    "dropout": 0,
    "projection_activation": None,
}


def features(module, model):
    """Returns a pair whose models end in a map of features."""
    return {
        "torch_module": lively(module),
        "keras_model": model,
        "inputs": pictures(SIDE),
        "to_keras": channels_last,
        "outputs_to_keras": channels_last,
    }


def vit_port():
    """Returns the port of both vision transformers."""
    return models.ViTBackbone(
        image_shape=(32, 32, 3), patch_size=8, num_layers=2, num_heads=4, hidden_dim=32, mlp_dim=64
    )


@pair("transformers ViTModel", "KerasHub ViTBackbone")
def vit(advised):
    config = transformers.ViTConfig(**PATCHED, layer_norm_eps=1e-6)
    return {
        "torch_module": lively(transformers.ViTModel(config, add_pooling_layer=False)),
        "keras_model": vit_port(),
        "inputs": {"pixel_values": pictures()},
        "to_keras": lambda given: channels_last(given["pixel_values"]),
        "outputs_to_keras": hidden,
    }


@pair("timm VisionTransformer", "KerasHub ViTBackbone")
def vit_timm(advised):
    """The reference keeps query, key and value in one linear layer."""
    module = timm.models.vision_transformer.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=4, mlp_ratio=2, num_classes=0, global_pool=""
    )
    return {
        "torch_module": lively(module),
        "keras_model": vit_port(),
        "inputs": pictures(),
        "to_keras": channels_last,
    }


@pair("transformers CLIPModel", "KerasHub CLIPBackbone")
def clip(advised):
    from keras_hub.src.models.clip.clip_text_encoder import CLIPTextEncoder
    from keras_hub.src.models.clip.clip_vision_encoder import CLIPVisionEncoder

    end = TOKENS - 1
    text = {name: size for name, size in PATCHED.items() if name not in ("image_size", "patch_size")}
    text |= {"vocab_size": TOKENS, "max_position_embeddings": 12, "bos_token_id": 1, "eos_token_id": end}
    config = transformers.CLIPConfig(text_config=text | {"pad_token_id": 0}, vision_config=PATCHED, projection_dim=16)
    sizes = {"hidden_dim": 32, "num_layers": 2, "num_heads": 4, "intermediate_dim": 64}
    model = models.CLIPBackbone(
        CLIPVisionEncoder(patch_size=8, image_shape=(32, 32, 3), **sizes),
        CLIPTextEncoder(vocabulary_size=TOKENS, embedding_dim=32, max_sequence_length=12, **sizes),
        projection_dim=16,
    )
    ids = tokens()["input_ids"].clip(max=end - 1)
    ids[:, -1] = end
    return {
        "torch_module": lively(transformers.CLIPModel(config)),
        "keras_model": model,
        "inputs": {"input_ids": ids, "pixel_values": pictures()},
        "to_keras": lambda given: {
            "token_ids": given["input_ids"],
            "images": channels_last(given["pixel_values"]),
        },
        "outputs": {"logits_per_image": "vision_logits", "logits_per_text": "text_logits"},
    }


@pair("transformers SiglipModel", "KerasHub SigLIPBackbone")
def siglip(advised):
    from keras_hub.src.models.siglip.siglip_text_encoder import SigLIPTextEncoder
    from keras_hub.src.models.siglip.siglip_vision_encoder import SigLIPVisionEncoder

    text = {name: size for name, size in PATCHED.items() if name not in ("image_size", "patch_size")}
    text |= {"vocab_size": TOKENS, "max_position_embeddings": 12, "projection_size": 32}
    config = transformers.SiglipConfig(text_config=text, vision_config=PATCHED)
    sizes = {"hidden_dim": 32, "num_layers": 2, "num_heads": 4, "intermediate_dim": 64}
    model = models.SigLIPBackbone(
        SigLIPVisionEncoder(patch_size=8, image_shape=(32, 32, 3), name="vision", **sizes),
        SigLIPTextEncoder(vocabulary_size=TOKENS, embedding_dim=32, max_sequence_length=12, name="text", **sizes),
    )
    return {
        "torch_module": lively(transformers.SiglipModel(config)),
        "keras_model": model,
        "inputs": {"input_ids": tokens()["input_ids"], "pixel_values": pictures()},
        "to_keras": lambda given: {
            "token_ids": given["input_ids"],
            "images": channels_last(given["pixel_values"]),
        },
        "outputs": {"logits_per_image": "vision_logits", "logits_per_text": "text_logits"},
    }


@pair("timm efficientnet_lite0", "KerasHub EfficientNetBackbone")
def efficientnet_lite0(advised):
    model = models.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0] * 7,
        stackwise_depth_coefficients=[1.0] * 7,
        stackwise_squeeze_and_excite_ratios=[0] * 7,
        activation="relu6",
        image_shape=(SIDE, SIDE, 3),
        **EFFICIENTNET,
    )
    return features(timm.create_model("efficientnet_lite0", num_classes=0, global_pool=""), model)


def residual(name, blocks, block_type):
    """Returns a pair of residual networks of which each stage has so many blocks."""
    model = models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=blocks,
        stackwise_num_strides=[1, 2, 2, 2],
        block_type=block_type,
        image_shape=(SIDE, SIDE, 3),
    )
    return features(timm.create_model(name, num_classes=0, global_pool=""), model)


@pair("timm resnet18", "KerasHub ResNetBackbone")
def resnet18(advised):
    return residual("resnet18", [2, 2, 2, 2], "basic_block")


@pair("timm resnet50", "KerasHub ResNetBackbone")
def resnet50_timm(advised):
    return residual("resnet50", [3, 4, 6, 3], "bottleneck_block")


@pair("timm densenet121", "KerasHub DenseNetBackbone")
def densenet121_timm(advised):
    model = models.DenseNetBackbone(stackwise_num_repeats=[6, 12, 24, 16], image_shape=(SIDE, SIDE, 3))
    return features(timm.create_model("densenet121", num_classes=0, global_pool=""), model)


@pair("timm vgg11", "KerasHub VGGBackbone")
def vgg11(advised):
    model = models.VGGBackbone(
        stackwise_num_repeats=[1, 1, 2, 2, 2],
        stackwise_num_filters=[64, 128, 256, 512, 512],
        image_shape=(SIDE, SIDE, 3),
    )
    return features(timm.create_model("vgg11", num_classes=0).features, model)
