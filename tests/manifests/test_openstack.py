"""The files for the worker's virtual machine, each checked with the program that reads it.

Heat checks the template, cloud-init the user data, and systemd the unit. Deliberate mistakes show
that the checks work.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from manifests.checks import REPOSITORY
from manifests.images import bare_python, pip_install
from support.needs import need

from rollcall.core.settings import PLACEHOLDER, Settings, setting_names

FOLDER = REPOSITORY / "openstack"
README = (FOLDER / "README.md").read_text()
TEMPLATE = FOLDER / "rollcall-worker.yaml"
UNIT = FOLDER / "rollcall-worker.service"
HEAT = REPOSITORY / ".venv-heat" / "bin" / "python"
CLOUD_SCHEMA = Path(
    "/usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json"
)


def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(each) for each in argv], capture_output=True, text=True, timeout=120)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the folder `openstack` that a test may break."""
    return Path(shutil.copytree(FOLDER, tmp_path / "openstack"))


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) >= 1, old
    path.write_text(text.replace(old, new, 1))


def heat(template: Path) -> subprocess.CompletedProcess[str]:
    need(HEAT.exists(), "Heat is not installed: make heat")
    return run(HEAT, "-W", "ignore", Path(__file__).with_name("heat_check.py"), template)


def unit_problems(unit: Path) -> str:
    """Return what systemd reports about the unit, after replacing Python's path by a local one."""
    need(shutil.which("systemd-analyze") is not None, "systemd is not installed")
    change(unit, "/opt/rollcall/venv/bin/python", sys.executable)
    done = run("systemd-analyze", "verify", "--man=no", unit)
    return done.stdout + done.stderr


def cloud_problems(path: Path) -> str:
    """Return what cloud-init reports about the user data, and unknown keys, which it ignores."""
    need(CLOUD_SCHEMA.exists(), "cloud-init is not installed")
    done = run("cloud-init", "schema", "--config-file", path)
    known = json.loads(CLOUD_SCHEMA.read_text())["$defs"]
    names = {name for part in known.values() for name in part.get("properties", {})}
    unknown = yaml.safe_load(path.read_text()).keys() - names
    return (done.stdout + done.stderr if done.returncode else "") + "".join(sorted(unknown))


def test_heat_accepts_the_template_and_cloud_init_its_user_data(tmp_path: Path) -> None:
    done = heat(TEMPLATE)
    assert done.returncode == 0, done.stderr
    assert "https://example.org/rollcall.git" in done.stdout
    assert not {"REPOSITORY", "REVISION"} & set(re.findall(r"\w+", done.stdout))
    (tmp_path / "user-data").write_text(done.stdout)
    assert not cloud_problems(tmp_path / "user-data")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("      cidr:", "      cidrs:", "Unknown Property cidrs"),
        ("remote_ip_prefix:", "remote_prefix:", "Unknown Property remote_prefix"),
        ("OS::Nova::KeyPair", "OS::Nova::KeyPairs", "could not be found"),
        ("get_param: flavor", "get_param: flavour", "flavour"),
        ("subnet: { get_resource: subnet }", "subnet: { get_resource: sub }", "Reference"),
        ("floating_ip_address", "floating_address", "floating_address"),
        ("port_range_max: 22", "port_range_max: 99999", "out of range"),
        ("protocol: icmp", "protocol: icpm", "not an allowed value"),
        ("get_file: user-data.yaml", "get_file: userdata.yaml", "userdata.yaml"),
        ("depends_on: router_interface", "depends_on: interface", "Reference"),
        ("default: 192.168.77.0/24", "default: 192.168.77.0.24", "Invalid net cidr"),
        ("  ssh_from:\n", "  ssh_form:\n", "ssh_from"),
    ],
)
def test_heat_finds_a_mistake(folder: Path, old: str, new: str, problem: str) -> None:
    change(folder / TEMPLATE.name, old, new)
    done = heat(folder / TEMPLATE.name)
    assert done.returncode == 1
    assert problem in done.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("packages:", "pakages:"),
        ("  - git\n", "  git: yes\n"),
        ("package_update: true", "package_update: perhaps"),
        ("runcmd:\n  - [", "runcmd: git\nbootcmd:\n  - ["),
    ],
)
def test_cloud_init_finds_a_mistake(folder: Path, old: str, new: str) -> None:
    change(folder / "user-data.yaml", old, new)
    assert cloud_problems(folder / "user-data.yaml")


