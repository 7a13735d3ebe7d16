"""Pretraining: splits, the loop under kills and budgets, several processes, held-out bits per byte, baselines, the bundle."""

from __future__ import annotations

import itertools
import json
import lzma
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import empirics
from empirics.__main__ import main
from empirics.data.corpus import read_corpus
from empirics.errors import CheckpointError, InvalidInput, UnknownName
from empirics.pretraining import bundle, loop, pace
from empirics.pretraining.baselines import xz_bits_per_byte
from empirics.pretraining.command import _fitted
from empirics.pretraining.generate import decoded, generate
from empirics.pretraining.heldout import bits_per_byte
from empirics.pretraining.loop import CHECKPOINT, fresh_model, pretrain, windows
from empirics.pretraining.ngram import ByteNgram
from empirics.pretraining.optimiser import decays
from empirics.pretraining.parallel import Team
from empirics.pretraining.recipe import Recipe, load_recipe, recipe_names
from empirics.pretraining.scans import choose_scan
from empirics.pretraining.tokens import as_bytes
from empirics.study.results import file_hash
from empirics.training import checkpoint
from empirics.training.loop import OutOfTime

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "name": "tiny", "d_model": 8, "n_layer": 2, "d_state": 4, "sequence": 16, "batch": 4, "steps": 12, "warm_up": 3,
    "learning_rate": 1e-2, "every": 5, "validation_bytes": 40, "validation_share": 0.05, "test_share": 0.05,
}  # fmt: skip


def words(count: int, seed: int = 0) -> bytes:
    """Lively text without a file: words drawn unevenly from a few."""
    rng = np.random.default_rng(seed)
    vocabulary = ["the", "a", "state", "space", "müßte", "hidden", "of", "reads", "x.\n"]
    return " ".join(vocabulary[min(int(i), 8)] for i in rng.geometric(0.3, count) - 1).encode()


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(words(600))
    return path


@pytest.fixture
def corpus(text):
    return read_corpus([text], validation_share=0.05, test_share=0.05)


def values(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# -- corpus -------------------------------------------------------------------------------------------------------------


def test_splits_are_contiguous_disjoint_and_everything(tmp_path):
    folder = tmp_path / "folder"
    (folder / "deeper").mkdir(parents=True)
    first, second = words(300), words(200, seed=1)
    (folder / "b.txt").write_bytes(first)
    (folder / "deeper" / "a.txt.xz").write_bytes(lzma.compress(second))
    (folder / ".hidden").write_bytes(b"no")
    corpus = read_corpus([folder], validation_share=0.1, test_share=0.2)
    assert [s.name for s in corpus.sources] == ["folder/b.txt", "folder/deeper/a.txt.xz"]
    for split in ("train", "validation", "test"):
        cut = [c[slice(*s.blocks[split])] for c, s in zip((first, second), corpus.sources, strict=True)]
        assert getattr(corpus, split).tobytes() == b"".join(cut)
    for content, source in zip((first, second), corpus.sources, strict=True):
        borders = sorted(source.blocks.values())
        assert borders[0][0] == 0 and borders[-1][1] == len(content) == source.size
        assert all(one[1] == two[0] for one, two in itertools.pairwise(borders))
    assert len(corpus.test) == int(len(first) * 0.2) + int(len(second) * 0.2)
    assert corpus.sha256 == read_corpus([folder], validation_share=0.1, test_share=0.2).sha256
    assert corpus.sha256 != read_corpus([folder], validation_share=0.1, test_share=0.1).sha256


def test_held_out_files_are_the_test_split(text, tmp_path):
    other = tmp_path / "other.bin"
    other.write_bytes(bytes(range(256)))
    corpus = read_corpus([text], [other], 0.1, 0.3)
    assert corpus.test.tobytes() == bytes(range(256))
    assert corpus.train.tobytes() + corpus.validation.tobytes() == text.read_bytes()


def test_bad_corpora_are_named(text, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "copy.txt").write_bytes(text.read_bytes())
    (tmp_path / "bad.xz").write_bytes(lzma.compress(b"abc")[:-5])
    for paths, held_out, message in (
        ([], [], "no corpus given"),
        ([tmp_path / "nowhere"], [], "nowhere does not exist"),
        ([tmp_path / "empty"], [], "empty is empty"),
        ([tmp_path / "bad.xz"], [], "cannot be unpacked"),
        ([text], [tmp_path / "copy.txt"], "same content"),
    ):
        with pytest.raises(InvalidInput, match=message):
            read_corpus(paths, held_out)
    with pytest.raises(InvalidInput, match="must leave something"):
        read_corpus([text], validation_share=0.6, test_share=0.5)


def test_an_unreadable_file_is_named(text, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InvalidInput, match=r"text\.txt cannot be read: Permission denied"):
        read_corpus([text])


# -- recipes ------------------------------------------------------------------------------------------------------------


def test_committed_recipes():
    assert recipe_names() == ("base", "base_mamba2", "full", "small")
    full, small = load_recipe("full"), load_recipe("small")
    assert not full.placeholder and small.placeholder and load_recipe("full", quick=True).placeholder
    with torch.device("meta"):
        sizes = [sum(p.numel() for p in fresh_model(r).parameters()) for r in (full, small)]
    assert 7.5e6 < sizes[0] and 2 * sizes[0] < 16 * 2**20 and 0.5e6 < sizes[1] < 1.5e6
    assert load_recipe("full", steps=600).steps == 600 and load_recipe("full", steps=600).identity != full.identity
    assert load_recipe("full", steps=7).warm_up == 7 and load_recipe("full", steps=600).warm_up == full.warm_up == 300


def test_learning_rate():
    recipe = Recipe(**TINY | {"final_rate": 0.1, "steps": 103})
    assert recipe.rate(0) == pytest.approx(1e-2 / 3) and recipe.rate(2) == recipe.rate(3) == 1e-2
    assert recipe.rate(53) == pytest.approx(1e-2 * (0.1 + 0.9 / 2)) and recipe.rate(103) == pytest.approx(1e-3)
    assert all(recipe.rate(t) > recipe.rate(t + 1) for t in range(3, 103))


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        ("d_modell = 3", UnknownName, "did you mean 'd_model'"),
        ("steps = 0", InvalidInput, "steps"),
        ("warm_up = 500", InvalidInput, "warm_up is 500, expected at most steps = 50"),
        ("[quick]\nstep = 1", UnknownName, "did you mean 'steps'"),
        ("x = = 1", InvalidInput, "no TOML"),
    ],
)
def test_bad_recipes_are_named(tmp_path, content, kind, message):
    path = tmp_path / "mine.toml"
    needed = {"d_model": 8, "n_layer": 1, "sequence": 8, "batch": 1, "steps": 50, "learning_rate": 0.01}
    lines = [f"{k} = {v}" for k, v in needed.items() if not content.startswith(f"{k} ")]
    path.write_text("\n".join([*lines, content]), encoding="utf-8")
    with pytest.raises(kind, match=message):
        load_recipe(path)


