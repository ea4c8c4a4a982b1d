"""Image models of transformers as encoders, and CLIP-type models as two towers: ours is what transformers itself computes."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig, ViTConfig, ViTModel

from tempembed.encoders.convolution import convolution_encoder
from tempembed.encoders.image import IMAGE, TEXT, viewed
from tempembed.encoders.image_model import fit_of, load_image_model
from tempembed.encoders.load import load_encoder
from tempembed.encoders.multimodal import MultimodalEncoder
from tempembed.encoders.static import static_encoder
from tempembed.inputs.picture_store import PictureStore
from tempembed.inputs.pictures import decoded
from tempembed.inputs.pixels import Pixels
from tempembed.inputs.views import random_views
from tempembed.system.errors import UserError
from tests.data.test_picture_rows import packed
from tests.models import TEXTS, bert_tokenizer, tokenizer

SIDE = 16
PROCESSOR = {
    "size": {"height": SIDE, "width": SIDE}, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "resample": 2,
    "image_processor_type": "CLIPImageProcessor", "do_resize": True, "do_normalize": True, "do_rescale": True,
    "rescale_factor": 1 / 255, "do_convert_rgb": True, "do_center_crop": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=SIDE,
        patch_size=8,
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    tokens = bert_tokenizer()
    ends = {
        "eos_token_id": tokens.sep_token_id,
        "bos_token_id": tokens.cls_token_id,
        "pad_token_id": tokens.pad_token_id,
    }
    config = CLIPConfig(
        text_config=CLIPTextConfig(vocab_size=300, max_position_embeddings=32, **sizes, **ends).to_dict(),
        vision_config=CLIPVisionConfig(image_size=SIDE, patch_size=8, **sizes).to_dict(), projection_dim=24,
    )  # fmt: skip
    CLIPModel(config).save_pretrained(folder)
    tokens.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return folder


@pytest.fixture(scope="module")
def names():
    rng = np.random.default_rng(0)
    store = PictureStore()
    found = [
        store.name(packed(Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)))) for _ in range(3)
    ]
    store.flush()
    return found


def pixels(names):
    """What a processor makes of pictures that fit already."""
    pictures = np.stack([np.asarray(decoded(each)) for each in PictureStore().contents(names)]) / 255
    mean, std = (np.array(PROCESSOR[f"image_{name}"]) for name in ("mean", "std"))
    return torch.from_numpy((pictures - mean) / std).permute(0, 3, 1, 2).float()


def embedded(encoder, rows, role="document"):
    return encoder.embed(encoder.prepare(rows, encoder.role(role)))


def test_an_image_model_is_the_mean_of_its_last_layer(vit, names):
    encoder = load_image_model(str(vit), width=None, seed=0)
    want = (
        ViTModel.from_pretrained(vit, add_pooling_layer=False).eval()(pixels(names)).last_hidden_state.mean(1)
    )
    torch.testing.assert_close(embedded(encoder, names), want.detach(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("width", [None, 8])
def test_a_tower_that_is_saved_is_the_same_again(vit, names, width, tmp_path):
    encoder = load_image_model(str(vit), width=width, seed=0)
    encoder.save(tmp_path)
    again = load_encoder(str(tmp_path))
    assert again.modalities == {IMAGE}
    assert torch.equal(embedded(again, names), embedded(encoder, names))
    assert again.fingerprint() == encoder.fingerprint()


def test_words_and_pictures_of_unlike_towers(vit, names, tmp_path):
    text = static_encoder(tokenizer(), width=16, max_tokens=8, seed=0)
    encoder = MultimodalEncoder(text, load_image_model(str(vit), width=16, seed=0))
    encoder.save(tmp_path)
    again = load_encoder(str(tmp_path), prompts={"query": "find: "})
    assert torch.equal(embedded(again, names), embedded(encoder, names))
    assert torch.equal(embedded(again, ["find: count"]), embedded(again, ["count"], "query"))
    with pytest.raises(UserError, match="got 1 pictures among 2 rows"):
        encoder.prepare([names[0], "words"], encoder.role("query"))
    with pytest.raises(UserError, match="expected towers of one width, got 16 for texts and 8 for pictures"):
        MultimodalEncoder(text, convolution_encoder(side=32, width=8, seed=0))


def test_a_clip_is_two_towers_with_its_own_features(clip, names, tmp_path):
    encoder = load_encoder(str(clip))
    assert encoder.modalities == {TEXT, IMAGE}
    model = CLIPModel.from_pretrained(clip).eval()
    tokens = bert_tokenizer()(TEXTS, padding=True, truncation=True, max_length=32, return_tensors="pt")
    with torch.no_grad():
        text = model.get_text_features(tokens["input_ids"], attention_mask=tokens["attention_mask"])
        image = model.get_image_features(pixel_values=pixels(names))
    text, image = (getattr(each, "pooler_output", each) for each in (text, image))
    torch.testing.assert_close(embedded(encoder, TEXTS), text, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(embedded(encoder, names), image, atol=1e-5, rtol=1e-4)
    encoder.save(tmp_path)
    before, after = load_file(clip / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    library = SentenceTransformer(str(tmp_path))
    np.testing.assert_allclose(library.encode(TEXTS), text.numpy(), atol=1e-5)


def test_processors_say_how_pictures_fit():
    fit, mean, std = fit_of(PROCESSOR)
    assert (fit.side, fit.how, fit.resample) == (SIDE, "stretch", "bilinear")
    assert (mean, std) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    cropped = fit_of(
        {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}, "resample": 3}
    )[0]
    assert (cropped.side, cropped.how, cropped.resample, cropped.resized) == (224, "crop", "bicubic", None)


def test_a_damaged_tower_is_named(tmp_path):
    convolution_encoder(side=32, width=8, seed=0).save(tmp_path)
    described = json.loads((tmp_path / "image" / "tower.json").read_text())
    (tmp_path / "image" / "tower.json").write_text(json.dumps({**described, "width": 9}))
    with pytest.raises(UserError, match=r"tower.json: expected a tower of pictures"):
        load_encoder(str(tmp_path))
    with pytest.raises(UserError, match=r"--image-encoder nowhere: expected convolution"):
        load_image_model("nowhere", width=4, seed=0)


def test_a_model_of_timm_is_refused_in_one_line(tmp_path):
    described = {
        "architecture": "resnet10t",
        "num_classes": 10,
        "pretrained_cfg": {"input_size": [3, 32, 32]},
    }
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(
        UserError,
        match=r"expected an image model of transformers, got one of timm.*take the architecture from",
    ):
        load_image_model(str(tmp_path), width=4, seed=0)


def test_views_are_those_of_torch_s_affine_grid_on_any_proportions():
    views = torch.from_numpy(random_views(np.arange(5), 0.4, seed=0, step=0, column=0))
    pictures = torch.rand(5, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    grid = torch.nn.functional.affine_grid(views, [5, 3, 12, 20], align_corners=False)
    theirs = torch.nn.functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    assert (viewed(pictures, views) - theirs).abs().max() < 1e-5
    assert (viewed(pictures, views) - pictures).abs().max() > 0.1


def test_what_a_picture_tower_takes_is_normalised_and_lies_channel_by_channel_whether_viewed_or_not():
    seen = []
    encoder = convolution_encoder(side=32, width=8, seed=0)
    encoder.embed_pictures = lambda pixels: seen.append(pixels) or pixels[:, 0, 0]
    shown = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    pixels = Pixels(pictures=shown, index=np.array([2, 0]))
    still = np.tile(np.eye(2, 3, dtype=np.float32), (2, 1, 1))  # a view that changes nothing
    encoder.embed_chunk(pixels)
    encoder.embed_chunk(pixels.seen(still))
    expected = torch.from_numpy(shown[[2, 0]]).permute(0, 3, 1, 2) / 127.5 - 1
    for found in seen:
        assert torch.allclose(found, expected, atol=1e-5)
        assert found.is_contiguous(memory_format=torch.channels_last)
