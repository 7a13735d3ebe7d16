"""Packed sequences: each is what it is alone, with its own h_0 and last state, and nothing crosses a border."""

from __future__ import annotations

import importlib.util
from functools import partial

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402
from test_groups import make  # noqa: E402
from test_scans import make_ssd  # noqa: E402

from empirics.errors import InvalidInput  # noqa: E402
from empirics.kernels.dispatch import selective_scan, ssd_scan  # noqa: E402
from empirics.kernels.interpreter import interpreting  # noqa: E402
from empirics.kernels.packing import Packing  # noqa: E402
from empirics.methods import InitialState, LoRA, Prefix, Prompt, apply, compile_prefix, method_config  # noqa: E402

torch.set_num_threads(1)
IDS = torch.tensor([[5, 5, 5, 7, 7, 7, 7, 3, 3], [0, 0, -1, -1, 4, 4, 4, 1, -1]], dtype=torch.int32)
SPANS = ((0, 0, 3), (0, 3, 7), (0, 7, 9), (1, 0, 2), (1, 4, 7), (1, 7, 8))
TIMED = {"selective_scan": ("u", "dt", "B", "C", "z"), "ssd": ("x", "dt", "B", "C", "z")}


def selective(seed=0, **kinds):
    values = make(length=9, width=4, states=3, seed=seed, without=("h0",), **kinds)
    starts = torch.randn(len(SPANS), 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    return {**values, "h0": starts.requires_grad_()}


def ssd(seed=0):
    values = make_ssd(9, 3, seed=seed)
    starts = torch.randn(len(SPANS), 4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    return {**values, "h0": starts.requires_grad_()}


def alone(op, values, number, **options):
    """One sequence, cut out by hand and run by the oracle."""
    row, start, stop = SPANS[number]
    scan, axis = (selective_scan, 2) if op == "selective_scan" else (ssd_scan, 1)
    own = dict(values)
    for name in TIMED[op]:
        if values[name].ndim > 2:
            where = values[name].ndim - 1 if axis == 2 else 1
            own[name] = values[name][row : row + 1].narrow(where, start, stop - start)
    own["h0"] = values["h0"][number : number + 1]
    return scan(**own, dt_softplus=True, return_last_state=True, scan="oracle", **options)


def by_hand(op, values):
    """Output, zero in the padding, and last states, by :func:`alone`."""
    pieces = [alone(op, values, number) for number in range(len(SPANS))]
    axis = 2 if op == "selective_scan" else 1
    main = values["u" if op == "selective_scan" else "x"]
    out = torch.zeros_like(main)
    for (row, start, stop), (piece, _) in zip(SPANS, pieces, strict=True):
        mask = torch.zeros(main.shape[axis], dtype=torch.bool)
        mask[start:stop] = True
        shape = [1] * (main.ndim - 1)
        shape[axis - 1] = -1
        whole = F.pad(piece[0].movedim(axis - 1, -1), (start, main.shape[axis] - stop)).movedim(-1, axis - 1)
        out = out + torch.stack([whole * mask.view(shape) if r == row else torch.zeros_like(whole) for r in range(2)])
    return out, torch.cat([last for _, last in pieces])


def gradients(out, last, values):
    g = torch.Generator().manual_seed(9)
    weights = [torch.randn(v.shape, generator=g, dtype=torch.float64).to(v) for v in (out, last)]
    scalar = (out * weights[0]).sum() + (last * weights[1]).sum()
    return dict(zip(values, torch.autograd.grad(scalar, list(values.values())), strict=True))


CASES = {
    "selective_scan": (selective, selective_scan),
    "ssd": (ssd, ssd_scan),
    "groups": (partial(selective, B=2, C=2), selective_scan),
    "fixed": (partial(selective, B="fixed"), selective_scan),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("scan", ["oracle", "naive", "chunked"])
def test_each_sequence_is_what_it_is_alone(case, scan):
    """Output, last states and every gradient, h_0 of each included."""
    (make_values, function), op = CASES[case], "ssd" if case == "ssd" else "selective_scan"
    values = make_values()
    out, last = function(**values, dt_softplus=True, return_last_state=True, scan=scan, seq_idx=IDS)
    expected = by_hand(op, values)
    assert last.shape == values["h0"].shape
    assert torch.allclose(out, expected[0], rtol=1e-10, atol=1e-11) and torch.allclose(last, expected[1], rtol=1e-10, atol=1e-11)
    theirs = gradients(*expected, values)
    for name, gradient in gradients(out, last, values).items():
        assert torch.allclose(gradient, theirs[name], rtol=1e-9, atol=1e-10), name
    unpacked = function(**{**values, "h0": values["h0"][:2]}, dt_softplus=True, scan=scan)
    assert not torch.allclose(unpacked, out)  # borders matter


needs_interpreter = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or not (interpreting() or torch.cuda.is_available()),
    reason="needs a CUDA device or TRITON_INTERPRET=1",
)


@needs_interpreter
def test_fused():
    device = "cuda" if torch.cuda.is_available() else "cpu"
    exact = selective()
    values = {k: v.detach().to(device, torch.float32).requires_grad_() for k, v in exact.items()}
    out, last = selective_scan(**values, dt_softplus=True, return_last_state=True, scan="fused", seq_idx=IDS.to(device))
    expected = by_hand("selective_scan", exact)
    assert torch.allclose(out.cpu().double(), expected[0], atol=1e-5) and torch.allclose(
        last.cpu().double(), expected[1], atol=1e-5
    )
    theirs = gradients(*expected, exact)
    for name, gradient in gradients(out, last, values).items():
        assert (gradient.cpu().double() - theirs[name]).norm() <= 1e-5 * theirs[name].norm(), name


@pytest.mark.parametrize("op", ["selective_scan", "ssd"])
@pytest.mark.parametrize("scan", ["oracle", "naive", "chunked"])
def test_nothing_leaks_over_a_border(op, scan):
    """One sequence of NaN: results and gradients of the others have the same bits as without; and the padding is not read."""
    make_values, function = CASES[op]
    clean = make_values()
    main = "u" if op == "selective_scan" else "x"
    axis = 2 if op == "selective_scan" else 1
    poisoned = {k: v.detach().clone() for k, v in clean.items()}
    row, start, stop = SPANS[1]
    for name in TIMED[op]:
        time = poisoned[name].ndim - 1 if op == "selective_scan" else 1
        poisoned[name][row].narrow(time - 1, start, stop - start).fill_(float("nan"))
        poisoned[name][1].narrow(time - 1, 2, 2).fill_(float("nan"))  # padding
    poisoned["h0"][1] = float("nan")
    poisoned = {k: v.requires_grad_() for k, v in poisoned.items()}
    results = []
    for values in (clean, poisoned):
        out, last = function(**values, dt_softplus=True, return_last_state=True, scan=scan, seq_idx=IDS)
        kept = torch.ones_like(out).bool()
        kept[row].narrow(axis - 1, start, stop - start).fill_(False)
        others = [n for n in range(len(SPANS)) if n != 1]
        (gradient, starts) = torch.autograd.grad(out[kept].square().sum() + last[others].sum(), [values[main], values["h0"]])
        results.append((out[kept], last[others], gradient[kept], starts[others]))
        assert out[~kept].isnan().all() == (values is poisoned)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_three_ways_to_say_it():
    """cu_seqlens, seq_idx and a packing; h_0 for all; any integers."""
    values = {k: v[:1] if k in ("u", "dt", "B", "C", "z") else v for k, v in selective().items()}
    values["h0"] = values["h0"][0]
    run = partial(selective_scan, **values, dt_softplus=True, return_last_state=True)
    cu = torch.tensor([0, 3, 7, 9], dtype=torch.int32)
    packing = Packing.of(None, cu, (1, 9))
    assert (
        packing is not None
        and packing.spans == SPANS[:3]
        and packing.count == 3
        and packing.by_length == {3: (0,), 4: (1,), 2: (2,)}
    )
    results = [run(cu_seqlens=cu), run(seq_idx=IDS[:1]), run(seq_idx=IDS[:1].long()), run(seq_idx=packing)]
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))
    whole = run(cu_seqlens=torch.tensor([0, 9]))
    assert torch.allclose(whole[0], run()[0]) and not torch.allclose(whole[0], results[0][0])


