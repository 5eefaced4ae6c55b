"""Settings from an environment that others write to as well."""

import pytest

from lucid.errors import InvalidRequest
from lucid.settings import Settings, load_settings, misspelt

KUBERNETES = {
    f"{service}_{name}": value
    for service in ("LUCID", "LUCID_API", "LUCID_PREFECT", "LUCID_HOME")
    for name, value in {
        "SERVICE_HOST": "10.0.0.11",
        "SERVICE_PORT": "8000",
        "SERVICE_PORT_HTTP": "8000",
        "PORT": "tcp://10.0.0.11:8000",
        "PORT_8000_TCP": "tcp://10.0.0.11:8000",
        "PORT_8000_TCP_PROTO": "tcp",
        "PORT_8000_TCP_PORT": "8000",
        "PORT_8000_TCP_ADDR": "10.0.0.11",
        "PORT_53_UDP": "udp://10.0.0.11:53",
    }.items()
}
"""What a pod finds in its environment beside services of these names."""
DOCKER = {"LUCID_NAME": "/web/lucid", "LUCID_ENV_PYTHON_VERSION": "3.11", "LUCID_PORT": "tcp://172.17.0.5:8000"}
"""What a container finds that is linked to one of the name lucid."""


@pytest.mark.parametrize("injected", [KUBERNETES, DOCKER], ids=["kubernetes", "docker"])
def test_variables_of_kubernetes_and_docker_change_nothing(
    injected: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where they are called as a setting of ours is."""
    before = load_settings()
    for name, value in injected.items():
        monkeypatch.setenv(name, value)

    assert before == load_settings()
    assert [] == caplog.messages


@pytest.mark.parametrize("name", [f"LUCID_{name.upper()}" for name in Settings.model_fields])
def test_a_setting_with_a_letter_missing_is_told(name: str) -> None:
    """With the name that was most likely meant, whichever letter it is; the name itself is no mistake."""
    assert [] == misspelt({name: "1"})
    for position in range(len("LUCID_") + 1, len(name)):
        wrong = name[:position] + name[position + 1 :]
        (told,) = misspelt({wrong: "1"}) or [""]
        assert wrong in told
        assert f"did you mean {name}?" in told


def test_a_variable_that_is_like_no_setting_is_somebody_else_s() -> None:
    """Nothing is said of it."""
    assert [] == misspelt({"LUCID_QQQ": "1", "LUCIDITY": "1", "OTHER_API_PROT": "1"})


def test_a_port_that_is_no_number_is_refused_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an address of Kubernetes' kind is not ours."""
    monkeypatch.setenv("LUCID_API_PORT", "http://here")
    with pytest.raises(InvalidRequest, match="api_port"):
        load_settings()
