"""The command ``convert``: checkpoints between mamba-ssm's layout and transformers', with an adapter merged in if asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from theory.core.files import require_writable, write_text

from .. import options
from ..errors import InvalidInput
from ..methods.handle import load
from ..models.hub import save_hub
from ..models.lm import MambaLM
from ..models.loading import CONFIG, load_model, save_model

LARGEST = 4 * 2**30
"""Bytes of a file of weights."""

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt")
"""Files that say how text becomes tokens; they go along unchanged."""

_EPSILON = 1e-5

LOAD_MAMBA_SSM = """\
from mamba_ssm.models.config_mamba import MambaConfig
from mamba_ssm.models.mixer_seq_simple import MambaLMHeadModel
model = MambaLMHeadModel(MambaConfig(**json.load(open("{folder}/config.json"))), device="cuda")
model.load_state_dict(safetensors.torch.load_file("{folder}/model.safetensors"), strict=False); model.tie_weights()"""


def save_mamba_ssm(model: MambaLM, folder: Path) -> Path:
    """Write config.json with mamba-ssm's fields, and model.safetensors.

    mamba-ssm itself reads pickles only, so the weights are put into its model by hand (:data:`LOAD_MAMBA_SSM`).

    Raises
    ------
    InvalidInput
        The model has another norm_epsilon than mamba-ssm.
    """
    if model.config.norm_epsilon != _EPSILON:
        raise InvalidInput(
            f"norm_epsilon is {model.config.norm_epsilon}; mamba-ssm's models have {_EPSILON}: keep transformers' layout"
        )
    save_model(model, folder)
    fields = {name: value for name, value in model.config.to_dict().items() if name != "norm_epsilon"}
    write_text(folder / CONFIG, json.dumps(fields, indent=1) + "\n")
    return folder


def main_convert(argv: Sequence[str]) -> int:
    """Run the command; returns 0. Bad input raises an EmpiricsError."""
    args = options.convert().parse_args(list(argv))
    source = Path(args.model)
    own = source.parent if source.is_file() else source
    if own.is_dir() and args.out.resolve() == own.resolve():
        raise InvalidInput(f"--out {args.out} is the model's own folder; choose another one")
    require_writable(args.out, InvalidInput, "--out")
    model = load_model(args.model)
    if args.adapter is not None:
        load(model, args.adapter).merge()
    if args.to == "transformers":
        save_hub(model, args.out, LARGEST)
        print(f"{args.out}: AutoModelForCausalLM.from_pretrained({str(args.out)!r})")
    else:
        save_mamba_ssm(model, args.out)
        print(f"{args.out}:\n{LOAD_MAMBA_SSM.format(folder=args.out)}")
    for name in TOKENIZER:
        if (own / name).is_file():
            shutil.copyfile(own / name, args.out / name)
    return 0