# -- the loop -----------------------------------------------------------------------------------------------------------


def test_training_learns_and_only_projections_decay(corpus, tmp_path):
    model, journal = pretrain(Recipe(**TINY | {"steps": 150, "every": 50}), corpus, tmp_path / "out")
    assert len(journal.losses) == 150 and [step for step, _ in journal.validation] == [50, 100, 150]
    assert journal.losses[0] == pytest.approx(8, abs=0.5) and journal.validation[-1][1] < 4.5
    assert journal.validation[-1][1] == bits_per_byte(model, corpus.validation[:40])
    assert {n.split(".")[-2] for n, p in model.named_parameters() if decays(n, p)} == {
        "in_proj", "out_proj", "x_proj", "dt_proj",
    }  # fmt: skip


def test_a_step_is_adamw_on_the_windows_of_that_step(corpus, tmp_path):
    """One step written out: which bytes, which loss, which clipping, which decay."""
    recipe = Recipe(**TINY | {"steps": 1, "warm_up": 0, "weight_decay": 0.5, "clip": 0.1})
    trained, journal = pretrain(recipe, corpus, tmp_path / "out")
    data = corpus.train.astype(np.int64)
    starts = np.random.default_rng([recipe.seed, 0]).integers(0, len(data) - 16, size=4)
    batch = torch.tensor(np.stack([data[s : s + 17] for s in starts]))
    model = fresh_model(recipe)
    loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
    loss.backward()
    assert journal.losses == [pytest.approx(loss.item() / math.log(2), rel=1e-6)]
    norm = math.sqrt(sum(float(p.grad.double().square().sum()) for p in model.parameters()))
    assert norm > 0.1
    for (name, parameter), (_, after) in zip(model.named_parameters(), trained.named_parameters(), strict=True):
        gradient = parameter.grad * 0.1 / (norm + 1e-6)
        decayed = parameter * (1 - 1e-2 * 0.5) if name.endswith("_proj.weight") else parameter
        expected = decayed - 1e-2 * gradient / (gradient.abs() + 1e-8)  # AdamW's first step
        assert torch.allclose(after, expected, atol=2e-6), name
        assert not torch.allclose(after, parameter, atol=2e-6), name


