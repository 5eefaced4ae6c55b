"""The Dockerfile, the compose file and the manifests: each is sound, they are of one mind, and true to the code.

`tests/system/test_compose.py` starts what they say.
"""

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any

import kubernetes_validate
import prefect.settings
import pytest
import yaml

from lucid.api.auth import OPEN
from lucid.schema.names import nearest
from lucid.settings import Settings
from tests.support import containers
from tests.support.containers import COMPOSE, DEPLOY, DOCKERFILE, KUBERNETES, instructions, read_compose
from tests.support.pages import DOCS, ROOT, typed

SECRETS = {"LUCID_PREFECT_AUTH_STRING": "lucid:text", "POSTGRES_PASSWORD": "password"}
KEYS = {"LUCID_PREFECT_AUTH_STRING": "prefect-auth-string", "POSTGRES_PASSWORD": "postgres-password"}
"""What a variable of the compose file is called in the Secret of the manifests."""

OTHERS = {"PATH", "HOME", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PGDATA"} | {
    f"POSTGRES_{name}" for name in ("USER", "PASSWORD", "DB")
}
"""Variables of Python's and of PostgreSQL's image that are set."""

KUBERNETES_VERSIONS = "1.29", "1.32", "1.36"
PAGE = "deployment.md"
COMPOSED = read_compose(SECRETS)
PODS, POD_CONTAINERS = containers.pods(), containers.pod_containers()
OURS = [name for name, one in COMPOSED.services.items() if one.is_ours]
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def variables() -> Iterator[str]:
    """The name of every variable that one of the files sets."""
    yield from containers.dockerfile().envs
    yield from containers.required_variables()
    for service in COMPOSED.services.values():
        yield from service.environment
    for container in POD_CONTAINERS.values():
        yield from (entry["name"] for entry in container["env"])


def unknown(names: set[str]) -> list[str]:
    """A sentence for every variable that neither Lucid nor Prefect nor another program reads."""
    known = {f"LUCID_{name.upper()}" for name in Settings.model_fields} | OTHERS
    foreign = sorted(name for name in names - known if not hasattr(prefect.settings, name))
    return [f"{name} is no setting; did you mean {nearest(name, known)}?" for name in foreign]


def test_every_variable_is_a_setting() -> None:
    """Of Lucid, of Prefect, or of the images; a misspelt one is told with the name that was meant."""
    assert [] == unknown(set(variables()))
    assert ["LUCID_API_PROT is no setting; did you mean LUCID_API_PORT?"] == unknown({"LUCID_API_PROT"})
    assert 1 == len(unknown({"PREFECT_SERVER_DATABASE_HOTS"}))


def test_the_engine_asks_for_all_secrets() -> None:
    """Before it starts anything; a person makes them with the command of the page."""
    assert set(SECRETS) == containers.required_variables()
    with pytest.raises(KeyError):
        read_compose({})


def test_what_the_page_says_makes_the_secrets() -> None:
    """Its commands make all secrets, long and different each time, for the compose file as for the manifests."""
    made, again = secrets_of_the_page(), secrets_of_the_page()

    assert set(SECRETS) == set(made)
    assert all(len(value) > 40 for value in made.values())
    assert set() == set(made.values()) & set(again.values())
    assert re.fullmatch("[^:]+:.+", made["LUCID_PREFECT_AUTH_STRING"])
    (command,) = [line for line in typed(PAGE, "kubectl") if "create secret" in line]
    assert set(KEYS.values()) == set(re.findall(r"--from-literal=([\w-]+)=", command))


