"""Recorded steps: on a CPU they are plain ones; on a GPU replays give what calls from Python give, and serve every shape."""

from __future__ import annotations

import copy
import gc
from contextlib import nullcontext

import pytest

torch = pytest.importorskip("torch")

from empirics.errors import InvalidInput, UnrecordableLoss  # noqa: E402
from empirics.methods import SDT, InitialState, LoRA, apply  # noqa: E402
from empirics.methods.scores import score  # noqa: E402
from empirics.methods.selection import select  # noqa: E402
from empirics.training import graphed, recording  # noqa: E402
from empirics.training.graphed import GraphedLoss  # noqa: E402


def next_token(model):
    def loss(tokens):
        logits = model(tokens)
        return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten())

    return loss


def batches(device, lengths=(9, 9, 12, 9)):
    g = torch.Generator().manual_seed(0)
    return [torch.randint(0, 19, (2, n), generator=g).to(device) for n in lengths]


def method(name, model):
    if name == "sdt":
        chosen = select(score("random", model), channels=0.5, states=0.5)
        return SDT(selection=chosen)
    targets = tuple(t for t in ("in_proj", "x_proj", "out_proj") if hasattr(model.mixers[0], t))
    return {"lora": LoRA(targets=targets, rank=2), "initial_state": InitialState()}[name]


def train(model, name, device, graphed):
    handle = apply(model, method(name, model))
    trained = list(handle.trainable().values())
    adamw = torch.optim.AdamW(trained, lr=1e-2)
    loss = next_token(model)
    step = GraphedLoss(loss, trained)
    losses = []
    for tokens in batches(device):
        if graphed:
            losses.append(step(tokens))
        else:
            adamw.zero_grad(set_to_none=True)
            value = loss(tokens)
            value.backward()
            losses.append(value.detach())
        adamw.step()
    return torch.stack(losses), [p.detach().clone() for p in trained], step


@pytest.mark.parametrize("name", ["lora", "sdt", "initial_state"])
def test_without_a_gpu_a_step_is_a_step(tiny, name):
    model = tiny("Mamba1", torch.float32)
    losses, ours, step = train(copy.deepcopy(model), name, "cpu", True)
    expected, theirs, _ = train(model, name, "cpu", False)
    assert torch.equal(losses, expected) and all(map(torch.equal, ours, theirs)) and not step.recordings
    assert losses.unique().numel() == 4


def test_what_has_no_part_in_the_loss_has_no_gradient():
    used, unused = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    unused.grad = torch.ones(2)
    step = GraphedLoss(lambda x: (x * used).sum(), [used, unused])
    for scale in (1.0, 2.0):  # the gradient of this call alone
        assert float(step(torch.full((2,), scale))) == 2 * scale
        assert used.grad.tolist() == [scale, scale] and unused.grad is None


def test_gradients_lie_as_their_parameters():
    """Fused optimisers refuse others ("must have same dtype, device, and layout"); a transpose that is copied gives them."""
    weight = torch.nn.Parameter(torch.arange(6.0).view(2, 3))
    x = torch.ones(3, 2)

    def loss(x):
        return (weight.t().contiguous() * x).pow(2).sum()

    (plain,) = torch.autograd.grad(loss(x), [weight])
    assert plain.stride() != weight.stride()  # else this test shows nothing
    GraphedLoss(loss, [weight])(x)
    assert weight.grad.stride() == weight.stride() and torch.equal(weight.grad, plain)


def test_gradients_are_apart_as_after_backward():
    """One gradient of two parameters, and one that is spread out of a single number: clipping scales each once."""
    g = torch.Generator().manual_seed(0)
    a, b, c = (torch.nn.Parameter(torch.randn(3, generator=g)) for _ in range(3))

    def loss(x):
        return ((a + b) * x).pow(2).sum() + c.sum() * x.sum()

    x = torch.randn(3, generator=g)
    loss(x).backward()
    expected = [p.grad.clone() for p in (a, b, c)]
    GraphedLoss(loss, [a, b, c])(x)
    assert all(torch.equal(p.grad, e) for p, e in zip((a, b, c), expected, strict=True)) and torch.equal(a.grad, b.grad)
    torch.nn.utils.clip_grad_norm_([a, b, c], 1.0)
    norm = sum(e.square().sum() for e in expected).sqrt()
    assert norm > 1 and all(torch.allclose(p.grad, e / norm, rtol=1e-4) for p, e in zip((a, b, c), expected, strict=True))


def test_arguments_are_only_read():
    weight = torch.nn.Parameter(torch.ones(2))
    x = torch.ones(2, requires_grad=True)
    GraphedLoss(lambda x: (x * weight).sum(), [weight])(x)
    assert x.grad is None and weight.grad.tolist() == [1, 1]


