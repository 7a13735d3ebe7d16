"""The language benchmark: data, tokens, metrics, budgets, padding, resuming and the verdicts, each with a twin that fails."""

from __future__ import annotations

import json
import sys
import types
from types import SimpleNamespace

import numpy as np
import pytest
import sacrebleu
import torch
from scipy import stats
from sklearn.metrics import accuracy_score, matthews_corrcoef

from empirics.data import tasks as tasks_module
from empirics.data.tasks import TASKS, Example, find_task, load_task, subset, task_of_source
from empirics.data.text import check_row, read_folder
from empirics.errors import CheckpointError, InvalidInput, UnknownName
from empirics.experiments.lm_benchmark import run as lm_benchmark
from empirics.experiments.lm_benchmark.examples import (
    answer_losses,
    batch_loss,
    encode,
    generate,
    held_out_loss,
    padded,
    predictions,
)
from empirics.experiments.lm_benchmark.methods import (
    LINEAR,
    METHODS,
    STATE_SPACE,
    Sizing,
    budget_of,
    configure,
    nearest_size,
    on_both,
    plan,
    selected,
)
from empirics.experiments.lm_benchmark.metrics import NO_CLASS, accuracy, bleu_and_chrf, majority, matthews
from empirics.experiments.lm_benchmark.model import base_model, weights_hash
from empirics.experiments.lm_benchmark.tokens import ByteTokens, answer_tokens, tokens_for
from empirics.experiments.lm_benchmark.verdicts import CLAIMS, in_words, learned_tasks, verdict_rows
from empirics.methods import apply, count_trainable, method_config
from empirics.methods.scores import score
from empirics.models import MambaConfig, MambaLM, save_model
from empirics.study.config import load_experiment, override, validate
from empirics.study.results import Result, together
from empirics.study.runner import Context, Runner
from empirics.study.statistics import interval
from empirics.study.sweep import SweepRunner

POLARITY = TASKS["polarity"]


@pytest.fixture
def model():
    """A tiny byte-level model in float64 whose outputs differ from token to token."""
    torch.manual_seed(1)
    made = MambaLM(MambaConfig(16, 2, 256, {"layer": "Mamba1", "d_state": 4}, pad_vocab_size_multiple=1), dtype=torch.float64)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made.eval()


def write(folder, **splits):
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def sentences(count, label=None, start=0):
    return [{"sentence": f"number {i} .", "label": i % 2 if label is None else label} for i in range(start, start + count)]


# --- data ---


def test_shipped_sentences_are_balanced_disjoint_and_attributed():
    data = load_task("polarity")
    assert (len(data.train) + len(data.validation), len(data.test), data.source) == (400, 200, "shipped")
    assert sum(e.label for e in data.test) == 100 and sum(e.label for e in data.train + data.validation) == 200
    prompts = [{e.prompt for e in part} for part in (data.train, data.validation, data.test)]
    assert not prompts[0] & prompts[1] and not prompts[0] & prompts[2] and not prompts[1] & prompts[2]
    readme = (tasks_module.SHIPPED / "README.md").read_text(encoding="utf-8")
    assert "CC BY 4.0" in readme and "Pang" in readme


def test_a_row_that_is_also_tested_is_not_trained_on(tmp_path):
    write(tmp_path, train=sentences(100), validation=sentences(5, start=98))
    data = load_task("polarity", str(tmp_path))
    assert data.left_out == 2 and len(data.test) == 5 and len(data.train) + len(data.validation) == 98
    assert not {e.prompt for e in data.train + data.validation} & {e.prompt for e in data.test}


def test_splits_of_their_own_are_kept_and_unlabelled_ones_are_not(tmp_path):
    own = write(tmp_path / "own", train=sentences(20), validation=sentences(4, start=20), test=sentences(6, start=30))
    data = load_task("polarity", str(own))
    assert (len(data.train), len(data.validation), len(data.test)) == (20, 4, 6)
    glue = write(tmp_path / "glue", train=sentences(60), validation=sentences(4, start=70), test=sentences(6, -1, 80))
    data = load_task("cola", str(glue))
    assert len(data.test) == 4 and len(data.train) + len(data.validation) == 60 and len(data.validation) > 0


def test_hash_follows_the_files(tmp_path):
    one = read_folder(write(tmp_path / "a", train=sentences(5)), POLARITY.schema)
    same = read_folder(write(tmp_path / "b", train=sentences(5)), POLARITY.schema)
    other = read_folder(write(tmp_path / "c", train=sentences(6)), POLARITY.schema)
    assert one.sha256 == same.sha256 != other.sha256


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        ("cola", {"label": 1}, "no field sentence; it has label"),
        ("cola", {"sentence": "a", "label": 2}, r"label is 2, expected an integer in 0\.\.1"),
        ("cola", {"sentence": "a", "label": "1"}, "label is '1'"),
        ("cola", {"sentence": "a", "label": True}, "label is True"),
        ("cola", {"sentence": " ", "label": 1}, "not empty"),
        ("rte", {"premise": "a", "label": 1}, "no field hypothesis or sentence2"),
        ("dart", {"tripleset": [["a", "b"]], "references": ["x"]}, "expected \\[subject, relation, object\\]"),
        ("dart", {"tripleset": [], "references": ["x"]}, "tripleset is \\[\\]"),
        ("dart", {"tripleset": [["a", "b", "c"]], "references": [""]}, "at least one text"),
        ("dart", [1], "is list, expected a JSON object"),
    ],
)
def test_schema_errors_name_place_and_value(task, row, message):
    with pytest.raises(InvalidInput, match=f"^here.*{message}"):
        check_row(row, TASKS[task].schema, "here")


def test_good_rows_come_out_under_their_first_names():
    assert check_row({"sentence1": "a", "sentence2": "b", "label": 0, "idx": 7}, TASKS["rte"].schema, "") == {
        "premise": "a",
        "hypothesis": "b",
        "label": 0,
    }
    dart = check_row({"tripleset": [["a", "b", "c"]], "references": ["", "x"]}, TASKS["dart"].schema, "")
    assert dart["references"] == ["x"]
    hub = check_row({"tripleset": [["a", "b", "c"]], "references": [], "target": "y"}, TASKS["dart"].schema, "")
    assert hub["references"] == ["y"]