def test_muon_moves_all_directions_of_a_matrix_alike(corpus, tmp_path):
    recipe = Recipe(**TINY | {"steps": 1, "warm_up": 0, "weight_decay": 0.5, "matrices": "muon"})
    trained, _ = pretrain(recipe, corpus, tmp_path / "out")
    plain, _ = pretrain(recipe.model_copy(update={"matrices": "adamw"}), corpus, tmp_path / "adamw")
    others = dict(plain.named_parameters())
    for (name, before), (_, after) in zip(fresh_model(recipe).named_parameters(), trained.named_parameters(), strict=True):
        if not decays(name, before):
            assert torch.equal(after, others[name]), name
            continue
        moved = (before * (1 - 1e-2 * 0.5) - after).detach() / (1e-2 * 0.2 * math.sqrt(max(before.shape)))
        sizes = torch.linalg.svdvals(moved.double())
        assert 0.5 < sizes[sizes > 0.1].min() and sizes.max() < 1.3 and (sizes > 0.1).sum() >= min(before.shape) // 2, name


@pytest.mark.parametrize("matrices", ["adamw", "muon"])
@pytest.mark.parametrize("dies", [1, 5, 8, 11])
def test_resumed_training_is_bit_identical(corpus, tmp_path, monkeypatch, dies, matrices):
    class Killed(BaseException):
        pass

    def fatal(data, recipe, step, rows):
        if step == dies:
            raise Killed
        return windows(data, recipe, step, rows)

    recipe = Recipe(**TINY | {"matrices": matrices})
    whole, journal = pretrain(recipe, corpus, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "windows", fatal)
        with pytest.raises(Killed):
            pretrain(recipe, corpus, tmp_path / "cut")
    torch.manual_seed(99)  # whatever happened in between
    resumed, again = pretrain(recipe, corpus, tmp_path / "cut")
    assert same(values(whole), values(resumed))
    assert again.losses == journal.losses and again.validation == journal.validation
    assert again.calls[-1]["from_step"] == dies // 5 * 5
    other, _ = pretrain(recipe.model_copy(update={"seed": 1}), corpus, tmp_path / "other")
    assert not same(values(whole), values(other))
    finished, _ = pretrain(recipe, corpus, tmp_path / "cut")  # nothing left to do
    assert same(values(whole), values(finished))


def test_the_budget_stops_with_a_checkpoint(corpus, tmp_path, monkeypatch):
    recipe = Recipe(**TINY)
    whole, journal = pretrain(recipe, corpus, tmp_path / "whole")
    clock = iter(range(10**6))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    calls = 0
    while True:
        calls += 1
        try:
            resumed, again = pretrain(recipe, corpus, tmp_path / "cut", deadline=next(clock) + 6)
        except OutOfTime:
            assert calls < 12
            continue
        break
    assert calls > 2 and same(values(whole), values(resumed)) and again.losses == journal.losses
    steps = [call["from_step"] for call in again.calls]
    assert steps == sorted(set(steps))  # each call got further


PROGRAM = """
    import sys
    from pathlib import Path
    import torch
    torch.set_num_threads(1)
    from empirics.training import checkpoint
    from empirics.data.corpus import read_corpus
    from empirics.pretraining.loop import pretrain
    from empirics.pretraining.recipe import load_recipe

    original = checkpoint.save
    def announce(*args):
        original(*args)
        print("saved", flush=True)
    checkpoint.save = announce
    corpus = read_corpus([Path(sys.argv[1])], validation_share=0.05, test_share=0.05)
    pretrain(load_recipe(sys.argv[2]), corpus, Path(sys.argv[3]))
"""


def test_sigkill_and_again_gives_the_same_model(text, corpus, tmp_path):
    recipe_file = tmp_path / "tiny.toml"
    options = TINY | {"steps": 200, "every": 20}
    recipe_file.write_text("\n".join(f"{k} = {json.dumps(v)}" for k, v in options.items()), encoding="utf-8")
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(text), str(recipe_file), str(tmp_path / "cut")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for _ in range(3):
            assert process.stdout.readline() == "saved\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    recipe = load_recipe(recipe_file)
    stopped_at = len(checkpoint.load(tmp_path / "cut" / CHECKPOINT)[1]["journal"]["losses"])
    assert 60 <= stopped_at < 200
    resumed, journal = pretrain(recipe, corpus, tmp_path / "cut")
    whole, expected = pretrain(recipe, corpus, tmp_path / "whole")
    assert journal.calls[-1]["from_step"] == stopped_at
    assert same(values(whole), values(resumed)) and journal.losses == expected.losses