def test_systemd_accepts_the_unit(folder: Path) -> None:
    assert unit_problems(folder / UNIT.name) == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ProtectSystem=strict", "ProtectSystem=strikt"),
        ("NoNewPrivileges=", "NoNewPrivilege="),
        ("Type=exec", "Type=exe"),
        ("RestartSec=5", "RestartSec=five"),
        ("@system-service", "@system-services"),
        ("[Service]", "[Servise]"),
        ("IPAddressDeny=169.254.169.254", "IPAddressDeny=metadata"),
    ],
)
def test_systemd_finds_a_mistake(folder: Path, old: str, new: str) -> None:
    change(folder / UNIT.name, old, new)
    assert unit_problems(folder / UNIT.name)


def test_the_unit_waits_for_a_call_in_flight() -> None:
    (stop_s,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.M)
    assert int(stop_s) > Settings().function_timeout_s + 20


def test_only_root_can_read_the_settings_of_the_worker() -> None:
    unit, install = UNIT.read_text(), (FOLDER / "install.sh").read_text()
    (path,) = re.findall(r"^EnvironmentFile=(.+)$", unit, re.M)
    assert f"ConditionPathExists={path}\n" in unit
    assert f"install -d -m 700 {Path(path).parent}\n" in install


def test_the_settings_file_has_only_settings_and_no_secret() -> None:
    lines = (FOLDER / "worker.env").read_text().splitlines()
    pairs = dict(line.split("=") for line in lines if not line.startswith("#"))
    assert pairs.keys() <= set(setting_names())
    assert {value for name, value in pairs.items() if "KEY" in name} == {PLACEHOLDER}


def test_devstack_downloads_the_image_that_the_template_uses() -> None:
    conf = (FOLDER / "local.conf").read_text()
    (image,) = re.findall(r"^IMAGE_URLS=\S+/(\S+)\.img$", conf, re.M)
    assert yaml.safe_load(TEMPLATE.read_text())["parameters"]["image"]["default"] == image


@pytest.mark.parametrize("name", ["install.sh", "README.md", "local.conf"])
def test_the_file_is_valid_shell(name: str) -> None:
    text = (FOLDER / name).read_text()
    if name.endswith(".md"):
        text = "\n".join(re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S))
    lines = "".join(f"{line}\n" for line in text.splitlines() if not line.startswith("[["))
    assert lines
    subprocess.run(["bash", "-n"], input=lines, text=True, check=True)


def test_the_user_has_to_choose_who_may_connect_with_ssh() -> None:
    parameters = yaml.safe_load(TEMPLATE.read_text())["parameters"]
    assert "default" not in parameters["ssh_from"]
    commands = re.findall(r"openstack stack create.*?rollcall$", README, re.M | re.S)
    assert commands
    assert all("ssh_from=" in each for each in commands)
    assert "0.0.0.0/0" not in TEMPLATE.read_text() + README


def locked(text: str) -> dict[str, set[str]]:
    """Return the pinned versions by name, and assert that each has a hash."""
    found: dict[str, set[str]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        assert re.search(r" --hash=sha256:[0-9a-f]{64}\b", line), line
        name, version = re.split(r"==| ", line)[:2]
        found.setdefault(name, set()).add(version)
    return found


def test_the_packages_of_the_worker_are_pinned_with_hashes() -> None:
    worker = locked((FOLDER / "requirements-worker.txt").read_text())
    wanted = re.findall(r"^([a-z0-9-]+)>=", (FOLDER / "requirements-worker.in").read_text(), re.M)
    direct = {"alembic", "boto3", "click", "numpy", "python-dotenv", "rich", "sqlalchemy"}
    assert set(wanted) == direct <= worker.keys()
    tested = locked((REPOSITORY / "requirements-dev.txt").read_text())
    assert worker == {name: tested[name] for name in worker}


def test_pip_installs_only_packages_with_hashes() -> None:
    lines = (FOLDER / "install.sh").read_text().splitlines()
    (line,) = (each for each in lines if "pip install" in each)
    assert {"--require-hashes", "--no-deps"} <= set(line.split())


def test_the_pinned_packages_suffice(tmp_path: Path) -> None:
    pip_install(
        [
            "--no-deps",
            "--require-hashes",
            "--target",
            str(tmp_path),
            "-r",
            str(FOLDER / "requirements-worker.txt"),
        ]
    )
    python, environment = bare_python(tmp_path)
    for script in ("openstack_handler.py", "check.py"):
        argv = [*python, str(REPOSITORY / script), "--help"]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob("cv2*")) + list(tmp_path.glob("*dlib*"))
