"""Figures: the committed ones are up to date, a rebuild gives the same bytes, and every kind of staleness is noticed."""

from __future__ import annotations

import dataclasses
import io
import json
import pkgutil
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axis import Axis
from matplotlib.text import Text
from PIL import Image

from figures import sources, style
from figures.__main__ import main
from figures.build import MANIFEST, OUT, build, canonical, drawn_by, fingerprint, manifest, png_text, render, status, with_palette
from figures.plots import hankel
from figures.registry import chosen, pictures
from figures.sources import MissingData, check_data, command, committed, experiment, summary_path
from theory.core.errors import InvalidInput, UnknownName
from theory.formal import manifest as formal
from theory.relations.lattice import lattice
from theory.verification.registry import all_claims

ROOT = Path(__file__).resolve().parent.parent
CHEAP = "bench_scan_cpu"


@cache
def data_of(name: str) -> dict:
    """Computed once: a picture's data take seconds. Nobody changes them."""
    return canonical(pictures()[name].data())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("figures")
    build(CHEAP, pictures()[CHEAP], out)
    return out


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "out"))


@pytest.mark.parametrize("name", pictures())
def test_committed_figure_is_up_to_date(name: str):
    state = status(name, dataclasses.replace(pictures()[name], data=lambda: data_of(name)))
    assert not state.startswith("stale"), f"{name} is {state}; run python -m figures {name}"


def test_committed_files_are_those_of_the_manifest_and_small():
    listed = {file for record in manifest(OUT).values() for file in record["files"]}
    assert listed == {path.name for path in OUT.iterdir()} - {MANIFEST, "report.html"}
    assert set(manifest(OUT)) <= set(pictures())
    for file in listed:
        assert 5_000 < (OUT / file).stat().st_size < 200_000, file


def test_pictures_have_a_column_width_and_known_claims():
    claims = {c.id for c in all_claims()}
    for name, picture in pictures().items():
        assert set(picture.claims) <= claims, name
        assert callable(picture.height) or 1 < picture.height < 9, name
    for name in manifest(OUT):
        header = (OUT / f"{name}.png").read_bytes()[16:24]
        assert int.from_bytes(header[:4], "big") == round(pictures()[name].width * pictures()[name].dpi), name
        assert pictures()[name].width in (style.WIDTH, style.WIDE), name
        assert int.from_bytes(header[4:], "big") < 9 * pictures()[name].dpi, name


@pytest.mark.parametrize("name", pictures())
def test_text_is_readable(name: str):
    """No font below 7 pt, and no text that the page's edge cuts off."""
    picture = pictures()[name]
    try:
        data = data_of(name)
    except MissingData:
        pytest.skip(f"{name} has no data")
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(style.RC)
        figure = picture.drawn(data)
        figure.draw_without_rendering()
        width, height = figure.bbox.width, figure.bbox.height
        ticks = {t for axes in figure.findobj(Axis) for tick in axes.get_major_ticks() for t in (tick.label1, tick.label2)}
        texts = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible() and t not in ticks]
        assert texts
        for text in texts:
            box = text.get_window_extent()
            assert text.get_fontsize() >= style.SMALL, text.get_text()
            assert -1 <= box.x0 and box.x1 <= width + 1 and -1 <= box.y0 and box.y1 <= height + 1, text.get_text()


def test_lattice_knows_what_the_theory_knows_about_every_ordered_pair():
    picture, found = pictures()["lattice"], lattice()
    assert set(picture.claims) == {claim for fact in found.facts for claim in fact.claims}
    for system, content in data_of("lattice")["systems"].items():
        facts = [fact for fact in found.facts if fact.system == system]
        for pair, known in content["cells"].items():
            smaller, larger = pair.split()
            mine = [f for f in facts if (f.smaller, f.larger) == (smaller, larger)]
            assert set(known) == {"contained" if f.holds else "excluded" for f in mine}
            for relation, when in known.items():
                free = any(not f.conditions for f in mine if f.holds == (relation == "contained"))
                assert (when == "always") == free
        assert content["open"] == len(found.open_pairs(system))


