"""Deep S4: kernel against recurrence against oracle, hooks, methods, and errors."""

from __future__ import annotations

import pytest
import torch

from empirics.errors import InvalidInput, UnknownName
from empirics.methods import apply, load, method_config
from empirics.methods.selection import Selection
from empirics.models.hooks import MixerHook
from empirics.models.s4 import DeepS4, DeepS4Config, S4Mixer
from empirics.models.state import MixerState
from empirics.oracle import s4d


def model(seed=0, layers=2, activation="relu"):
    torch.manual_seed(seed)
    return DeepS4(DeepS4Config(5, layers, 3, activation)).double().requires_grad_(True)


def sequence(length=7, batch=2, seed=1):
    return torch.randn(batch, length, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_published_parameter_count():
    assert sum(p.numel() * (2 if p.is_complex() else 1) for p in DeepS4(DeepS4Config()).parameters()) == 33_536


def test_conversions_keep_both_parts_of_complex_tensors():
    assert model().mixers()[0].C.dtype == torch.complex128
    torch.manual_seed(0)
    net = DeepS4(DeepS4Config(5, 1, 3))
    C = net.mixers()[0].C.detach().clone()
    assert torch.equal(net.to(torch.float64).mixers()[0].C.detach(), C.to(torch.complex128))
    apply(net, method_config("initial_state"))
    assert net.to(torch.float32).mixers()[0].hook.ssm.dtype == torch.complex64
    assert torch.equal(
        net.to(torch.bfloat16).mixers()[0].C.detach(), torch.view_as_complex(torch.view_as_real(C).bfloat16().float())
    )


@pytest.mark.parametrize("length", [1, 7, 600])
def test_chunked_is_the_recurrence(length):
    net, x = model(), sequence(length)
    fast, states = net(x, return_states=True)
    net.set_scan("oracle")
    slow, expected = net(x, return_states=True)
    assert torch.allclose(fast, slow, rtol=1e-9, atol=1e-9)
    assert all(torch.allclose(a.ssm, b.ssm, rtol=1e-9, atol=1e-9) for a, b in zip(states, expected, strict=True))


def test_layer_is_the_oracle_s4d():
    net, x = model(layers=1, activation="linear"), sequence()
    mixer = net.mixers()[0]
    A = torch.complex(-mixer.log_A_real.exp(), mixer.A_imag)
    y = s4d(x.transpose(1, 2), mixer.log_dt.exp(), A, torch.ones_like(A), mixer.C, mixer.D)
    assert torch.allclose(net(x), mixer.out_proj(y.transpose(1, 2)), rtol=1e-10)
    wrong = s4d(x.transpose(1, 2), mixer.log_dt.exp(), A, torch.ones_like(A), mixer.C.conj(), mixer.D)  # negative twin
    assert not torch.allclose(net(x), mixer.out_proj(wrong.transpose(1, 2)), rtol=1e-6)


def test_cut_anywhere_and_step():
    net, x = model(), sequence()
    whole = net(x)
    for cut in (1, 3, 6):
        first, states = net(x[:, :cut], return_states=True)
        second = net(x[:, cut:], states=states)
        assert torch.allclose(torch.cat([first, second], 1), whole, rtol=1e-10)
    states = net.new_states(2)
    outputs = []
    for t in range(x.shape[1]):
        y, states = net.step(x[:, t], states)
        outputs.append(y)
    assert torch.allclose(torch.stack(outputs, 1), whole, rtol=1e-10)


METHODS = {
    "lora": {"targets": ("out_proj",), "rank": 2},
    "dora": {"targets": ("out_proj",), "rank": 2},
    "bitfit": {},
    "initial_state": {},
    "state_offset": {},
    "prefix": {"tokens": 3},
    "full": {},
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_train_and_agree_with_the_recurrence(name, tmp_path):
    net, x = model(), sequence()
    base = net(x).detach()
    handle = apply(net, method_config(name, **METHODS[name]))
    if name != "prefix":
        assert torch.allclose(net(x), base, rtol=1e-10)
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    optimiser = torch.optim.AdamW(handle.trainable().values(), lr=1e-2, weight_decay=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        net(x).square().mean().backward()
        optimiser.step()
    trained = {id(p) for p in handle.trainable().values()}
    for n, p in net.named_parameters():
        assert torch.equal(p, before[n]) == (id(p) not in trained), n
    fast = net(x)
    handle.save(tmp_path / "adapter")
    net.set_scan("oracle")
    assert torch.allclose(net(x), fast, rtol=1e-8, atol=1e-10)
    handle.remove()
    net.set_scan("chunked")
    assert torch.equal(net(x).detach(), base)
    load(net, tmp_path / "adapter")
    assert torch.allclose(net(x), fast, rtol=1e-10)


@pytest.mark.parametrize("targets", [("C",), ("log_A_real", "A_imag"), ("C", "log_A_real", "A_imag", "out_proj")])
def test_real_lora_on_s4_parameters(targets):
    """The adapter is attached and trained: what the published baseline left out."""
    net, x = model(), sequence()
    base = net(x).detach()
    handle = apply(net, method_config("lora", targets=targets, rank=2))
    assert torch.allclose(net(x), base, rtol=1e-10)
    net(x).square().mean().backward()
    moved = [n for n, p in handle.trainable().items() if p.grad is not None and p.grad.abs().sum() > 0]
    assert len(moved) == len(handle.trainable()) // 2  # lora_B of every target; lora_A follows after the first step


def test_sdt_counts_and_gradients():
    net, x = model(), sequence()
    chosen = Selection.of({"layers.0": [(0, 1), (2, 0)], "layers.1": [(4, 2)]})
    handle = apply(net, method_config("sdt", selection=chosen, projection="columns"))
    # log_A_real, A_imag and complex C at 3 pairs; 2 + 1 columns of 5 entries
    assert handle.n_trainable == 3 * (1 + 1 + 2) + 3 * 5
    net(x).square().mean().backward()
    assert all(p.grad is not None for p in handle.trainable().values())


def test_one_initial_state_is_answered_like_many():
    net, x = model(layers=1), sequence()
    mixer = net.mixers()[0]
    h0 = torch.randn(5, 3, dtype=torch.complex128)

    class Start(MixerHook):
        def initial_state(self, batch):
            return MixerState(ssm=h0[None]).expand(batch)

    mixer.hook = Start()
    shared = net(x)
    mixer.hook = None
    copied = net(x, states=[MixerState(ssm=h0[None].repeat(2, 1, 1))])
    assert torch.allclose(shared, copied, rtol=1e-12)
    assert not torch.allclose(shared, net(x))


def test_errors():
    with pytest.raises(UnknownName, match="toeplitz"):
        DeepS4(DeepS4Config(), scan="toeplitz")
    with pytest.raises(InvalidInput, match="n_layer"):
        DeepS4Config(n_layer=0)
    with pytest.raises(UnknownName, match="relu"):
        DeepS4Config(activation="rel")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="2 layers"):
        model()(sequence(), states=[MixerState()])
    with pytest.raises(InvalidInput, match="d_model"):
        S4Mixer(4, 2)(sequence())
    with pytest.raises(InvalidInput, match="additional states"):
        apply(model(), method_config("additional_scan"))
    with pytest.raises(InvalidInput, match="projection"):
        apply(model(), method_config("sdt", selection=Selection.of({"layers.0": [(0, 0)]}), projection="entries"))


def test_scores_after_a_warm_up():
    """Change of exp(dt A) finds the one mode that was moved; the released magnitude does not look at changes."""
    from empirics.methods import scores

    net, x = model(layers=1), sequence()
    target = net(x).detach()
    with torch.no_grad():
        net.mixers()[0].A_imag[2, 1] += 5.0

    def loss(m, batch):
        return (m(batch) - target).square().mean()

    moved = scores.warm_up(net, loss, [x] * 5, 1e-2, targets=("log_A_real", "A_imag"))
    change = scores.score("change", net, moved=moved)["layers.0"].states
    assert change.shape == (5, 3)
    assert (change > 0).any()
    released = scores.score("magnitude", net, moved=moved)["layers.0"].states
    assert released.min() > 0
    for rule in ("gradient", "ablation"):
        with pytest.raises(InvalidInput, match="A_log"):
            scores.score(rule, net, moved=moved, loss=loss, batches=[x])