def test_broken_folders_are_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("SSMPROOF_DATA", raising=False)
    with pytest.raises(InvalidInput, match="no folder and no known data set"):
        load_task("cola", str(tmp_path / "nothing"))
    with pytest.raises(CheckpointError, match=r"no train\.jsonl and no folder cola or glue_cola"):
        load_task("cola", str(tmp_path))
    (tmp_path / "train.jsonl").write_text('{"sentence": "a", "label": 1}\n{"sentence"')
    with pytest.raises(CheckpointError, match=r"train\.jsonl, line 2 is no readable JSON"):
        load_task("cola", str(tmp_path))
    (tmp_path / "train.jsonl").write_text("")
    with pytest.raises(CheckpointError, match="is empty"):
        load_task("cola", str(tmp_path))
    (tmp_path / "train.jsonl").write_bytes(b"\xff\n")
    with pytest.raises(CheckpointError, match="not readable as UTF-8"):
        load_task("cola", str(tmp_path))
    write(tmp_path, train=sentences(20))
    with pytest.raises(InvalidInput, match=r"neither validation\.jsonl nor test\.jsonl"):
        load_task("cola", str(tmp_path))
    write(tmp_path, train=[*sentences(3), {"sentence": "b", "label": -1}])
    with pytest.raises(InvalidInput, match="1 of 4 rows have the label -1"):
        load_task("cola", str(tmp_path))
    with pytest.raises(InvalidInput, match="no data for cola is shipped"):
        load_task("cola")
    with pytest.raises(UnknownName, match="did you mean 'cola'"):
        find_task("colla")


def test_sources_name_their_task(tmp_path):
    assert (task_of_source("glue/cola"), task_of_source("GEM/dart"), task_of_source(str(tmp_path))) == ("cola", "dart", None)
    folder = write(tmp_path / "glue_cola", train=sentences(40), validation=sentences(4, start=50))
    assert task_of_source(str(folder)) == "cola" and task_of_source(str(tmp_path)) is None
    assert load_task("cola", str(tmp_path)).sha256 == load_task("cola", str(folder)).sha256
    with pytest.raises(InvalidInput, match="holds the task cola, but polarity was asked for"):
        load_task("polarity", str(folder))


def test_hub_data(monkeypatch):
    asked = []
    fake = types.ModuleType("datasets")
    splits = {"train": sentences(60), "validation": sentences(5, start=70), "test": sentences(5, -1, 80)}

    def load_dataset(name, config):
        asked.append((name, config))
        if config != "cola":
            raise ConnectionError("no route\nto the hub")
        return splits

    fake.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", fake)
    data = load_task("cola", "glue/cola")
    assert asked == [("nyu-mll/glue", "cola")] and len(data.test) == 5 and data.source == "nyu-mll/glue/cola"
    assert load_task("cola", "hub").sha256 == data.sha256
    with pytest.raises(CheckpointError, match=r"nyu-mll/glue is not to be had from the hub \(no route\)"):
        load_task("rte", "hub")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InvalidInput, match=r"nyu-mll/glue lies on the hub.*pip install datasets"):
        load_task("cola", "glue/cola")


def test_subset_is_the_same_everywhere():
    examples = tuple(Example(f"p{i}") for i in range(20))
    few = subset(examples, 5)
    assert len(few) == 5 and set(few) <= set(examples) and set(few) == set(subset(examples[::-1], 5))
    assert few != examples[:5] and subset(examples, 0) == subset(examples, 99) == examples


# --- tokens ---


def test_bytes_round_trip_and_answers_differ_in_one_token():
    tokens = ByteTokens()
    assert tokens.decode(tokens.encode("naïve – ok")) == "naïve – ok" and tokens.encode("é") == [195, 169]
    found = answer_tokens((" bad", " good"), tokens)
    assert found.shared == (32,) and found.first == (ord("b"), ord("g"))
    for answers in ((" go", " good"), (" a", " a"), (" x", " xa", " y")):
        with pytest.raises(InvalidInput, match="do not differ in one next token"):
            answer_tokens((*answers,) if answers[0] != " x" else (" xb", " xa", " xa"), tokens)


