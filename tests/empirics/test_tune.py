"""ssmproof tune: rows, rates, resuming, the comparison, and generating with what it leaves."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
import torch
from torch import nn

from empirics.__main__ import main
from empirics.errors import Diverged, InvalidInput
from empirics.experiments.lm_benchmark.examples import Item
from empirics.experiments.lm_benchmark.tokens import ByteTokens
from empirics.hosts.tiny import host_model
from empirics.methods import load
from empirics.models import MambaConfig, MambaLM, save_model
from empirics.tuning import session
from empirics.tuning.command import verdict
from empirics.tuning.identity import Settings
from empirics.tuning.objective import Measured, batch_loss, measure, saved
from empirics.tuning.rows import held_out, read_rows
from empirics.tuning.session import Outcome, best_rate, fit, known_method, usual_rate

SETTINGS = Settings("sdt_lora", 12, 4, 3e-2, 1, 0)


def tiny(layer: str = "Mamba1") -> MambaLM:
    torch.manual_seed(0)
    sizes = {"headdim": 8} if layer == "Mamba2" else {}
    return MambaLM(MambaConfig(16, 2, 256, {"layer": layer, "d_state": 8, **sizes})).eval()


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    texts = [f"{word} {word} {word}!" for word in ("ab", "cd", "ef", "gh") for _ in range(6)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_model(tiny(), tmp_path / "base")


def items(path: Path) -> list[Item]:
    return read_rows(path, ByteTokens(), 32)


class TestRows:
    def read(self, tmp_path: Path, text: str, longest: int = 8, name: str = "r.jsonl") -> list[Item]:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return read_rows(tmp_path / name, ByteTokens(), longest)

    def test_texts_pairs_and_files(self, tmp_path: Path) -> None:
        found = self.read(tmp_path, '{"text": "abcdefghij"}\n\n{"prompt": "Question", "completion": "yes"}\n')
        assert found == [Item(tuple(b"abcdefgh"), 1), Item(tuple(b"tion" + b"yes\n"), 4)]
        assert self.read(tmp_path, "abcdefghijk", 4, "r.txt") == [
            Item(tuple(b"abcd"), 1),
            Item(tuple(b"efgh"), 1),
            Item(tuple(b"ijk"), 1),
        ]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("{", "line 1 is no JSON; a line is"),
            ('{"text": "ab"}\n[1]', "line 2 is list; a line is"),
            ('{"text": 3}', "line 1 has no string 'text'"),
            ('{"prompt": "a", "label": 1}', "no string 'completion' among ['label', 'prompt']"),
            ('{"text": "a"}', "has 1 tokens; a text needs at least 2"),
            ('{"prompt": "", "completion": "a"}', "an empty prompt"),
            ('{"text": "ab"}', "has 1 row, expected at least 2"),
            ('{"text": "ab", "completion": "c"}', "line 1 has a text and a pair, ['completion', 'text']"),
            ('{"text": "ab"}\n{"text": "a\\ud800b"}', "line 2: 'text' holds half a character (0xd800)"),
            ("", "has 0 rows"),
        ],
    )
    def test_mistakes(self, tmp_path: Path, text: str, said: str) -> None:
        with pytest.raises(InvalidInput) as error:
            self.read(tmp_path, text)
        assert said in str(error.value)

    def test_what_is_no_end_of_a_line_is_text(self, tmp_path: Path) -> None:
        """JSON may hold U+2028 and U+0085 as they are; editors write a mark in front, and two signs at a line's end."""
        text = "a\u2028b\x85c\x0b"
        line = json.dumps({"text": text}, ensure_ascii=False)
        assert "\u2028" in line and len(line.splitlines()) > 1
        expected = [Item(tuple(text.encode()), 1)] * 2
        for whole in (f"{line}\n{line}", f"\ufeff{line}\r\n{line}\r\n"):
            assert self.read(tmp_path, whole, 16) == expected
        with pytest.raises(InvalidInput, match="line 2 is no JSON"):
            self.read(tmp_path, f"{line}\n" + line.replace("b", "b\n"))

    @pytest.mark.parametrize("name", ["r.json", "r.csv", "r"])
    def test_other_kinds_of_files_are_not_taken_for_texts(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match=r"give a .txt file, or a .jsonl file: a line is"):
            self.read(tmp_path, '{"text": "abcd"}\n' * 2, name=name)
        assert len(self.read(tmp_path, '{"text": "abcd"}\n' * 2, name="R.JSONL")) == 2

    def test_one_row_is_enough_where_others_are_held_out(self, tmp_path: Path) -> None:
        (tmp_path / "r.jsonl").write_text('{"text": "ab"}', encoding="utf-8")
        assert len(read_rows(tmp_path / "r.jsonl", ByteTokens(), 8, 1)) == 1
        (tmp_path / "r.jsonl").write_text("\n", encoding="utf-8")
        with pytest.raises(InvalidInput, match="has 0 rows, expected at least 1: give some"):
            read_rows(tmp_path / "r.jsonl", ByteTokens(), 8, 1)

    def test_files_that_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="No such file"):
            items(tmp_path / "none.jsonl")
        (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe")
        with pytest.raises(InvalidInput, match="not UTF-8"):
            items(tmp_path / "b.jsonl")

    @pytest.mark.parametrize("count", [2, 9, 10, 25])
    def test_held_out_rows_are_not_trained_on(self, count: int) -> None:
        given = [Item((i, i), 1) for i in range(count)]
        training, validation = held_out(given)
        assert validation and training and sorted(training + validation, key=lambda i: i.tokens) == given


def test_the_loss_is_that_of_each_row_by_itself(rows: Path) -> None:
    model, given = tiny(), [Item((1, 2, 3, 4, 5), 3), Item((9, 8), 1), *items(rows)[:2]]

    def alone(item: Item) -> torch.Tensor:
        wanted = torch.tensor(item.tokens[item.prompt :])
        return nn.functional.cross_entropy(model(torch.tensor([item.tokens[:-1]]))[0, item.prompt - 1 :], wanted, reduction="sum")

    with torch.no_grad():
        each = [alone(item) for item in given]
        count = sum(len(i.tokens) - i.prompt for i in given)
        assert torch.allclose(batch_loss(model, given), sum(each) / count)
    measured = measure(model, given, 2)
    assert torch.allclose(measured.bits, torch.stack(each).double() / math.log(2)) and measured.tokens.tolist()[:2] == [2, 1]
    host = host_model("BambaForCausalLM")
    small = [Item(tuple(t % 24 for t in i.tokens), i.prompt) for i in given]
    assert float(measure(host, small, 4).bits[0]) == pytest.approx(float(measure(host, small[:1], 1).bits[0]), rel=1e-5)


def test_what_is_saved_and_its_interval() -> None:
    tokens = torch.tensor([2.0, 4.0, 6.0], dtype=torch.float64)
    before, after = Measured(tokens * 3, tokens), Measured(tokens * torch.tensor([2.0, 1.0, 2.0]), tokens)
    gain, half = saved(before, after)
    assert gain == pytest.approx(3 - 20 / 12)
    residual = tokens * torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64) - gain * tokens
    assert half == pytest.approx(1.96 * float(residual.std()) * 3**0.5 / 12)
    assert saved(Measured(tokens[:1], tokens[:1]), Measured(tokens[:1], tokens[:1]))[1] == math.inf


