"""Pretraining on learned tokens: tokenizer, encoding, bits per byte, dropout, the best validation, the folder for the hub."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from empirics import load_model
from empirics.__main__ import main
from empirics.data.corpus import read_corpus
from empirics.errors import CheckpointError, InvalidInput, UnknownName
from empirics.experiments.lm_benchmark import model as model_module
from empirics.experiments.lm_benchmark.model import base_model
from empirics.experiments.lm_benchmark.tokens import tokens_for
from empirics.kernels.ssd.mamba_ssm import ONE_CONFIGURATION
from empirics.models import MambaConfig, MambaLM, save_model
from empirics.models.hub import INDEX, parts, save_hub, transformers_config
from empirics.pretraining import bundle, loop, tokens
from empirics.pretraining.baselines import KEPT
from empirics.pretraining.dropout import draw_from, dropping
from empirics.pretraining.generate import generate
from empirics.pretraining.heldout import bits_per_byte
from empirics.pretraining.loop import BEST, CHECKPOINT, fresh_model, pretrain, windows
from empirics.pretraining.parallel import Team
from empirics.pretraining.recipe import Recipe, load_recipe
from empirics.pretraining.scans import choose_scan
from empirics.pretraining.tokens import END, Reader, encode, encoded, learned, pieces, widths
from empirics.study.results import file_hash
from empirics.training import checkpoint

TINY = {
    "name": "tiny", "d_model": 8, "n_layer": 2, "d_state": 4, "sequence": 16, "batch": 4, "steps": 12, "warm_up": 3,
    "tokens": "bpe", "vocabulary": 300, "separator": "\n\n\n", "learning_rate": 1e-2, "every": 5, "validation_bytes": 60,
    "validation_share": 0.05, "test_share": 0.05,
}  # fmt: skip
SEPARATOR = "\n\n\n"


def prose(count: int, seed: int = 0) -> str:
    """Sentences, paragraphs and documents of a few words, drawn unevenly."""
    rng = np.random.default_rng(seed)
    common = ["the", "a", "state", "space", "müßte", "hidden", "of", "reads,", "x.\n", "y.\n\nAnd", "end.\n\n\nThen"]
    rare = ["".join(rng.choice(list("aeioustrnlm"), 5)) for _ in range(40)]
    vocabulary = common + rare
    return " ".join(vocabulary[min(int(i), len(vocabulary) - 1)] for i in rng.geometric(0.12, count) - 1)


def as_data(text: str):
    return np.frombuffer(text.encode(), np.uint8)


@pytest.fixture(scope="module")
def tokenizer():
    """Two line feeds are one of its tokens."""
    return learned(lambda: iter([*prose(2000).split(SEPARATOR), *["x\n\n"] * 500]), 320)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(prose(1500), encoding="utf-8")
    return read_corpus([path], validation_share=0.05, test_share=0.05)


def values(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# -- tokenizer and encoding -----------------------------------------------------------------------------------------------


def test_the_same_text_gives_the_same_tokenizer(tokenizer):
    one, again, other = (learned(lambda s=s: iter(prose(2000, s).split(SEPARATOR)), 320).to_str() for s in (0, 0, 1))
    assert one == again != other
    vocabulary = tokenizer.get_vocab()
    assert vocabulary[END] == 0 and len(vocabulary) == 320
    assert sorted(number for token, number in vocabulary.items() if len(token) == 1) == list(range(1, 257))


ALPHABET = st.sampled_from(["a", "the", " ", "\n", "\t", ".", "ß", "\u00a0", "\x1c", "7", "'s", "state"])


@settings(deadline=None)
@given(st.lists(ALPHABET, max_size=60).map("".join), st.integers(1, 9))
def test_tokens_of_the_pieces_are_those_of_the_text(tokenizer, text, size):
    parted = list(pieces(text, size))
    assert "".join(parted) == text
    assert [i for piece in parted for i in tokenizer.encode(piece).ids] == tokenizer.encode(text).ids


def test_a_cut_elsewhere_changes_tokens(tokenizer):
    text = "y.\n\nAnd the state"
    for cut in (text.index("And"), text.index("the"), text.index("ate")):
        halves = [*tokenizer.encode(text[:cut]).ids, *tokenizer.encode(text[cut:]).ids]
        assert halves != tokenizer.encode(text).ids


def test_tokens_and_bytes_are_one_to_one(tokenizer):
    text = prose(500, seed=3) + SEPARATOR + "Ωmega, unseen."
    ids = encode(tokenizer, as_data(text), SEPARATOR)
    sizes = widths(tokenizer, SEPARATOR, 330)
    assert ids.dtype == np.uint16 and sizes[ids].sum() == len(text.encode()) and sizes[320:].tolist() == [0] * 10
    assert (ids == 0).sum() == text.count(SEPARATOR) > 1
    documents = "".join("|" if i == 0 else chr(i + 1000) for i in ids).split("|")
    assert SEPARATOR.join(tokenizer.decode([ord(c) - 1000 for c in d]) for d in documents) == text
    whole = encode(tokenizer, as_data(text), "")
    assert (whole == 0).sum() == 0 and tokenizer.decode(whole.tolist()) == text


@pytest.mark.parametrize(
    ("content", "message"),
    [(f"a {END} b".encode() * 40, "split holds <|endoftext|>"), (b"abc \xff" * 200, "byte 4 of the train split is no UTF-8")],
)
def test_text_that_has_no_tokens_is_refused(tmp_path, content, message):
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises(InvalidInput, match=message.replace("|", r"\|")):
        encoded(Recipe(**TINY), read_corpus([tmp_path / "text.txt"]), tmp_path / "out")


def test_encoding_is_kept_and_belongs_to_its_corpus(corpus, tmp_path, monkeypatch):
    recipe, out = Recipe(**TINY), tmp_path / "out"
    first = encoded(recipe, corpus, out)
    assert first.widths[first.train].sum() == len(corpus.train)
    assert first.bytes_per_token == pytest.approx(len(corpus.train) / len(first.train))

    def refuse(*_):
        raise AssertionError("made again")

    with monkeypatch.context() as patch:
        patch.setattr(tokens, "learned", refuse)
        patch.setattr(tokens, "encode", refuse)
        again = encoded(recipe, corpus, out)
        assert again.sha256 == first.sha256
        assert np.array_equal(again.train, first.train) and np.array_equal(again.test, first.test)
        (out / "tokens.safetensors").unlink()  # the tokenizer alone is enough not to learn another
        patch.undo()
        patch.setattr(tokens, "learned", refuse)
        assert encoded(recipe, corpus, out).sha256 == first.sha256
    assert encoded(recipe.model_copy(update={"vocabulary": 310}), corpus, out).sha256 != first.sha256
    (tmp_path / "other.txt").write_text(prose(900, seed=8), encoding="utf-8")
    other = read_corpus([tmp_path / "other.txt"], validation_share=0.05, test_share=0.05)
    second = encoded(recipe, other, out)
    assert second.sha256 != first.sha256 and second.tokenizer != first.tokenizer


def test_one_process_encodes_and_the_others_read(corpus, tmp_path, monkeypatch):
    recipe, out = Recipe(**TINY), tmp_path / "out"
    first = encoded(recipe, corpus, out)
    monkeypatch.setattr(Team, "wait", lambda self: None)
    monkeypatch.setattr(tokens, "_write", None)
    monkeypatch.setattr(tokens, "learned", None)
    second = encoded(recipe, corpus, out, Team(rank=1, world=2))
    assert second.sha256 == first.sha256 and np.array_equal(second.train, first.train)
    (out / "tokens.safetensors").unlink()
    with pytest.raises(CheckpointError, match="was changed while it was read"):
        encoded(recipe, corpus, out, Team(rank=1, world=2))


# -- bits per byte --------------------------------------------------------------------------------------------------------


def test_bits_per_byte_of_tokens_is_their_cost_over_the_bytes_they_stand_for():
    torch.manual_seed(0)
    model = fresh_model(Recipe(**TINY)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    rng = np.random.default_rng(0)
    data, sizes = rng.integers(0, 297, 40).astype(np.uint16), rng.integers(1, 9, 297)
    x = torch.tensor(data.astype(np.int64))[None]
    with torch.no_grad():
        nats = F.cross_entropy(model(x[:, :-1])[0, :, :297].float(), x[0, 1:], reduction="sum").item()
    expected = (math.log2(297) + nats / math.log(2)) / sizes[data].sum()
    assert bits_per_byte(model, data, 1, widths=sizes) == pytest.approx(expected, rel=1e-6)
    assert bits_per_byte(model, data, 1, widths=sizes[::-1]) != pytest.approx(expected, rel=1e-3)
    assert bits_per_byte(model, data, 4, widths=sizes) != pytest.approx(expected, rel=1e-6)


# -- training -------------------------------------------------------------------------------------------------------------


def test_losses_are_bits_per_byte(corpus, tmp_path):
    recipe = Recipe(**TINY | {"steps": 60, "every": 30})
    model, journal = pretrain(recipe, corpus, tmp_path / "out")
    text = encoded(recipe, corpus, tmp_path / "out")
    assert journal.losses[0] == pytest.approx(math.log2(300) / text.bytes_per_token, rel=0.05)
    count = int((text.widths[text.validation].cumsum() <= 60).sum())
    assert 5 < count < len(text.validation)
    assert journal.validation[-1][1] == bits_per_byte(model, text.validation[:count], widths=text.widths)
    assert journal.validation[-1][1] < 0.8 * journal.losses[0]


@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
@pytest.mark.parametrize("dies", [1, 8, 11])
def test_resumed_training_with_dropout_is_bit_identical(corpus, tmp_path, monkeypatch, dies, layer):
    class Killed(BaseException):
        pass

    def fatal(data, recipe, step, rows):
        if step == dies:
            raise Killed
        return windows(data, recipe, step, rows)

    recipe = Recipe(**TINY | {"dropout": 0.2, "keep_best": True, "matrices": "muon", "layer": layer, "headdim": 8})
    before = torch.get_rng_state()
    whole, journal = pretrain(recipe, corpus, tmp_path / "whole")
    assert torch.equal(torch.get_rng_state(), before)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "windows", fatal)
        with pytest.raises(Killed):
            pretrain(recipe, corpus, tmp_path / "cut")
    resumed, again = pretrain(recipe, corpus, tmp_path / "cut")
    assert same(values(whole), values(resumed))
    assert again.losses == journal.losses and again.validation == journal.validation
    for change in ({"dropout": 0.1}, {"seed": 1}):
        other, _ = pretrain(recipe.model_copy(update=change), corpus, tmp_path / "other" / next(iter(change)))
        assert not same(values(whole), values(other))


def test_dropout_leaves_out_its_share_of_what_mixers_add():
    model = fresh_model(Recipe(**TINY | {"d_model": 64}))
    x = torch.randn(4, 32, 64)
    mixer = model.mixers[0]
    with torch.no_grad():
        plain = mixer(x)
        with dropping(model, 0.25):
            draw_from(0, 3, 0)
            dropped = mixer(x)
            draw_from(0, 3, 0)
            assert torch.equal(mixer(x), dropped)
            for other in ((1, 3, 0), (0, 4, 0), (0, 3, 1)):
                draw_from(*other)
                assert not torch.equal(mixer(x), dropped)
            assert torch.equal(mixer.eval()(x), plain)
            mixer.train()
        assert torch.equal(mixer(x), plain)
    gone = dropped == 0
    assert gone.float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert torch.allclose(dropped[~gone], plain[~gone] / 0.75)


def test_the_best_validation_is_kept(corpus, tmp_path, monkeypatch):
    seen: list[dict[str, torch.Tensor]] = []
    bits = iter([3.0, 1.0, 2.0, 3.0, 1.0, 2.0])

    def measured(model, data, widths):
        seen.append(values(model))
        return next(bits)

    monkeypatch.setattr(loop, "bits_per_byte", measured)
    best, journal = pretrain(Recipe(**TINY | {"keep_best": True}), corpus, tmp_path / "best")
    assert [step for step, _ in journal.validation] == [5, 10, 12]
    assert same(values(best), seen[1]) and not same(seen[1], seen[2])
    last, _ = pretrain(Recipe(**TINY), corpus, tmp_path / "last")
    assert same(values(last), seen[5]) and not (tmp_path / "last" / BEST).exists()
    tensors, kept = checkpoint.load(tmp_path / "best" / BEST)
    checkpoint.save(tmp_path / "best" / BEST, tensors, {**kept, "recipe": "another"})
    with pytest.raises(CheckpointError, match="belongs to another training"):
        pretrain(Recipe(**TINY | {"keep_best": True}), corpus, tmp_path / "best")


@pytest.mark.parametrize(
    ("tokens", "vocabulary"), [("bytes", 300), ("bpe", 256)]
)  # fmt: skip
def test_vocabulary_and_tokens_must_fit(tmp_path, tokens, vocabulary):
    path = tmp_path / "mine.toml"
    content = {k: v for k, v in TINY.items() if k != "name"} | {"tokens": tokens, "vocabulary": vocabulary}
    path.write_text("\n".join(f"{k} = {json.dumps(v)}" for k, v in content.items()), encoding="utf-8")
    with pytest.raises(InvalidInput, match=f"vocabulary is {vocabulary} and tokens is '{tokens}'"):
        load_recipe(path)


def test_base_recipes_are_twins():
    one, two = load_recipe("base"), load_recipe("base_mamba2")
    differ = {"name", "description", "layer", "d_state"}
    assert {k: v for k, v in one.model_dump().items() if k not in differ} == {
        k: v for k, v in two.model_dump().items() if k not in differ
    }
    with torch.device("meta"):
        sizes = [sum(p.numel() for p in fresh_model(recipe).parameters()) for recipe in (one, two)]
    assert 24e6 < sizes[0] < 26e6 and sizes[1] == pytest.approx(sizes[0], rel=0.02) and 2 * max(sizes) < 52 * 2**20


def test_mamba2_has_a_scan_here():
    assert choose_scan("cpu", layer="Mamba2") == "chunked" == choose_scan("cpu", "chunked", "Mamba2")


@pytest.mark.gpu
def test_replayed_steps_are_launched_ones(corpus, tmp_path):
    recipe = Recipe(**TINY | {"d_model": 64, "steps": 30, "every": 30, "matrices": "muon"})
    losses = [
        pretrain(recipe, corpus, tmp_path / str(graph), team=Team("cuda"), scan=choose_scan("cuda"), graph=graph)[1].losses
        for graph in (True, False)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)
    dropped = pretrain(
        recipe.model_copy(update={"dropout": 0.3}), corpus, tmp_path / "dropped", team=Team("cuda"), scan=choose_scan("cuda")
    )[1].losses
    assert dropped != pytest.approx(losses[0], rel=2e-2)


# -- the folder for the hub -----------------------------------------------------------------------------------------------


def lively(layer: str, **options) -> MambaLM:
    """A model whose every parameter matters."""
    torch.manual_seed(1)
    ssm = {"layer": layer, "d_state": 8} | ({"headdim": 8} if layer == "Mamba2" else {})
    model = MambaLM(MambaConfig(16, 3, 120, ssm | options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
@pytest.mark.parametrize("largest", [2**24, 2**16 + 2**14])
def test_transformers_reads_what_is_saved_for_the_hub(layer, largest, tmp_path):
    transformers = pytest.importorskip("transformers")
    model, x = lively(layer), torch.randint(0, 120, (2, 37), generator=torch.Generator().manual_seed(3))
    files = save_hub(model, tmp_path, largest)
    assert (len(files) > 2) == (INDEX in {path.name for path in tmp_path.iterdir()}) == (largest < 2**20)
    assert max(path.stat().st_size for path in files) <= largest
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert type(theirs).__name__ == ("MambaForCausalLM" if layer == "Mamba1" else "Mamba2ForCausalLM")
    ours = load_model(tmp_path)
    assert same(values(ours), values(model))
    with torch.no_grad():
        expected, found = model(x), theirs(x).logits
        assert torch.allclose(found, expected, atol=2e-5)
        theirs.backbone.layers[1].mixer.A_log.mul_(1.1)
        assert not torch.allclose(theirs(x).logits, expected, atol=2e-4)
    other = save_model(ours, tmp_path / "mamba_ssm")
    with safe_open(other / "model.safetensors", framework="pt") as file:
        assert "backbone.embedding.weight" in set(file.keys())
    assert json.loads((other / "config.json").read_text())["ssm_cfg"]["layer"] == layer
    with torch.no_grad():
        assert torch.equal(load_model(other)(x), expected)


def test_a_second_save_leaves_no_part_of_the_first(tmp_path):
    model = lively("Mamba1")
    assert len(save_hub(model, tmp_path, 2**16 + 2**14)) > 2
    save_hub(model, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}


def test_models_that_the_format_cannot_hold_are_refused(tmp_path):
    for options, message in (({"rmsnorm": False}, "rmsnorm = False"), ({"norm_before_gate": True}, "norm_before_gate = True")):
        with pytest.raises(InvalidInput, match=message):
            save_hub(lively("Mamba2", **options), tmp_path)
    with pytest.raises(InvalidInput, match="rms_norm = False"):
        transformers_config(MambaConfig(16, 1, 8, rms_norm=False), torch.float32)
    with pytest.raises(InvalidInput, match="a has 80000 bytes, more than a file of 70000 holds"):
        parts({"a": torch.zeros(20000)}, 70000)


def test_base_as_a_command(tmp_path, capsys):
    transformers = pytest.importorskip("transformers")
    text, held_out, out = tmp_path / "text.txt", tmp_path / "held_out.txt", tmp_path / "out"
    text.write_text(prose(20000), encoding="utf-8")
    held_out.write_text(prose(1000, seed=5), encoding="utf-8")
    command = ["pretrain", "base", "--quick", "--corpus", str(text), "--held-out", str(held_out), "--out", str(out)]
    assert main([*command, "--budget", "1e-9"]) == 0 and "call again" in capsys.readouterr().out
    assert (out / "tokenizer.json").is_file() and not (out / CHECKPOINT).exists()
    assert main(command) == 0 and "5-gram" in capsys.readouterr().out
    folder = out / "bundle"
    record = json.loads((folder / "record.json").read_text())
    corpus = read_corpus([text], [held_out])
    text_tokens = encoded(load_recipe("base", quick=True), corpus, out)
    model = load_model(folder, dtype=torch.float32)
    measured = bits_per_byte(model, text_tokens.test, widths=text_tokens.widths)
    assert record["held_out"]["bits_per_byte"] == measured
    count = (len(text_tokens.test) - 1) // 2048 or 1
    windowed = bits_per_byte(model, text_tokens.test, count, widths=text_tokens.widths)
    assert record["held_out"]["windows"]["bits_per_byte"] == windowed
    assert record["model_sha256"] == file_hash(*sorted(folder.glob("*.safetensors")))
    assert record["tokens"]["sha256"] == file_hash(folder / "tokenizer.json")
    assert record["tokens"]["trained"] == 20 * 4 * 32 and record["best_step"] in (10, 20)
    assert json.loads((out / KEPT).read_text())["rows"] == record["baselines"]
    card = Path(folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"{measured:.4f}" in card and "MambaForCausalLM" in card and str(tmp_path) not in card
    found = transformers.AutoTokenizer.from_pretrained(folder)
    document = prose(300, seed=5).split(SEPARATOR)[0]
    assert found(document)["input_ids"] == encode(tokens._package().Tokenizer.from_file(str(folder / "tokenizer.json")),
        as_data(document), SEPARATOR).tolist()  # fmt: skip
    assert found.eos_token_id == 0 and found.decode(found(document)["input_ids"]) == document


def test_the_alphabet_writes_every_byte(tokenizer):
    characters = [tokenizer.id_to_token(i) for i in range(1, 257)]
    assert sorted(tokens._BYTE) == sorted(characters) and sorted(tokens._BYTE.values()) == list(range(256))
    text = bytes(range(1, 128)).decode() + "Ωé\u00ad"
    written = "".join(tokenizer.id_to_token(i) for i in tokenizer.encode(text).ids)
    assert bytes(tokens._BYTE[c] for c in written) == text.encode()


def test_generating_from_tokens(tmp_path, capsys):
    torch.manual_seed(0)
    model = fresh_model(Recipe(**TINY | {"vocabulary": 320})).bfloat16()
    save_hub(model, tmp_path)
    command = ["generate", "--model", str(tmp_path), "--prompt", "the state", "--tokens", "30", "--temperature", "5"]
    assert main(command) == 2 and "not the 256 bytes" in capsys.readouterr().err
    (tmp_path / "tokenizer.json").write_text("{}")
    assert main(command) == 2 and "is no tokenizer" in capsys.readouterr().err
    learned(lambda: iter([prose(2000)]), 320).save(str(tmp_path / "tokenizer.json"))
    assert main(command) == 0
    reader = Reader(tmp_path)
    drawn = list(generate(load_model(tmp_path, dtype=torch.float32), reader.encode("the state"), 30, 5.0, 0, 320))
    assert capsys.readouterr().out == "the state" + bytes(reader.bytes_of(drawn)).decode("utf-8", "replace") + "\n"
    assert bytes(reader.bytes_of([*reader.encode("a b"), 0, *reader.encode("c")])) == b"a b"
    with pytest.raises(InvalidInput, match="the model has 320 tokens, not the 319 of its tokenizer"):
        generate(model, [1], 1, vocabulary=319)


# -- the base models of a checkout ----------------------------------------------------------------------------------------

FOUND = sorted(path.parent.name for path in bundle.DATA.glob("base*/record.json"))
ENGLISH = (
    "When the rain stopped, she opened the window and looked out over the garden. There was no one there. He had said that he "
    "would come before the evening, and it was not like him to forget what he had promised. She waited for another hour."
)


def test_base_models_are_found_by_name(tmp_path, monkeypatch):
    assert "base" in FOUND and set(FOUND) <= set(bundle.BASE)
    with pytest.raises(UnknownName, match="did you mean 'base'"):
        bundle.base_folder("bass")
    monkeypatch.setattr(bundle, "DATA", tmp_path)
    with pytest.raises(CheckpointError, match="this installation has no model 'base'"):
        bundle.base_folder("base")


@pytest.mark.parametrize("name", FOUND)
def test_a_base_model_is_what_its_record_says(name):
    folder = bundle.base_folder(name)
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    weights = sorted(folder.glob("*.safetensors"))
    assert max(path.stat().st_size for path in weights) <= 16 * 2**20 and sum(p.stat().st_size for p in weights) <= 52 * 2**20
    assert record["model_sha256"] == file_hash(*weights) and record["tokens"]["sha256"] == file_hash(folder / "tokenizer.json")
    assert (folder / "MODEL_CARD.md").read_text(encoding="utf-8") == bundle.card(record)
    recipe = Recipe(**record["recipe"])
    assert recipe.name == name and record["steps"] == recipe.steps == record["validation"][-1]["step"]
    committed = load_recipe(name)
    assert recipe.model_copy(update={"steps": committed.steps, "description": committed.description}) == committed
    assert json.loads((folder / "config.json").read_text()) == transformers_config(recipe.architecture(), torch.bfloat16)
    assert json.loads((folder / "tokenizer_config.json").read_text()) == tokens.settings()


def test_the_base_model_does_not_overfit_as_the_readme_says():
    base, bundled = (json.loads((bundle.DATA / name / "record.json").read_text()) for name in ("base", "bundled"))
    validation = [point["bits_per_byte"] for point in base["validation"]]
    assert validation[-1] == min(validation) and validation[-1] > base["curve"][-1]["bits_per_byte"]
    assert 4.5 < base["corpus"]["bytes"]["train"] / bundled["corpus"]["bytes"]["train"] < 5
    assert base["tokens"]["trained"] / base["tokens"]["count"]["train"] == pytest.approx(8, abs=0.05)
    assert base["held_out"]["bits_per_byte"] < bundled["held_out"]["bits_per_byte"] - 0.3


def test_the_twin_differs_as_the_readme_says():
    base, twin = (json.loads((bundle.DATA / name / "record.json").read_text()) for name in ("base", "base_mamba2"))
    assert twin["corpus"] == base["corpus"] and twin["tokens"]["sha256"] == base["tokens"]["sha256"]
    assert (base["steps"], twin["steps"]) == (19000, 10700)
    assert 0 < twin["held_out"]["bits_per_byte"] - base["held_out"]["bits_per_byte"] < 0.005


@pytest.mark.parametrize("name", FOUND)
def test_a_base_model_reads_english_as_transformers_does(name):
    transformers = pytest.importorskip("transformers")
    model, reader = base_model(name, None, "cpu"), tokens_for(name, 8192)
    folder = bundle.base_folder(name)
    ids = reader.encode(ENGLISH)
    assert reader.decode(ids) == ENGLISH and len(ids) < len(ENGLISH) / 3.5 and reader.end == 0
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    x = torch.tensor([ids])
    with torch.no_grad():
        ours = model(x)
        assert torch.allclose(theirs(x).logits, ours, atol=2e-4)
        theirs.backbone.layers[5].mixer.D.add_(0.3)
        assert not torch.allclose(theirs(x).logits, ours, atol=2e-2)
    found = tokens._package().Tokenizer.from_file(str(folder / "tokenizer.json"))
    sizes = widths(found, SEPARATOR, 8192)
    data = np.array(ids, np.uint16)
    assert bits_per_byte(model, data, 1, widths=sizes) < 1.2
    shuffled = np.random.default_rng(0).permutation(data)
    assert bits_per_byte(model, shuffled, 1, widths=sizes) > 1.8


@pytest.mark.parametrize(("name", "scan"), [("untrained", "fused"), ("untrained_mamba2", "mamba_ssm")])
def test_a_model_to_adapt_takes_the_fastest_scan_on_a_gpu(name: str, scan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mamba-2 took the chunked one. The twins: a scan that was asked for stays, and so does a CPU's."""
    fastest = {"Mamba1": "fused", "Mamba2": "mamba_ssm"}
    monkeypatch.setattr(model_module, "choose_scan", lambda device, layer: fastest[layer])
    monkeypatch.setattr(MambaLM, "to", lambda self, **where: self)
    monkeypatch.delenv(ONE_CONFIGURATION, raising=False)
    assert {mixer.scan for mixer in base_model(name, None, "cuda").mixers} == {scan}
    assert os.environ.get(ONE_CONFIGURATION) == ("1" if scan == "mamba_ssm" else None)
    for asked, device in ((None, "cpu"), ("chunked", "cuda")):
        monkeypatch.setenv(ONE_CONFIGURATION, "0")
        assert {mixer.scan for mixer in base_model(name, asked, device).mixers} == {"chunked"}
    base_model(name, None, "cuda")
    assert os.environ[ONE_CONFIGURATION] == "0", "what the environment says stays"
