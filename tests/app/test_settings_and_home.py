"""Settings say where they are wrong; a home belongs to one factory at a time."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from andon.app.home import Home, RunInfo
from andon.app.settings import load_settings
from andon.app.supervisor import choose_port, port_free
from andon.kernel.errors import Conflict, Refused


def test_the_environment_wins_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    (tmp_path / "andon.yaml").write_text("gateway_port: 1234\nlog_level: debug\n")
    settings = load_settings(tmp_path, {"ANDON_GATEWAY_PORT": "4321"})
    assert (settings.gateway_port, settings.log_level, settings.control_port) == (4321, "debug", 8791)


@pytest.mark.parametrize(
    ("text", "environment", "said"),
    [
        ("gateway_prot: 1\n", {}, "gateway_prot"),
        ("gateway_port: 70000\n", {}, "gateway_port"),
        ("- a\n", {}, "mapping"),
        ("a: [\n", {}, "YAML"),
        ("", {"ANDON_GATEWAYS": "0"}, "gateways"),
        ("allow_anonymous: true\nhost: 0.0.0.0\n", {}, "allow_anonymous"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(
    tmp_path: Path, text: str, environment: dict[str, str], said: str
) -> None:
    (tmp_path / "andon.yaml").write_text(text)
    with pytest.raises(Refused, match=said):
        load_settings(tmp_path, environment)


def test_a_home_is_readable_by_its_owner_only_and_locked_once(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    assert stat.S_IMODE(home.state.stat().st_mode) == 0o700
    home.lock()
    with pytest.raises(Conflict, match="pid"):
        Home(tmp_path).lock()
    home.unlock()
    other = Home(tmp_path)
    other.lock()
    other.unlock()


def test_run_information_comes_back_as_it_was_and_rubbish_is_none(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    assert home.read_run_info() is None
    info = RunInfo(url="http://a", gateway_url="http://b", gateway_admin_url="http://c", pid=7)
    home.write_run_info(info)
    assert home.read_run_info() == info
    home.run_info.write_text("{")
    assert home.read_run_info() is None


def test_a_port_in_use_is_refused_and_a_free_one_is_found() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        with pytest.raises(Refused, match=str(port)):
            port_free("127.0.0.1", port)
    found = choose_port("127.0.0.1", 0)
    port_free("127.0.0.1", found)


@pytest.mark.parametrize(
    ("written", "meant"), [("on", "on"), ("off", "off"), ('"on"', "on"), ("auto", "auto")]
)
def test_tls_on_means_on_though_yaml_reads_it_as_true(tmp_path: Path, written: str, meant: str) -> None:
    (tmp_path / "andon.yaml").write_text(f"tls: {written}\n")
    assert load_settings(tmp_path, {}).tls == meant
