"""What the chart's pods may do, reach and know: as little as they need."""

import copy
import re
from urllib.parse import urlsplit

import pytest

from tests.deploy.chart import one, rendered
from tests.deploy.pod_security import violations
from tests.deploy.test_chart import MINIMAL, SETS
from tests.deploy.test_chart_objects import each_set, pods, templates

pytestmark = pytest.mark.usefixtures("helm")


@each_set
def test_pods_are_restricted(name: str) -> None:
    """Every pod passes Pod Security `restricted`, as a numeric user on a read-only file system with a /tmp."""
    for pod in pods(rendered(SETS[name])):
        assert list(violations(pod)) == []
        assert pod["securityContext"]["runAsUser"] == 65532
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert "cpu" not in container["resources"]["limits"]
            assert any(mount["mountPath"] == "/tmp" for mount in container["volumeMounts"])  # noqa: S108  the pod's


@pytest.mark.parametrize(
    ("where", "value", "violation"),
    [
        (("hostNetwork",), True, "hostNetwork"),
        (("volumes",), [{"name": "host", "hostPath": {"path": "/"}}], "volume host"),
        (("securityContext", "sysctls"), [{"name": "kernel.msgmax", "value": "1"}], "sysctl kernel.msgmax"),
        (("securityContext", "runAsUser"), 0, "pod: runAsUser"),
        (("securityContext", "runAsNonRoot"), False, "tokentrail: runAsNonRoot"),
        (("securityContext", "seccompProfile"), {"type": "Unconfined"}, "tokentrail: seccomp"),
        (("securityContext", "appArmorProfile"), {"type": "Unconfined"}, "pod: AppArmor"),
        (("securityContext", "seLinuxOptions"), {"user": "root"}, "pod: SELinux"),
        (("securityContext", "windowsOptions"), {"hostProcess": True}, "pod: hostProcess"),
        (
            ("containers", "securityContext", "allowPrivilegeEscalation"),
            None,
            "tokentrail: allowPrivilegeEscalation",
        ),
        (("containers", "securityContext", "privileged"), True, "tokentrail: privileged"),
        (("containers", "securityContext", "capabilities"), {}, "tokentrail: capabilities dropped"),
        (
            ("containers", "securityContext", "capabilities"),
            {"drop": ["ALL"], "add": ["SYS_ADMIN"]},
            "tokentrail: capabilities added",
        ),
        (("containers", "securityContext", "procMount"), "Unmasked", "tokentrail: procMount"),
        (("containers", "securityContext", "runAsUser"), 0, "tokentrail: runAsUser"),
        (("containers", "ports"), [{"containerPort": 1, "hostPort": 1}], "tokentrail: hostPort"),
    ],
)
def test_the_restricted_check_finds(where: tuple[str, ...], value: object, violation: str) -> None:
    """Each control of the standard, broken in a pod of ours, is found."""
    pod = copy.deepcopy(pods(rendered(MINIMAL | {"preflight": {"enabled": False}}))[0])
    here = pod
    for name in where[:-1]:
        here = here[name][0] if name == "containers" else here[name]
    here[where[-1]] = value
    assert violation in list(violations(pod))


@each_set
def test_no_secret_is_rendered(name: str) -> None:
    """No Secret object, no login in the settings' file; only files and references that name Secrets."""
    objects = rendered(SETS[name])
    assert [each for each in objects if each["kind"] == "Secret"] == []
    text = one(objects, "ConfigMap")["data"]["tokentrail.toml"]
    given = set(re.findall(r"^(\S*(?:password|secret|token)\S*|key|key_file) =", text, re.MULTILINE))
    assert given <= {"sasl_password_file", "password_file", "key_file"}
    for pod in pods(objects):
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            with_value = [each["name"] for each in container["env"] if "value" in each]
            assert [name for name in with_value if name.startswith("TOKENTRAIL_")] == [
                name
                for name in with_value
                if name in ("TOKENTRAIL_CONFIG", "TOKENTRAIL_CONTEXT", "TOKENTRAIL_TUNING")
            ]


@pytest.mark.parametrize("name", [name for name, values in SETS.items() if "networkPolicy" in values])
def test_network_policy_lets_out_what_is_needed(name: str) -> None:
    """Ports of the brokers, the registry, DNS, AWS for its login, what the operator adds, and no other."""
    values = SETS[name]
    policy = one(rendered(values), "NetworkPolicy")["spec"]
    expected = {53, *values["networkPolicy"].get("brokerPorts", [])}
    expected |= {int(broker.rpartition(":")[2]) for broker in values["kafka"]["bootstrapServers"].split(",")}
    if url := values.get("registry", {}).get("url"):
        expected.add(urlsplit(url).port or {"https": 443, "http": 80}[urlsplit(url).scheme])
    if values["kafka"].get("saslMechanism") == "AWS_MSK_IAM":
        expected.add(443)
    expected |= {port["port"] for rule in values["networkPolicy"].get("extraEgress", []) for port in rule["ports"]}
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == expected
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == ["metrics"]


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://registry", 80),
        ("https://registry/path", 443),
        ("https://registry:8081/a:1", 8081),
        ("http://[2001:db8::1]", 80),
        ("http://[2001:db8::1]:8081/x", 8081),
    ],
)
def test_network_policy_reads_the_registrys_port(url: str, port: int) -> None:
    """From the address, or by its scheme."""
    values = MINIMAL | {"registry": {"url": url}, "networkPolicy": {"enabled": True}}
    rules = one(rendered(values), "NetworkPolicy")["spec"]["egress"]
    assert {each["port"] for rule in rules for each in rule["ports"]} == {53, 9092, port}


def test_network_policy_selects_every_pod() -> None:
    """Where other policies deny everything, `helm test` and the canary still reach the brokers."""
    objects = rendered(SETS["restricted-network"] | {"canary": {"enabled": True, "secret": "canary"}})
    selector = one(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    of_pods = [template["metadata"]["labels"] for template in templates(objects)]
    assert len(of_pods) == 3
    assert [labels for labels in of_pods if not selector.items() <= labels.items()] == []