def test_divergence_is_an_error_and_the_checkpoint_stays(corpus, tmp_path, monkeypatch):
    def poisoned(model, *args, **options):
        logits = original(model, *args, **options)
        poisoned.calls += 1
        return logits * float("nan") if poisoned.calls == 9 else logits  # 5 steps, one validation, and two steps more

    original, poisoned.calls = loop.MambaLM.forward, 0
    monkeypatch.setattr(loop.MambaLM, "forward", poisoned)
    monkeypatch.setattr(loop, "bits_per_byte", lambda model, data, widths: 1.0)
    with pytest.raises(InvalidInput, match=r"loss nan.* at step 8: training diverged; the checkpoint of step 5 stays"):
        pretrain(Recipe(**TINY), corpus, tmp_path / "out")
    _, saved = checkpoint.load(tmp_path / "out" / CHECKPOINT)
    assert len(saved["journal"]["losses"]) == 5 and all(map(math.isfinite, saved["journal"]["losses"]))


def test_foreign_and_corrupt_checkpoints_are_refused(corpus, text, tmp_path):
    recipe = Recipe(**TINY | {"steps": 2})
    out = tmp_path / "out"
    pretrain(recipe, corpus, out)
    with pytest.raises(CheckpointError, match="belongs to another recipe"):
        pretrain(Recipe(**TINY | {"steps": 3}), corpus, out)
    with pytest.raises(CheckpointError, match="belongs to another corpus"):
        pretrain(recipe, read_corpus([text], validation_share=0.1, test_share=0.05), out)
    tensors, saved = checkpoint.load(out / CHECKPOINT)
    checkpoint.save(out / CHECKPOINT, {k: v for k, v in tensors.items() if k != "exp_avg.backbone.embedding.weight"}, saved)
    with pytest.raises(CheckpointError, match=r"does not fit tensor backbone\.embedding\.weight"):
        pretrain(recipe, corpus, out)
    checkpoint.save(out / CHECKPOINT, tensors, {"x": 1})
    with pytest.raises(CheckpointError, match="no checkpoint of this command"):
        pretrain(recipe, corpus, out)
    content = (out / CHECKPOINT).read_bytes()
    (out / CHECKPOINT).write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="no readable checkpoint"):
        pretrain(recipe, corpus, out)


def test_short_corpora_are_refused(tmp_path):
    path = tmp_path / "short.txt"
    path.write_bytes(b"x" * 17)
    with pytest.raises(InvalidInput, match="the train split has 16 bytes, this recipe needs at least 17"):
        pretrain(Recipe(**TINY), read_corpus([path], validation_share=0.1, test_share=0), tmp_path / "out")
    with pytest.raises(InvalidInput, match="the validation split has 0 bytes"):
        pretrain(Recipe(**TINY), read_corpus([path], validation_share=0, test_share=0), tmp_path / "out")


def test_bfloat16_autocast_trains_float32_parameters(corpus, tmp_path):
    recipe = Recipe(**TINY)
    _, journal = pretrain(recipe, corpus, tmp_path / "wide")
    mixed, other = pretrain(recipe, corpus, tmp_path / "mixed", autocast=True)
    assert {p.dtype for p in mixed.parameters()} == {torch.float32}
    assert other.losses == pytest.approx(journal.losses, rel=0.02) and other.losses != journal.losses


# -- several processes --------------------------------------------------------------------------------------------------

SHARED = """
    import sys, dataclasses
    from pathlib import Path
    import torch
    torch.set_num_threads(1)
    from safetensors.torch import save_file
    from empirics.data.corpus import read_corpus
    from empirics.pretraining.loop import pretrain
    from empirics.pretraining.parallel import team
    from empirics.pretraining.recipe import load_recipe

    text, recipe, out = (Path(a) for a in sys.argv[1:4])
    corpus = read_corpus([text], validation_share=0.05, test_share=0.05)
    with team("cpu") as members:
        model, journal = pretrain(load_recipe(recipe), corpus, out, team=members, dtype=torch.float64)
        save_file({"losses": torch.tensor(journal.losses, dtype=torch.float64),
                   **{n: p.detach() for n, p in model.named_parameters()}}, out / f"rank{members.rank}.safetensors")
"""


def test_two_processes_take_the_steps_of_one(text, corpus, tmp_path):
    from safetensors.torch import load_file

    recipe_file = tmp_path / "tiny.toml"
    recipe_file.write_text("\n".join(f"{k} = {json.dumps(v)}" for k, v in TINY.items()), encoding="utf-8")
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(SHARED), encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(program)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [*command, str(text), str(recipe_file), str(tmp_path / "two")],
        capture_output=True,
        text=True,
        env=environment,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    first, second = (load_file(tmp_path / "two" / f"rank{rank}.safetensors") for rank in (0, 1))
    assert same(first, second)
    recipe = load_recipe(recipe_file)
    model, journal = pretrain(recipe, corpus, tmp_path / "one", dtype=torch.float64)
    assert first["losses"].tolist() == pytest.approx(journal.losses, rel=1e-11)
    half, other = pretrain(recipe.model_copy(update={"batch": 2}), corpus, tmp_path / "half", dtype=torch.float64)
    assert first["losses"].tolist() != pytest.approx(other.losses, rel=1e-4)  # half of the windows is another training
    for name, parameter in model.named_parameters():
        assert torch.allclose(first[name], parameter, rtol=0, atol=1e-9), name
        assert not torch.allclose(first[name], half.get_parameter(name), rtol=0, atol=1e-4), name


