"""The base benchmark's runs: tasks, batches, losses, generation, selection and resumption, each beside what it must equal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from empirics.data.tasks import TASKS, Example, load_task
from empirics.data.text import check_row
from empirics.errors import InvalidInput, UnrecordableLoss
from empirics.experiments.base_benchmark import kept as kept_module
from empirics.experiments.base_benchmark import measuring
from empirics.experiments.base_benchmark.batches import batches, widths
from empirics.experiments.base_benchmark.choosing import Batching
from empirics.experiments.base_benchmark.feed import casting_loss, feed_of, loss_of
from empirics.experiments.base_benchmark.kept import Kept, shuffled
from empirics.experiments.base_benchmark.measuring import generate, held_out_loss, predictions
from empirics.experiments.base_benchmark.records import outcomes
from empirics.experiments.base_benchmark.run import METHODS, MINIMISED, Config
from empirics.experiments.lm_benchmark import examples
from empirics.experiments.lm_benchmark.examples import encode
from empirics.experiments.lm_benchmark.tokens import ByteTokens, answer_tokens
from empirics.methods import InitialState, LoRA, Prefix, Prompt, apply
from empirics.methods.scores import score, warm_up
from empirics.models import MambaConfig, MambaLM
from empirics.pretraining.bundle import DATA
from empirics.study.config import load_experiment, override, validate
from empirics.study.runner import OutOfTime, Runner
from empirics.training import loop as training
from empirics.training.graphed import GraphedLoss
from empirics.training.loop import Optimiser, train

ANSWERED = [Example(f"{'word ' * (i % 5)}number {i}\nThis is", i % 2) for i in range(12)]
TEXTS = [Example(f"a : b : {i}\nText:", references=(f"it is {i}", f"b is {i * 37}")[: 1 + i % 2]) for i in range(7)]


@pytest.fixture
def model():
    torch.manual_seed(1)
    made = MambaLM(MambaConfig(16, 2, 256, {"layer": "Mamba1", "d_state": 4}, pad_vocab_size_multiple=1), dtype=torch.float64)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made.eval()


@pytest.fixture
def sentences():
    return encode(TASKS["subjectivity"], ANSWERED, ByteTokens(), 64)


@pytest.fixture
def texts():
    return encode(TASKS["dart"], TEXTS, ByteTokens(), 64)


# --- tasks ---


@pytest.mark.parametrize("task", ["subjectivity", "trec"])
def test_new_tasks_are_read_and_answered_by_one_byte(tmp_path, task):
    classes = len(TASKS[task].answers)
    folder = tmp_path / task
    folder.mkdir()
    for split, start in (("train", 0), ("test", 100)):
        rows = [{"sentence": f"row {i} ?", "label": i % classes} for i in range(start, start + 40)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = load_task(task, str(tmp_path))
    assert (
        len(data.test) == 40
        and {e.label for e in data.test} == set(range(classes))
        and data.test[0].prompt.startswith("row 100 ?\n")
    )
    assert len(set(answer_tokens(TASKS[task].answers, ByteTokens()).first)) == classes
    with pytest.raises(InvalidInput, match="do not differ in one next token"):
        answer_tokens((" place", " person", " number"), ByteTokens())


@pytest.mark.skipif(not (DATA / "base" / "tokenizer.json").is_file(), reason="only a checkout holds the base model")
def test_answers_differ_in_one_token_of_the_base_model():
    from empirics.experiments.lm_benchmark.tokens import tokens_for

    tokens = tokens_for("base", 8192)
    for name in ("cola", "polarity", "subjectivity", "trec", "rte"):
        assert len(set(answer_tokens(TASKS[name].answers, tokens).first)) == len(TASKS[name].answers)


def test_the_hubs_numbers_of_trec_become_ours():
    schema = TASKS["trec"].schema
    names = ("description", "entity", "abbreviation", "human", "location", "number")
    hub = ("abbreviation", "entity", "description", "human", "location", "number")
    for number, name in enumerate(hub):
        row = check_row({"text": "What ?", "coarse_label": number, "fine_label": 30}, schema, "here")
        assert names[row["label"]] == name
    assert check_row({"text": "What ?", "coarse_label": 0, "label": 0}, schema, "here")["label"] == 0
    for wrong in (6, "0", True, None):
        with pytest.raises(InvalidInput, match="here: label is"):
            check_row({"text": "What ?", "coarse_label": wrong}, schema, "here")


# --- batches ---


def test_an_epoch_has_no_row_twice_and_rows_of_like_length_together():
    lengths = [10 + i * 7919 % 90 for i in range(1000)]
    drawn = batches(lengths, 15, 64, torch.Generator().manual_seed(3))
    rows = [i for batch in drawn for i in batch]
    assert len(drawn) == 15 and all(len(batch) == 64 for batch in drawn) and len(set(rows)) == len(rows)
    apart = sum(max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in drawn) / 15
    assert apart < 10
    assert max(max(lengths[i] for i in batch) for batch in drawn[:5]) > 60 > min(lengths[i] for batch in drawn[:5] for i in batch)
    assert drawn == batches(lengths, 15, 64, torch.Generator().manual_seed(3))
    assert drawn != batches(lengths, 15, 64, torch.Generator().manual_seed(4))
    other = batches(lengths, 30, 64, torch.Generator().manual_seed(3))
    assert other[:15] == drawn and sorted(i for batch in other[15:] for i in batch) != sorted(rows)


def test_few_rows_are_repeated_in_a_batch():
    drawn = batches([3, 5, 4], 4, 8, torch.Generator().manual_seed(0))
    assert all(len(batch) == 8 and set(batch) == {0, 1, 2} for batch in drawn)
    with pytest.raises(InvalidInput, match="no row to train on"):
        batches([], 1, 8, torch.Generator())


def test_widths_hold_their_rows_and_cost_what_a_recording_may():
    lengths, drawn = [3, 9, 17, 40], [[0, 1]] * 10 + [[2, 0]] * 5 + [[3, 0]]
    assert widths(lengths, drawn, 8, 0) == [16] * 10 + [24] * 5 + [40]
    assert widths(lengths, drawn, 8, 79) == [16] * 10 + [24] * 5 + [40]
    assert widths(lengths, drawn, 8, 80) == [24] * 15 + [40]  # the ten cost 8 tokens each, as do the five 16
    assert widths(lengths, drawn, 8, 10**6) == [40] * 16
    with pytest.raises(InvalidInput, match="multiple 0"):
        widths(lengths, drawn, 0, 1)


# --- losses, predictions, texts ---


@pytest.mark.parametrize("split", ["sentences", "texts"])
def test_a_batch_has_the_loss_of_the_first_edition(request, model, split):
    data = request.getfixturevalue(split)
    feed = feed_of(data, "cpu")
    assert feed.free_text == (split == "texts")
    rows = torch.tensor([1, 4, 2])
    width = max(feed.lengths[i] for i in rows)
    expected = examples.batch_loss(model, [data.sequences[i] for i in rows], "cpu")
    close = 1e-12 if split == "sentences" else 1e-6  # texts' logits are cast to float32
    assert loss_of(model, feed.batch(rows, width + 5)).item() == pytest.approx(expected.item(), rel=close)
    assert casting_loss(model, feed.batch(rows, width), "bfloat16").item() == pytest.approx(expected.item(), rel=close)
    assert loss_of(model, feed.batch(torch.tensor([0, 4, 2]), width)).item() != pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("method", [None, Prompt(tokens=3), InitialState(), Prefix(tokens=2)])
def test_logits_at_one_place_are_those_of_all(model, method):
    if method is not None:
        handle = apply(model, method, seed=1)
        handle.set_values({name: torch.randn_like(value) for name, value in handle.values().items()})
    ids, at = torch.randint(0, 256, (3, 9)), torch.tensor([8, 0, 4])
    every = model(ids)
    assert torch.allclose(model.logits_at(ids, at), every[torch.arange(3), at], rtol=0, atol=1e-12)
    assert not torch.allclose(model.logits_at(ids, at + torch.tensor([0, 1, 0])), every[torch.arange(3), at])


@pytest.mark.parametrize("tokens", [1, 60, 10**6])
def test_measuring_is_that_of_the_first_edition(model, sentences, texts, tokens):
    answers = sentences.answers
    found, loss = predictions(model, feed_of(sentences, "cpu"), answers.first, tokens)
    old, old_loss = examples.predictions(model, sentences, 4, "cpu")
    assert found == old and loss == pytest.approx(old_loss, rel=1e-5)
    likely = examples.padded(sentences.prompts, "cpu")
    best = model(likely)[torch.arange(12), torch.tensor([len(p) - 1 for p in sentences.prompts])].argmax(-1).tolist()
    classes = sorted(set(best))
    assert predictions(model, feed_of(sentences, "cpu"), classes, tokens)[0] == [classes.index(token) for token in best]
    for data in (sentences, texts):
        feed = feed_of(data, "cpu")
        assert held_out_loss(model, feed, tokens) == pytest.approx(examples.held_out_loss(model, data, 3, "cpu"), rel=1e-5)


@pytest.mark.parametrize("method", [None, Prompt(tokens=3), InitialState(), Prefix(tokens=2), LoRA(rank=2)])
def test_texts_are_those_of_the_first_edition(model, texts, method):
    if method is not None:
        handle = apply(model, method, seed=1)
        handle.set_values({name: 0.3 * torch.randn_like(value) for name, value in handle.values().items()})
    prompts = texts.prompts
    plain = generate(model, prompts, -1, 25)
    assert all(len(text) == 25 for text in plain) and plain == examples.generate(model, prompts, -1, 25, 3, "cpu")
    end = plain[0][3]
    made = generate(model, prompts, end, 25)
    assert made == examples.generate(model, prompts, end, 25, 3, "cpu") and len(made[0]) <= 3 and made != plain


# --- selection ---


def test_a_step_that_cannot_be_recorded_is_taken_as_it_is(monkeypatch):
    def refuses(step, changed):
        raise UnrecordableLoss("no")

    def step() -> None: ...

    monkeypatch.setattr(measuring, "recorded", refuses)
    assert measuring._quick(step, (), torch.device("cuda")) is step
    monkeypatch.setattr(measuring, "recorded", lambda step, changed: (step, changed))
    assert (
        measuring._quick(step, (), torch.device("cuda")) == (step, ()) and measuring._quick(step, (), torch.device("cpu")) is step
    )


def test_shuffled_rows_keep_prompts_and_answers_apart(sentences, texts):
    for data in (sentences, texts):
        mixed = shuffled(data, 5)
        assert mixed.prompts == data.prompts and mixed != data and mixed == shuffled(data, 5) != shuffled(data, 6)
        answers = [sorted(item.tokens[item.prompt :] for item in part.sequences) for part in (data, mixed)]
        assert answers[0] == answers[1]
        assert [i.tokens[: i.prompt] for i in mixed.sequences] == [i.tokens[: i.prompt] for i in data.sequences]
    mixed = shuffled(sentences, 5)
    assert sorted(mixed.labels) == sorted(sentences.labels) and mixed.labels != sentences.labels
    assert [sentences.answers.first[label] for label in mixed.labels] == [item.tokens[-1] for item in mixed.sequences]


def test_the_score_without_data_is_the_decays_derivative(model):
    scores = score("data_free", model)
    for i, mixer in enumerate(model.mixers):
        log = mixer.A_log.detach().clone().requires_grad_()
        dt = torch.nn.functional.softplus(mixer.dt_proj.bias.detach())
        decay = torch.exp(-dt[:, None] * log.exp())
        (derivative,) = torch.autograd.grad(decay.sum(), log)
        name = f"backbone.layers.{i}.mixer"
        assert torch.allclose(scores[name].states, derivative.abs(), rtol=1e-6)
        assert torch.allclose(scores[name].channels, derivative.abs().sum(1), rtol=1e-6)
        assert not torch.allclose(scores[name].states, decay, rtol=1e-2)


def test_a_warm_up_beside_lora_moves_elsewhere_and_leaves_nothing(model, sentences):
    feed = feed_of(sentences, "cpu")
    rows, wide = Batching(4, 8, 0, "none").draw(feed, 5, 7)
    fed = [feed.batch(r, w) for r, w in zip(rows, wide, strict=True)]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = [
        warm_up(model, loss_of, fed, 1e-2, beside=beside, graphed=graphed)
        for beside, graphed in ((None, False), (None, True), (LoRA(targets=("out_proj",), rank=2), True))
    ]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for name in found[0]:
        assert torch.equal(found[0][name].after, found[1][name].after)
        assert not torch.equal(found[0][name].after, found[2][name].after)
        assert not torch.equal(found[0][name].after, found[0][name].before)
    with pytest.raises(InvalidInput, match="the loss is nan"):
        warm_up(model, lambda m, batch: loss_of(m, batch) * float("nan"), fed, graphed=True)


# --- training ---


def test_a_brief_training_writes_at_the_deadline_only(tmp_path, monkeypatch):
    def start():
        weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
        return weight, GraphedLoss(lambda x: ((weight - x) ** 2).sum(), [weight])

    weight, passes = start()
    data = torch.arange(12.0).reshape(6, 2)
    optimiser = Optimiser(0.1, 6, clip=1.0)
    whole = train({"w": weight}, lambda i: passes(data[i]), optimiser, checkpoint=tmp_path / "a", every=2, keep=True, brief=True)
    assert not (tmp_path / "a").exists()
    plain = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    course = train({"w": plain}, lambda i: ((plain - data[i]) ** 2).sum(), optimiser)
    assert torch.equal(plain, weight) and course.losses == whole.losses
    again, passes = start()
    ticks = iter(range(100))
    monkeypatch.setattr(training.time, "monotonic", lambda: next(ticks))
    options = {"checkpoint": tmp_path / "a", "every": 2, "keep": True, "brief": True}
    with pytest.raises(OutOfTime):
        train({"w": again}, lambda i: passes(data[i]), optimiser, deadline=2.5, **options)
    assert (tmp_path / "a").exists() and not torch.equal(again, weight)
    resumed = train({"w": again}, lambda i: passes(data[i]), optimiser, **options)
    assert resumed.resumed_at == 3 and torch.equal(again, weight) and resumed.losses == whole.losses


def test_a_loss_without_gradients_is_refused():
    weight = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(InvalidInput, match="there is no gradient"):
        train({"w": weight}, lambda i: (weight * 2).sum().detach(), Optimiser(0.1, 2))


def test_values_are_made_once_and_the_oldest_goes():
    made = []
    kept = Kept(2)

    def get(key):
        return kept.get(key, lambda: made.append(key) or key)

    assert [get("a"), get("b"), get("a"), get("c"), get("a"), get("b")] == ["a", "b", "a", "c", "a", "b"]
    assert made == ["a", "b", "c", "b"] and len(kept) == 2


# --- runs ---


def small(method: str, **options):
    file = override(load_experiment("base_benchmark", quick=True), model="untrained", method=method, learning_rate=5e-3)
    return override(file, **options)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_and_keeps_its_rows(tmp_path, method):
    runner = Runner(tmp_path, say=lambda line: None)
    result = runner.one(small(method), 0)
    assert result.status == "finished", result.reason
    rows = outcomes(result)
    right = (rows.true == rows.predicted).mean()
    assert len(rows) == 24 and right == pytest.approx(result.held_out["test_score"])
    assert (result.trainable == 0) == (method == "frozen")
    assert ("selected" in result.metrics) == method.startswith("sdt")
    tuned = runner.one(small(method), 100, tuning=True)
    assert "true" not in tuned.metrics and not any(name.startswith("test") for name in tuned.held_out)


def test_controls_select_other_dimensions(tmp_path):
    """Same size, same LoRA, same starting values: what a run's loss differs by is the selection."""
    names = ("sdt_lora", "sdt_lora_random", "sdt_lora_data_free")
    runs = [Runner(tmp_path, say=lambda line: None).one(small(name, learning_rate=0.1), 0) for name in names]
    assert len({run.metrics["selected"] for run in runs}) == 1 == len({run.trainable for run in runs})
    assert len({run.metrics["first_loss"] for run in runs}) == 1 and len({run.metrics["train_loss"] for run in runs}) == 3


