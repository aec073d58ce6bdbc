"""Nothing asks for one system alone, and the workflows run what pyproject.toml promises."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "napari_kindred"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

UNIX_MODULES = {"crypt", "fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios"}
UNIX_NAMES = {
    "fork", "forkpty", "getuid", "geteuid", "getloadavg", "mkfifo", "sched_getaffinity", "sysconf",
    "symlink", "symlink_to", "SIGALRM", "SIGHUP", "SIGKILL", "SIGUSR1",
}  # fmt: skip


def workflow(name: str) -> dict[Any, Any]:
    return yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text("utf-8"))


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def names(path: Path) -> set[str]:
    """Return the modules and attributes that a file names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
    return found


def test_the_package_uses_nothing_that_only_unix_has() -> None:
    used = {path.name: names(path) & (UNIX_MODULES | UNIX_NAMES) for path in PACKAGE.rglob("*.py")}
    assert not {name: found for name, found in used.items() if found}


def test_every_text_file_is_opened_as_utf_8() -> None:
    options = ["--no-cache", "--preview", "--select", "PLW1514"]
    command = [sys.executable, "-m", "ruff", "check", *options, PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("command", ["classes", "clusters"])
def test_help_is_shown_by_a_terminal_that_knows_few_letters(command: str) -> None:
    program = "import sys; from napari_kindred.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, command, "--help"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    assert done.returncode == 0, done.stderr
    assert rb"\u2026" in done.stdout


def test_the_tests_run_on_every_system_and_python_that_is_promised() -> None:
    matrix = workflow("tests")["jobs"]["tests"]["strategy"]["matrix"]
    promised = {entry.rpartition(" :: ")[2] for entry in project()["classifiers"]}
    assert set(matrix["python"]) == {name for name in promised if name.startswith("3.")}
    assert min(matrix["python"], key=lambda text: int(text[2:])) == project()[
        "requires-python"
    ].removeprefix(">=")
    systems = {"ubuntu": "Linux", "macos": "MacOS", "windows": "Windows"}
    assert {systems[name.partition("-")[0]] for name in matrix["os"]} == promised & {
        *systems.values()
    }


def test_the_lowest_versions_are_tried_on_the_oldest_python() -> None:
    steps = workflow("tests")["jobs"]["lowest"]["steps"]
    assert any(step.get("run") == ".ci/lowest" for step in steps)
    chosen = [step["with"].get("python-version") for step in steps if "with" in step]
    (python,) = [version for version in chosen if version]
    assert project()["requires-python"] == f">={python}"


def test_the_tests_of_napari_s_main_branch_may_fail() -> None:
    job = workflow("tests")["jobs"]["napari-main"]
    assert job["continue-on-error"]
    assert any("napari.git@main" in step.get("run", "") for step in job["steps"])


def test_every_night_more_random_inputs_are_tried() -> None:
    nightly = workflow("nightly")
    assert nightly[True]["schedule"]  # YAML reads `on` as a truth
    steps = [step for job in nightly["jobs"].values() for step in job["steps"]]
    assert any(step.get("env", {}).get("KINDRED_FUZZ") == "nightly" for step in steps)


def test_only_a_tag_publishes_and_without_a_password() -> None:
    publish = workflow("publish")
    assert publish[True] == {"push": {"tags": ["v*"]}}
    assert publish["jobs"]["publish"]["permissions"] == {"id-token": "write"}
    assert publish["jobs"]["publish"]["needs"] == "build"
    assert publish["jobs"]["build"]["needs"] == "tests"
    assert publish["jobs"]["tests"] == {"uses": "./.github/workflows/tests.yml"}
    text = (ROOT / ".github" / "workflows" / "publish.yml").read_text("utf-8")
    assert "secrets." not in text


def steps_of(name: str) -> list[dict[str, Any]]:
    return [step for job in workflow(name)["jobs"].values() for step in job.get("steps", ())]


def test_actions_are_pinned_by_hash() -> None:
    used = [step["uses"] for path in WORKFLOWS for step in steps_of(path.stem) if "uses" in step]
    assert any(name.startswith("actions/checkout@") for name in used)
    assert [name for name in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", name)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_scripts_and_extras_of_a_workflow_exist(path: Path) -> None:
    steps = steps_of(path.stem)
    runs = [step.get("run") or step.get("with", {}).get("run", "") for step in steps]
    for run in runs:
        words = run.split()
        files = [word for word in words if word.startswith((".ci/", "tests/"))]
        assert not [file for file in files if not (ROOT / file).exists()]
        if '".[' in run:
            extras = run.partition('".[')[2].partition(']"')[0].split(",")
            assert set(extras) <= set(project()["optional-dependencies"])


@pytest.mark.skipif(
    importlib.util.find_spec("check_jsonschema") is None, reason="needs the package"
)
def test_github_understands_the_workflows() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "github-workflows"]
    done = subprocess.run([*command, *WORKFLOWS], capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and a source distribution of this checkout."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return folder


def checked(folder: Path, *tag: str) -> str:
    command = [sys.executable, ROOT / ".ci" / "check_dist.py", folder, *tag]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert (done.returncode == 0) == (done.stdout == "")
    return done.stdout


def test_wheel_and_source_hold_weights_manifest_and_samples_and_no_link(built: Path) -> None:
    assert checked(built) == ""


def test_a_wheel_without_its_weights_or_of_another_version_is_not_published(
    built: Path, tmp_path: Path
) -> None:
    import zipfile

    (wheel,) = built.glob("*.whl")
    (source,) = built.glob("*.tar.gz")
    (tmp_path / source.name).hardlink_to(source)
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(tmp_path / wheel.name, "w") as poor:
        for name in whole.namelist():
            if not name.endswith("kindred-entities.safetensors"):
                poor.writestr(name, whole.read(name))
    said = checked(tmp_path, "v99.0")
    assert "The wheel lacks models/weights_data/kindred-entities.safetensors." in said
    assert "The tag is v99.0" in said
