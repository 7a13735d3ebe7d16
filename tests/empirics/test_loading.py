"""Models from folders, files and the hub in both layouts, and every way in which a checkpoint can be wrong."""

from __future__ import annotations

import json
import os
import pickle
import sys
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import load_file, save_file  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402

import empirics  # noqa: E402
from empirics.errors import CheckpointError, InvalidInput, MissingPackage, UnknownName, UnsupportedScan  # noqa: E402
from empirics.models import (  # noqa: E402
    SIZES,
    MambaConfig,
    MambaLM,
    MixerHook,
    PromptHook,
    load_model,
    loading,
    n_parameters,
    save_model,
    size_config,
)
from empirics.models.layouts import read_config  # noqa: E402

torch.set_num_threads(1)
LAYERS = ("Mamba1", "Mamba2")
IDS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])


def same(a: MambaLM, b: MambaLM) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours) and torch.equal(a(IDS), b(IDS))


@pytest.fixture
def saved(tiny, tmp_path):
    """A saved float32 model and its folder."""
    model = tiny("Mamba1", dtype=torch.float32)
    return model, save_model(model, tmp_path / "model")


def rewrite(folder, **changes):
    path = folder / "config.json"
    raw = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in raw.items() if v != "absent"}))


# --- round trips ---


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_round_trip(tiny, layer, dtype, tmp_path):
    model = tiny(layer, dtype=dtype)
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert again.config == model.config and same(again, model) and not again.training
    assert again.lm_head.weight is again.backbone.embedding.weight
    assert {p.dtype for p in again.parameters()} == {dtype} and all(p.requires_grad for p in again.parameters())
    assert sorted(os.listdir(tmp_path)) == ["config.json", "model.safetensors"]
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o644
    assert same(load_model(tmp_path / "model.safetensors"), model)  # the configuration is inside as well
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")


def test_untied_and_options(tmp_path):
    torch.manual_seed(0)
    options = {"layer": "Mamba2", "headdim": 4, "d_state": 5, "dt_limit": (0.0, float("inf")), "rmsnorm": False, "bias": True}
    model = MambaLM(MambaConfig(8, 1, 13, options, rms_norm=False, tie_embeddings=False, norm_epsilon=1e-3))
    save_model(model, tmp_path)
    again = load_model(str(tmp_path))
    assert same(again, model) and again.config == model.config
    assert again.lm_head.weight is not again.backbone.embedding.weight


def test_dtype_and_scan(saved, tiny, tmp_path):
    model, folder = saved
    half = load_model(folder, dtype=torch.bfloat16, scan="oracle")
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16} and {m.scan for m in half.mixers} == {"oracle"}
    assert (half(IDS).float() - model(IDS)).abs().max() < 0.1 * model(IDS).abs().max()
    with pytest.raises(InvalidInput, match="dtype is torch"):
        load_model(folder, dtype=torch.int8)
    with pytest.raises(UnknownName, match="did you mean 'oracle'"):
        load_model(folder, scan="oracl")
    other = save_model(tiny("Mamba2", dtype=torch.float32), tmp_path / "other")
    with pytest.raises(UnsupportedScan, match="exists for Mamba-1 only"):
        load_model(other, scan="fused")
    assert empirics.load_model is load_model and empirics.save_model is save_model