def test_a_run_is_the_same_with_what_is_kept_and_after_a_stop(tmp_path, monkeypatch):
    def measured(result):
        return result.held_out, {name: v for name, v in result.metrics.items() if name != "took"}

    file = small("sdt_lora")
    first = Runner(tmp_path / "a", say=lambda line: None).one(file, 0)
    again = Runner(tmp_path / "b", say=lambda line: None).one(file, 0)
    assert measured(first) == measured(again)
    for kept in (kept_module.BASES, kept_module.TASKS, kept_module.PLANS, kept_module.SCORES):
        kept._values.clear()
    real, steps = training.time.monotonic, iter([0.0] * 3)
    stopped = Runner(tmp_path / "c", deadline=real() + 1e6, say=lambda line: None)
    monkeypatch.setattr(training.time, "monotonic", lambda: real() + next(steps, 2e6))
    with pytest.raises(OutOfTime):
        stopped.one(file, 0)
    monkeypatch.undo()
    assert list((tmp_path / "c" / "work").rglob("training.safetensors"))
    resumed = Runner(tmp_path / "c", say=lambda line: None).one(file, 0)
    assert measured(resumed) == measured(first)
    other = Runner(tmp_path / "d", say=lambda line: None).one(file, 1)
    assert measured(other) != measured(first)