def test_shares_of_a_batch():
    rows = [Team(rank=rank, world=4).share(12) for rank in range(4)]
    assert [i for r in rows for i in range(12)[r]] == list(range(12))
    with pytest.raises(InvalidInput, match="12 cannot be shared out among 5"):
        Team(world=5).share(12)


# -- held-out bits per byte and baselines -------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "streams"), [(2, 16), (50, 1), (50, 3), (53, 16)])
def test_bits_per_byte_is_the_cost_of_each_stream_read_whole(n, streams):
    torch.manual_seed(1)
    model = fresh_model(Recipe(**TINY)).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    data = np.frombuffer(words(60), np.uint8)[:n]
    count = min(streams, n - 1)
    length = (n - 1) // count
    bits = 8.0
    for s in range(count):
        stop = n if s == count - 1 else (s + 1) * length + 1
        x = torch.tensor(data[s * length : stop].astype(np.int64))[None]
        with torch.no_grad():
            bits += float(F.cross_entropy(model(x[:, :-1])[0].float(), x[0, 1:], reduction="sum")) / math.log(2)
    assert bits_per_byte(model, data, streams, window=7) == pytest.approx(bits / n, rel=1e-6)
    if n > 2:
        assert bits_per_byte(model, data[::-1], streams, window=7) != pytest.approx(bits / n, rel=1e-6)


def test_bits_per_byte_refuses_nothing():
    model = fresh_model(Recipe(**TINY))
    with pytest.raises(InvalidInput, match="1 held-out bytes"):
        bits_per_byte(model, np.zeros(1, np.uint8))
    with pytest.raises(InvalidInput, match="streams = 0"):
        bits_per_byte(model, np.zeros(9, np.uint8), streams=0)


def slow_ngram(train: bytes, order: int):
    """p(c | context) from dictionaries, straight from the formula."""
    counts: dict[bytes, Counter[int]] = defaultdict(Counter)
    for i in range(order - 1, len(train)):
        for k in range(order):
            counts[train[i - k : i]][train[i]] += 1

    def p(context: bytes, c: int) -> float:
        context = context[max(0, len(context) - order + 1) :]
        lower = 1 / 256 if not context else p(context[1:], c)
        seen = counts.get(context, Counter())
        return (seen[c] + len(seen) * lower) / (seen.total() + len(seen)) if seen else lower

    return p


@pytest.mark.parametrize("order", [1, 2, 5])
def test_ngram_equals_its_formula_and_is_a_distribution(order, monkeypatch):
    monkeypatch.setattr("empirics.pretraining.ngram._BLOCK", 100)
    train, test = words(150), words(40, seed=1) + b"\x00\xff unseen"
    model, p = ByteNgram(np.frombuffer(train, np.uint8), order), slow_ngram(train, order)
    expected = [p(test[:i], test[i]) for i in range(len(test))]
    found = model.probabilities(np.frombuffer(test, np.uint8))
    assert found.tolist() == pytest.approx(expected, rel=1e-12)
    assert model.bits_per_byte(np.frombuffer(test, np.uint8)) == pytest.approx(-np.log2(expected).mean(), rel=1e-12)
    changed = ByteNgram(np.frombuffer(train[:-20], np.uint8), order).probabilities(np.frombuffer(test, np.uint8))
    assert changed.tolist() != pytest.approx(expected, rel=1e-12)
    for context in (b"stat", b" the", b"\x00\x01\x02\x03"):
        every = [model.probabilities(np.frombuffer(context + bytes([c]), np.uint8))[-1] for c in range(256)]
        assert sum(every) == pytest.approx(1, rel=1e-12) and min(every) > 0


def test_ngram_refuses_what_it_cannot_count():
    for data, order, message in ((b"abc", 9, "order = 9"), (b"abc", 5, "hold no 5-gram")):
        with pytest.raises(InvalidInput, match=message):
            ByteNgram(np.frombuffer(data, np.uint8), order)


def test_xz_is_the_file_that_xz_writes():
    data = words(500)
    packed = lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)
    assert xz_bits_per_byte(np.frombuffer(data, np.uint8)) == 8 * len(packed) / len(data) < 8
    with pytest.raises(InvalidInput, match="no held-out byte"):
        xz_bits_per_byte(np.empty(0, np.uint8))