def test_a_failed_save_leaves_the_old_model(saved, monkeypatch):
    model, folder = saved
    other = MambaLM(model.config)

    def explode(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("empirics.tensors.save_file", explode)
    with pytest.raises(OSError, match="disk full"):
        save_model(other, folder)
    assert same(load_model(folder), model) and sorted(os.listdir(folder)) == ["config.json", "model.safetensors"]


def test_save_refuses_a_model_with_a_method_on_it(tiny, tmp_path):
    model = tiny("Mamba1")
    model.mixers[1].hook = MixerHook()
    with pytest.raises(InvalidInput, match=r"at backbone.layers.1.mixer; merge or remove"):
        save_model(model, tmp_path)
    model.mixers[1].hook = None
    model.prompt_tokens = PromptHook()
    with pytest.raises(InvalidInput, match="prompt_tokens"):
        save_model(model, tmp_path)
    model.prompt_tokens = None
    parametrizations.weight_norm(model.mixers[0].in_proj)
    with pytest.raises(InvalidInput, match=r"mixer.in_proj"):
        save_model(model, tmp_path)
    assert not os.listdir(tmp_path)


# --- other people's layouts ---


def state_spaces_folder(model, folder, **config):
    """As mamba-ssm's save_pretrained writes it: a pickled state dict with both names of the tied tensor."""
    folder.mkdir(exist_ok=True)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    raw = {
        "d_model": 8,
        "d_intermediate": 0,
        "n_layer": 2,
        "vocab_size": 19,
        "ssm_cfg": {"d_state": 4, "dt_rank": 2, "use_fast_path": True},
        "attn_layer_idx": [],
        "attn_cfg": {},
        "rms_norm": True,
        "residual_in_fp32": True,
        "fused_add_norm": True,
        "pad_vocab_size_multiple": 1,
        "tie_embeddings": True,
    }
    (folder / "config.json").write_text(json.dumps({**raw, **config}))
    return folder


def test_state_spaces_layout(tiny, tmp_path):
    model = tiny("Mamba1", dtype=torch.float32)
    assert same(load_model(state_spaces_folder(model, tmp_path)), model)


def transformers_model(layer):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    common = {"vocab_size": 19, "hidden_size": 8, "num_hidden_layers": 2, "layer_norm_epsilon": 1e-4}
    if layer == "Mamba1":
        config = transformers.MambaConfig(**common, state_size=4, conv_kernel=3, use_bias=True)
        model = transformers.MambaForCausalLM(config)
    else:
        config = transformers.Mamba2Config(**common, state_size=4, num_heads=4, head_dim=4, n_groups=2, chunk_size=8)
        model = transformers.Mamba2ForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("shard", [None, "4KB"])
def test_transformers_layout(layer, shard, tmp_path):
    theirs = transformers_model(layer)
    theirs.save_pretrained(tmp_path, **({"max_shard_size": shard} if shard else {}))
    assert ((tmp_path / "model.safetensors.index.json").exists()) == bool(shard)
    ours = load_model(tmp_path)
    with torch.no_grad():
        reference = theirs(IDS).logits
        assert (ours(IDS) - reference).abs().max() <= 1e-5 * reference.abs().max()
    assert ours.config.tie_embeddings == (layer == "Mamba1")


def test_transformers_backbone_alone_and_pickled(tmp_path):
    theirs = transformers_model("Mamba1")
    theirs.config.save_pretrained(tmp_path)
    state = theirs.backbone.state_dict()  # no prefix, no lm_head
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert torch.allclose(load_model(tmp_path)(IDS), theirs(IDS).logits, atol=1e-5)
    (tmp_path / "pytorch_model.bin").unlink()
    half = len(state) // 2
    for part, names in (("a.bin", list(state)[:half]), ("b.bin", list(state)[half:])):
        torch.save({n: state[n].clone() for n in names}, tmp_path / part)
    weight_map = {n: "a.bin" if i < half else "b.bin" for i, n in enumerate(state)}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert torch.allclose(load_model(tmp_path)(IDS), theirs(IDS).logits, atol=1e-5)


def test_infinite_time_step_limit():
    base = {"model_type": "mamba2", "hidden_size": 64, "num_hidden_layers": 1, "vocab_size": 5, "n_groups": 1}
    for limit in ([0.0, float("inf")], [0.0, {"__float__": "Infinity"}]):
        assert read_config({**base, "time_step_limit": limit}).mixer.dt_limit == (0.0, float("inf"))


# --- the hub ---


class Hub:
    """huggingface_hub.hf_hub_download against a folder."""

    def __init__(self, folder):
        self.folder, self.asked = folder, []

    def __call__(self, name, file, revision=None, local_files_only=False):
        from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError, RepositoryNotFoundError

        self.asked.append(file)
        self.cache_only = local_files_only
        not_found = SimpleNamespace(headers={}, status_code=404, request=None)
        if name == "offline/model":
            raise LocalEntryNotFoundError("no network and not in the cache")
        if name != "state-spaces/mamba-tiny":
            raise RepositoryNotFoundError("404 Client Error", response=not_found)
        if not (self.folder / file).exists():
            raise RemoteEntryNotFoundError("404 Client Error", response=not_found)
        return str(self.folder / file)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    served = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", served)
    return served


@pytest.mark.parametrize("proxy", [False, True])
@pytest.mark.parametrize("found", [False, True])
def test_without_an_address_of_the_hub_only_the_cache_is_asked(hub, monkeypatch, found, proxy):
    """Behind a proxy, which looks names up itself, the hub is asked all the same."""
    from empirics.models import hub_files

    looked_up = []

    def lookup(host, port):
        looked_up.append(host)
        if not found:
            raise OSError(-2, "Name or service not known")

    monkeypatch.setattr(hub_files, "getproxies", lambda: {"https": "proxy:1"} if proxy else {})
    monkeypatch.setattr(hub_files.socket, "getaddrinfo", lookup)
    with pytest.raises(CheckpointError, match="offline/model"):
        load_model("offline/model")
    assert hub.cache_only == (not found and not proxy)
    assert len(looked_up) == (0 if proxy else 1)


def test_by_hub_name(hub, tiny):
    model = tiny("Mamba1", dtype=torch.float32)
    state_spaces_folder(model, hub.folder)
    assert same(load_model("state-spaces/mamba-tiny"), model)
    assert hub.asked == ["config.json", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"]
    hub.asked.clear()
    save_model(model, hub.folder)
    assert same(load_model("state-spaces/mamba-tiny", revision="main"), model)
    assert hub.asked == ["config.json", "model.safetensors"]  # and nothing pickled once there is safetensors


def test_by_hub_name_in_parts(hub):
    theirs = transformers_model("Mamba1")
    theirs.save_pretrained(hub.folder, max_shard_size="4KB")
    assert torch.allclose(load_model("state-spaces/mamba-tiny")(IDS), theirs(IDS).logits, atol=1e-5)
    assert sum(f.startswith("model-0") for f in hub.asked) == len(list(hub.folder.glob("model-0*")))


def test_hub_errors(hub, monkeypatch, tiny):
    with pytest.raises(CheckpointError, match=r"cannot get nobody/nothing from the hub \(RepositoryNotFoundError"):
        load_model("nobody/nothing")
    with pytest.raises(CheckpointError, match=r"offline/model.*not in the cache.*check the name and the network"):
        load_model("offline/model")
    state_spaces_folder(tiny("Mamba1"), hub.folder)
    (hub.folder / "pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match="has no weights; expected one of"):
        load_model("state-spaces/mamba-tiny")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingPackage, match="huggingface_hub is not importable"):
        load_model("state-spaces/mamba-tiny")


# --- what can be wrong ---


@pytest.mark.parametrize("name", ["nowhere", "/no/such/folder", "a/b/c", "./model"])
def test_nothing_there(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"does not exist|cannot read config.json"):
        load_model(name)


def test_an_empty_name():
    with pytest.raises(CheckpointError, match="name is empty; give a folder"):
        load_model("")


@pytest.mark.parametrize("keep", [0, 4, 50, -1])
def test_truncated_safetensors(saved, keep):
    _, folder = saved
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    for where in (folder, path):
        with pytest.raises(CheckpointError, match=r"cannot read .*model.safetensors"):
            load_model(where)


def test_corrupt_header(saved):
    _, folder = saved
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[20:40] = b"\xff" * 20
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot read"):
        load_model(folder)


def test_missing_files(saved, tmp_path):
    _, folder = saved
    lone = tmp_path / "lone.safetensors"
    save_file(load_file(folder / "model.safetensors"), lone)  # without the configuration
    with pytest.raises(CheckpointError, match=r"holds no configuration and .*config.json does not exist"):
        load_model(lone)
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    assert load_model(lone).config.d_model == 8
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="has no weights; expected one of"):
        load_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"cannot read .*config.json"):
        load_model(folder)
    with pytest.raises(CheckpointError, match="no safetensors file"):
        load_model(__file__)