def test_lattice_draws_one_mark_for_each_thing_known():
    """Marks, read back from the picture: squares, crosses and question marks; another fact, another mark."""
    picture = pictures()["lattice"]

    def marks(data: dict, system: str) -> dict[str, int]:
        axes = picture.drawn(data).axes[list(data["systems"]).index(system)]
        drawn = [line.get_marker() for line in axes.lines]
        return {marker: drawn.count(marker) for marker in ("s", "x", "$?$")}

    data = json.loads(json.dumps(data_of("lattice")))
    for system, content in data["systems"].items():
        cells = content["cells"].values()
        known = {relation: sum(relation in cell for cell in cells) for relation in ("contained", "excluded")}
        assert marks(data, system) == {"s": known["contained"], "x": known["excluded"], "$?$": sum(not cell for cell in cells)}
    before = marks(data, "deep S4")
    data["systems"]["deep S4"]["cells"]["prompt sdt"] = {"excluded": "always"}
    assert marks(data, "deep S4") == {**before, "x": before["x"] + 1, "$?$": before["$?$"] - 1}


def test_proof_status_has_a_square_for_every_part_with_the_letter_of_its_verdict():
    """Letters and bars, read back from the picture; another verdict, another letter."""
    picture, data = pictures()["proof_status"], json.loads(json.dumps(data_of("proof_status")))
    verdicts = committed("theory/verdicts.json", "make verify")["claims"]
    shown = {f"{family}.{claim['name']}": claim for family, claims in data["families"].items() for claim in claims}
    assert {c["id"]: [p["verdict"] for p in c["parts"]] for c in verdicts} == {
        name: [p["verdict"] for p in claim["parts"]] for name, claim in shown.items()
    }
    recorded = formal.load().entries
    assert data["theorems"] == len({e.theorem for e in recorded}) and sum(c["theorems"] > 0 for c in shown.values()) == len(
        {e.claim for e in recorded}
    )

    def drawn(data: dict) -> tuple[dict[str, int], int]:
        axes = picture.drawn(data).axes[0]
        letters = [t.get_text() for t in axes.texts if t.get_color() == "white"]
        return {letter: letters.count(letter) for letter in "FPENOX"}, sum(line.get_linewidth() == 1.3 for line in axes.lines)

    parts = [part for claim in shown.values() for part in claim["parts"]]
    letters, bars = drawn(data)
    assert all(letters[v[0]] == sum(p["verdict"] == v for p in parts) for v in ("FORMAL", "PROVED", "EXACT", "NUMERIC", "OPEN"))
    assert bars == sum(p["theorems"] > 0 and p["verdict"] != "FORMAL" for p in parts)
    formal_part = next(p for p in parts if p["verdict"] == "FORMAL")
    assert formal_part["theorems"], "FORMAL rests on theorems"
    formal_part["verdict"] = "EXACT"
    assert drawn(data) == ({**letters, "F": letters["F"] - 1, "E": letters["E"] + 1}, bars + 1)
    assert picture.says(data) != picture.says(data_of("proof_status"))


@pytest.mark.parametrize("name", pictures())
def test_every_figure_says_its_message_from_its_data(name: str):
    """One sentence without a full stop, above the picture, recorded with it, and the same for the same data."""
    try:
        data = data_of(name)
    except MissingData:
        pytest.skip(f"{name} has no data")
    message = pictures()[name].says(data)
    assert 20 < len(message) <= 150 and not message.endswith(".") and "\n" not in message and "Δ" not in message
    assert manifest(OUT)[name]["says"] == message


def test_messages_follow_the_data():
    data = json.loads(json.dumps(data_of("vision")))
    before = pictures()["vision"].says(data)
    for row in data["pairs"]:
        row["low"], row["high"] = -2.0, -1.0
    assert pictures()["vision"].says(data) != before
    assert "0 are there, 4 reversed" in pictures()["vision"].says(data)