# -- generation ---------------------------------------------------------------------------------------------------------


def test_greedy_generation_is_what_the_whole_sequence_predicts():
    torch.manual_seed(2)
    model = fresh_model(Recipe(**TINY)).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))  # untied: repeats itself less
    prompt = "Müßte".encode()
    made = list(generate(model, prompt, 12, temperature=0))
    whole = torch.tensor([[*prompt, *made]])
    with torch.no_grad():
        assert model(whole)[0, len(prompt) - 1 : -1, :256].argmax(-1).tolist() == made
    assert len(set(made)) > 1


def test_sampling_repeats_with_its_seed():
    model = fresh_model(Recipe(**TINY))
    one, again, other = (list(generate(model, b"a", 20, 1.0, seed)) for seed in (3, 3, 4))
    assert one == again != other and len(one) == 20


def test_decoding_streams_characters_and_replaces_what_is_none():
    content = "aé😀".encode() + b"\xff" + b"b\xe2\x82"
    pieces = list(decoded(content))
    assert "".join(pieces) == content.decode("utf-8", "replace") and pieces[:3] == ["a", "é", "😀"]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"prompt": b""}, "prompt is empty"), ({"tokens": 0}, "tokens is 0"), ({"temperature": -1.0}, "temperature is -1"),
     ({"temperature": math.nan}, "temperature is nan"), ({"seed": -1}, "seed is -1")],
)  # fmt: skip
def test_generation_refuses(options, message):
    with pytest.raises(InvalidInput, match=message):
        generate(fresh_model(Recipe(**TINY)), **{"prompt": b"a", "tokens": 1} | options)


def test_generation_needs_a_model_of_bytes(tiny):
    with pytest.raises(InvalidInput, match="19 tokens"):
        generate(tiny("Mamba1"), b"a", 1)


# -- the bundle and the command line ------------------------------------------------------------------------------------


def test_the_curve_is_thinned_to_means():
    losses = [float(i) for i in range(11)]
    assert bundle.thinned(losses, 4) == [
        {"step": 3, "bits_per_byte": 1.0}, {"step": 6, "bits_per_byte": 4.0}, {"step": 9, "bits_per_byte": 7.0},
        {"step": 11, "bits_per_byte": 9.5},
    ]  # fmt: skip
    assert bundle.thinned([]) == []


