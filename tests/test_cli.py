"""The command line: help, exit codes, and what a user reads when something is wrong."""

from __future__ import annotations

import io
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import typer
from rich.console import Console

from aura import cli, cli_app
from aura.config import load
from aura.core.errors import ConfigError, ProviderError
from aura.storage.keys import digest, read_keys
from aura.tools import doctor

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = typer.main.get_command(cli.app)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working directory, and nothing of this machine's settings."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("AURA_") or name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AURA_STORAGE__DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def run(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=30, check=False)


# ---- help ---------------------------------------------------------------------------------------------------------


def test_help_lists_every_command_with_an_example(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.app(["--help"], prog_name="aura")
    text = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert set(COMMANDS.commands) == set(cli_app.EXAMPLES)
    for example in cli_app.EXAMPLES.values():
        assert example in text


@pytest.mark.parametrize("name", cli_app.EXAMPLES)
def test_the_help_of_a_command_ends_with_its_example(name, capsys):
    with pytest.raises(SystemExit):
        cli.app([name, "--help"], prog_name="aura")
    text = " ".join(capsys.readouterr().out.split())
    assert text.endswith(f"Example: {cli_app.EXAMPLES[name]}")
    assert "--set" in text or COMMANDS.commands[name].commands  # a group has it in its commands


@pytest.mark.parametrize("name", cli_app.EXAMPLES)
def test_an_example_is_understood_by_its_command(name):
    program, command, *arguments = shlex.split(cli_app.EXAMPLES[name])
    assert (program, command) == ("aura", name)
    COMMANDS.commands[name].make_context(name, arguments)


def test_help_imports_nothing_heavy():
    heavy = {"trio", "numpy", "openai", "httpx", "structlog", "starlette", "onnxruntime", "pydantic"}
    done = run("-c", f"import aura.cli, sys; print(sorted({heavy} & set(sys.modules)))")
    assert done.stdout.strip() == "[]"


# ---- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["serve"], ["talk", "x.wav"], ["demo"], ["doctor"], ["bench"]])
def test_a_wrong_setting_is_one_line_and_exit_code_2(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.app([*command, "--set", "turns.silnce_s=1"], prog_name="aura")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: unknown setting turns.silnce_s (--set); did you mean turns.silence_s?\n"


def test_the_process_ends_with_the_code_and_without_a_traceback():
    done = run("-m", "aura", "serve", "--port", "99999999x")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    done = run("-m", "aura", "serve", "--config", "nowhere.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: nowhere.toml: there is no such file; --config names a TOML file\n"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConfigError("do this"), (2, "do this")),
        (BaseExceptionGroup("", [ExceptionGroup("", [ProviderError("do that")])]), (2, "do that")),
        (KeyboardInterrupt(), (130, "")),
        (BaseExceptionGroup("", [KeyboardInterrupt(), ValueError()]), (130, "")),
        (ValueError("bug"), None),
        (ExceptionGroup("", [ConfigError("do this"), ValueError("bug")]), None),
    ],
)
def test_what_an_error_means_for_the_user(error, expected):
    assert cli_app.verdict(error) == expected


def test_ctrl_c_ends_quietly():
    script = """
import trio
from aura.cli import app

@app.command("wait")
def wait():
    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            print("ready", flush=True)
    trio.run(main)

app(["wait"])
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (130, "", "")


def test_a_bug_keeps_its_traceback():
    script = """
from aura.cli import app

@app.command("fail")
def fail():
    raise RuntimeError("bug")

