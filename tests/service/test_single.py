"""One part of the service in the foreground, as a container runs it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lucid.errors import InvalidRequest
from lucid.schema.fields import PartName
from lucid.service import pulse
from lucid.service.run import auth_file, environment
from lucid.service.single import answers, become
from lucid.settings import Settings
from tests.support.service import ROOT, free_port


def other_server(home: Path) -> Settings:
    """Settings with a Prefect server elsewhere, that nobody has started."""
    return Settings(home=home, prefect_api_url=f"http://127.0.0.1:{free_port()}/api", prefect_auth_string="lucid:text")


@pytest.mark.parametrize("name", ["api", "flows", "prefect"])
def test_a_part_that_does_not_run_does_not_answer(name: PartName, tmp_path: Path) -> None:
    """Which is no error."""
    assert not answers(Settings(home=tmp_path, api_port=free_port(), prefect_port=free_port()), name)


def test_flows_answer_by_their_pulse(tmp_path: Path) -> None:
    """They listen on no port."""
    pulse.begin(tmp_path)

    assert answers(Settings(home=tmp_path), "flows")


def test_no_prefect_server_stands_beside_another(tmp_path: Path) -> None:
    """Whoever names another is told, by either command."""
    with pytest.raises(InvalidRequest, match="LUCID_PREFECT_API_URL names another Prefect server"):
        become(other_server(tmp_path), "prefect", print)
    with pytest.raises(InvalidRequest, match="LUCID_PREFECT_API_URL names another Prefect server"):
        answers(other_server(tmp_path), "prefect")


def test_flows_wait_for_prefect_and_stop_when_asked(tmp_path: Path) -> None:
    """They say what they wait for, and SIGTERM ends them without an error's lines, as it ends what they become."""
    settings = other_server(tmp_path)
    own = {"LUCID_HOME": str(tmp_path), "LUCID_PREFECT_API_URL": settings.prefect_api}
    with subprocess.Popen(
        [sys.executable, "-m", "lucid", "up", "--only", "flows"],
        env={**os.environ, **own, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as waiting:
        try:
            assert waiting.stdout
            assert f"Waiting for {settings.prefect_api} …\n" == waiting.stdout.readline()
            waiting.send_signal(signal.SIGTERM)
            _, error = waiting.communicate(timeout=60)
        finally:
            waiting.kill()

    assert 130 == waiting.returncode
    assert "" == error


def test_the_parts_get_the_auth_string_of_the_settings(tmp_path: Path) -> None:
    """Also where another was in force before, and whoever comes without it finds the new one."""
    ours = Settings(home=tmp_path)
    made = environment(ours)["PREFECT_SERVER_API_AUTH_STRING"]
    changed = ours.model_copy(update={"prefect_auth_string": "lucid:another"})

    assert made == auth_file(ours).read_text()
    assert "lucid:another" == environment(changed)["PREFECT_SERVER_API_AUTH_STRING"]
    assert "lucid:another" == environment(ours)["PREFECT_API_AUTH_STRING"]
    assert 0o600 == auth_file(ours).stat().st_mode & 0o777


def test_commands_ask_and_tell(tmp_path: Path) -> None:
    """`lucid ping` says in one line and by its exit code what a health check wants to know."""
    environment = {**os.environ, "LUCID_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}

    def ping() -> tuple[int, str]:
        asked = [sys.executable, "-m", "lucid", "ping", "flows"]
        done = subprocess.run(asked, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        return done.returncode, done.stdout

    assert (1, "flows does not answer\n") == ping()
    pulse.begin(tmp_path)
    assert (0, "flows answers\n") == ping()