@pytest.fixture
def hub_folder(tmp_path):
    """A folder in the hub's format: config.json, model.safetensors and tokenizer files of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path / "hub"
    torch.manual_seed(0)
    save_model(MambaLM(MambaConfig(16, 2, 300, {"layer": "Mamba1", "d_state": 4}, pad_vocab_size_multiple=8)), folder)
    letters = [chr(c) for c in range(33, 127)]
    words = ["[UNK]", "<end>", *letters, "good", "bad", "This", "review", "is", "Ġgood", "Ġbad", "Ġyes", "Ġno", "Ġ", "Ċ"]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="[UNK]").save_pretrained(folder)
    return folder, vocabulary


def test_a_checkpoint_brings_its_own_tokenizer(hub_folder, tmp_path):
    folder, vocabulary = hub_folder
    tokens = tokens_for(str(folder), 300)
    assert tokens.encode(" good") == [vocabulary["Ġgood"]] and tokens.end == vocabulary["<end>"]
    assert tokens.decode([vocabulary["Ġgood"], 299, tokens.end]) == tokens.decode([vocabulary["Ġgood"]]) != ""
    found = answer_tokens((" bad", " good"), tokens)
    assert found.shared == () and found.first == (vocabulary["Ġbad"], vocabulary["Ġgood"])
    with pytest.raises(InvalidInput, match=r"tokens, the model 50;"):
        tokens_for(str(folder), 50)
    assert isinstance(tokens_for("bundled", 256), ByteTokens) and isinstance(tokens_for(str(folder), 300, "bytes"), ByteTokens)
    with pytest.raises(InvalidInput, match="bytes need 256"):
        tokens_for("bundled", 100)
    plain = tmp_path / "plain"
    save_model(MambaLM(MambaConfig(16, 1, 300, {"layer": "Mamba1", "d_state": 4})), plain)
    with pytest.raises(CheckpointError, match="no byte-level model"):
        tokens_for(str(plain), 300)
    assert isinstance(tokens_for(str(plain), 256), ByteTokens)


def test_a_hub_folder_runs_the_benchmark(hub_folder, tmp_path):
    folder, _ = hub_folder
    config = validate(
        lm_benchmark.Config,
        {"model": str(folder), "steps": 2, "batch": 2, "test_rows": 6, "validation_rows": 4, "rank": 1, "method": "lora_linear"},
        "t",
    )
    held_out = lm_benchmark.run(config, Context(0)).held_out
    assert np.isfinite(held_out["test_loss"]) and held_out["test_majority"] >= 0


# --- metrics ---


def test_metrics_agree_with_scikit_learn():
    generator = np.random.default_rng(0)
    for classes in (2, 3):
        truth = generator.integers(0, classes, 50).tolist()
        predicted = [int(t) if generator.random() < 0.6 else int(generator.integers(-1, classes)) for t in truth]
        assert NO_CLASS in predicted
        assert matthews(truth, predicted) == pytest.approx(matthews_corrcoef(truth, predicted), rel=1e-12)
        assert accuracy(truth, predicted) == accuracy_score(truth, predicted)
        kept = [(t, p) for t, p in zip(truth, predicted, strict=True) if p != NO_CLASS]
        dropped = matthews(*map(list, zip(*kept, strict=True)))
        assert matthews(truth, predicted) != pytest.approx(dropped, rel=1e-3)  # leaving wrong ones out would flatter
    assert matthews([0, 1, 0], [1, 1, 1]) == 0 == matthews_corrcoef([0, 1, 0], [1, 1, 1])
    assert accuracy([0, 1], [NO_CLASS, NO_CLASS]) == 0
    assert majority([1, 0, 1], 2) == [1, 1] and majority([1, 0], 1) == [0]
    for function in (matthews, accuracy):
        with pytest.raises(InvalidInput, match="as many of either"):
            function([1], [])
    with pytest.raises(InvalidInput, match="majority"):
        majority([], 3)


def test_bleu_and_chrf_agree_with_sacrebleu():
    outputs = ["the cat sat on the mat .", "a dog ran across the road today"]
    references = [["the cat sat on a mat .", "a cat is on the mat .", "the cat sat ."], ["a dog ran over the road"]]
    bleu, chrf = bleu_and_chrf(outputs, references)
    # sacrebleu's own way to say that an output has fewer references
    streams = [[references[0][i], references[1][i] if i < 1 else None] for i in range(3)]
    assert bleu == pytest.approx(sacrebleu.corpus_bleu(outputs, streams).score, rel=1e-12)
    assert chrf == pytest.approx(sacrebleu.corpus_chrf(outputs, streams).score, rel=1e-12)
    first_only = bleu_and_chrf(outputs, [r[:1] for r in references])
    assert first_only[0] != pytest.approx(bleu) and first_only[1] != pytest.approx(chrf)
    assert bleu_and_chrf(outputs, [[o] for o in outputs]) == pytest.approx((100, 100))
    with pytest.raises(InvalidInput, match="no reference"):
        bleu_and_chrf(["a"], [[]])


# --- batches ---


def some(count=6):
    return load_task("polarity").test[:count]


def test_padding_changes_neither_loss_nor_prediction(model):
    data = encode(POLARITY, some(8), ByteTokens(), 300)
    lengths = {len(p) for p in data.prompts}
    assert len(lengths) > 3
    alone = [answer_losses(model, [item], "cpu")[0].item() for item in data.sequences]
    together_, counts = answer_losses(model, list(data.sequences), "cpu")
    assert together_.tolist() == pytest.approx(alone, rel=1e-10) and counts.tolist() == [1] * 8
    assert held_out_loss(model, data, 3, "cpu") == pytest.approx(np.mean(alone), rel=1e-6)
    free = SimpleNamespace(first=tuple(range(256)))  # every token is a class: the predictions are the likeliest tokens
    loose = SimpleNamespace(prompts=data.prompts, answers=free, labels=[0] * 8)
    likeliest = [int(model(padded([p], "cpu"))[0, -1].argmax()) for p in data.prompts]
    assert predictions(model, loose, 8, "cpu")[0] == predictions(model, loose, 1, "cpu")[0] == likeliest
    assert predictions(model, data, 5, "cpu")[1] == pytest.approx(np.mean(alone), rel=1e-10)
    longest = max(lengths)
    left = torch.stack([torch.tensor([*[0] * (longest - len(p)), *p]) for p in data.prompts])
    shifted = torch.log_softmax(model(left)[:, -1], -1)
    wanted = [item.tokens[-1] for item in data.sequences]
    assert not np.allclose([-shifted[i, t].item() for i, t in enumerate(wanted)], alone, rtol=1e-6)  # padding on the left does


def test_a_prediction_outside_of_the_classes_counts_as_wrong(model):
    data = encode(POLARITY, some(), ByteTokens(), 300)
    assert data.answers is not None
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.weight[data.answers.first[1]] = 1e-3
        model.backbone.norm_f.weight.zero_()
    # all logits are equal: the likeliest token is the lowest, which is no class, although all classes tie with each other
    assert set(predictions(model, data, 4, "cpu")[0]) == {NO_CLASS}
    measured = lm_benchmark.measure_classes(POLARITY, model, data, 4, "cpu")
    assert measured == {"loss": pytest.approx(np.log(256)), "score": 0.0, "accuracy": 0.0, "no_class": 1.0}


def test_long_prompts_keep_their_end():
    whole = encode(POLARITY, some(), ByteTokens(), 300)
    short = encode(POLARITY, some(), ByteTokens(), 20)
    assert whole.shortened == 0 and short.shortened == 6
    assert all(len(p) == 20 and w[-20:] == p for p, w in zip(short.prompts, whole.prompts, strict=True))
    with pytest.raises(InvalidInput, match="longest is 1"):
        encode(POLARITY, some(), ByteTokens(), 1)


def dart_examples():
    rows = [([["a", "b", "c"]], ["a b c.", "c of a."]), ([["Mars", "is", "red"], ["Mars", "has", "moons"]], ["Red Mars."])]
    return [Example(TASKS["dart"].prompt({"tripleset": t}), references=tuple(r)) for t, r in rows]


def test_free_text_loss_covers_the_answer_only(model):
    data = encode(TASKS["dart"], dart_examples(), ByteTokens(), 300)
    assert len(data.sequences) == 3 and len(data.prompts) == 2
    item = data.sequences[0]
    assert bytes(item.tokens[item.prompt :]) == b" a b c.\n" and bytes(item.tokens[: item.prompt]) == b"a : b : c\nText:"
    logs = torch.log_softmax(model(torch.tensor([item.tokens]))[0], -1)
    expected = -sum(logs[i - 1, item.tokens[i]] for i in range(item.prompt, len(item.tokens)))
    assert answer_losses(model, [item], "cpu")[0].item() == pytest.approx(expected.item(), rel=1e-12)
    assert batch_loss(model, [item], "cpu").item() == pytest.approx(expected.item() / 8, rel=1e-12)
    everything = -sum(logs[i - 1, item.tokens[i]] for i in range(1, len(item.tokens)))
    assert everything.item() != pytest.approx(expected.item(), rel=1e-3)
    with pytest.raises(InvalidInput, match="has no classes"):
        predictions(model, data, 2, "cpu")


def test_generation_is_greedy_whatever_else_is_in_the_batch(model):
    prompts = [ByteTokens().encode(t) for t in ("ab", "Mars : is : red\nText:", "x")]

    def by_whole_passes(prompt, end, most):
        read = list(prompt)
        while len(read) - len(prompt) < most:
            token = int(model(torch.tensor([read]))[0, -1].argmax())
            if token == end:
                break
            read.append(token)
        return read[len(prompt) :]

    free = [by_whole_passes(p, -1, 9) for p in prompts]
    assert generate(model, prompts, -1, 9, 3, "cpu") == generate(model, prompts, -1, 9, 1, "cpu") == free
    assert generate(model, prompts[:2], -1, 9, 2, "cpu") == free[:2]  # the first tokens of both go through the parallel scan
    end = free[1][4]
    expected = [by_whole_passes(p, end, 9) for p in prompts]
    assert generate(model, prompts, end, 9, 3, "cpu") == expected != free
    assert {len(t) for t in generate(model, prompts, -1, 2, 3, "cpu")} == {2}


# --- budgets ---


def test_nearest_size():
    assert [nearest_size(lambda n: 10 * n, budget, 8) for budget in (1, 14, 15, 16, 1000)] == [1, 1, 1, 2, 8]
    assert nearest_size(lambda n: 7, 3, 1) == 1
    with pytest.raises(InvalidInput, match="must be positive"):
        nearest_size(lambda n: n, 0, 3)


def test_budgets_are_matched_where_a_size_allows_it():
    torch.manual_seed(0)
    model = MambaLM(MambaConfig(64, 2, 256, {"layer": "Mamba1"}, pad_vocab_size_multiple=1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sizing = Sizing(rank=4, most_tokens=32)
    budget = budget_of(model, sizing)
    assert budget == 4 * 2 * ((64 + 256) + (128 + 64))
    counts, matched = {}, set()
    for method in METHODS:
        planned = plan(method, model, sizing)
        config = configure(planned, model, sizing, lambda rule: score("random", model, seed=3))
        assert planned.budget == budget and (config is None) == (method == "frozen")
        if config is None:
            continue
        handle = apply(model, config)
        counts[method] = handle.n_trainable
        matched |= {method} if planned.matched(handle.n_trainable) else set()
        assert (selected(config) is not None) == method.startswith("sdt")
        handle.remove()
    assert {"prefix", "lora_linear", "lora_in_proj", "lora_out_proj", "lora_both", "sdt_lora", "sdt_lora_random"} <= matched
    assert counts["sdt_lora"] == counts["sdt_lora_random"] and counts["lora_linear"] == budget
    # no size of these comes near: the rest of the table has to say so
    assert {"full", "bitfit", "prompt"} & matched == set() and counts["full"] > 10 * budget > 50 * counts["bitfit"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(UnknownName, match="did you mean 'lora_linear'"):
        plan("lora_liner", model, sizing)


def test_lora_on_both_spends_ranks_one_by_one():
    model = MambaLM(MambaConfig(64, 1, 256, {"layer": "Mamba1"}, pad_vocab_size_multiple=1))
    linear, inside = (count_trainable(model, method_config("lora", targets=t, rank=1)) for t in (LINEAR, STATE_SPACE))
    counts = [count_trainable(model, on_both(ranks)) for ranks in (2, 3, 4, 5)]
    assert counts == [linear + inside, linear + 2 * inside, 2 * linear + 2 * inside, 2 * linear + 3 * inside]
    scales = {round(part.scale, 12) for part in on_both(5).parts}
    assert scales == {1.0}
    with pytest.raises(InvalidInput, match="rank is 0"):
        on_both(1)


def test_mamba2_has_no_state_space_projections():
    model = MambaLM(MambaConfig(32, 1, 256, {"layer": "Mamba2", "d_state": 8, "headdim": 16}))
    assert plan("lora_linear", model, Sizing(rank=2)).size == 2
    with pytest.raises(UnknownName, match="x_proj"):
        plan("lora_ssm", model, Sizing(rank=2))


def test_models_by_name():
    assert base_model("untrained", "chunked", "cpu").config.vocab_size == 256
    with pytest.raises(CheckpointError, match="does not exist"):
        base_model("no/such/model", "chunked", "cpu")
    with pytest.raises(UnknownName, match="did you mean 'float32'"):
        base_model("untrained", "chunked", "cpu", "float23")


# --- runs ---


def small(**options):
    given = {
        "model": "untrained", "steps": 4, "batch": 2, "rank": 1, "most_tokens": 2, "select_steps": 2,
        "test_rows": 10, "train_rows": 20, "validation_rows": 6, "eval_batch": 8, "most_generated": 5, "generate_rows": 2,
    }  # fmt: skip
    return validate(lm_benchmark.Config, given | options, "test")


def test_training_helps_and_frozen_does_not():
    frozen = lm_benchmark.run(small(method="frozen"), Context(0))
    again = lm_benchmark.run(small(method="frozen", learning_rate=0.5), Context(1))
    trained = lm_benchmark.run(small(method="full", steps=60, batch=8, learning_rate=1e-2), Context(0))
    assert frozen.held_out == again.held_out and frozen.trainable == 0
    assert frozen.held_out["test_no_class"] == 1 and trained.held_out["test_no_class"] == 0
    assert trained.held_out["test_loss"] < 1 < frozen.held_out["test_loss"]
    assert trained.metrics["rows"] == {"train": 20, "validation": 6, "test": 10}


def test_what_can_be_learnt_is_learnt_and_what_cannot_is_not(tmp_path):
    words = ("poor", "fine")
    draws = np.random.default_rng(0).integers(0, 2, 200).tolist()
    accuracies = {}
    for name, shift in (("telling", 0), ("silent", 1)):  # the word tells the label, or a draw of another row does
        rows = [{"sentence": f"{i} {words[draws[i]] * 3}", "label": draws[(i + shift) % 200]} for i in range(200)]
        folder = write(tmp_path / name, train=rows[:140], validation=rows[140:])
        options = {"data": str(folder), "test_rows": 0, "train_rows": 0, "method": "full", "steps": 120, "batch": 16}
        accuracies[name] = lm_benchmark.run(small(**options, learning_rate=1e-2), Context(0)).held_out["test_accuracy"]
    assert accuracies["telling"] > 0.95 and accuracies["silent"] < 0.75


def test_every_task_runs(tmp_path):
    write(tmp_path / "glue_cola", train=sentences(40), validation=sentences(8, start=50))
    pairs = [{"premise": f"p {i}", "hypothesis": "h", "label": i % 2} for i in range(50)]
    write(tmp_path / "rte123", train=pairs[:40], validation=pairs[40:])
    texts = [{"tripleset": [[f"s{i}", "r", "o"]], "references": [f"s{i} r o.", "it is."]} for i in range(50)]
    write(tmp_path / "dart", train=texts[:40], test=texts[40:])
    for task, scores in (("cola", {"accuracy"}), ("rte", {"no_class"}), ("dart", {"chrf"})):
        found = lm_benchmark.run(small(task=task, data=str(tmp_path), method="sdt_lora"), Context(0))
        assert {f"test_{name}" for name in scores} <= found.held_out.keys() and found.metrics["selected"] > 0


def test_tuning_never_reads_the_test_rows(tmp_path, monkeypatch):
    texts = [{"tripleset": [[f"s{i}", "r", "o"]], "references": [f"s{i} r o."]} for i in range(50)]
    write(tmp_path / "dart", train=texts[:40], test=texts[40:])
    measured = []
    for name in ("predictions", "held_out_loss"):
        right = getattr(lm_benchmark, name)
        monkeypatch.setattr(lm_benchmark, name, lambda m, data, *rest, f=right: (measured.append(data), f(m, data, *rest))[1])
    for options in ({}, {"task": "dart", "data": str(tmp_path)}):
        config = small(method="frozen", **options)
        counts = lm_benchmark.run(config, Context(0))
        with monkeypatch.context() as patch:
            patch.setattr(lm_benchmark, "generate", lambda *_: pytest.fail("generated"))
            tuning = lm_benchmark.run(config, Context(0, tuning=True))
        assert len(measured) == 3 and measured[2].prompts == measured[0].prompts != measured[1].prompts
        assert tuning.held_out == {k: v for k, v in counts.held_out.items() if not k.startswith("test_")}
        measured.clear()


def test_the_precision_of_products_is_asked_for_and_put_back(monkeypatch):
    seen = []
    monkeypatch.setattr(lm_benchmark, "_run", lambda config, ctx: seen.append(torch.get_float32_matmul_precision()))
    for name in ("high", "highest"):
        lm_benchmark.run(small(matmul=name), Context(0))
    assert seen == ["high", "highest"] and torch.get_float32_matmul_precision() == "highest"
    with pytest.raises(InvalidInput, match="did you mean 'high'"):
        small(matmul="hig")


@pytest.mark.gpu
@pytest.mark.parametrize("scan", [None, "chunked"])
def test_every_method_runs_on_a_gpu(tmp_path, scan):
    texts = [{"tripleset": [[f"s{i}", "r", "o"]], "references": [f"s{i} r o."]} for i in range(50)]
    write(tmp_path / "dart", train=texts[:40], test=texts[40:])
    cpu = lm_benchmark.run(small(method="frozen"), Context(0)).held_out
    for method in METHODS:
        found = lm_benchmark.run(small(method=method), Context(0, device="cuda", scan=scan)).held_out
        if method == "frozen":
            assert found["test_loss"] == pytest.approx(cpu["test_loss"], rel=1e-3)
        else:
            assert np.isfinite(found["test_loss"]) and found["test_loss"] != cpu["test_loss"]
    generated = small(task="dart", data=str(tmp_path), method="prefix")
    assert np.isfinite(lm_benchmark.run(generated, Context(0, device="cuda", scan=scan)).held_out["test_chrf"])


def test_the_environment_names_the_local_data(tmp_path, monkeypatch):
    """Options say "local" and not which folder that is, so that results mean the same on another machine."""
    write(tmp_path / "polarity", train=sentences(40), validation=sentences(8, start=50))
    monkeypatch.setenv("SSMPROOF_DATA", str(tmp_path))
    there = load_task("polarity", "local")
    assert there.source == "polarity" and len(there.test) == 8
    assert load_task("polarity", "shipped").sha256 == load_task("polarity").sha256 != there.sha256
    monkeypatch.setenv("SSMPROOF_DATA", str(tmp_path / "polarity"))
    assert load_task("polarity", "local").sha256 == there.sha256
    with pytest.raises(InvalidInput, match="holds the task polarity, but cola was asked for"):
        load_task("cola", "local")
    monkeypatch.setenv("SSMPROOF_DATA", str(tmp_path / "gone"))
    with pytest.raises(InvalidInput, match=r"SSMPROOF_DATA is .*gone, which is no folder"):
        load_task("polarity", "local")
    monkeypatch.delenv("SSMPROOF_DATA")
    assert lm_benchmark.Config(data="local").data == "local"  # what was measured elsewhere can be judged here
    with pytest.raises(InvalidInput, match="SSMPROOF_DATA names, but that is not set: set it or give --data FOLDER"):
        load_task("polarity", "local")


def test_local_data_that_is_nowhere_stops_a_sweep_before_its_first_run(tmp_path, monkeypatch, capsys):
    """One line, and no failed run for each cell."""
    monkeypatch.delenv("SSMPROOF_DATA", raising=False)
    assert run_main("sweep", "lm_benchmark", "--out", str(tmp_path)) == 2
    assert "error: data is 'local', the folder that SSMPROOF_DATA names" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.json"))


def test_a_killed_run_resumes_bit_identically(tmp_path, monkeypatch):
    config = small(method="sdt_lora", steps=6)
    whole = lm_benchmark.run(config, Context(0, work=tmp_path / "whole", every=2))
    real, seen = lm_benchmark.batch_loss, []

    def dies(model, batch, device):
        seen.append(1)
        if len(seen) == config.select_steps + 5:
            raise KeyboardInterrupt
        return real(model, batch, device)

    monkeypatch.setattr(lm_benchmark, "batch_loss", dies)
    with pytest.raises(KeyboardInterrupt):
        lm_benchmark.run(config, Context(0, work=tmp_path / "killed", every=2))
    assert lm_benchmark.run(config, Context(0, work=tmp_path / "killed", every=2)).held_out == whole.held_out
    assert len(seen) == config.select_steps + 5 + config.select_steps + 2  # from step 4 on
    other = lm_benchmark.run(config, Context(1, work=tmp_path / "other", every=2))
    assert other.held_out["test_loss"] != whole.held_out["test_loss"]


def test_a_sweep_writes_table_and_verdicts_and_repeats_nothing(tmp_path):
    said = []
    file = override(load_experiment("lm_benchmark", quick=True), **small().model_dump(exclude={"method", "learning_rate"}))
    assert file.sweep is not None
    file = file.model_copy(
        update={"sweep": file.sweep.model_copy(update={"grid": {"task": ["polarity"], "method": ["frozen", "sdt_lora"]}})}
    )
    summary = SweepRunner(Runner(tmp_path, say=said.append), file).run(quick=True)
    assert summary["complete"] and not summary["failed"] and len(said) == 4 and summary["verdict"] == "undecided"
    assert [row["claim"] for row in summary["table"][2:]] == ["(i)", "(ii)", "(iii)", "(iv)"]
    SweepRunner(Runner(tmp_path, say=said.append), file).run(quick=True)
    assert len(said) == 4


# --- verdicts ---


def result(method, seed, points, task="cola", matched=True, data="d", weights="w") -> Result:
    return Result(
        experiment="lm_benchmark", claim="c", config={"method": method, "task": task, "learning_rate": 1.0}, seed=seed,
        status="finished", held_out={"test_score": points / 100, "test_loss": 1.0}, seconds=0.0, git=None, versions={},
        metrics={"matched": matched, "weights": weights}, device="cpu", device_kind="cpu", scan=None, trainable=1, data_hash=data,
    )  # fmt: skip


AS_CLAIMED = {
    "prompt": 50,
    "prefix": 52,
    "lora_linear": 70,
    "lora_ssm": 60,
    "lora_both": 65,
    "sdt_lora": 80,
    "sdt_lora_random": 75,
}


def results(means, matched=True):
    noise = np.random.default_rng(0)
    return [
        result(method, seed, mean + noise.normal(), task, matched)
        for method, mean in means.items()
        for seed in range(3)
        for task in ("cola", "rte")
    ]


def verdicts(rows):
    return [row["verdict"] for row in verdict_rows(rows, 0.95, 0.0)]


def test_verdicts_follow_the_numbers():
    assert verdicts(results(AS_CLAIMED)) == ["reproduced"] * 4
    turned = {method: -mean for method, mean in AS_CLAIMED.items()}
    assert verdicts(results(turned)) == ["not reproduced"] * 4
    level = [result(m, s, 60 + i * (s - 1)) for i, m in enumerate(AS_CLAIMED) for s in range(3)]  # mean difference 0
    assert verdicts(level) == ["undecided"] * 4
    one_fails = AS_CLAIMED | {"prompt": 90}
    assert verdicts(results(one_fails))[0] == "not reproduced"
    assert verdicts(results({m: v for m, v in AS_CLAIMED.items() if m != "prompt"}))[0] == "undecided"


def test_unequal_budgets_decide_nothing_where_the_claim_needs_equal_ones():
    rows = verdict_rows(results(AS_CLAIMED, matched=False), 0.95, 0.0)
    assert [row["verdict"] for row in rows] == ["reproduced", "reproduced", "undecided", "undecided"]
    assert not rows[3]["comparisons"][0]["equal_budget"]


def test_rows_hold_effect_interval_and_control():
    (row,) = [r for r in verdict_rows(results(AS_CLAIMED), 0.95, 0.0) if r["claim"] == "(iv)"]
    (made,), (control,) = row["comparisons"], row["controls"]
    values = results(AS_CLAIMED)
    by = {(r.config["method"], r.config["task"], r.seed): 100 * r.held_out["test_score"] for r in values}
    pairs = [by["sdt_lora", t, s] - by["lora_linear", t, s] for t in ("cola", "rte") for s in range(3)]
    low, high = stats.t.interval(0.95, 5, np.mean(pairs), stats.sem(pairs))
    assert (made["points"], made["low"], made["high"]) == pytest.approx((np.mean(pairs), low, high))
    assert made["effect"] == pytest.approx(np.mean(pairs) / np.std(pairs, ddof=1)) and made["pairs"] == 6
    cola = [by["sdt_lora", "cola", s] - by["lora_linear", "cola", s] for s in range(3)]
    assert made["by_task"]["cola"]["points"] == pytest.approx(np.mean(cola)) and set(made["by_task"]) == {"cola", "rte"}
    assert made["by_task"]["cola"]["high"] == pytest.approx(stats.t.interval(0.95, 2, np.mean(cola), stats.sem(cola))[1])
    assert made["learned"] is None and control["worse"] == "sdt_lora_random"
    assert verdict_rows(values, 0.95, 50.0)[3]["verdict"] == "not reproduced"  # 10 points do not reach a threshold of 50


def test_the_tasks_that_full_fine_tuning_learns_stand_beside():
    """One task is learned; on the other everything is at chance, and so is its share of every difference."""
    at_chance = dict.fromkeys(AS_CLAIMED, 50)
    rows = [r for r in results(AS_CLAIMED | {"full": 90, "frozen": 40}) if r.config["task"] == "rte"]
    rows += [r for r in results(at_chance | {"full": 50, "frozen": 40}) if r.config["task"] == "cola"]
    for row in rows:
        row.held_out["test_majority"] = 0.51
    assert learned_tasks(rows, 0.95) == ("rte",)
    (second,) = [row for row in verdict_rows(rows, 0.95, 0.0) if row["claim"] == "(ii)"]
    (made,) = second["comparisons"]
    assert made["learned"]["tasks"] == ["rte"] and made["learned"]["pairs"] == 3 and made["pairs"] == 6
    assert {k: made["learned"][k] for k in ("points", "low", "high")} == {
        k: made["by_task"]["rte"][k] for k in ("points", "low", "high")
    }
    assert made["learned"]["points"] > 8 > made["points"] and ", learned tasks (rte) alone +" in in_words(made)
    assert learned_tasks([r for r in rows if r.config["method"] != "full"], 0.95) == ()
    late = [r for r in rows if not (r.config["method"] == "frozen" and r.seed == 2)]
    assert learned_tasks(late, 0.95) == ()  # not known yet
    equal = [r for r in rows if r.config["method"] != "full"]
    equal += [result("full", seed, 90, task) for task in ("cola", "rte") for seed in range(3)]
    assert learned_tasks(equal, 0.95) == ("cola", "rte")
    for row in rows:
        row.held_out["test_majority"] = 0.95
    assert learned_tasks(rows, 0.95) == ()
    for row in rows:  # a task without classes is measured against the frozen model
        del row.held_out["test_majority"]
    assert learned_tasks(rows, 0.95) == ("cola", "rte")


def test_equal_or_single_differences_have_no_interval():
    assert interval([3.0], 0.95).low is None and interval([3.0, 3.0], 0.95).low is None
    assert interval([3.0, 4.0], 0.95).low is not None
    exact = [result(m, s, v) for m, v in AS_CLAIMED.items() for s in range(2)]
    assert verdicts(exact) == ["undecided"] * 4
    assert together([]) == "undecided" and together(["reproduced", "undecided"]) == "undecided"
    assert together(["reproduced"]) == "reproduced" and together(["undecided", "not reproduced"]) == "not reproduced"


def test_runs_of_other_data_or_models_are_not_compared():
    thresholds = {"confidence": 0.95, "points": 0.0}
    one = result("frozen", 0, 50)
    for other, message in ((result("full", 0, 60, data="e"), "different rows"), (result("full", 0, 60, weights="v"), "weights")):
        with pytest.raises(CheckpointError, match=f"{message}.*new --out folder"):
            lm_benchmark.judge([one, other], thresholds)
    assert len(lm_benchmark.judge([one, result("full", 0, 60, "rte", data="e")], thresholds).table) == 2 + len(CLAIMS)


def test_weights_hash_sees_one_changed_value():
    model = base_model("untrained", "chunked", "cpu")
    before = weights_hash(model)
    assert before == weights_hash(base_model("untrained", "chunked", "cpu"))
    with torch.no_grad():
        model.mixers[0].get_parameter("D")[3] += 1e-3
    assert weights_hash(model) != before


def test_judgement_names_claims_and_controls():
    judgement = lm_benchmark.judge(results(AS_CLAIMED), {"confidence": 0.95, "points": 0.0})
    assert judgement.verdict == "reproduced" and "control of (iv)" in judgement.measured
    assert len(judgement.table) == 2 * len(AS_CLAIMED) + len(CLAIMS)
    swapped = lm_benchmark.judge(results(AS_CLAIMED | {"sdt_lora": 60}), {"confidence": 0.95, "points": 0.0})
    assert swapped.verdict == "not reproduced"


# --- command line ---


def run_main(*arguments):
    from empirics.__main__ import main

    threads = torch.get_num_threads()
    try:
        return main(arguments)
    finally:
        torch.set_num_threads(threads)


TINY = [f"--set={name}={json.dumps(value)}" for name, value in small().model_dump().items() if name in (
    "steps", "batch", "rank", "most_tokens", "select_steps", "test_rows", "train_rows", "validation_rows", "generate_rows",
)]  # fmt: skip


def test_run_takes_model_and_data(tmp_path, capsys, hub_folder):
    folder, _ = hub_folder
    data = write(tmp_path / "glue_cola", train=sentences(40), validation=sentences(8, start=50))
    out = tmp_path / "out"
    command = ["run", "lm_benchmark", "--quick", "--model", str(folder), "--data", str(data), "--out", str(out), *TINY]
    assert run_main(*command, "--set", "method=lora_ssm") == 0
    assert "lm_benchmark: undecided" in capsys.readouterr().out
    records = [json.loads(path.read_text()) for path in (out / "runs" / "lm_benchmark").glob("*.json")]
    assert {r["config"]["task"] for r in records} == {"cola"} and {r["config"]["method"] for r in records} == {"lora_ssm"}
    assert {r["config"]["model"] for r in records} == {str(folder)} and {r["status"] for r in records} == {"finished"}


def test_sweep_takes_one_value_in_place_of_its_grid(tmp_path, capsys):
    command = ["sweep", "lm_benchmark", "--quick", "--model", "untrained", "--out", str(tmp_path), *TINY]
    assert run_main(*command, "--set", "method=lora_linear", "--set", "learning_rate=0.01") == 0
    assert len(list((tmp_path / "runs" / "lm_benchmark").glob("*method=lora_linear_learning_rate=0.01*.json"))) == 2
    assert len(list((tmp_path / "runs" / "lm_benchmark").glob("*.json"))) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "state_floor", "--quick", "--model", "x"], "unknown option of state_floor 'model'"),
        (["run", "lm_benchmark", "--quick", "--data", "no/such"], "no/such is no folder and no known data set"),
        (["run", "lm_benchmark", "--quick", "--set", "method=lora"], "did you mean 'lora_A'"),
        (["run", "lm_benchmark", "--quick", "--set", "task=colla"], "did you mean 'cola'"),
        (["run", "lm_benchmark", "--quick", "--set", "dtype=float16"], "did you mean 'bfloat16'"),
        (["run", "lm_benchmark", "--quick", "--set", "metho=full"], "did you mean 'method'"),
        (["run", "lm_benchmark", "--quick", "--set", "method"], "expected NAME=VALUE"),
        (["run", "lm_benchmark", "--quick", "--set", "steps=0"], "steps is 0"),
        (["demo", "--steps", "0"], "--steps 0 must be at least 1"),
        (["demo", "--model", "no-such-folder"], "no-such-folder does not exist"),
    ],
)
def test_mistakes_give_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_main(*arguments) == 2
    err = capsys.readouterr().err
    assert message in err and err.startswith("error: ") and err.count("\n") == 1


@pytest.mark.parametrize(("given", "used"), [(1, 1), (2, 2), (3, 2)])
def test_demo_takes_no_more_threads_than_it_is_given(given, used, monkeypatch):
    """Two threads where one is free wait for each other: the demonstration took ten times as long so."""
    from empirics.experiments.lm_benchmark import demo as lm_demo

    asked = []
    monkeypatch.setattr(lm_demo.torch, "get_num_threads", lambda: given)
    monkeypatch.setattr(lm_demo.torch, "set_num_threads", asked.append)
    with pytest.raises(CheckpointError, match="no-such-folder"):
        lm_demo.main_demo(["--model", "no-such-folder"])
    assert asked == [used]


def test_demo_compiles_a_prefix_and_adapts(capsys, monkeypatch):
    from empirics.experiments.lm_benchmark import demo as lm_demo

    arguments = ["demo", "--model", "untrained", "--steps", "3", "--rows", "20", "--tokens", "4"]
    assert run_main(*arguments) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("bits per byte", "frozen", "lora_linear", "sdt_lora", "compiled"))
    monkeypatch.setattr(lm_demo, "compile_prefix", lambda handle: (handle.remove(), SimpleNamespace(remove=lambda: None))[1])
    assert run_main(*arguments) == 1  # a prefix that is dropped instead of compiled is seen
    assert "is not what the prefix leaves" in capsys.readouterr().out


def test_what_an_adaptation_saves_has_an_interval_over_sentences():
    """Every sentence saves a tenth of a bit for each byte: no spread. Then one saves nothing, and a longer one weighs more."""
    from empirics.experiments.lm_benchmark.demo import gain

    sizes = torch.tensor([10.0, 20.0, 30.0, 40.0], dtype=torch.float64)
    before = 2.0 * sizes
    even = gain(before, before - 0.1 * sizes, sizes)
    assert even.mean == pytest.approx(0.1) and even.half_width == pytest.approx(0.0, abs=1e-12)
    short, long = (gain(before, before - 0.1 * sizes * torch.tensor(kept), sizes) for kept in ([0, 1, 1, 1], [1, 1, 1, 0]))
    assert short.mean > long.mean > 0 and long.half_width > short.half_width > 0


def test_reviews_are_the_sentences_without_the_question():
    from empirics.data.tasks import load_task
    from empirics.experiments.lm_benchmark.demo import reviews
    from empirics.experiments.lm_benchmark.tokens import ByteTokens

    examples = load_task("polarity").test[:3]
    found = reviews(examples, ByteTokens(), 512)
    texts = [bytes(item.tokens).decode() for item in found.sequences]
    assert all(e.prompt.startswith(text) and "This review is" not in text for e, text in zip(examples, texts, strict=True))
    assert all(item.prompt == 1 for item in found.sequences)
    assert [len(item.tokens) for item in reviews(examples, ByteTokens(), 5).sequences] == [5, 5, 5]


def test_the_finding_says_what_the_runs_say():
    """Each sentence of it stands there, and follows from the committed runs."""
    from empirics.study.config import EXPERIMENTS
    from empirics.study.pack import RUNS, read_pack

    file = load_experiment("lm_benchmark")
    runs = read_pack(EXPERIMENTS / "lm_benchmark" / RUNS).values()
    tested = [r for r in runs if r.seed != file.sweep.tuning_seed and r.status == "finished"]
    points = {(r.config["task"], r.config["method"], r.seed): 100 * r.held_out["test_score"] for r in tested}
    three, five = range(3), range(5)
    said = " ".join(file.finding.split())

    def told(sentence):
        assert sentence in said, sentence

    def difference(better, worse, task, seeds=five):
        return interval([points[task, better, seed] - points[task, worse, seed] for seed in seeds], 0.95)

    assert {r.seed for r in tested} == set(five) == set(file.seeds)
    assert len(points) == len(tested) == 4 * 22 * 5

    first, every = (verdict_rows(results, 0.95, 0.0) for results in ([r for r in tested if r.seed in three], tested))
    told("each of the four claims has the same verdict on three seeds as on five")
    assert [row["verdict"] for row in first] == [row["verdict"] for row in every]
    assert [row["verdict"] for row in every] == ["reproduced", "reproduced", "undecided", "undecided"]

    told(
        "on polarity and DART: - LoRA on the projections is above prompts and prefixes, and above LoRA on the state-space module"
    )
    for task in ("polarity", "dart"):
        for worse in ("prompt", "prefix", "lora_ssm"):
            assert difference("lora_linear", worse, task).low > 0, (task, worse)

    told("SDT with LoRA is level with LoRA over both tasks")
    (fourth,) = [part["learned"] for row in every for part in row["comparisons"] if part["better"] == "sdt_lora"]
    assert fourth["low"] < 0 < fourth["high"]
    told("On polarity it is above LoRA, by an interval that begins just above 0")
    assert 0 < difference("sdt_lora", "lora_linear", "polarity").low < 0.1
    told("On DART the difference is below 0 by less than its half-width")
    found = difference("sdt_lora", "lora_linear", "dart")
    assert found.mean < 0 < found.high
    told("Dimensions chosen at random serve as well, on either task")
    for task in ("polarity", "dart"):
        found = difference("sdt_lora", "sdt_lora_random", task)
        assert found.low < 0 < found.high, task

    told("LoRA on both fails on one of its seeds on polarity")
    majority = next(100 * r.held_out["test_majority"] for r in tested if r.config["task"] == "polarity")
    behind = [seed for seed in five if points["polarity", "lora_both", seed] < majority + 5]
    assert behind == [2] and majority < 55
    told("It is level with LoRA on the projections on the other seeds and on DART")
    for seeds, task in (([seed for seed in five if seed not in behind], "polarity"), (five, "dart")):
        found = difference("lora_both", "lora_linear", task, seeds)
        assert found.low < 0 < found.high, task

    told("Prompts, prefixes and other methods chose a learning rate at the end of the grid on some task")
    grid = file.sweep.tune["learning_rate"]
    ends = {r.config["method"] for r in tested if r.config["learning_rate"] in (min(grid), max(grid))}
    assert {"prompt", "prefix", "lora_ssm"} <= ends
    assert "lora_linear" not in ends

    told("These two tasks say little about methods, and they draw the differences towards 0")
    for row in every:
        for part in row["comparisons"]:
            assert abs(part["points"]) < abs(part["learned"]["points"]), part
    told("On RTE no method's interval lies above the most frequent class. - On CoLA every method's mean is below 6 points")
    methods = {method for _, method, _ in points} - {"frozen"}
    cola = {method: interval([points["cola", method, seed] for seed in five], 0.95) for method in methods}
    told("Three methods have an interval above 0: initial state with the convolution's window, LoRA on A, and DoRA")
    above = {method for method, found in cola.items() if found.low is not None and found.low > 0}
    assert above == {"initial_state_conv", "lora_A", "dora_linear"} and max(found.mean for found in cola.values()) < 6
    class_of_rte = next(100 * r.held_out["test_majority"] for r in tested if r.config["task"] == "rte")
    for method in methods:
        found = interval([points["rte", method, seed] for seed in five], 0.95)
        assert (found.mean if found.low is None else found.low) <= class_of_rte, method
    told("Full fine-tuning ends near the most frequent class")
    full = {task: interval([points[task, "full", seed] for seed in five], 0.95) for task in ("cola", "rte")}
    rte = next(100 * r.held_out["test_majority"] for r in tested if r.config["task"] == "rte")
    assert full["cola"].low < 0 < full["cola"].high and abs(full["rte"].mean - rte) < 1