def test_sequences_of_one_length_run_together(monkeypatch):
    from empirics.kernels import table
    from empirics.kernels.selective_scan import naive

    batches = []

    def counted(inputs, want_last=True):
        batches.append(tuple(inputs.u.shape))
        return naive.scan(inputs, want_last)

    monkeypatch.setitem(table._LOADED, "selective_scan.naive", counted)
    values = make(batch=1, length=16, without=("h0",))
    selective_scan(**values, scan="naive", cu_seqlens=torch.arange(0, 17, 4))
    assert batches == [(4, 6, 4)]


def test_bad_packing():
    values = selective()
    ids = IDS.clone()
    for options, message in [
        ({"seq_idx": ids, "cu_seqlens": ids[0]}, "give one of them"),
        ({"seq_idx": ids[:, :8]}, r"seq_idx has shape \(2, 8\), expected \(batch, L\) = \(2, 9\)"),
        ({"seq_idx": ids.float()}, "seq_idx is torch.float32, expected a tensor of integers"),
        ({"seq_idx": [[0] * 9] * 2}, "seq_idx is list"),
        ({"seq_idx": torch.full_like(ids, -1)}, "negative everywhere"),
        ({"seq_idx": Packing((1, 9), ((0, 0, 9),))}, r"the packing is of \(1, 9\) steps"),
        ({"cu_seqlens": torch.tensor([0, 9])}, "of batch 1, these have batch 2"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            selective_scan(**values, **options)
    one = {k: v[:1] if k in ("u", "dt", "B", "C", "z") else v for k, v in values.items() if k != "h0"}
    for edges, message in [
        ([0, 4], "goes from 0 to 4, expected from 0 to L = 9"),
        ([1, 9], "goes from 1 to 9"),
        ([0, 5, 5, 9], "has 5 after 5: a sequence has at least one step"),
        ([0, 6, 2, 9], "has 2 after 6"),
        ([0], r"cu_seqlens has shape \(1,\)"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            selective_scan(**one, cu_seqlens=torch.tensor(edges))
    with pytest.raises(InvalidInput, match=r"h0 has shape \(5, 4, 3\), expected \(S, D, N\) = \(6, 4, 3\)"):
        selective_scan(**{**values, "h0": values["h0"][:5]}, seq_idx=ids)
    with pytest.raises(InvalidInput, match="h0 is complex"):
        selective_scan(**{**values, "h0": values["h0"] + 0j}, seq_idx=ids)


# --- models ---


METHODS = {
    "none": None,
    "lora": LoRA(rank=2),
    "initial_state": InitialState(conv=True),
    "state_offset": method_config("state_offset"),
    "additional_scan": method_config("additional_scan", states=2),
}


@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("recompute", [False, "light", True])
def test_a_model_reads_packed_sequences_one_by_one(tiny, layer, name, recompute):
    """Logits, states (the convolution's windows among them) and gradients, under every kind of method."""
    model = tiny(layer)
    model.set_recompute(recompute)
    if METHODS[name] is not None:
        handle = apply(model, METHODS[name])
        g = torch.Generator().manual_seed(3)
        handle.set_values({k: v + 0.3 * torch.randn(v.shape, generator=g).to(v) for k, v in handle.values().items()})
    tokens = torch.randint(0, 19, (2, 9), generator=torch.Generator().manual_seed(1))
    trained = [p for p in model.parameters() if p.requires_grad]
    packed, states = model(tokens, seq_idx=IDS, return_states=True)
    pieces = [model(tokens[row : row + 1, a:b], return_states=True) for row, a, b in SPANS]
    together = torch.cat([packed[row, a:b] for row, a, b in SPANS])
    alone_ = torch.cat([logits[0] for logits, _ in pieces])
    assert torch.allclose(together, alone_, rtol=1e-9, atol=1e-10)
    for block, state in enumerate(states):
        for entry in ("conv", "ssm", "extra"):
            value = getattr(state, entry)
            if value is not None:
                assert torch.allclose(value, torch.cat([getattr(left[block], entry) for _, left in pieces]), rtol=1e-9)
    grads = [torch.autograd.grad(v.square().mean(), trained) for v in (together, alone_)]
    assert all(torch.allclose(a, b, rtol=1e-8, atol=1e-10) for a, b in zip(*grads, strict=True))
    assert not torch.allclose(torch.cat([model(tokens)[row, a:b] for row, a, b in SPANS]), together)


@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
def test_a_model_goes_on_from_packed_states(tiny, layer):
    model = tiny(layer)
    tokens = torch.randint(0, 19, (1, 8), generator=torch.Generator().manual_seed(1))
    first, states = model(tokens[:, :5], cu_seqlens=torch.tensor([0, 2, 5]), return_states=True)
    second = model(tokens[:, 5:], cu_seqlens=torch.tensor([0, 2, 3]), states=states)
    for number, order in enumerate(((0, 1, 5, 6), (2, 3, 4, 7))):
        whole = model(tokens[:, list(order)])
        split = torch.cat([first[:, order[: 2 + number]], second[:, [i - 5 for i in order[2 + number :]]]], 1)
        assert torch.allclose(split, whole, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("config", [Prefix(tokens=2), Prompt(tokens=2)], ids=["prefix", "prompt"])
def test_tokens_are_compiled_before_packing(tiny, config):
    model = tiny("Mamba1")
    handle = apply(model, config)
    tokens = torch.randint(0, 19, (2, 9), generator=torch.Generator().manual_seed(1))
    expected = [model(tokens[row : row + 1, a:b]) for row, a, b in SPANS]
    with pytest.raises(InvalidInput, match=r"no place inside packed sequences; compile_prefix\(handle\)"):
        model(tokens, seq_idx=IDS)
    compile_prefix(handle)
    packed = model(tokens, seq_idx=IDS)
    for (row, a, b), alone_ in zip(SPANS, expected, strict=True):
        assert torch.allclose(packed[row : row + 1, a:b], alone_, rtol=1e-8, atol=1e-9)


def lengths_of(side):
    """Four rows of nine tokens and where each one's sequence lies."""
    return {
        "left": ((4, 9), (0, 9), (7, 9), (8, 9)),
        "right": ((0, 5), (0, 9), (0, 2), (0, 1)),
        "both": ((2, 6), (0, 9), (3, 4), (0, 7)),
    }[side]


@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
@pytest.mark.parametrize("side", ["left", "right", "both"])
@pytest.mark.parametrize("states", [False, True])
def test_padding_changes_nothing(tiny, layer, side, states):
    """Logits, states and gradients of each row are those of its sequence alone, whatever the padding's tokens."""
    model = tiny(layer)
    tokens = torch.randint(0, 19, (4, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(4, 9, dtype=torch.int64)
    for row, (start, stop) in enumerate(lengths_of(side)):
        mask[row, start:stop] = 1
    alone = [model(tokens[row : row + 1, a:b], return_states=True) for row, (a, b) in enumerate(lengths_of(side))]
    expected = torch.cat([logits[0] for logits, _ in alone])
    for other in (tokens, torch.where(mask.bool(), tokens, (tokens + 7) % 19)):
        result = model(other, attention_mask=mask, return_states=states)
        logits = result[0] if states else result
        got = logits[mask.bool()]
        assert torch.allclose(got, expected, rtol=1e-9, atol=1e-10)
        if states:
            for block, state in enumerate(result[1]):
                assert torch.allclose(state.ssm, torch.cat([left[block].ssm for _, left in alone]), rtol=1e-9)
                assert torch.allclose(state.conv, torch.cat([left[block].conv for _, left in alone]), rtol=1e-9)
        trained = list(model.parameters())
        grads = [torch.autograd.grad(v.square().sum(), trained, retain_graph=True) for v in (got, expected)]
        assert all(torch.allclose(a, b, rtol=1e-8, atol=1e-10) for a, b in zip(*grads, strict=True))
    if side != "right":  # padding in front does reach what is behind it, where nobody says that it is padding
        assert not torch.allclose(model(tokens)[mask.bool()], expected)


def test_a_mask_that_cuts_nothing_is_none():
    shape = (2, 3)
    behind = torch.tensor([[1, 1, 1], [1, 0, 0]])
    assert Packing.of_mask(torch.ones(shape), shape) is None
    assert Packing.of_mask(behind, shape, ends=False) is None
    assert Packing.of_mask(behind, shape) == Packing(shape, ((0, 0, 3), (1, 0, 1)))
    assert Packing.of_mask(behind.flip(1).bool(), shape, ends=False) == Packing(shape, ((0, 0, 3), (1, 2, 3)))


def test_bad_masks(tiny):
    model = tiny("Mamba1")
    tokens = torch.zeros(2, 3, dtype=torch.int64)
    for mask, message in [
        (torch.tensor([[1, 1, 1], [1, 0, 1]]), "row 1 of attention_mask is no run of ones"),
        (torch.tensor([[0, 0, 0], [1, 1, 1]]), "row 0 of attention_mask is no run of ones"),
        (torch.ones(2, 4), r"attention_mask has shape \(2, 4\), expected \(batch, L\) = \(2, 3\)"),
        ([[1, 1, 1]] * 2, "attention_mask has type list"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            model(tokens, attention_mask=mask)
    with pytest.raises(InvalidInput, match="one sequence a row"):
        model(tokens, attention_mask=torch.ones(2, 3), seq_idx=torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(InvalidInput, match="input_ids is list"):
        model([[1, 2]], attention_mask=torch.ones(1, 2))