def test_the_recording_that_was_used_longest_ago_makes_room(monkeypatch):
    weight = torch.nn.Parameter(torch.ones(1))
    step = GraphedLoss(lambda x: x.sum() * weight, [weight], limit=2)
    made = []
    monkeypatch.setattr(step, "_record", lambda arguments: made.append(len(arguments[0])) or made[-1])
    for n in (1, 2, 1, 3, 1, 2):
        assert step._recording((torch.ones(n),)) == n
    assert made == [1, 2, 3, 2]  # the first to come would have gone first: 1, 2, 3, 1, 2
    step.limit = 1
    step._pool = "of graphs that go"
    step._recording((torch.ones(5),))
    assert step._pool is None and len(step.recordings) == 1


def test_bad_arguments_are_refused():
    with pytest.raises(InvalidInput, match="nothing to train"):
        GraphedLoss(torch.sum, [])
    with pytest.raises(InvalidInput, match="limit is 0"):
        GraphedLoss(torch.sum, [torch.nn.Parameter(torch.ones(1))], limit=0)


def fails(first, last=None):
    try:
        raise RuntimeError(first)
    finally:
        if last is not None:
            raise RuntimeError(last)


def refusal(*messages):
    with pytest.raises(UnrecordableLoss) as raised, recording._refusing("loss"):
        fails(*messages)
    return str(raised.value)


def test_a_refusal_tells_the_first_error_of_the_work_and_none_from_outside():
    assert "(reads a value)" in refusal("reads a value\nand more", "capture failed")
    try:
        raise ValueError("outside")
    except ValueError:
        assert "(reads a value)" in refusal("reads a value", "capture failed") and "(alone)" in refusal("alone")


@pytest.mark.parametrize("collecting", [True, False])
def test_nothing_is_collected_while_recording(collecting):
    before = gc.isenabled()
    try:
        (gc.enable if collecting else gc.disable)()
        with pytest.raises(RuntimeError, match="as it should"), recording._no_collecting():
            fails("collects" if gc.isenabled() else "as it should")
        assert gc.isenabled() == collecting
        with recording._no_collecting():
            assert not gc.isenabled()
    finally:
        (gc.enable if before else gc.disable)()


# --- what is around a recording, with a stand-in for it ---


class LikeAGraph:
    """Repeats work into the tensors that its first run returned, as a CUDA graph does."""

    def __init__(self, work):
        self.work, self.made = work, work()

    def replay(self):
        for own, new in zip(leaves(self.made), leaves(self.work()), strict=True):
            own.copy_(new)


def leaves(made):
    return [v for v in torch.utils._pytree.tree_leaves(made) if isinstance(v, torch.Tensor)]


@pytest.fixture
def recorded_here(monkeypatch):
    """Calls record and replay on a CPU; the list of what was recorded."""
    made = []

    def record(work, what, pool):
        for _ in range(recording.WARM_UP):
            work()
        made.append(LikeAGraph(work))
        return made[-1], made[-1].made

    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    monkeypatch.setattr(graphed, "record", record)
    return made


@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
@pytest.mark.parametrize("name", ["lora", "sdt", "initial_state"])
def test_replays_train_as_calls_do(tiny, name, layer, recorded_here):
    model = tiny(layer)
    losses, ours, step = train(copy.deepcopy(model), name, "cpu", True)
    assert len(recorded_here) == len(step.recordings) == 2, "two lengths"
    expected, theirs, _ = train(model, name, "cpu", False)
    assert torch.equal(losses, expected) and all(map(torch.equal, ours, theirs)) and losses.unique().numel() == 4


def test_a_recording_owns_what_it_reads_and_writes(recorded_here):
    weight, idle = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    step, x = GraphedLoss(lambda x: (x * weight).sum(), [weight, idle]), torch.full((2,), 3.0)
    first = step(x)
    kept = weight.grad
    assert first == 6 and kept.tolist() == [3, 3] and idle.grad is None
    x.fill_(5)
    (recording_,) = step.recordings.values()
    assert recording_.arguments[0].tolist() == [3, 3], "an argument is copied, and changed by nobody else"
    second = step(x)
    assert (first, second) == (6, 10) and weight.grad is kept and kept.tolist() == [5, 5], "written where they were"
    with torch.no_grad():
        weight.mul_(2)
    assert step(x) == 20 and len(recorded_here) == 1


def test_a_step_without_arguments_leaves_what_it_changed(monkeypatch, recorded_here):
    count, other = torch.zeros(2), torch.zeros(2)

    def advance():
        count.add_(1)
        other.copy_(count)

    replay = graphed.recorded(advance, [count, other])
    assert not count.any() and not other.any(), "as before the passes that warm up"
    replay()
    assert count.tolist() == other.tolist() == [1, 1]
    graphed.recorded(advance, [count])
    assert count.tolist() == [1, 1] and other.tolist() != [1, 1], "what is not named stays changed"

    def refused(work, what, pool):
        work()
        raise UnrecordableLoss("as it should")

    monkeypatch.setattr(graphed, "record", refused)
    with pytest.raises(UnrecordableLoss, match="as it should"):
        graphed.recorded(advance, [count, other])
    assert count.tolist() == [1, 1]