def secrets_of_the_page() -> dict[str, str]:
    """What the page's command writes into the file that the engine reads."""
    (command,) = typed(PAGE, "printf")
    done = subprocess.run(["bash", "-c", command.split(">")[0]], capture_output=True, text=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_commands_of_the_page_name_what_is_there() -> None:
    """Services, sets, containers, ports and files."""
    sets = {f"{one['kind'].lower()}/{one['metadata']['name']}" for one in containers.manifests()}
    for line in typed(PAGE, "docker compose"):
        assert all((ROOT / path).is_file() for path in re.findall(r"--file (\S+)", line)), line
        for service in re.findall(r" (?:exec|logs --follow) (\w+)", line):
            assert service in COMPOSED.services, line
    for line in typed(PAGE, "kubectl"):
        assert set(re.findall(r"\b(?:statefulset|service)/\w+", line)) <= sets, line
        assert set(re.findall(r"--container (\w+)", line)) <= set(POD_CONTAINERS), line
        for path in re.findall(r"deploy/[\w/.]+", line):
            assert (ROOT / path).exists(), line
    forwarded = [re.findall(r"service/(\w+) (\d+)", line) for line in typed(PAGE, "kubectl")]
    assert {("lucid", "8000"), ("prefect", "4200")} == {pair for pairs in forwarded for pair in pairs}


# The image


def test_all_that_is_copied_is_there_and_sent() -> None:
    """Every source of the Dockerfile exists, and `.dockerignore` lets it through, and nothing that is not copied."""
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = {
        source for value in instructions("COPY") if not value.startswith("--from") for source in value.split()[:-1]
    }

    assert [] == [source for source in copied if not (ROOT / source).exists()]
    assert [] == [source for source in copied if not any(fnmatch(source, pattern) for pattern in sent)]
    assert [] == [pattern for pattern in sent if not any(fnmatch(source, pattern) for source in copied)]


def test_the_image_installs_what_was_locked() -> None:
    """With hashes, without building anything but Lucid, and only in the stage that is thrown away."""
    _, build, final = DOCKERFILE.read_text().split("\nFROM ")
    installed = [value for value in instructions("RUN") if "pip" in value and "install" in value]

    assert ["python:3.11-slim"] * 2 == containers.dockerfile().parent_images
    assert "torch-cpu.lock" == containers.dockerfile_argument("TORCH_LOCK")
    assert "--require-hashes -r requirements.lock -r $TORCH_LOCK" in installed[0]
    assert "--only-binary :all:" in installed[0]
    assert "--no-deps --no-build-isolation ." in installed[1]
    assert 2 == len(installed)
    assert "pip" not in final
    assert "COPY --from=build /opt/lucid /opt/lucid" in final
    assert build.count("pip --python") == 2


def test_the_image_is_run_by_a_user_and_as_a_program() -> None:
    """Its user is not root, and no shell stands between a signal and the process."""
    (user,) = instructions("USER")
    (check,) = instructions("HEALTHCHECK")

    assert re.fullmatch("[1-9][0-9]{4}:[1-9][0-9]{4}", user)
    assert ["lucid"] == json.loads(instructions("ENTRYPOINT")[0])
    assert ["up"] == json.loads(instructions("CMD")[0])
    assert ["lucid", "ping", "api"] == json.loads(check.partition(" CMD ")[2])
    assert ["SIGTERM"] == instructions("STOPSIGNAL")


def test_all_name_this_release() -> None:
    """The label of the image, its tag in the compose file, in the manifests and on the page."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert version == containers.dockerfile().labels["org.opencontainers.image.version"]
    assert {f"lucid:{version}"} == {COMPOSED.services[name].image for name in OURS}
    assert [{"name": "lucid", "newTag": version}] == containers.kustomization()["images"]
    assert {version} == set(re.findall(r"lucid:(\d[\w.]+)", (DOCS / PAGE).read_text() + DOCKERFILE.read_text()))


def test_images_come_from_no_named_host() -> None:
    """But ours from where a person puts it, and the others from where the engine looks by itself."""
    named = {one.image for one in COMPOSED.services.values()} | {one["image"] for one in POD_CONTAINERS.values()}

    assert {"lucid", "lucid:0.1.0", "postgres:15"} == named


# Of one mind


@pytest.mark.parametrize("name", OURS)
def test_pods_run_what_the_compose_file_runs(name: str) -> None:
    """The same commands in the same environment, so that what is tested of one holds for the other."""
    composed, container = COMPOSED.services[name], POD_CONTAINERS[name]

    assert list(composed.command) == container["args"]
    assert "command" not in container
    assert composed.environment == environment(container)


def environment(container: dict[str, Any]) -> dict[str, str]:
    """What a container of a pod finds, with the secrets that the compose file is given here."""
    values = {KEYS[name]: value for name, value in SECRETS.items()}
    return {
        entry["name"]: entry["value"] if "value" in entry else values[entry["valueFrom"]["secretKeyRef"]["key"]]
        for entry in container["env"]
    }


def test_databases_are_the_same() -> None:
    """But for the folder in a volume whose root holds more."""
    found = environment(POD_CONTAINERS["postgres"])
    folder = found.pop("PGDATA")

    assert COMPOSED.services["postgres"].environment == found
    mounted = {entry["name"]: entry["mountPath"] for entry in POD_CONTAINERS["postgres"]["volumeMounts"]}
    assert folder.startswith(f"{mounted['data']}/")
    assert COMPOSED.services["postgres"].volumes == (f"postgres:{mounted['data']}",)


def test_ports_are_the_same_everywhere() -> None:
    """In the image, published, in pods and services, and on the page."""
    found = containers.image_environment()
    api, prefect = found["LUCID_API_PORT"], found["LUCID_PREFECT_PORT"]
    services = {one["metadata"]["name"]: one["spec"]["ports"][0]["port"] for one in containers.of_kind("Service")}
    in_pods = {name: [port["containerPort"] for port in one.get("ports", [])] for name, one in POD_CONTAINERS.items()}

    assert [f"{api} {prefect}"] == instructions("EXPOSE")
    assert {f"127.0.0.1:{api}:{api}", f"127.0.0.1:{prefect}:{prefect}"} == {
        port for one in COMPOSED.services.values() for port in one.ports
    }
    assert {"lucid": int(api), "prefect": int(prefect), "postgres": 5432} == services
    assert {"api": [int(api)], "flows": [], "prefect": [int(prefect)], "postgres": [5432]} == in_pods
    assert {api, prefect} == set(re.findall(r"127\.0\.0\.1:(\d+)", (DOCS / PAGE).read_text()))


def test_homes_are_below_their_volumes() -> None:
    """So that Lucid makes them, whatever else the root of a volume holds; API and flows share theirs."""
    home = containers.image_environment()["LUCID_HOME"]
    root = home.rpartition("/")[0]

    assert {"api": (f"lucid:{root}",), "flows": (f"lucid:{root}",), "prefect": (f"prefect:{root}",)} == {
        name: COMPOSED.services[name].volumes for name in OURS
    }
    for name in OURS:
        assert {"name": "home", "mountPath": root} in POD_CONTAINERS[name]["volumeMounts"]
    assert {"api", "flows"} == {one["name"] for one in PODS["lucid"]["containers"]}


# Manifests


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_manifests_are_what_kubernetes_takes(version: str) -> None:
    """By its own schemas, without a field that these do not have."""
    for one in [*containers.manifests(), *containers.objects(KUBERNETES / "secret.example.yaml")]:
        kubernetes_validate.validate(one, version, strict=True)
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"prots": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_the_kustomization_has_every_file() -> None:
    """But the example of a secret, which would take the place of the real one."""
    files = {path.name for path in KUBERNETES.glob("*.yaml")}

    assert files - {"kustomization.yaml", "secret.example.yaml"} == set(containers.kustomization()["resources"])
    assert {"Secret"} == {one["kind"] for one in containers.objects(KUBERNETES / "secret.example.yaml")}


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed; it renders the kustomization")
def test_kubectl_renders_the_same() -> None:
    """All objects, in the one namespace, with the image of this release."""
    done = subprocess.run(["kubectl", "kustomize", str(KUBERNETES)], capture_output=True, text=True, check=True)
    rendered = list(yaml.safe_load_all(done.stdout))

    def named(objects: list[dict[str, Any]]) -> list[tuple[str, str]]:
        return sorted((one["kind"], one["metadata"]["name"]) for one in objects)

    assert named(containers.manifests()) == named(rendered)
    assert {"lucid"} == {one["metadata"]["namespace"] for one in rendered if one["kind"] != "Namespace"}
    assert set(re.findall("image: (.*)", done.stdout)) == {"lucid:0.1.0", "postgres:15"}
    for one in rendered:
        kubernetes_validate.validate(one, KUBERNETES_VERSIONS[-1], strict=True)


def test_every_secret_is_in_the_example_and_none_has_a_value() -> None:
    """What pods refer to, no less and no more."""
    (example,) = containers.objects(KUBERNETES / "secret.example.yaml")
    asked = {
        (entry["valueFrom"]["secretKeyRef"]["name"], entry["valueFrom"]["secretKeyRef"]["key"])
        for container in POD_CONTAINERS.values()
        for entry in container["env"]
        if "valueFrom" in entry
    }

    assert {(example["metadata"]["name"], key) for key in example["stringData"]} == asked
    assert {""} == set(example["stringData"].values())
    assert set(KEYS.values()) == {key for _, key in asked}


@pytest.mark.parametrize("pod", PODS)
def test_pods_may_do_no_more_than_they_must(pod: str) -> None:
    """No root, no capability, no root file system to write to, no token, no variables of other services."""
    specification = PODS[pod]
    allowed = specification["securityContext"]

    assert not specification["automountServiceAccountToken"]
    assert not specification["enableServiceLinks"]
    assert allowed["runAsNonRoot"]
    assert {"type": "RuntimeDefault"} == allowed["seccompProfile"]
    assert allowed["runAsUser"] == allowed["runAsGroup"] == allowed["fsGroup"]
    if pod != "postgres":
        assert instructions("USER") == [f"{allowed['runAsUser']}:{allowed['runAsGroup']}"]
    for container in specification["containers"]:
        assert {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        } == container["securityContext"]
        assert {"cpu", "memory"} == set(container["resources"]["requests"])
        assert {"memory"} == set(container["resources"]["limits"])  # a limit of processors only slows down


def test_containers_of_the_engine_may_do_no_more_either() -> None:
    """Those of our image; PostgreSQL's begins as root and becomes its user."""
    for name in OURS:
        one = COMPOSED.services[name]
        assert one.read_only, name
        assert ("ALL",) == one.cap_drop, name
        assert ("/tmp",) == one.tmpfs, name
    assert {("no-new-privileges:true",)} == {one.security_opt for one in COMPOSED.services.values()}


def test_what_is_mounted_is_there() -> None:
    """Every volume of a pod is declared, and every claim exists; the compose file's too."""
    claims = {one["metadata"]["name"] for one in containers.of_kind("PersistentVolumeClaim")}
    for one in containers.of_kind("StatefulSet"):
        pod = one["spec"]["template"]["spec"]
        made = {claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])}
        declared = made | {volume["name"] for volume in pod["volumes"]}
        assert declared == {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert {
            volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"] if "emptyDir" not in volume
        } <= claims
    assert set(COMPOSED.volumes) == {entry.split(":")[0] for one in COMPOSED.services.values() for entry in one.volumes}


def test_one_pod_of_each_at_most() -> None:
    """Two would share neither locks nor limits."""
    assert {1} == {one["spec"]["replicas"] for one in containers.of_kind("StatefulSet")}
    assert [] == containers.of_kind("Deployment")


def test_services_and_policies_lead_to_ports_of_pods() -> None:
    """By the labels of the pods and the names of their ports."""
    ports = {
        name: {port["name"] for one in pod["containers"] for port in one.get("ports", [])} for name, pod in PODS.items()
    }
    for one in containers.of_kind("StatefulSet"):
        name = one["metadata"]["name"]
        labels = {"app.kubernetes.io/name": name}
        assert labels == one["spec"]["selector"]["matchLabels"] == one["spec"]["template"]["metadata"]["labels"]
        assert name == one["spec"]["serviceName"]
    for service in containers.of_kind("Service"):
        assert {service["spec"]["ports"][0]["targetPort"]} <= ports[
            service["spec"]["selector"]["app.kubernetes.io/name"]
        ]
    for policy in containers.of_kind("NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            pod = policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
            assert {entry["port"] for entry in rule["ports"]} <= ports[pod]
            others = [entry["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for entry in rule.get("from", [])]
            assert set(others) <= set(PODS)


def test_probes_ask_pages_that_need_no_key() -> None:
    """Of the API, ready and alive apart; those of Prefect and all commands are asked in the test of the system."""
    api = POD_CONTAINERS["api"]

    assert {"/health/live", "/health/ready"} == {api[probe]["httpGet"]["path"] for probe in PROBES} <= OPEN
    assert "/health/ready" == api["readinessProbe"]["httpGet"]["path"]
    assert [["lucid", "ping", "flows"]] * 2 == [
        POD_CONTAINERS["flows"][probe]["exec"]["command"] for probe in PROBES if probe in POD_CONTAINERS["flows"]
    ]
    for name in OURS:
        assert ("CMD", "lucid", "ping", name) == COMPOSED.services[name].healthcheck.test


def test_what_an_engine_reads_is_not_kept() -> None:
    """The file with the secrets, and that of further settings, are neither committed nor sent to the engine."""
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    (settings,) = {one.env_file[0].path for one in COMPOSED.services.values() if one.env_file}

    assert {f"deploy/{settings}", "deploy/.env"} <= set(ignored)
    assert [] == [path.name for path in DEPLOY.iterdir() if path.suffix == ".env" and path.name != settings]
    assert COMPOSE.parent == DEPLOY