def test_s4_regression_draws_our_runs_where_there_are_any():
    """Filled markers beside the published ones, rows below them; without runs, the command that makes them."""
    picture = pictures()["s4_regression"]
    methods = {"sdt": 0.3, "lora_s4_r4": 0.6, "sdt_random": 0.4}
    ours = [{"method": m, "trainable": 5000, "mean": v, "low": v - 0.1, "high": v + 0.1} for m, v in methods.items()]

    def drawn(data: dict) -> tuple[list[int], set[str]]:
        figure = picture.drawn(data)
        figure.draw_without_rendering()
        return [len(axes.lines) for axes in figure.axes], {t.get_text() for t in figure.findobj(Text) if t.get_text()}

    published = {key: data_of("s4_regression")[key] for key in ("published", "uncertainty")}
    (without,), words = drawn({**published, "ours": None, "command": "python -m empirics sweep s4_regression --out DIR"})
    assert any("no data yet" in w for w in words)
    (above, below), words = drawn({**published, "ours": ours, "seeds": 5})
    assert above == without + 1, "of the three, one has a published curve"
    assert below == 2 * len(ours) + 1, "marker and interval of each, and the frozen model"
    assert not any("no data yet" in w for w in words) and {"LoRA S4 r4", "SDT, random", "5.0 k"} <= words


def test_hankel_draws_the_diagnosis_of_the_bundled_model_and_of_no_other(tmp_path: Path):
    for path in (hankel.DIAGNOSIS, hankel.RECORD):
        (tmp_path / path).parent.mkdir(parents=True)
        shutil.copy(ROOT / path, tmp_path / path)
    diagnosis = json.loads((ROOT / hankel.DIAGNOSIS).read_text())
    layers = [row["hankel_relative_median"] for row in diagnosis["layers"]]
    assert hankel.bundled(tmp_path) == layers and data_of("hankel")["bundled"] == canonical(layers)
    figure = pictures()["hankel"].drawn(data_of("hankel"))
    drawn = [line.get_ydata().tolist() for line in figure.axes[0].lines if len(line.get_ydata()) == len(layers[0])]
    assert np.median(layers, axis=0).tolist() in drawn
    for change, error in (({"sha256": "0" * 64}, MissingData), ({}, InvalidInput)):
        (tmp_path / hankel.DIAGNOSIS).write_text(json.dumps({**diagnosis, "model": change}))
        with pytest.raises(error, match=r"run python -m empirics diagnose bundled --json empirics/diagnosis/bundled\.json"):
            hankel.bundled(tmp_path)
    (tmp_path / hankel.DIAGNOSIS).unlink()
    with pytest.raises(MissingData, match="diagnose bundled"):
        hankel.bundled(tmp_path)


def test_every_module_among_the_plots_is_a_figure():
    modules = {m.name for m in pkgutil.iter_modules([str(ROOT / "figures/plots")])}
    assert modules == set(pictures()) and len(modules) > 15


def test_same_data_same_bytes_and_other_data_other_bytes():
    picture = pictures()[CHEAP]
    data = canonical(picture.data())
    first, again = render(CHEAP, picture, data), render(CHEAP, picture, data)
    assert first == again
    other = json.loads(json.dumps(data))
    other["rows"][0]["forward_s"]["most"] *= 1.5
    changed = render(CHEAP, picture, other)
    assert all(changed[file] != first[file] for file in first)
    assert fingerprint(CHEAP, other) != fingerprint(CHEAP, data)


def test_the_fingerprint_covers_the_code_that_a_figure_borrows():
    def names(figure: str) -> list[str]:
        return [module.__name__.rpartition(".")[2] for module in drawn_by(figure)]

    assert names(CHEAP) == [CHEAP, "style"]
    assert names("lm_scores") == ["lm_scores", "dots", "lm_benchmark", "style"]
    assert names("scoreboard") == ["scoreboard", "scoreboard", "style"], "the rule of the fates is drawn, too"


def test_a_figure_without_data_names_the_command_that_makes_them():
    for name in set(pictures()) - set(manifest(OUT)):
        with pytest.raises(MissingData) as found:
            data_of(name)
        assert found.value.command == pictures()[name].needs, name