def test_pretrain_and_generate_as_commands(text, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["pretrain", "small", "--corpus", str(text), "--out", str(out), "--quick", "--steps", "11", "--about", "Few words."]
    assert main([*command, "--budget", "1e-9"]) == 0
    assert "not complete: call again" in capsys.readouterr().out and not (out / "bundle").exists()
    larger = tmp_path / "text2.txt"
    larger.write_bytes(words(20000, seed=5))
    command[3] = str(larger)
    assert main(command) == 0
    assert "5-gram" in capsys.readouterr().out
    record = json.loads((out / "bundle" / "record.json").read_text())
    assert record["steps"] == 11 and record["recipe"]["placeholder"] and len(record["curve"]) == 11
    corpus = read_corpus([larger])
    model = bundle.load_model(out / "bundle", dtype=torch.float32)
    assert {p.dtype for p in bundle.load_model(out / "bundle").parameters()} == {torch.bfloat16}
    assert record["held_out"]["bits_per_byte"] == bits_per_byte(model, corpus.test)
    assert record["baselines"][0]["bits_per_byte"] == xz_bits_per_byte(corpus.test)
    card = (out / "bundle" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert (
        "Placeholder" in card
        and "\nFew words.\n" in card
        and f"{record['held_out']['bits_per_byte']:.4f}" in card
        and str(tmp_path) not in card
    )
    assert main(["pretrain-baselines", "--corpus", str(larger), "--json", str(tmp_path / "rows.json")]) == 0
    assert json.loads((tmp_path / "rows.json").read_text()) == record["baselines"]
    capsys.readouterr()
    assert main(["generate", "--model", str(out / "bundle"), "--prompt", "the", "--tokens", "9", "--seed", "1"]) == 0
    expected = "".join(decoded(generate(model, b"the", 9, seed=1)))
    assert capsys.readouterr().out == f"the{expected}\n"


ENGLISH = (
    "When the rain stopped, she opened the window and looked out over the garden. There was no one there. He had said that he "
    "would come before the evening, and it was not like him to forget what he had promised. She waited for another hour."
)


def test_the_bundled_model_is_what_its_record_says():
    files = {path.name: path for path in bundle.BUNDLED.iterdir()}
    assert set(files) == {"config.json", "model.safetensors", "record.json", "MODEL_CARD.md"}
    assert files["model.safetensors"].stat().st_size <= 16 * 2**20
    record = json.loads(files["record.json"].read_text(encoding="utf-8"))
    assert record["model_sha256"] == file_hash(files["model.safetensors"])
    assert files["MODEL_CARD.md"].read_text(encoding="utf-8") == bundle.card(record)
    assert sum(record["corpus"]["bytes"].values()) == sum(f["bytes"] for f in record["corpus"]["files"])
    state, model = torch.get_rng_state(), empirics.bundled_model()
    assert torch.equal(state, torch.get_rng_state())  # no weights are drawn only to be overwritten
    assert model.config == Recipe(**record["recipe"]).architecture() and not model.training
    parameters = dict(model.named_parameters())
    assert sum(p.numel() for p in parameters.values()) == record["parameters"]
    assert all(p.dtype == torch.float32 and torch.equal(p, p.bfloat16().float()) for p in parameters.values())


def test_the_bundled_model_reads_english():
    model = empirics.bundled_model()
    text = np.frombuffer(ENGLISH.encode(), np.uint8)
    shuffled = np.random.default_rng(0).permutation(text)
    assert bits_per_byte(model, text, streams=1) < 2.6 and bits_per_byte(model, shuffled, streams=1) > 4


def test_generate_uses_the_bundled_model(capsys, monkeypatch, tmp_path):
    assert main(["generate", "--prompt", "It was ", "--tokens", "40", "--seed", "2"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("It was ") and len(printed.encode()) >= 48
    assert printed == f"It was {''.join(decoded(generate(empirics.bundled_model(), b'It was ', 40, seed=2)))}\n"
    monkeypatch.setattr(bundle, "BUNDLED", tmp_path)
    assert main(["generate", "--prompt", "It was "]) == 2
    assert "no bundled model" in capsys.readouterr().err


def test_generate_ends_quietly_when_its_reader_does():
    command = [sys.executable, "-m", "empirics", "generate", "--prompt", "It was ", "--tokens", "400"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read(9)[:7] == b"It was "
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrain", "--corpus", "{text}"], "required: --out"),
        (["pretrain", "smaller", "--corpus", "{text}", "--out", "o"], "did you mean 'small'"),
        (["pretrain", "--corpus", "{text}", "--out", "o", "--speed", "9"], "unrecognized arguments: --speed"),
        (["pretrain", "--corpus", "{text}", "--out", "o", "--budget", "0"], "--budget 0"),
        (["pretrain", "--corpus", "{text}", "--out", "o", "--scan", "fusd", "--quick"], "did you mean 'fused'"),
        (["pretrain", "--corpus", "{text}", "--out", "{text}", "--quick"], "cannot be written to"),
        (["pretrain", "--corpus", "{text}", "--out", "o", "--steps", "-1"], "steps is -1"),
        (["pretrain", "--corpus", "{text}", "--out", "o", "--device", "gpu"], "device 'gpu' is unknown"),
        (["pretrain", "--corpus", "nowhere", "--out", "o"], "nowhere does not exist"),
        (["pretrain-baselines", "--corpus", "{text}", "--order", "0"], "order = 0"),
        (["generate", "--prompt", "", "--model", "nowhere"], "nowhere does not exist"),
        (["generate", "--prompt", "a", "--threads", "0"], "--threads 0"),
        (["generate", "--tokens", "many", "--prompt", "a"], "argument --tokens"),
    ],
)
def test_mistakes_give_one_line_and_exit_code_2(arguments, message, text, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text.write_bytes(words(3000))
    threads = torch.get_num_threads()
    try:
        assert main([a.format(text=text) for a in arguments]) == 2
    finally:
        torch.set_num_threads(threads)
    err = capsys.readouterr().err
    assert message in err and err.startswith("error: ") and err.count("\n") == 1


def test_the_scan_is_one_that_works_here():
    assert choose_scan("cpu") == "chunked" and choose_scan("cpu", "naive") == "naive"
    with pytest.raises(UnknownName, match="did you mean 'chunked'"):
        choose_scan("cpu", "chunkd")


@pytest.mark.gpu
def test_training_on_a_gpu_resumes(text, corpus, tmp_path):
    recipe = Recipe(**TINY | {"d_model": 64, "steps": 60, "every": 20})
    scan = choose_scan("cuda")
    with pytest.raises(OutOfTime):
        pretrain(recipe, corpus, tmp_path / "out", team=Team("cuda"), scan=scan, deadline=time.monotonic() - 1)
    model, journal = pretrain(recipe, corpus, tmp_path / "out", team=Team("cuda"), scan=scan)
    _, expected = pretrain(recipe, corpus, tmp_path / "cpu")
    assert journal.losses[0] == pytest.approx(expected.losses[0], rel=0.01) and journal.losses[-1] < 5.5
    assert {p.dtype for p in model.parameters()} == {torch.float32}


# -- as many steps as fit into a time -----------------------------------------------------------------------------------------


def test_steps_within_a_time():
    recipe = Recipe(**TINY | {"warm_up": 300, "steps": 400, "every": 1000})
    steps = pace.steps_within(recipe, 530, 0.04)
    assert steps % 100 == 0 and steps * 0.04 * pace.SLACK <= 530 - pace.AFTER < (steps + 500) * 0.04 * pace.SLACK
    assert pace.steps_within(recipe.model_copy(update={"every": 20}), 530, 0.04) < 0.6 * steps
    for seconds in (31, 5, -5):
        with pytest.raises(InvalidInput, match="fewer than the warm-up's 300; give more time"):
            pace.steps_within(recipe, seconds, 0.04)
    with pytest.raises(InvalidInput, match=r"enough for 0 steps of 0\.04 s, fewer than 100; give"):
        pace.steps_within(recipe.model_copy(update={"warm_up": 0}), 33, 0.04)


def test_the_pace_is_that_of_the_steps_that_count(corpus, monkeypatch):
    clock = [0.0]

    def slow_at_first(data, recipe, step, rows):
        clock[0] += 100.0 if step < 3 else 0.25
        return windows(data, recipe, step, rows)

    monkeypatch.setattr(loop, "windows", slow_at_first)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    assert pace.seconds_per_step(Recipe(**TINY), as_bytes(corpus), "chunked", Team()) == pytest.approx(0.25)
    with pytest.raises(InvalidInput, match=r"the time was up before 120 steps .* \(2 were done\)"):
        pace.seconds_per_step(Recipe(**TINY), as_bytes(corpus), "chunked", Team(), clock[0] + 150)


def test_a_training_keeps_the_number_of_steps_it_began_with(text, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    command = ["pretrain", "small", "--quick", "--corpus", str(text), "--out", str(out), "--within", "200"]
    paces = iter([0.3, 0.2, 0.3])
    monkeypatch.setattr(pace, "seconds_per_step", lambda *_: next(paces))
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)  # no second passes, however busy the machine is
    assert main(command) == 0 and json.loads((out / "steps.json").read_text())["steps"] == 100
    assert "300.0 ms a step: 100 steps" in capsys.readouterr().err
    assert json.loads((out / "bundle/record.json").read_text())["steps"] == 100
    assert main(command) == 0  # at another pace; nothing is left to do
    assert json.loads((out / "bundle/record.json").read_text())["steps"] == 100
    assert "100 steps, as begun" in capsys.readouterr().err
    (out / CHECKPOINT).unlink()  # begun anew: the file belongs to what is gone
    assert main(command) == 0 and "200.0 ms a step: 200 steps" in capsys.readouterr().err
    (out / "steps.json").write_text('{"steps": 300, "recipe": "another"}')
    assert main(command) == 2 and "belongs to another recipe" in capsys.readouterr().err
    assert main([*command[:-1], "0"]) == 2 and "--within 0.0 must be" in capsys.readouterr().err


def test_processes_that_began_at_different_times_take_the_same_number_of_steps(corpus, tmp_path, monkeypatch):
    class Two(Team):
        """Two processes, of which the other one has half a minute more and a faster GPU."""

        def average(self, values):
            (both,) = values
            both += torch.tensor([30.0, -0.02])

        def wait(self):
            """Nobody else is here."""

    monkeypatch.setattr(pace, "seconds_per_step", lambda *_: 0.06)
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    recipe = Recipe(**TINY | {"warm_up": 0, "every": 1000})
    chosen = _fitted(recipe, as_bytes(corpus), tmp_path, "chunked", Two(), 1400.0, lambda line: None)
    assert chosen.steps == pace.steps_within(recipe, 430, 0.04) != pace.steps_within(recipe, 400, 0.06)


def test_the_longer_training_overfits_as_the_readme_says():
    folder = Path(empirics.__file__).parent
    longer, bundled = (json.loads((folder / p).read_text()) for p in ("pretraining/longer.json", "data/bundled/record.json"))
    assert longer["corpus"] == bundled["corpus"] and longer["parameters"] == bundled["parameters"]
    assert longer["trained_bytes"] > 1.9 * bundled["trained_bytes"]
    assert longer["held_out"]["bits_per_byte"] > bundled["held_out"]["bits_per_byte"]
    assert longer["curve"][-1]["bits_per_byte"] < bundled["curve"][-1]["bits_per_byte"]
    validation = [point["bits_per_byte"] for point in longer["validation"]]
    assert min(validation) < validation[-1]