@pytest.mark.gpu
class TestOnAGpu:
    @pytest.mark.parametrize("recompute", [False, "light", True, "all"])
    @pytest.mark.parametrize("name", ["lora", "sdt", "initial_state"])
    def test_replays_give_what_calls_give(self, tiny, name, recompute):
        model = tiny("Mamba1", torch.float32, d_state=16).cuda()
        model.set_scan("fused")
        model.set_recompute(recompute)
        losses, ours, step = train(copy.deepcopy(model), name, "cuda", True)
        expected, theirs, _ = train(model, name, "cuda", False)
        assert len(step.recordings) == 2, "two lengths"
        assert torch.allclose(losses, expected, rtol=1e-5) and losses.unique().numel() == 4
        for got, wanted in zip(ours, theirs, strict=True):
            assert torch.allclose(got, wanted, rtol=1e-4, atol=1e-5)

    def test_the_oldest_recording_makes_room(self):
        weight = torch.nn.Parameter(torch.ones(1, device="cuda"))
        step = GraphedLoss(lambda x: (x * weight).sum(), [weight], limit=2)
        for n in (1, 2, 1, 3, 1, 2):
            assert float(step(torch.full((n,), 2.0, device="cuda"))) == 2 * n
            assert float(weight.grad) == 2 * n and len(step.recordings) <= 2

    @pytest.mark.parametrize("mistake", ["reads a value", "waits for the GPU"])
    def test_a_refused_loss_leaves_the_gpu_as_it_was(self, mistake):
        """The first is refused before a recording begins; the second breaks the recording off, and PyTorch with it."""

        def loss(x):
            if mistake == "reads a value":
                return weight.sum() * x.sum().item()
            torch.cuda.synchronize()
            return (weight * x).sum()

        weight = torch.nn.Parameter(torch.ones(1, device="cuda"))
        refused, x = GraphedLoss(loss, [weight]), torch.ones(2, device="cuda")
        stream, mode = torch.cuda.current_stream(), torch.cuda.get_sync_debug_mode()
        for _ in range(2):
            with pytest.raises(UnrecordableLoss, match="cannot be recorded as a CUDA graph"):
                refused(x)
            assert torch.cuda.current_stream() == stream and torch.cuda.get_sync_debug_mode() == mode
            torch.cuda.manual_seed(3)
            first = torch.randn(5, device="cuda")
            torch.cuda.manual_seed(3)
            assert torch.equal(torch.randn(5, device="cuda"), first) and not torch.equal(torch.randn(5, device="cuda"), first)
            assert (weight.detach() * 2).tolist() == [2.0]

    def test_an_older_graph_that_is_garbage_does_not_break_a_recording_off(self):
        weight = torch.nn.Parameter(torch.ones(1, device="cuda"))

        def loss(x):
            for _ in range(2000):  # enough new objects for several collections
                cycle = []
                cycle.append(cycle)
            return (weight * x).sum()

        older = GraphedLoss(loss, [weight])
        older(torch.ones(2, device="cuda"))
        older.itself = older
        del older
        assert float(GraphedLoss(loss, [weight])(torch.ones(3, device="cuda"))) == 3.0
        gc.collect()

    def test_random_numbers_of_recordings_go_on_after_a_refusal(self):
        weight = torch.nn.Parameter(torch.ones(1, device="cuda"))
        x = torch.ones(64, device="cuda")
        noisy = GraphedLoss(lambda x: (torch.nn.functional.dropout(x, 0.5) * weight).sum(), [weight])
        before = {float(noisy(x)) for _ in range(8)}

        def waits(x):
            torch.cuda.synchronize()
            return (weight * x).sum()

        with pytest.raises(UnrecordableLoss):
            GraphedLoss(waits, [weight])(x)
        after = {float(noisy(x)) for _ in range(8)}  # the graph of before
        longer = {float(noisy(torch.ones(65, device="cuda"))) for _ in range(8)}  # and one that shares its memory
        assert min(map(len, (before, after, longer))) > 1 and len(noisy.recordings) == 2

    def test_an_error_of_the_loss_itself_is_told_as_it_is(self):
        weight = torch.nn.Parameter(torch.ones(2, device="cuda"))
        with pytest.raises(RuntimeError, match="must match the size") as raised:
            GraphedLoss(lambda x: (weight * x).sum(), [weight])(torch.ones(3, device="cuda"))
        assert not isinstance(raised.value, UnrecordableLoss)