@pytest.mark.parametrize(("lowest", "expected", "calls"), [(0.0, 1.0, 3), (2.0, 9.0, 5), (9.0, 81.0, 6), (-1.0, 1 / 3, 4)])
def test_a_sweep_widens_until_its_best_is_inside(lowest: float, expected: float, calls: int) -> None:
    """The best of a parabola in log3 of the rate; at most three more than the first three."""
    tried = []

    def bits(rate: float) -> float:
        tried.append(rate)
        return (math.log(rate, 3) - lowest) ** 2

    best, found = best_rate(bits, 1.0)
    assert best == pytest.approx(expected) and len(tried) == calls == len(found)


def test_a_sweep_leaves_out_what_diverges() -> None:
    def bits(rate: float) -> float:
        if rate > 0.5:
            raise Diverged("high")
        return rate

    assert best_rate(bits, 1.0)[0] < 0.1
    with pytest.raises(Diverged, match="diverges at every rate"):
        best_rate(lambda _: (_ for _ in ()).throw(Diverged("always")), 1.0)


@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
def test_a_killed_fine_tuning_goes_on_as_if_nothing_had_happened(layer: str, rows: Path, tmp_path: Path) -> None:
    given = items(rows)
    whole_handle, whole = fit(tiny(layer), given, given[:3], SETTINGS, tmp_path / "whole")
    assert whole.after.per_token < whole.curve[0]["bits_per_token"] - 0.02

    class Killed(Exception):
        pass

    def kill(_: str, step: int, __: int) -> None:
        if step == 8:
            raise Killed

    with pytest.raises(Killed):
        fit(tiny(layer), given, given[:3], SETTINGS, tmp_path / "cut", kill)
    handle, outcome = fit(tiny(layer), given, given[:3], SETTINGS, tmp_path / "cut")
    assert outcome.losses == whole.losses and outcome.curve == whole.curve
    assert all(torch.equal(v, whole_handle.values()[n]) for n, v in handle.values().items())
    again = fit(tiny(layer), given, given[:3], SETTINGS, tmp_path / "cut")[1]  # at once: nothing is left to do
    assert again.losses == whole.losses and again.after.per_token == whole.after.per_token