app(["fail"])
"""
    done = run("-c", script)
    assert done.returncode == 1
    assert "RuntimeError: bug" in done.stderr


def test_talk_needs_a_file_or_the_microphone(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.app(["talk"], prog_name="aura")
    assert ended.value.code == 2
    assert "--mic" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "ws://127.0.0.1:8080/v1/realtime"),
        ("::", "ws://[::1]:8080/v1/realtime"),
        ("example.org", "ws://example.org:8080/v1/realtime"),
    ],
)
def test_tools_find_the_server_of_the_settings(host, url):
    assert cli.own_url(load(None, [f"server.host={host}", "server.port=8080"])) == url


def test_tools_speak_tls_when_the_server_does():
    assert cli.own_url(load(None, ["server.tls_cert=cert.pem"])).startswith("wss://127.0.0.1:")


# ---- doctor -------------------------------------------------------------------------------------------------------


def examine(*options, show_all=False):
    out = io.StringIO()
    code = doctor.run(load(None, ["server.port=0", *options]), show_all, Console(file=out, width=300))
    return code, out.getvalue()


def row(text, *words):
    """Whether one line of the table holds all the words."""
    return any(all(word in line for word in words) for line in text.splitlines())


def test_a_healthy_machine_is_fine():
    code, text = examine()
    assert code == 0, text
    assert "AURA can run." in text
    for engine in ("offline stt", "offline tts", "voice detector"):
        assert row(text, engine, "ok")


def test_the_doctor_says_which_engine_does_not_exist_and_shows_no_header():
    option = 'tools.mcp={"a":{"url":"http://127.0.0.1:1/mcp","headers":{"x-key":"sk-123"}}}'
    code, shown = examine("engines.tts=nosuch", option)
    assert code == 1
    assert "there is no tts engine 'nosuch'" in shown
    assert "sk-123" not in shown


def test_a_changed_setting_is_shown_with_its_origin(folder):
    (folder / "aura.toml").write_text("[turns]\nsilence_s = 0.9\n")
    _, text = examine("vad.gate_mode=2")
    assert row(text, "turns.silence_s", "0.9", "aura.toml")
    assert row(text, "vad.gate_mode", "2", "--set")
    assert not row(text, "turns.pause_s")


def test_all_shows_every_setting_with_its_meaning():
    _, text = examine(show_all=True)
    assert row(text, "turns.pause_s", "default", "Silence after which a draft reply may be started.")


def test_no_key_is_ever_shown():
    _, text = examine("openai.api_key=sk-12345678", show_all=True)
    assert "sk-12345678" not in text


def test_phone_vendors_that_may_call_are_shown_and_what_they_lack():
    _, text = examine()
    assert row(text, "phones", "ok", "only this machine may call")
    _, text = examine("phone.telnyx_stream_token=abc", "phone.twilio_auth_token=xyz")
    assert row(text, "phone telnyx", "note", "/v1/telnyx: calls are checked", "set phone.telnyx_api_key")
    assert row(text, "phone twilio", "ok", "calls are checked and can be ended")
    assert row(text, "phone address", "note", "set phone.public_url")
    assert "xyz" not in text


def test_a_taken_port_is_broken():
    async def main():
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            return examine(f"server.port={listener.socket.getsockname()[1]}")

    code, text = trio.run(main)
    assert code == 1
    assert row(text, "port", "broken", "server.port")


def test_a_data_folder_that_cannot_be_written_is_broken(folder):
    (folder / "data").write_text("a file")
    code, text = examine()
    assert code == 1
    assert row(text, "data folder", "broken", "storage.data_dir")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], ("reach", "ok", "this machine only")),
        (["server.host=0.0.0.0"], ("origins", "note", "only AURA's own page")),
        (["server.host=0.0.0.0", "server.origins=*"], ("origins", "note", "any web page")),
        (["server.host=0.0.0.0", "server.origins=https://a.example"], ("origins", "ok", "https://a.example")),
        ([], ("API keys", "ok", "none; programs and pages of this machine need none")),
        (["server.host=0.0.0.0"], ("API keys", "broken", "AURA will not start", "aura keys create")),
        (["server.host=0.0.0.0", "server.open_to_all=true"], ("API keys", "note", "everybody may converse")),
        (["server.tls_cert=nowhere.pem"], ("TLS", "broken", "nowhere.pem")),
        (["storage.record=true"], ("recording", "note")),
        (["engines.chat=openai"], ("key openai.api_key", "note", "AURA_OPENAI__API_KEY")),
        (["openai.api_key=sk-12345678"], ("key openai.api_key", "ok", "set (--set)")),
    ],
)
def test_what_others_can_reach_is_judged(options, words):
    _, text = examine(*options)
    assert row(text, *words), text


# ---- keys


def keys(capsys, *arguments):
    """Exit code, standard output and standard error of `aura keys`."""
    with pytest.raises(SystemExit) as ended:
        cli.app(["keys", *arguments], prog_name="aura")
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


def test_a_key_is_shown_once_listed_without_its_text_and_revoked(folder, capsys):
    code, text, about = keys(capsys, "create", "--name", "web", "--scope", "phone", "--conversations", "2",
                             "--expires", "30d", "--model", "aura", "--tenant", "acme")  # fmt: skip
    (key,) = read_keys(folder / "data")
    assert (code, text) == (0, text.strip() + "\n")
    assert digest(text.strip()) == key.sha256
    assert key.id in about
    assert (key.scopes, key.conversations_max, key.models, key.tenant) == (("phone",), 2, ("aura",), "acme")
    _, listed, _ = keys(capsys, "list")
    assert row(listed, key.id, "web", "acme", "active")
    assert text.strip() not in listed
    assert examine()[1].count("1 active; nobody may converse without one") == 1
    assert keys(capsys, "revoke", key.id)[:2] == (0, f"{key.id} web: revoked\n")
    assert row(keys(capsys, "list")[1], key.id, "revoked")
    assert row(examine()[1], "API keys", "note", "1 revoked: nobody may converse")
    assert '"state":"revoked"' in keys(capsys, "list", "--json")[1]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["revoke", "key_x"], "error: there is no key key_x; `aura keys list` shows all"),
        (["create", "--expires", "soon"], "error: cannot read “soon” as a length of time: write 12h, 30d, 2w or 1y"),
    ],
)
def test_what_is_wrong_with_keys_is_one_line(capsys, arguments, line):
    assert keys(capsys, *arguments) == (2, "", line + "\n")


def test_no_keys_is_no_error(capsys):
    code, out, about = keys(capsys, "list")
    assert (code, out) == (0, "")
    assert "aura keys create" in about


@pytest.mark.parametrize("name", ["create", "list", "revoke"])
def test_the_help_of_every_keys_command_has_an_example(capsys, name):
    _, text, _ = keys(capsys, name, "--help")
    assert f"Example: aura keys {name}" in " ".join(text.split())


def test_serve_refuses_to_start_where_others_could_come_in_without_a_key():
    done = run("-m", "aura", "serve", "--host", "0.0.0.0", "--port", "0")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert done.stderr.startswith("error: server.host=0.0.0.0 lets others in, and there is no API key: make one with")