class Evil:
    def __reduce__(self):
        return (os.mkdir, (self.path,))

    def __init__(self, path):
        self.path = path


def test_a_pickle_with_code_is_not_run(tiny, tmp_path, recwarn):
    folder = state_spaces_folder(tiny("Mamba1"), tmp_path / "m")
    mark = tmp_path / "owned"
    for write in (lambda v, p: torch.save(v, p), lambda v, p: p.write_bytes(pickle.dumps(v, protocol=2))):
        write({"backbone.embedding.weight": Evil(str(mark))}, folder / "pytorch_model.bin")
        with pytest.raises(CheckpointError, match=r"more than tensors, which is never unpickled"):
            load_model(folder)
        assert not mark.exists()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Evil(str(mark))}, protocol=4))
    with pytest.raises(CheckpointError, match=r"more than tensors, which is never unpickled"):
        load_model(folder)
    assert not mark.exists() and not list(recwarn)  # PyTorch warns of the protocol, in three lines


@pytest.mark.parametrize("keep", [0, 100, -200])
def test_truncated_pickle(tiny, tmp_path, keep):
    folder = state_spaces_folder(tiny("Mamba1"), tmp_path)
    path = folder / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin"):
        load_model(folder)


def test_a_pickle_of_something_else(tiny, tmp_path):
    folder = state_spaces_folder(tiny("Mamba1"), tmp_path)
    torch.save({"model": {}, "step": 3}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="no state dict of tensors"):
        load_model(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no readable JSON"),
        ("[1]", "a list instead of a JSON object"),
        ("{}", "neither d_model .* nor hidden_size"),
        ('{"d_model": 8}', "'n_layer' is missing"),
        (
            '{"d_model": 8, "n_layer": 2, "vocab_size": 19, "attn_layer_idx": [1]}',
            r"attn_layer_idx = \[1\]: only models made of Mamba",
        ),
        ('{"d_model": 8, "n_layer": 2, "vocab_size": 19, "d_intermediate": 64}', "d_intermediate = 64"),
        ('{"d_model": 8, "n_layer": 2, "vocab_size": 19, "colour": 3}', "unknown field 'colour'"),
        ('{"d_model": 8, "n_layer": 2, "vocab_size": 19, "ssm_cfg": {"layer": "Mamba3"}}', "unknown ssm_cfg layer"),
        ('{"d_model": -8, "n_layer": 2, "vocab_size": 19}', "d_model is -8"),
        ('{"hidden_size": 8, "model_type": "falcon_mamba"}', "model_type is 'falcon_mamba'"),
        ('{"hidden_size": 8, "model_type": "mamba", "hidden_act": "gelu"}', "hidden_act is 'gelu'"),
        ('{"hidden_size": 8, "model_type": "mamba", "num_hidden_layers": 2}', "'vocab_size' is missing"),
    ],
)
def test_bad_configurations(saved, text, message):
    _, folder = saved
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        load_model(folder)


