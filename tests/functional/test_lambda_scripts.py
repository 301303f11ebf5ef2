"""Run entry.sh and ecr_push.sh with fake docker and aws programs that record their calls."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.needs import REPOSITORY

FOLDER = REPOSITORY / "aws_lambda"
GOOD = ["123456789012", "eu-central-1", "team/rollcall"]
REGISTRY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
IMAGE = f"{REGISTRY}/team/rollcall:v1"


def our_scripts() -> list[Path]:
    """The shell scripts of the project, without those of a virtual environment or of state.

    Other processes may write into these folders meanwhile, so they are not even listed.
    """
    found = []
    for folder, folders, names in os.walk(REPOSITORY):
        folders[:] = [each for each in folders if not each.startswith(".") and each != "state"]
        found += [Path(folder) / name for name in names if name.endswith(".sh")]
    return sorted(found)


SHELL_SCRIPTS = [*our_scripts(), REPOSITORY / ".ci" / "run"]


def program(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Fake docker and aws programs that write each call as a line of `calls`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program(folder, "aws", f'echo "aws $*" >> {tmp_path}/calls; echo password')
    program(
        folder,
        "docker",
        f'echo "docker $*" >> {tmp_path}/calls\n'
        f'case "$1" in login) read -r word; echo "got $word" >> {tmp_path}/calls;; esac\n'
        f"[ ! -e {tmp_path}/fail-$1 ]",
    )
    return folder


def push(programs: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FOLDER / "ecr_push.sh", *words],
        env={"PATH": f"{programs}:{os.environ['PATH']}"},
        cwd=programs,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing_in_our_scripts(script: Path) -> None:
    argv = [
        Path(sys.executable).with_name("shellcheck"),
        "--enable=check-unassigned-uppercase",
        script,
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_shellcheck_finds_an_unquoted_variable(tmp_path: Path) -> None:
    (tmp_path / "broken.sh").write_text("#!/bin/sh\nrm -rf $1/*\n")
    argv = [Path(sys.executable).with_name("shellcheck"), tmp_path / "broken.sh"]
    assert "SC2086" in subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def test_ecr_push_logs_in_builds_and_pushes(programs: Path) -> None:
    done = push(programs, *GOOD, "--tag", "v1", "--platform", "linux/arm64")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [IMAGE]
    calls = (programs.parent / "calls").read_text().splitlines()
    assert sorted(calls[:2]) == [  # the two ends of one pipe
        "aws ecr get-login-password --region eu-central-1",
        f"docker login --username AWS --password-stdin {REGISTRY}",
    ]
    assert calls[2:] == [
        "got password",
        "docker build --platform linux/arm64 --provenance=false"
        f" -f {FOLDER}/Dockerfile -t {IMAGE} {REPOSITORY}",
        f"docker push {IMAGE}",
    ]


def test_a_dry_run_prints_the_commands_and_runs_nothing(programs: Path) -> None:
    done = push(programs, "--dry-run", "--tag", "v1", *GOOD)
    assert done.returncode == 0, done.stderr
    login, build, pushed, image = done.stdout.splitlines()
    assert login.startswith("aws ecr get-login-password --region eu-central-1 | docker login")
    assert build.split()[:4] == ["docker", "build", "--platform", "linux/amd64"]
    assert pushed.split() == ["docker", "push", IMAGE]
    assert image == IMAGE
    assert not (programs.parent / "calls").exists()


def test_the_tag_of_the_image_is_the_commit(programs: Path) -> None:
    image = push(programs, "--dry-run", *GOOD).stdout.splitlines()[-1]
    git = ["git", "-C", REPOSITORY, "rev-parse", "--short=12", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    assert image.rpartition(":")[2] == commit


def test_another_gallery_gives_another_tag(programs: Path, tmp_path: Path) -> None:
    """Without a new tag CloudFormation would see no change, and the function would still recognise
    people who were removed."""
    folder = tmp_path / "project" / "aws_lambda"
    folder.mkdir(parents=True)
    script = shutil.copy(FOLDER / "ecr_push.sh", folder)
    tags = set()
    for content in (b"with ada", b"without ada"):
        (folder / "gallery.npz").write_bytes(content)
        argv, env = [script, "--dry-run", *GOOD], {"PATH": f"{programs}:{os.environ['PATH']}"}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=True)
        tags.add(done.stdout.splitlines()[-1].rpartition(":")[2])
    assert len(tags) == 2


@pytest.mark.parametrize("step", ["login", "build", "push"])
def test_ecr_push_stops_at_the_step_that_fails(step: str, programs: Path) -> None:
    (programs.parent / f"fail-{step}").touch()
    done = push(programs, *GOOD, "--tag", "v1")
    assert done.returncode == 1
    assert done.stdout == ""
    last = (programs.parent / "calls").read_text().splitlines()[-1]
    assert last.startswith("got " if step == "login" else f"docker {step}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give ACCOUNT, REGION and REPOSITORY"),
        (GOOD[:2], "give ACCOUNT, REGION and REPOSITORY"),
        ([*GOOD, "more"], "give ACCOUNT, REGION and REPOSITORY"),
        (["1234", *GOOD[1:]], "twelve digits"),
        ([GOOD[0], "frankfurt", GOOD[2]], "REGION has to be"),
        ([*GOOD[:2], "Team/Rollcall"], "REPOSITORY has to be"),
        ([*GOOD[:2], "a;b"], "REPOSITORY has to be"),
        ([*GOOD, "--tag", "a b"], "is not a valid image tag"),
        ([*GOOD, "--tag"], "needs a value"),
        ([*GOOD, "--platform", "linux/riscv64"], "PLATFORM has to be"),
        ([*GOOD, "--force"], "no option --force"),
    ],
)
def test_bad_usage_is_reported_before_anything_runs(
    words: list[str], said: str, programs: Path
) -> None:
    done = push(programs, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Usage:" in done.stderr
    assert not (programs.parent / "calls").exists()


def test_help_shows_the_arguments(programs: Path) -> None:
    done = push(programs, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "ACCOUNT REGION REPOSITORY" in done.stdout


def enter(programs: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run entry.sh with a PATH that has only these programs."""
    return subprocess.run(
        ["/bin/sh", FOLDER / "entry.sh", "handler.f"],
        env={"PATH": str(programs), **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    program(tmp_path, "python", f'echo "{tmp_path}/python $*"')
    return tmp_path


def test_on_lambda_the_runtime_client_runs(machine: Path) -> None:
    done = enter(machine, AWS_LAMBDA_RUNTIME_API="127.0.0.1:9001")
    assert done.stdout.strip() == f"{machine}/python -m awslambdaric handler.f"


def test_outside_lambda_the_emulator_runs(machine: Path) -> None:
    program(machine, "aws-lambda-rie", 'echo "emulator $*"')
    expected = f"emulator {machine}/python -m awslambdaric handler.f"
    assert enter(machine).stdout.strip() == expected
    assert enter(machine, AWS_LAMBDA_RUNTIME_API="").stdout.strip() == expected


def test_without_lambda_and_emulator_an_error_names_the_emulator(machine: Path) -> None:
    done = enter(machine)
    assert done.returncode == 1
    assert "aws-lambda-rie" in done.stderr