def test_texts_run_through(tmp_path):
    folder = tmp_path / "data" / "dart"
    folder.mkdir(parents=True)
    for split, start, count in (("train", 0, 30), ("test", 50, 9)):
        rows = [{"tripleset": [["a", "is", str(i)]], "references": [f"a is {i}"]} for i in range(start, start + count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = small("lora_linear", task="dart", data=str(tmp_path / "data"), generate_rows=5, test_rows=0, most_generated=12)
    result = Runner(tmp_path / "out", say=lambda line: None).one(file, 0)
    assert result.status == "finished", result.reason
    assert len(outcomes(result)) == 5 == result.held_out["test_rows"] and "test_loss" in result.held_out


def test_the_file_fits_the_protocol():
    file = load_experiment("base_benchmark")
    assert file.sweep is not None and file.seeds == list(range(10)) and file.sweep.tuning_seeds == [100, 101, 102]
    assert sorted(file.sweep.grid["method"]) == sorted(METHODS)
    validate(Config, file.config, "file")
    with pytest.raises(InvalidInput, match="did you mean 'lora_linear'"):
        validate(Config, {**file.config, "method": "lora_lineer"}, "file")


def test_kept_rows_follow_their_files(tmp_path):
    file = small("frozen", data=str(tmp_path / "data"))
    folder = tmp_path / "data" / "polarity"
    folder.mkdir(parents=True)

    def scored(labels: str, out: Path) -> str:
        rows = [{"sentence": f"row {i}", "label": i % 2} for i in range(30)]
        (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        tested = [{"sentence": f"test {i}", "label": int(label)} for i, label in enumerate(labels)]
        (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tested))
        return Runner(out, say=lambda line: None).one(file, 0).metrics["true"]

    assert scored("0110", tmp_path / "a") == "0110"
    assert scored("10011", tmp_path / "b") == "10011"


def test_rates_are_chosen_by_the_score_and_by_the_loss_of_free_text():
    error = MINIMISED["error"]
    assert error({"loss": 0.5, "score": 0.75}) == 0.25
    assert error({"loss": 0.5}) == 0.5 and error({"score": None, "loss": None}) is None
    # the case that the correction of the protocol tells: the loss prefers the answer that is always the same
    constant, learned = {"loss": 0.595, "score": 0.048}, {"loss": 0.845, "score": 0.382}
    assert constant["loss"] < learned["loss"] and error(learned) < error(constant)