def test_two_saves_in_one_folder(saved):
    _, folder = saved
    rewrite(folder, norm_epsilon=1e-4)
    with pytest.raises(CheckpointError, match="come from two different saves"):
        load_model(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.pop("backbone.layers.1.mixer.A_log"), r"layers.1.mixer.A_log is missing \(1 missing, 0 too many\)"),
        (lambda t: t.update({"backbone.layers.2.mixer.D": torch.ones(16)}), r"layers.2.mixer.D does not belong"),
        (lambda t: t.update({"backbone.layers.1.mixer.D": torch.ones(15)}), r"mixer.D is \(15,\), expected \(16,\)"),
        (lambda t: t["backbone.layers.0.mixer.D"].fill_(float("nan")), r"layers.0.mixer.D holds NaN"),
        (lambda t: t.update({"backbone.norm_f.weight": torch.ones(8, dtype=torch.int8)}), "quantised"),
        (lambda t: t.update({"lm_head.weight": torch.ones(19, 8)}), "differs from backbone.embedding.weight"),
        (lambda t: t.clear(), "backbone.embedding.weight is missing"),
    ],
)
def test_weights_that_do_not_fit(tiny, tmp_path, spoil, message):
    model = tiny("Mamba1", dtype=torch.float32)
    folder = state_spaces_folder(model, tmp_path)
    (folder / "pytorch_model.bin").unlink()
    tensors = {n: v.clone() for n, v in model.state_dict().items()}
    spoil(tensors)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_model(folder)