def run(base: Path, rows: Path, out: Path, *more: str) -> int:
    options = ["--model", str(base), "--data", str(rows), "--out", str(out), "--steps", "6", "--rank", "1", "--length", "32"]
    return main(["tune", *options, *more])


def test_the_command_ends_with_one_line_and_leaves_a_usable_folder(
    base: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    assert run(base, rows, out, "--rate", "0.3") == 0
    first = capsys.readouterr().out
    last = first.strip().splitlines()[-1]
    assert last.startswith("sdt_lora: ") and "bits per token, saved +" in last and " LoRA with " in last
    record = json.loads((out / "tune.json").read_text(encoding="utf-8"))
    assert set(record["runs"]) == {"sdt_lora", "lora_linear"} and record["held_out"] == 2
    sizes = [r["trained"] for r in record["runs"].values()]
    assert abs(sizes[0] - sizes[1]) < 0.35 * sizes[1]
    assert record["runs"]["sdt_lora"]["curve"][-1]["bits_per_token"] < record["baseline"]
    assert (out / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert run(base, rows, out, "--rate", "0.3") == 0  # the same command again: the same line, from the checkpoint
    assert capsys.readouterr().out.strip().splitlines()[-1] == last
    prompt = ["generate", "--prompt", "ab a", "--tokens", "60", "--temperature", "1"]
    for given in (["--adapter", str(out)], ["--adapter", str(out / "adapter"), "--model", str(base)], ["--model", str(base)]):
        assert main([*prompt, *given]) == 0
    texts = capsys.readouterr().out.split("ab a")  # the likeliest text of a tiny random model is anything but printable
    assert texts[1] == texts[2] != texts[3]
    moved = base.rename(tmp_path / "moved")
    assert main([*prompt, "--adapter", str(out)]) == 2
    error = capsys.readouterr().err
    assert f"was made on the model {base}: {base} does not exist" in error and "say by --model where it is now" in error
    assert error.count("\n") == 1 and main([*prompt, "--adapter", str(out), "--model", str(moved)]) == 0


@pytest.mark.parametrize("method", ["initial_state", "prompt", "lora", "bitfit"])
def test_other_methods_and_a_sweep(
    method: str, base: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--method", method, "--no-plot", "--no-comparison"]
    assert run(base, rows, tmp_path / "out", *more, *(["--sweep"] if method == "initial_state" else [])) == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith(known_method(method)) and "LoRA with" not in last
    assert (tmp_path / "out" / "runs" / known_method(method) / "rate.json").is_file() == (method == "initial_state")
    assert not (tmp_path / "out" / "curves.png").exists()


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("method.json", "{", "no readable JSON"),
        ("method.json", "[]", "a list instead of a JSON object; delete"),
        ("curve.json", "[]", "a list instead of a JSON object; delete it to measure it again"),
        ("curve.json", '{"curve": 3}', "is no curve; delete it to measure it again"),
        ("curve.json", '{"curve": [{"step": "x", "bits_per_token": 1}]}', "is no curve; delete it"),
        ("checkpoint/training.safetensors", "x", "is no readable checkpoint"),
    ],
)
def test_damaged_files_of_a_run_say_what_to_delete(
    file: str, content: str, said: str, base: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--method", "lora", "--no-plot", "--no-comparison"]
    assert run(base, rows, tmp_path / "out", *more) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    path = tmp_path / "out" / "runs" / "lora_linear" / file
    path.write_text(content, encoding="utf-8")
    assert run(base, rows, tmp_path / "out", *more) == 2
    error = capsys.readouterr().err
    assert said in error and "delete" in error and str(path) in error and error.count("\n") == 1
    path.unlink()
    assert run(base, rows, tmp_path / "out", *more) == 0
    assert capsys.readouterr().out.splitlines()[-1] == last


def test_a_rate_of_other_rows_is_not_taken_over(
    base: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--method", "lora", "--no-plot", "--no-comparison", "--sweep"]
    assert run(base, rows, tmp_path / "out", *more) == 0
    (tmp_path / "out" / "runs" / "lora_linear" / "method.json").unlink()
    rows.write_text(rows.read_text(encoding="utf-8").replace("ab", "xy"), encoding="utf-8")
    assert run(base, rows, tmp_path / "out", *more) == 2
    assert "other rows to train on" in capsys.readouterr().err


def test_held_out_rows_that_overflow_are_a_divergence(
    base: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(base, rows, tmp_path / "out", "--rate", "1e30", "--no-plot") == 2
    error = capsys.readouterr().err
    assert "sdt_lora at rate 1e+30" in error and "give a lower --rate" in error and error.count("\n") == 1
    assert not (tmp_path / "out" / "adapter").exists()


@pytest.mark.parametrize("method", ["sdt_lora", "prefix"])
def test_hybrids_are_tuned_in_place(method: str, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers")
    host_model("BambaForCausalLM", vocab_size=256).save_pretrained(str(tmp_path / "bamba"))
    assert (
        run(tmp_path / "bamba", rows, tmp_path / "out", "--method", method, "--rate", "0.3", "--no-plot", "--no-comparison") == 0
    )
    record = json.loads((tmp_path / "out" / "tune.json").read_text(encoding="utf-8"))["runs"][method]
    assert record["saved"] > 0 and record["trained"] > 0
    from transformers import AutoModelForCausalLM

    handle = load(AutoModelForCausalLM.from_pretrained(str(tmp_path / "bamba")), tmp_path / "out" / "adapter")
    assert handle.n_trainable == record["trained"]
    capsys.readouterr()
    options = ["--prompt", "ab", "--tokens", "12", "--temperature", "0"]
    assert main(["generate", "--adapter", str(tmp_path / "out"), *options]) == 0  # the record names the model
    tuned_text = capsys.readouterr().out
    assert main(["generate", "--model", str(tmp_path / "bamba"), *options]) == 0
    plain_text = capsys.readouterr().out

    def greedy() -> str:
        ids = list(b"ab")
        with torch.no_grad():
            for _ in range(12):
                ids.append(int(handle.model(torch.tensor([ids])).logits[0, -1].argmax()))
        return bytes(ids).decode(errors="replace") + "\n"

    assert tuned_text == greedy() != plain_text
    handle.remove()
    assert plain_text == greedy()


def test_text_of_a_hybrid_in_its_own_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tokens that stand for parts of a character wait for the rest; the end of a text ends it."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<end>": 0, **{letter: i + 1 for i, letter in enumerate(alphabet)}}
    own = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    own.pre_tokenizer, own.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=own, eos_token="<end>")
    model = host_model("BambaForCausalLM", vocab_size=257)
    says = [*wrapped.encode("né"), 0, *wrapped.encode("x")]
    after = {}  # a model whose next token depends on the last one only
    for last, token in zip([*wrapped.encode("o"), *says], says, strict=False):
        after[last] = token
    with torch.no_grad():
        for module in (m for m in model.modules() if hasattr(m, "out_proj") or hasattr(m, "o_proj") or hasattr(m, "down_proj")):
            for name in ("out_proj", "o_proj", "down_proj"):
                if hasattr(module, name):
                    getattr(module, name).weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.randn(257, 16, generator=torch.Generator().manual_seed(0)))
        model.lm_head.weight.zero_()
        for last, token in after.items():
            model.lm_head.weight[token] += model.model.embed_tokens.weight[last]
    model.save_pretrained(str(tmp_path))
    wrapped.save_pretrained(str(tmp_path))
    assert main(["generate", "--model", str(tmp_path), "--prompt", "o", "--temperature", "0", "--tokens", "9"]) == 0
    assert capsys.readouterr().out == "oné\n"
    assert main(["generate", "--model", str(tmp_path), "--prompt", "o", "--temperature", "0", "--tokens", "2"]) == 0
    assert capsys.readouterr().out == "on\ufffd\n"  # cut inside a character
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer_config.json").unlink()
    assert main(["generate", "--model", str(tmp_path), "--prompt", "o"]) == 2
    error = capsys.readouterr().err
    assert "has no tokenizer" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--method", "sdt_lore"], "unknown method 'sdt_lore': did you mean 'sdt_lora'?"),
        (["--method", "frozen"], "trains nothing"),
        (["--rate", "nan"], "--rate nan must be a positive number"),
        (["--seed", "-1"], "--seed -1 must lie in"),
        (["--length", "1"], "a row needs at least 2 tokens"),
        (["--validation", "nothing.jsonl"], "cannot read nothing.jsonl"),
        (["--model", "nowhere"], "nowhere does not exist"),
    ],
)
def test_mistakes_are_one_line(
    more: list[str], said: str, base: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(base, rows, tmp_path / "out", *more, "--no-plot") == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_another_fine_tuning_in_the_same_folder_is_refused(
    base: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other options, rows or weights are another fine-tuning; a copy of the rows elsewhere is the same one."""
    more = ["--no-plot", "--no-comparison", "--method", "lora"]
    other, copy = tmp_path / "other.jsonl", tmp_path / "copy.jsonl"
    other.write_text('{"prompt": "ab", "completion": "cd"}\n' * 12, encoding="utf-8")
    copy.write_text(rows.read_text(encoding="utf-8"), encoding="utf-8")
    changed = tiny()
    changed.backbone.norm_f.weight.data[0] += 0.5
    weights = save_model(changed, tmp_path / "changed")
    assert run(base, rows, tmp_path / "out", *more) == 0
    before = (tmp_path / "out" / "tune.json").read_bytes()
    for model, data, given, said in (
        (base, rows, ["--seed", "1"], "seed 0 (now 1)"),
        (base, rows, ["--steps", "7", "--batch", "2"], "steps 6 (now 7), batch 4 (now 2)"),
        (base, other, [], "other rows to train on, other rows held out"),
        (base, rows, ["--validation", str(other)], "other rows to train on, other rows held out"),
        (base, rows, ["--length", "5"], "other rows to train on, other rows held out"),
        (weights, rows, [], "with another model;"),
    ):
        assert run(model, data, tmp_path / "out", *more, *given) == 2
        error = capsys.readouterr().err
        assert said in error and "give another --out, or delete it" in error and error.count("\n") == 1
    assert (tmp_path / "out" / "tune.json").read_bytes() == before
    assert run(base, copy, tmp_path / "out", *more) == 0
    method = tmp_path / "out" / "runs" / "lora_linear" / "method.json"
    method.write_text(json.dumps(json.loads(method.read_text(encoding="utf-8")) | {"method": {"rank": 1}}), encoding="utf-8")
    assert run(base, rows, tmp_path / "out", *more) == 2
    assert "holds no method; delete" in capsys.readouterr().err
    capsys.readouterr()
    assert main(["generate", "--prompt", "a", "--adapter", str(tmp_path)]) == 2
    assert "holds no adapter" in capsys.readouterr().err


def test_the_last_line_says_when_nothing_is_decided() -> None:
    tokens = torch.full((4,), 10.0, dtype=torch.float64)
    noise = torch.tensor([1.0, -1.0, 2.0, -2.0], dtype=torch.float64)
    before, own = Measured(tokens * 3, tokens), Measured(tokens * 2, tokens)
    runs: dict[str, Any] = {"sdt_lora": Outcome([], (), own, 90)}
    for other, said in (
        (own.bits + noise, "not told apart from LoRA"),
        (own.bits + 20, "better than LoRA"),
        (own.bits - 5, "worse than LoRA"),
    ):
        line = verdict("sdt_lora", before, runs | {"lora_linear": Outcome([], (), Measured(other, tokens), 100)})
        assert said in line and "\n" not in line
    assert verdict("sdt_lora", before, runs).endswith("90 numbers")


def test_rates_are_those_that_the_benchmark_chose() -> None:
    chosen = json.loads(session.CHOSEN.read_text(encoding="utf-8"))["tuned"]
    for method in ("lora_linear", "prefix", "sdt_lora"):
        assert min(r["learning_rate"] for r in chosen if r["method"] == method) <= usual_rate(method)
        assert usual_rate(method) <= max(r["learning_rate"] for r in chosen if r["method"] == method)
    assert usual_rate("full") < usual_rate("prompt")


@pytest.mark.slow
def test_the_bundled_model_ends_better_than_it_began(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentences = Path(session.__file__).parents[1] / "data" / "polarity_small" / "train.jsonl"
    texts = [json.loads(line)["sentence"] for line in sentences.read_text(encoding="utf-8").splitlines()[:40]]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    more = ["--method", "lora", "--steps", "8", "--no-comparison", "--no-plot", "--out", str(tmp_path / "out")]
    assert main(["tune", "--data", str(tmp_path / "rows.jsonl"), *more]) == 0
    record = json.loads((tmp_path / "out" / "tune.json").read_text(encoding="utf-8"))
    assert record["runs"]["lora_linear"]["saved"] > 0.05 and record["model"] == "bundled"
    assert main(["generate", "--adapter", str(tmp_path / "out"), "--prompt", "a film ", "--tokens", "5"]) == 0
    assert "a film " in capsys.readouterr().out
