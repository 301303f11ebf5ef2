"""entry.sh and ecr_push.sh as they are; docker and aws are programs that write down their calls."""

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


def is_ours(path: Path) -> bool:
    """Not of an environment or a run, which lie in the checkout too."""
    parts = path.relative_to(REPOSITORY).parts
    return not any(part.startswith(".") or part == "state" for part in parts)


SHELL_SCRIPTS = [
    *sorted(path for path in REPOSITORY.rglob("*.sh") if is_ours(path)),
    REPOSITORY / ".ci" / "run",
]


def program(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """docker and aws of a machine that has both; their calls are lines of `calls`."""
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
def test_shellcheck_has_nothing_against_it(script: Path) -> None:
    argv = [
        Path(sys.executable).with_name("shellcheck"),
        "--enable=check-unassigned-uppercase",
        script,
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_shellcheck_finds(tmp_path: Path) -> None:
    (tmp_path / "broken.sh").write_text("#!/bin/sh\nrm -rf $1/*\n")
    argv = [Path(sys.executable).with_name("shellcheck"), tmp_path / "broken.sh"]
    assert "SC2086" in subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def test_it_logs_in_builds_and_pushes(programs: Path) -> None:
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


def test_a_dry_run_prints_the_same_and_runs_nothing(programs: Path) -> None:
    done = push(programs, "--dry-run", "--tag", "v1", *GOOD)
    assert done.returncode == 0, done.stderr
    login, build, pushed, image = done.stdout.splitlines()
    assert login.startswith("aws ecr get-login-password --region eu-central-1 | docker login")
    assert build.split()[:4] == ["docker", "build", "--platform", "linux/amd64"]
    assert pushed.split() == ["docker", "push", IMAGE]
    assert image == IMAGE
    assert not (programs.parent / "calls").exists()


def test_the_commit_is_the_tag(programs: Path) -> None:
    image = push(programs, "--dry-run", *GOOD).stdout.splitlines()[-1]
    git = ["git", "-C", REPOSITORY, "rev-parse", "--short=12", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    assert image.rpartition(":")[2] == commit


def test_another_gallery_is_another_tag(programs: Path, tmp_path: Path) -> None:
    """CloudFormation would see no change, and people who were removed would still be known."""
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
def test_it_stops_at_the_step_that_fails(step: str, programs: Path) -> None:
    (programs.parent / f"fail-{step}").touch()
    done = push(programs, *GOOD, "--tag", "v1")
    assert done.returncode == 1
    assert done.stdout == ""
    last = (programs.parent / "calls").read_text().splitlines()[-1]
    assert last.startswith("got " if step == "login" else f"docker {step}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "are needed"),
        (GOOD[:2], "are needed"),
        ([*GOOD, "more"], "are needed"),
        (["1234", *GOOD[1:]], "twelve digits"),
        ([GOOD[0], "frankfurt", GOOD[2]], "REGION has to be"),
        ([*GOOD[:2], "Team/Rollcall"], "REPOSITORY has to be"),
        ([*GOOD[:2], "a;b"], "REPOSITORY has to be"),
        ([*GOOD, "--tag", "a b"], "is no tag"),
        ([*GOOD, "--tag"], "needs a value"),
        ([*GOOD, "--platform", "linux/riscv64"], "PLATFORM has to be"),
        ([*GOOD, "--force"], "no option --force"),
    ],
)
def test_bad_usage_is_said_before_anything_runs(
    words: list[str], said: str, programs: Path
) -> None:
    done = push(programs, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Usage:" in done.stderr
    assert not (programs.parent / "calls").exists()


def test_help(programs: Path) -> None:
    done = push(programs, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "ACCOUNT REGION REPOSITORY" in done.stdout


def enter(programs: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Only these programs are there, and the shell's own."""
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


def test_elsewhere_the_emulator_does(machine: Path) -> None:
    program(machine, "aws-lambda-rie", 'echo "emulator $*"')
    expected = f"emulator {machine}/python -m awslambdaric handler.f"
    assert enter(machine).stdout.strip() == expected
    assert enter(machine, AWS_LAMBDA_RUNTIME_API="").stdout.strip() == expected


def test_without_either_it_says_so(machine: Path) -> None:
    done = enter(machine)
    assert done.returncode == 1
    assert "aws-lambda-rie" in done.stderr
