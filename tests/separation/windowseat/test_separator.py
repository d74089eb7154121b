import copy
import json
import shutil

import numpy as np
import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from safetensors.torch import load_file, save_file

from clearpane.app.cli import main
from clearpane.errors import ClearpaneError
from clearpane.images.picture import Picture
from clearpane.images.reading import read_picture
from clearpane.images.writing import write_picture
from clearpane.separation.difference import reflected_light
from clearpane.separation.flux.keeping import keep_untouched
from clearpane.separation.resolution import shrink
from clearpane.separation.separator import load_separator
from clearpane.separation.windowseat import loading, separator
from clearpane.separation.windowseat.options import WindowseatOptions

SIDE = 48


def options(folder, **changes) -> WindowseatOptions:
    return WindowseatOptions(**{"weights": folder, "precision": "float32", "device": "cpu", **changes})


def picture(height: int, width: int) -> np.ndarray:
    """A smooth random picture, so that shrinking leaves something."""
    coarse = np.random.default_rng(0).random((3, 4, 3), dtype=np.float32)
    rows, columns = np.arange(height) * 3 // height, np.arange(width) * 4 // width
    return coarse[rows][:, columns]


class Twin:
    """WindowSeat written out plainly: the LoRA merged into the weights, one step, no helper of ours."""

    def __init__(self, parts, folder) -> None:
        transformer, self.vae = parts
        self.transformer = copy.deepcopy(transformer)
        lora = load_file(folder / "transformer_lora" / "pytorch_lora_weights.safetensors")
        weights = dict(self.transformer.named_parameters())
        for name, a in lora.items():
            if name.endswith(".lora_A.weight"):
                b = lora[name.replace("lora_A", "lora_B")]
                layer = name.removeprefix("transformer.").removesuffix(".lora_A.weight")
                weights[f"{layer}.weight"].data += 4 / 2 * b @ a
        text = load_file(folder / "text_embeddings" / "state_dict.safetensors")
        self.prompt, self.mask = text["prompt_embeds"][:1], text["prompt_mask"][:1] > 0

    @torch.no_grad()
    def __call__(self, tile: np.ndarray) -> list[np.ndarray]:
        mean = torch.tensor([0.1, -0.2, 0.3, 0.0])[:, None, None]
        deviation = torch.tensor([1.5, 0.5, 2.0, 1.0])[:, None, None]
        frames = torch.from_numpy(np.ascontiguousarray(tile)).permute(2, 0, 1)[None, :, None] * 2 - 1
        z = (self.vae.encode(frames).latent_dist.mean[0, :, 0] - mean) / deviation
        side = z.shape[-1]
        tokens = [
            z[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(-1)
            for i in range(side // 2)
            for j in range(side // 2)
        ]
        moved = self.transformer(
            hidden_states=torch.stack(tokens)[None],
            timestep=torch.tensor([0.499]),
            encoder_hidden_states=self.prompt,
            encoder_hidden_states_mask=self.mask,
            img_shapes=[[(1, side // 2, side // 2)]],
        ).sample[0]
        v = torch.zeros_like(z)
        for index, token in enumerate(moved):
            i, j = divmod(index, side // 2)
            v[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = token.reshape(-1, 2, 2)
        shown = []
        for latents in (z, z - v):
            made = self.vae.decode((latents * deviation + mean)[None, :, None]).sample[0, :, 0]
            shown.append(((made + 1) / 2).clamp(0, 1).permute(1, 2, 0).numpy())
        return shown


@pytest.fixture(scope="module")
def loaded(published):
    return load_separator("windowseat", options(published))


def test_one_tile_is_the_plain_twin_s_picture(loaded, parts, published):
    photo = picture(SIDE, SIDE)
    seen, made = Twin(parts, published)(photo)
    assert np.abs(made - seen).max() > 0.01
    layers = loaded.separate(photo)
    np.testing.assert_allclose(layers.transmission, keep_untouched(photo, seen, made), atol=1e-4)
    np.testing.assert_allclose(layers.reflection, reflected_light(photo, layers.transmission), atol=1e-6)
    assert layers.reflection_note == separator.REFLECTION_NOTE and layers.notes == ()
    assert np.array_equal(loaded.separate(photo, quality="best").transmission, layers.transmission)


def test_a_large_photograph_is_shrunk_to_a_row_of_tiles_and_keeps_its_size(loaded, parts, published):
    photo = picture(2 * SIDE, 3 * SIDE)
    small, twin = shrink(photo, SIDE, 72), Twin(parts, published)
    layers = loaded.separate(photo)
    assert layers.transmission.shape == photo.shape
    for left, alone in ((0, np.s_[:, :32]), (24, np.s_[:, 112:])):  # where there is only one of the two tiles
        seen, made = small.copy(), small.copy()
        seen[:, left : left + SIDE], made[:, left : left + SIDE] = twin(small[:, left : left + SIDE])
        wanted = keep_untouched(photo, seen, made)
        np.testing.assert_allclose(layers.transmission[alone], wanted[alone], atol=1e-4)


def test_sizes_and_steps(loaded, monkeypatch):
    told = []
    run = separator.WindowseatSeparator(loaded._model, SIDE, "full-size", lambda *step: told.append(step))
    monkeypatch.setattr(run, "_run", lambda tile: [tile, tile])
    photo = picture(60, 90)
    np.testing.assert_array_equal(run.separate(photo).transmission, photo)
    assert told == [(i, 4) for i in range(1, 5)]
    told.clear()
    assert run.separate(picture(20, 30)).reflection.shape == (20, 30, 3)  # enlarged to 48 x 72
    assert told == [(1, 2), (2, 2)]


def test_four_bits_on_a_cpu_leave_out_the_first_modulation(published, parts):
    layers = load_separator("windowseat", options(published, precision="nf4"))
    transformer = layers._model.transformer
    kinds = {name: type(m).__name__ for name, m in transformer.named_modules()}
    assert kinds["transformer_blocks.1.attn.to_k"] == "Linear4bit"
    assert kinds["transformer_blocks.0.img_mod.1.base_layer"] == "Linear"
    twin = Twin(parts, published)
    noise = torch.randn((1, 9, 16), generator=torch.Generator().manual_seed(0))
    given = {"hidden_states": noise, "timestep": torch.tensor([0.499])}
    given |= {"encoder_hidden_states": twin.prompt, "encoder_hidden_states_mask": twin.mask}

    def error() -> float:
        shapes = [[(1, 3, 3)]]
        low = {name: x.bfloat16() if x.is_floating_point() else x for name, x in given.items()}
        made, wanted = transformer(**low, img_shapes=shapes), twin.transformer(**given, img_shapes=shapes)
        return ((made.sample.float() - wanted.sample).norm() / wanted.sample.norm()).item()

    with torch.no_grad():
        rounded = error()
        # The twin gets the values that four bits hold; what is left is bfloat16.
        for name, layer in transformer.named_modules():
            if isinstance(layer, Linear4bit):
                place = name.removesuffix(".base_layer")
                stored = dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()
                before = parts[0].get_submodule(place).weight
                twin.transformer.get_submodule(place).weight.data += stored - before
        assert error() < 0.05
        assert error() < 0.6 * rounded


def test_remove_writes_t_and_says_where_r_comes_from(published, tmp_path, capsys):
    write_picture(tmp_path / "window.png", Picture(picture(40, 60), "png", "uint8", lossless=True))
    words = ["remove", str(tmp_path / "window.png"), "--output", str(tmp_path / "out"), "--reflection"]
    words += ["--model", "windowseat", "--weights", str(published), "--precision", "float32"]
    assert main(words) == 0
    assert read_picture(tmp_path / "out" / "window_transmission.png").pixels.shape == (40, 60, 3)
    assert "WindowSeat itself gives T alone" in capsys.readouterr().err


def rewrite(path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_tensors(path, change) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


LORA, TEXT = "transformer_lora/pytorch_lora_weights.safetensors", "text_embeddings/state_dict.safetensors"
FIRST = "transformer.transformer_blocks.0.attn.to_q.lora_A.weight"
SEVENTH = FIRST.replace(".0.", ".7.")


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda f: (f / LORA).unlink(), "missing; of the 4 files of WindowSeat's repository 3 are there"),
        (lambda f: (f / LORA).write_bytes(b"x"), "damaged, not a LoRA of peft"),
        (lambda f: change_tensors(f / LORA, lambda x: x.pop(FIRST)), r"of 16 tensors 15 are there"),
        (
            lambda f: change_tensors(f / LORA, lambda x: x.update({FIRST: torch.zeros(2, 9)})),
            r"is of another base model; .*to_q.* is \[2, 9\], this one's is \[2, 32\]",
        ),
        (
            lambda f: change_tensors(f / LORA, lambda x: x.update({SEVENTH: x[FIRST].clone()})),
            r"is of another base model, which has a layer transformer_blocks\.7",
        ),
        (
            lambda f: rewrite(f / "transformer_lora" / "adapter_config.json", target_modules=["nowhere"]),
            "is of another base model",
        ),
        (lambda f: (f / TEXT).write_bytes(b"x"), "damaged, not an encoded prompt"),
        (
            lambda f: change_tensors(f / TEXT, lambda x: x.update(prompt_embeds=torch.zeros(2, 5, 7))),
            "has 7 channels, the base model takes 12",
        ),
        (
            lambda f: rewrite(f / "model_index.json", base_model=None),
            "not WindowSeat's; it needs `base_model`",
        ),
        (
            lambda f: rewrite(f / "model_index.json", base_model="/nowhere"),
            "give the base model of .* as `base`",
        ),
    ],
)
def test_what_is_wrong_with_a_repository_is_one_line(published, tmp_path, monkeypatch, parts, break_it, said):
    monkeypatch.setattr(separator, "load_parts", lambda *args: (copy.deepcopy(parts[0]), parts[1]))
    folder = shutil.copytree(published, tmp_path / "copy")
    break_it(folder)
    with pytest.raises(ClearpaneError, match=said) as error:
        load_separator("windowseat", options(folder))
    assert "\n" not in str(error.value)


def test_another_base_and_too_little_memory_are_one_line(published, base, monkeypatch):
    with pytest.raises(
        ClearpaneError, match="not a QwenImageEditPlusPipeline; Qwen-Image-Edit-2509 is needed"
    ):
        load_separator("windowseat", options(published, base=str(base)))
    monkeypatch.setattr(loading, "check_memory", lambda needed, *rest: needed_bytes.append(needed))
    monkeypatch.setattr(separator, "load_parts", lambda *args: pytest.fail("loaded"))
    needed_bytes: list[int] = []
    for precision in ("float32", "nf4"):
        with pytest.raises(pytest.fail.Exception):
            load_separator("windowseat", options(published, precision=precision))
    assert needed_bytes[0] > needed_bytes[1] > 0
    with pytest.raises(ClearpaneError, match="no confidence map"):
        separator.WindowseatSeparator(None, SIDE).separate(picture(16, 16), confidence=True)


def test_a_strip_that_would_be_enlarged_without_limit_is_refused(loaded):
    with pytest.raises(ClearpaneError, match="800 x 16 pixels is more than 32 times as long as wide"):
        loaded.separate(picture(16, 800))