def test_fewer_colours_look_the_same():
    """White stays white, no pixel moves by more than 5 % of the scale, and there is room for fewer bytes."""
    picture, data = pictures()[CHEAP], canonical(pictures()[CHEAP].data())
    figure, full = picture.drawn(data), io.BytesIO()
    figure.savefig(full, format="png", metadata={"Inputs": "λ"})
    few = with_palette(full.getvalue())
    before, after = (np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), int) for png in (full.getvalue(), few))
    assert len(np.unique(before.reshape(-1, 3), axis=0)) > 256 >= len(np.unique(after.reshape(-1, 3), axis=0))
    assert np.abs(before - after).max() <= 12 and (after[0, 0] == 255).all()
    assert len(few) < 0.6 * len(full.getvalue()) and png_text(few)["Inputs"] == "λ"


def test_files_carry_the_fingerprint(built: Path):
    mark = manifest(built)[CHEAP]["inputs"]
    assert png_text((built / f"{CHEAP}.png").read_bytes())["Inputs"] == mark
    assert mark.encode() in (built / f"{CHEAP}.pdf").read_bytes()
    assert b"CreationDate" not in (built / f"{CHEAP}.pdf").read_bytes()
    with pytest.raises(InvalidInput, match="signature"):
        png_text(b"GIF89a")


def test_status_is_current_after_a_build(built: Path):
    assert status(CHEAP, pictures()[CHEAP], built) == "current"


def test_status_notices_changed_data(copy: Path):
    picture = pictures()[CHEAP]
    data = picture.data()
    data["rows"][0]["ratio"] += 0.01
    assert status(CHEAP, dataclasses.replace(picture, data=lambda: data), copy).startswith("stale: its data")


def test_status_notices_changed_missing_and_foreign_files(copy: Path):
    picture, png = pictures()[CHEAP], copy / f"{CHEAP}.png"
    content = png.read_bytes()
    png.write_bytes(content[:-1] + b"\0")
    assert "not the file that was built" in status(CHEAP, picture, copy)
    png.unlink()
    assert "is missing" in status(CHEAP, picture, copy)
    png.write_bytes(content)
    assert status(CHEAP, picture, copy) == "current"
    (copy / MANIFEST).unlink()
    assert status(CHEAP, picture, copy) == "stale: never built"


