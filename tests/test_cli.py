"""The command line end to end, on a network that onnx ships."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from stowplan import cli
from stowplan.ir.plan import Plan

MODEL = "light:squeezenet"
KEYS = """status model target planner operators capacity_bytes peak_bytes offchip_bytes
    compulsory_bytes noncompulsory_bytes objective bound gap proven checked cycles wall_s"""


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


class Runner:
    """Runs the command line in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capfd = capfd

    def __call__(self, *arguments: str) -> Outcome:
        self._monkeypatch.setattr(sys, "argv", ["stowplan", *arguments])
        self._capfd.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            cli.main()
        captured = self._capfd.readouterr()
        return Outcome(int(exit_info.value.code or 0), captured.out, captured.err)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Runner:
    return Runner(monkeypatch, capfd)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one compilation, made by the installed command."""
    out = tmp_path_factory.mktemp("out") / "deep" / "er"
    arguments = ["compile", MODEL, "-p", "greedy", "--precision", "int8", "-o", str(out)]
    subprocess.run([sys.executable, "-m", "stowplan.cli", *arguments], check=True)
    return out


def test_compile_prints_one_json_object_with_the_documented_keys(run: Runner) -> None:
    outcome = run("compile", MODEL, "-p", "greedy", "--format", "json")
    assert outcome.code == 0
    result = json.loads(outcome.out)
    assert set(KEYS.split()) <= set(result)
    assert result["status"] == "ok" and result["checked"] is True
    assert result["offchip_bytes"] == result["compulsory_bytes"] + result["noncompulsory_bytes"]
    assert result["bound"] <= result["objective"] and result["cycles"] > 0
    assert result["peak_bytes"] <= result["capacity_bytes"]
    assert outcome.err == ""


def test_compile_prints_at_most_fifteen_lines_on_stdout(run: Runner) -> None:
    outcome = run("compile", MODEL, "-p", "greedy", "--prove")
    assert outcome.code == 0
    assert 5 <= len(outcome.out.splitlines()) <= 15
    assert "bit-identical" in outcome.out
    assert outcome.err == ""


def test_default_planner_is_the_best_one(run: Runner) -> None:
    result = json.loads(run("compile", MODEL, "--time-limit", "2", "--format", "json").out)
    assert result["planner"] == "exact"


@pytest.mark.parametrize(
    "asked", [("--objective", "energy"), ("--set", "weight_buffer.keeps=true")]
)
def test_default_planner_knows_what_is_asked(run: Runner, asked: tuple[str, str]) -> None:
    outcome = run("compile", MODEL, *asked, "--time-limit", "2", "--format", "json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["planner"] == "lns"


def test_out_folder_holds_every_file(folder: Path) -> None:
    names = {"plan.json", "report.json", "report.html", "memory_map.svg", "trace.json", "graph.txt"}
    assert {path.name for path in folder.iterdir()} == names
    report = json.loads((folder / "report.json").read_text())
    assert report["summary"]["status"] == "ok"
    assert len(report["operators"]) == report["summary"]["operators"]
    assert json.loads((folder / "trace.json").read_text())["traceEvents"]


def test_saved_plan_simulates_checks_and_proves_from_model_and_plan_alone(
    run: Runner, folder: Path
) -> None:
    plan = str(folder / "plan.json")
    report = json.loads((folder / "report.json").read_text())
    simulated = json.loads(run("simulate", MODEL, plan, "--format", "json").out)
    assert simulated["cycles"] == report["summary"]["cycles"]
    checked = run("check", MODEL, plan, "--format", "json")
    assert (checked.code, json.loads(checked.out)["violations"]) == (0, [])
    proved = run("prove", MODEL, plan, "--format", "json")
    assert proved.code == 0
    assert all(match["identical"] for match in json.loads(proved.out)["proof"]["outputs"])


def test_prove_plans_first_where_no_plan_is_given(run: Runner) -> None:
    outcome = run("prove", MODEL, "-p", "greedy")
    assert outcome.code == 0 and "bit-identical" in outcome.out


def test_corrupted_plan_is_reported_rule_by_rule(run: Runner, folder: Path, tmp_path: Path) -> None:
    text = json.loads((folder / "plan.json").read_text())
    text["order"][3], text["order"][4] = text["order"][4], text["order"][3]
    broken = tmp_path / "plan.json"
    broken.write_text(json.dumps(text))
    checked = run("check", MODEL, str(broken), "--format", "json")
    assert checked.code == 6
    found = json.loads(checked.out)
    assert found["status"] == "violations" and found["violations"]
    assert run("prove", MODEL, str(broken)).code == 6
    assert run("simulate", MODEL, str(broken)).code == 6


def test_plan_of_another_model_is_refused(run: Runner, folder: Path) -> None:
    outcome = run("simulate", "light:zfnet512", str(folder / "plan.json"))
    assert outcome.code == 2
    assert "another model" in outcome.err and "Traceback" not in outcome.err


def test_plan_for_another_target_is_refused(run: Runner, folder: Path, tmp_path: Path) -> None:
    text = json.loads((folder / "plan.json").read_text())
    text["origin"] = [
        [key, "gemmini-16x16" if key == "target" else value] for key, value in text["origin"]
    ]
    other = tmp_path / "plan.json"
    other.write_text(json.dumps(text))
    outcome = run("check", MODEL, str(other))
    assert outcome.code == 2 and "another target" in outcome.err


def test_what_does_not_fit_names_operator_and_smallest_scratchpad(
    run: Runner, tmp_path: Path
) -> None:
    whole = ("compile", MODEL, "-p", "greedy", "--tile", "never", "--set")
    arguments = (*whole, "scratchpad.size=64KiB")
    outcome = run(*arguments, "--format", "json", "-o", str(tmp_path / "out"))
    assert outcome.code == 5
    result = json.loads(outcome.out)
    assert result["status"] == "does_not_fit"
    assert result["peak_bytes"] is None and result["objective"] is None
    smallest = result["misfit"]["smallest_capacity_bytes"]
    assert result["misfit"]["operator"] and smallest > 64 << 10
    text = run(*arguments)
    assert text.code == 5 and result["misfit"]["operator"] in text.out
    assert run(*whole, f"scratchpad.size={smallest}").code == 0
    assert run(*whole, f"scratchpad.size={smallest - 64}").code == 5


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (2, ("compile", MODEL, "-p", "no-such-planner")),
        (2, ("compile", MODEL, "--objective", "beauty")),
        (2, ("compile", MODEL, "--dim", "batch")),
        (2, ("compile", MODEL, "--precision", "int7")),
        (2, ("compile", MODEL, "--passes", "no-such-pass")),
        (2, ("compile", MODEL, "--time-limit", "-1")),
        (2, ("compile", "light:no-such-network")),
        (2, ("simulate", MODEL, "no-such-plan.json")),
        (2, ("no-such-command",)),
        (2, ("allocate", "no-such.csv", "-c", "1MiB")),
        (3, ("compile", "no-such-model.onnx")),
        (4, ("compile", MODEL, "-t", "no-such-target")),
        (4, ("compile", MODEL, "--set", "scratchpad.colour=blue")),
        (4, ("compile", MODEL, "--set", "scratchpad.size=-1")),
        (4, ("targets", "no-such-target")),
    ],
)
def test_mistakes_get_their_exit_code_and_no_traceback(
    run: Runner, code: int, arguments: tuple[str, ...]
) -> None:
    outcome = run(*arguments)
    assert outcome.code == code
    assert outcome.out == ""
    assert outcome.err.strip() and "Traceback" not in outcome.err


def test_not_a_model_is_a_model_error(run: Runner, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"this is no protobuf")
    outcome = run("compile", str(path))
    assert outcome.code == 3 and "broken.onnx" in outcome.err


def test_unwritable_folder_is_a_usage_error(run: Runner, tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    outcome = run("compile", MODEL, "-p", "greedy", "-o", str(blocker / "out"))
    assert outcome.code == 2 and "Traceback" not in outcome.err


def test_targets_lists_shows_and_exports_a_schema(run: Runner) -> None:
    names = [target["name"] for target in json.loads(run("targets", "--format", "json").out)]
    assert "edge-npu" in names
    assert "edge-npu" in run("targets").out
    shown = run("targets", "edge-npu").out
    assert "scratchpad.size_bytes" in shown and "8388608" in shown
    schema = json.loads(run("targets", "--schema").out)
    assert "scratchpad" in schema["$defs"]["Target"]["properties"]


def test_ops_prints_the_matrix_in_every_format(run: Runner) -> None:
    kinds = json.loads(run("ops", "--format", "json").out)
    assert any(kind["name"] == "Conv" and kind["imported"] for kind in kinds)
    page = run("ops", "--format", "markdown").out
    assert page.count("\n| ") == len(kinds) + 1
    assert "Conv" in run("ops").out


def test_operator_page_is_current(run: Runner) -> None:
    page = Path(__file__).parent.parent / "docs" / "operators.md"
    assert page.read_text("utf-8") == run("ops", "--format", "markdown").out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(run: Runner, shell: str) -> None:
    outcome = run("completion", shell)
    assert outcome.code == 0 and "stowplan" in outcome.out
    assert json.loads(run("completion", shell, "--format", "json").out)["shell"] == shell


def test_version_and_help_import_nothing_heavy() -> None:
    code = (
        "import sys; from stowplan import cli; sys.argv = ['stowplan', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'onnx', 'numba', 'ortools', 'pulp', 'networkx', 'jinja2', 'msgspec'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or None)"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr


def test_plan_remembers_every_choice(run: Runner, tmp_path: Path) -> None:
    run(
        *("compile", MODEL, "-p", "greedy", "-o", str(tmp_path), "-t", "gemmini-16x16"),
        *("--set", "scratchpad.size=16MiB", "--set", "clock=2GHz", "--track-weights"),
        *("--precision", "int8"),
    )
    plan = Plan.load(tmp_path / "plan.json")
    assert plan.track_weights
    assert plan.origin == (
        ("model", MODEL),
        ("target", "gemmini-16x16"),
        ("set", "scratchpad.size=16MiB"),
        ("set", "clock=2GHz"),
        ("precision", "int8"),
    )
    assert run("check", MODEL, str(tmp_path / "plan.json")).code == 0


def test_allocate_places_buffers_or_proves_that_none_fits(run: Runner, tmp_path: Path) -> None:
    buffers = tmp_path / "buffers.csv"
    buffers.write_text("id,lower,upper,size\na,0,2,4\nb,1,3,4\n")
    out = tmp_path / "placed.csv"
    fits = run("allocate", str(buffers), "-c", "8", "-o", str(out), "--format", "json")
    assert fits.code == 0 and json.loads(fits.out)["peak_bytes"] == 8
    assert out.read_text().startswith("id,lower,upper,size,offset\n")
    fails = run("allocate", str(buffers), "-c", "7")
    assert fails.code == 5 and "no: proved, 8 bytes are live at step 1" in fails.out
    least = run("allocate", str(buffers))
    assert least.code == 0 and "8 bytes: proven minimal" in least.out