def test_bad_indices(tmp_path):
    theirs = transformers_model("Mamba1")
    theirs.save_pretrained(tmp_path, max_shard_size="4KB")
    index = tmp_path / "model.safetensors.index.json"
    good = json.loads(index.read_text())
    for raw, message in [
        ({"metadata": {}}, "no weight_map"),
        ({"weight_map": {**good["weight_map"], "x": next(iter(good["weight_map"].values()))}}, "lists x, which"),
        ({"weight_map": {"x": "../model.safetensors"}}, "points outside its folder"),
        ({"weight_map": {"x": "gone.safetensors"}}, r"cannot read .*gone.safetensors"),
    ]:
        index.write_text(json.dumps(raw))
        with pytest.raises(CheckpointError, match=message):
            load_model(tmp_path)


# --- published sizes ---


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("mamba-130m", 129_135_360),
        ("mamba-370m", 371_516_416),
        ("mamba-790m", 793_204_224),
        ("mamba-1.4b", 1_372_178_432),
        ("mamba-2.8b", 2_768_345_600),
        ("mamba2-130m", 128_989_632),
    ],
)
def test_published_sizes(name, count):
    """Counts of the published checkpoints' tensors (tied ones once)."""
    config = size_config(name)
    assert n_parameters(config) == count
    d, inner, rows, n, rank = config.d_model, 2 * config.d_model, config.padded_vocab_size, 16, -(-config.d_model // 16)
    if name.startswith("mamba-"):
        block = 3 * inner * d + inner * (4 + 1) + inner * (rank + 2 * n) + inner * rank + inner + inner * n + inner + d
        assert rows == 50280
    else:
        conv, heads = inner + 2 * 128, inner // 64
        block = (inner + conv + heads) * d + inner * d + 5 * conv + 3 * heads + inner + d
        assert rows == 50288
    assert count == rows * d + config.n_layer * block + d


def test_size_names():
    assert size_config("370m") is size_config("state-spaces/mamba-370m") is SIZES["mamba-370m"]
    assert size_config("mamba2-2.7b").d_model == 2560 and size_config("mamba2-2.7b").n_layer == 64
    with pytest.raises(UnknownName, match=r"did you mean 'mamba-2\.8b'"):
        size_config("mamba-2.9b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layer": 10**7}, "n_layer is 1e.07, expected at most 10,000"),
        ({"n_layer": 9999}, "tensors cannot be those of 9999 blocks"),
        ({"d_model": 10**12}, "d_model is 1e.12, expected at most"),
        ({"vocab_size": 10**15}, "vocab_size is 1e.15, expected at most"),
        ({"ssm_cfg": {"layer": "Mamba1", "expand": 1e308}}, "exceeds 16,777,216 channels"),
        ({"ssm_cfg": {"layer": "Mamba1", "d_state": 10**9}}, "d_state is 1e.09, expected at most"),
    ],
)
def test_absurd_sizes_are_refused_before_anything_is_built(saved, change, message, monkeypatch):
    _, folder = saved
    config = json.loads((folder / "config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors, folder / "model.safetensors")  # without the configuration inside
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    monkeypatch.setattr(loading, "MambaLM", lambda *arguments, **options: pytest.fail("built"))
    with pytest.raises(CheckpointError, match=message):
        load_model(folder)


@pytest.mark.parametrize("limit", [[{"x": 1}, 3], ["abc", 3], [1], 7])
def test_step_limits_of_another_form(limit):
    raw = {"model_type": "mamba2", "hidden_size": 64, "num_hidden_layers": 1, "vocab_size": 8, "time_step_limit": limit}
    with pytest.raises(CheckpointError, match="describes no model"):
        read_config(raw)


def test_an_index_of_something_else(saved):
    _, folder = saved
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": 3, "b": "x"}}))
    with pytest.raises(CheckpointError, match="no weight_map of file names"):
        load_model(folder)