def test_without_data_nothing_is_drawn(tmp_path: Path, copy: Path):
    def nothing() -> dict[str, object]:
        raise MissingData("make verify")

    picture = dataclasses.replace(pictures()[CHEAP], data=nothing)
    assert status(CHEAP, picture, tmp_path) == "no data: run make verify"
    assert status(CHEAP, picture, copy).startswith("stale: its data are gone")
    with pytest.raises(MissingData):
        build(CHEAP, picture, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_data_must_be_finite_json():
    assert canonical({"a": (1 / 3, None, True)}) == {"a": [0.333333, None, True]}
    assert canonical(1.0000001) == 1.0 and canonical(1.00001) != 1.0
    for bad in (float("nan"), float("inf"), {1, 2}):
        with pytest.raises(InvalidInput):
            canonical([bad])


def _summary(path: Path, /, **more: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {"experiment": "e", "table": [{"x": 1}], "config": {"width": 2}, "seeds": [0], "scan": None, **more}
    path.write_text(json.dumps(table))


def test_full_size_results_are_preferred_and_quick_ones_labelled(tmp_path: Path):
    with pytest.raises(MissingData, match="run e --device cuda --out runs && python -m empirics collect e --out runs --into emp"):
        experiment("e", root=tmp_path)
    _summary(tmp_path / summary_path("e", quick=True))
    assert experiment("e", root=tmp_path).size == "quick size"
    with pytest.raises(MissingData):
        experiment("e", accept_quick=False, root=tmp_path)
    _summary(tmp_path / summary_path("e"), table=[])
    assert experiment("e", root=tmp_path).quick, "a summary without a finished run is no data"
    for made_on, asked_for in (("NVIDIA H200", "cuda"), ("cpu", "cpu")):
        _summary(tmp_path / summary_path("e"), device=made_on)
        assert f"run e --device {asked_for} --out" in command("e", root=tmp_path)
    _summary(tmp_path / summary_path("e"), table=[], comparisons=[{"name": "a - b"}])
    assert not experiment("e", root=tmp_path).quick, "a judgement may have comparisons and no table"
    _summary(tmp_path / summary_path("e"))
    found = experiment("e", root=tmp_path)
    assert not found.quick and found.size == "" and found.runs == ()


def test_only_runs_of_the_summary_are_read(tmp_path: Path):
    path = tmp_path / summary_path("e")
    _summary(path)
    lines: list[dict[str, object]] = [{"config": {"other": 1}}]
    for name, width, seed, state, scan in (
        ("a", 2, 0, "finished", None),
        ("b", 3, 0, "finished", None),
        ("c", 2, 1, "finished", None),
        ("d", 2, 0, "failed", None),
        ("e", 2, 0, "finished", "fused"),
    ):
        lines.append({"config": {"width": width}, "seed": seed, "status": state, "scan": scan, "name": name})
    path.with_name(sources.RUNS).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (run,) = experiment("e", root=tmp_path).runs
    assert run["name"] == "a" and run["config"] == {"other": 1, "width": 2}
    path.with_name(sources.RUNS).write_text('{"config": {}}\n{"seed": 0}\n')
    with pytest.raises(InvalidInput, match="is no file of runs"):
        experiment("e", root=tmp_path)


def test_unusable_results_are_named(tmp_path: Path):
    path = tmp_path / summary_path("e")
    path.parent.mkdir(parents=True)
    path.write_text("[]")
    with pytest.raises(InvalidInput, match="no summary"):
        experiment("e", root=tmp_path)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InvalidInput, match=r"broken\.json"):
        committed("broken.json", "make verify", tmp_path)
    with pytest.raises(InvalidInput, match="no such check"):
        check_data("prefix_state.finite_precision", "no such check")


def test_unknown_name_gives_the_nearest():
    with pytest.raises(UnknownName, match="hankel"):
        chosen(["hankl"])
    assert list(chosen([CHEAP, CHEAP])) == [CHEAP]


def test_command_line(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([CHEAP, "--check", "--out", str(copy)]) == 0
    assert main([CHEAP, "--list", "--out", str(copy)]) == 0
    assert "current" in capsys.readouterr().out
    (copy / f"{CHEAP}.pdf").unlink()
    assert main([CHEAP, "--check", "--out", str(copy)]) == 1
    assert f"{CHEAP}.pdf is missing" in capsys.readouterr().out
    assert main([CHEAP, "--stale", "--out", str(copy)]) == 0
    assert capsys.readouterr().out == f"{CHEAP:16} built\n" and (copy / f"{CHEAP}.pdf").is_file()
    assert main([CHEAP, "--stale", "--out", str(copy)]) == 0
    assert capsys.readouterr().out == "every figure is up to date\n"
    assert main(["hankl"]) == 2
    assert "did you mean hankel" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main([CHEAP, "--out", str(tmp_path / "file")]) == 2
    assert "is a file" in capsys.readouterr().err


def test_figures_load_no_torch():
    code = (
        "import sys; from figures.registry import pictures; pictures(); sys.exit(bool({'torch', 'empirics'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_model_sizes_stand_smallest_first():
    from figures.plots.bench_model import smallest_first

    assert list(smallest_first({"1.4b": 1, "130m": 2, "mamba2-370m": 3, "tiny": 4})) == ["tiny", "130m", "mamba2-370m", "1.4b"]


@pytest.mark.parametrize(
    "wrong", [TypeError("text"), ValueError("null"), KeyError("low"), AttributeError("none"), OverflowError("x")]
)
def test_data_of_another_form_are_named_not_traced(tmp_path: Path, wrong: Exception):
    """Text or null where a number should be: one line that names the figure and its sources, and nothing is written."""

    def data() -> dict[str, object]:
        raise wrong

    picture = dataclasses.replace(pictures()[CHEAP], data=data)
    with pytest.raises(
        InvalidInput, match=rf"figure {CHEAP} cannot be drawn from .* \({type(wrong).__name__}: .*test_figures\.py"
    ):
        build(CHEAP, picture, tmp_path)
    assert not list(tmp_path.iterdir())
