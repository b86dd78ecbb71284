"""The objects that the chart renders: valid, and consistent with each other and with the program."""

import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]  # it has no py.typed
import pytest

from service.app import STOP_SECONDS
from service.cli import tokentrail as group
from service.settings import Settings
from tests.broker import ROOT
from tests.deploy import chart
from tests.deploy.chart import CHART, DEPLOY, Object, changed, one, rendered
from tests.deploy.test_chart import MINIMAL, SETS

pytestmark = pytest.mark.usefixtures("helm")

CRDS = ROOT.parent / "shared" / "k8s" / "crds"
CUSTOM = {"ScaledObject", "TriggerAuthentication", "PodMonitor", "PrometheusRule"}
ALL_ON = {
    "canary": {"enabled": True, "secret": "canary"},
    "keda": {"enabled": True},
    "networkPolicy": {"enabled": True},
    "metrics": {"podMonitor": {"enabled": True}, "prometheusRule": {"enabled": True, "canary": True}},
}
LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")

each_set = pytest.mark.parametrize("name", SETS)


def templates(objects: list[Object]) -> list[Object]:
    """Metadata and spec of the Deployment's pods, of the test's pod and of the canary's, where there is one."""
    jobs = [each["spec"]["jobTemplate"]["spec"]["template"] for each in objects if each["kind"] == "CronJob"]
    return [one(objects, "Deployment")["spec"]["template"], one(objects, "Pod"), *jobs]


def pods(objects: list[Object]) -> list[Object]:
    return [template["spec"] for template in templates(objects)]


# --- valid --------------------------------------------------------------------------------------


@each_set
@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_built_in_kinds_are_valid(name: str, version: str) -> None:
    """Kubernetes' own schemas, strictly: no field that they do not know."""
    found = [each for each in rendered(SETS[name]) if each["kind"] not in CUSTOM]
    assert found
    for each in found:
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.skipif(not CRDS.is_dir(), reason="no ../shared/k8s/crds: the resource definitions are not kept here")
@each_set
def test_custom_resources_are_valid(name: str) -> None:
    """The schemas of KEDA and prometheus-operator, with fields that they do not know refused."""
    schemas = {crd["spec"]["names"]["kind"]: crd for crd in map(chart.load, sorted(CRDS.glob("*.yaml")))}
    for each in rendered(SETS[name]):
        if each["kind"] in CUSTOM:
            (version,) = [
                v for v in schemas[each["kind"]]["spec"]["versions"] if each["apiVersion"].endswith(v["name"])
            ]
            jsonschema.validate(each["spec"], _strict(version["schema"]["openAPIV3Schema"]["properties"]["spec"]))


def _strict(schema: Any) -> Any:
    """The API server drops unknown fields in silence: here they are errors."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: _strict(value) for key, value in schema.items()}
    if "(?i)" in str(inner.get("pattern")):  # Go allows the flag anywhere
        inner["pattern"] = f"(?i){inner['pattern'].replace('(?i)', '')}"
    if isinstance(inner.get("properties"), dict) and inner.get("type") == "object":
        inner.setdefault("additionalProperties", False)
    return inner


def test_the_custom_resources_checked_are_all_there_are() -> None:
    """With everything on, the four kinds are rendered."""
    kinds = {each["kind"] for each in rendered(SETS["strimzi-scram"] | ALL_ON)}
    assert kinds > CUSTOM


@each_set
def test_names_and_labels_fit(name: str) -> None:
    """Names are DNS labels, labels valid, also for the longest name a release can have."""
    for values in (SETS[name], SETS[name] | ALL_ON | {"keda": {"enabled": "GSSAPI" not in str(SETS[name])}}):
        for each in rendered(values, release="r" * 53):
            found = each["metadata"]["name"]
            assert re.fullmatch("[a-z]([a-z0-9-]{0,61}[a-z0-9])?", found), found
            assert each["kind"] != "CronJob" or len(found) <= 52  # Kubernetes adds 11 for each run
            for label in each["metadata"]["labels"].values():
                assert LABEL.fullmatch(label), label


# --- consistent ---------------------------------------------------------------------------------


@each_set
def test_objects_refer_to_each_other(name: str) -> None:
    """Selectors match the detector's pods and only those; names that objects give each other exist."""
    objects = rendered(SETS[name])
    deployment = one(objects, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    others = [template["metadata"]["labels"] for template in templates(objects)[1:]]
    for selector in (_selector(each) for each in objects if each["kind"] != "NetworkPolicy"):
        assert selector.items() <= labels.items()
        assert not selector or not [other for other in others if selector.items() <= other.items()]
    existing = {(each["kind"], each["metadata"]["name"]) for each in objects}
    assert set(_references(objects)) <= existing


def _selector(each: Object) -> dict[str, str]:
    found: dict[str, str] = each.get("spec", {}).get("selector", {}).get("matchLabels", {})
    return found


def _references(objects: list[Object]) -> Iterator[tuple[str, str]]:
    for pod in pods(objects):
        yield from (
            ("ConfigMap", volume["configMap"]["name"]) for volume in pod["volumes"] if volume["name"] == "config"
        )
        if ("ServiceAccount", pod["serviceAccountName"]) in (
            (e["kind"], pod["serviceAccountName"]) for e in objects
        ):
            yield "ServiceAccount", pod["serviceAccountName"]
    for each in objects:
        if each["kind"] == "ScaledObject":
            yield "Deployment", each["spec"]["scaleTargetRef"]["name"]
            (trigger,) = each["spec"]["triggers"]
            if "authenticationRef" in trigger:
                yield "TriggerAuthentication", trigger["authenticationRef"]["name"]


@each_set
def test_pods_fit_the_program(name: str) -> None:
    """Port, probes, deadline and mounts are those of the program; its prefix is not in service links."""
    objects = rendered(SETS[name])
    pod = one(objects, "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["ports"] == [{"name": "metrics", "containerPort": Settings().http.port}]
    paths = {probe: container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")}
    assert {probe: get["path"] for probe, get in paths.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    assert {get["port"] for get in paths.values()} == {"metrics"}
    assert pod["terminationGracePeriodSeconds"] > STOP_SECONDS + 10
    for each in pods(objects):
        assert each["enableServiceLinks"] is False
        assert each["automountServiceAccountToken"] is False
        for inner in [*each.get("initContainers", []), *each["containers"]]:
            assert {mount["name"] for mount in inner["volumeMounts"]} == {
                volume["name"] for volume in each["volumes"]
            }


def test_configuration_changes_replace_pods() -> None:
    """The pods' template carries a checksum of what the ConfigMap holds."""
    annotation = "checksum/config"
    sums = {
        one(rendered(values), "Deployment")["spec"]["template"]["metadata"]["annotations"][annotation]
        for values in (MINIMAL, MINIMAL | {"log": {"level": "debug"}}, MINIMAL | {"replicas": 5})
    }
    assert len(sums) == 2


def test_commands() -> None:
    """The service is `run`, before it `check --wait`, which waits for brokers; `helm test` does not wait."""
    objects = rendered(MINIMAL)
    pod = one(objects, "Deployment")["spec"]["template"]["spec"]
    test = one(objects, "Pod")
    assert [container["args"] for container in pod["initContainers"]] == [["check", "--wait"]]
    assert [container["args"] for container in pod["containers"]] == [["run"]]
    assert [container["args"] for container in test["spec"]["containers"]] == [["check"]]
    assert test["metadata"]["annotations"]["helm.sh/hook"] == "test"


def test_the_canary_runs_on_its_schedule_one_at_a_time_and_fails_at_once() -> None:
    """As a pod of its own: the objects of the service do not take it for one of theirs."""
    values = SETS["monitoring"]
    job = one(rendered(values), "CronJob")
    assert job["spec"]["schedule"] == values["canary"]["schedule"]
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    run = job["spec"]["jobTemplate"]["spec"]
    assert run["backoffLimit"] == 0
    assert run["activeDeadlineSeconds"] > values["canary"]["timeoutSeconds"] + 60
    (container,) = run["template"]["spec"]["containers"]
    assert container["args"] == ["canary", "--timeout", str(values["canary"]["timeoutSeconds"])]
    assert run["template"]["spec"]["restartPolicy"] == "Never"
    assert run["template"]["metadata"]["labels"]["app.kubernetes.io/component"] == "canary"
    assert [each for each in rendered(MINIMAL) if each["kind"] == "CronJob"] == []


def test_the_canarys_arguments_are_those_of_the_program() -> None:
    """Its own parser takes them."""
    (container,) = pods(rendered(SETS["monitoring"]))[2]["containers"]
    context = group.make_context("tokentrail", list(container["args"]), resilient_parsing=True)
    name, command, rest = group.resolve_command(context, list(container["args"]))
    assert command is not None
    assert command.make_context(name, rest, parent=context).params["timeout"] == 45


def test_rules_survive_the_templates() -> None:
    """What Prometheus gets is the rule file, its own templates untouched; runbooks become links where asked."""
    values = MINIMAL | {"metrics": {"prometheusRule": {"enabled": True, "canary": True}}}
    for each, name in zip(_rules(values), ("canary", "rules"), strict=True):
        assert each["spec"] == chart.load(DEPLOY / "prometheus" / f"{name}.yaml")
    linked = changed(values, ("metrics", "prometheusRule", "runbookBaseUrl"), "https://git.example.com/x")
    urls = [rule["annotations"]["runbook_url"] for each in _rules(linked) for rule in _alerts(each)]
    assert urls
    assert [url for url in urls if not url.startswith("https://git.example.com/x/docs/runbooks.md#")] == []


def _rules(values: Object) -> list[Object]:
    found = [each for each in rendered(values) if each["kind"] == "PrometheusRule"]
    return sorted(found, key=lambda each: str(each["metadata"]["name"]), reverse=True)


def _alerts(each: Object) -> list[Object]:
    return [rule for group in each["spec"]["groups"] for rule in group["rules"] if "alert" in rule]


def test_pod_monitor_reaches_pods_that_are_not_ready() -> None:
    """It asks pods for the port that is served, without a Service, as the job that rules are grouped by."""
    monitor = one(rendered(SETS["monitoring"]), "PodMonitor")["spec"]
    assert [endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]] == ["metrics"]
    assert monitor["jobLabel"] == "app.kubernetes.io/name"
    assert [each for each in rendered(SETS["monitoring"]) if each["kind"] == "Service"] == []


# --- scaling --------------------------------------------------------------------------------------


def test_keda_owns_the_replicas() -> None:
    """Two owners would fight: with KEDA the Deployment says nothing, without it there is no ScaledObject."""
    assert "replicas" not in one(rendered(SETS["keda"]), "Deployment")["spec"]
    assert one(rendered(MINIMAL), "Deployment")["spec"]["replicas"] == 2
    assert [each for each in rendered(MINIMAL) if each["kind"] == "ScaledObject"] == []


def test_keda_asks_for_the_programs_defaults() -> None:
    """Group and topic, where the values name none, are those that the program reads."""
    (trigger,) = one(rendered(SETS["scaled to zero"]), "ScaledObject")["spec"]["triggers"]
    settings = Settings()
    metadata = trigger["metadata"]
    assert (metadata["consumerGroup"], metadata["topic"]) == (settings.kafka.group_id, settings.topics.events)
    assert metadata["offsetResetPolicy"] == settings.kafka.start
    assert {type(value) for value in metadata.values()} == {str}  # KEDA takes nothing else


@pytest.mark.parametrize(
    ("name", "metadata", "parameters"),
    [
        ("minimal", {"sasl": "none", "tls": "disable"}, None),
        ("confluent-cloud", {"sasl": "plaintext", "tls": "enable"}, {"username", "password"}),
        ("strimzi-scram", {"sasl": "scram_sha512", "tls": "enable"}, {"username", "password", "ca"}),
        ("strimzi-mtls", {"sasl": "none", "tls": "enable"}, {"ca", "cert", "key"}),
        ("keda", {"sasl": "scram_sha256", "tls": "enable"}, {"username", "password", "ca"}),
        (
            "msk-iam",
            {
                "sasl": "oauthbearer",
                "tls": "enable",
                "saslTokenProvider": "aws_msk_iam",
                "awsRegion": "eu-central-1",
            },
            set(),
        ),
    ],
)
def test_keda_logs_in_as_the_pods_do(name: str, metadata: dict[str, str], parameters: set[str] | None) -> None:
    """By references to the same Secrets, in KEDA's words for mechanism and TLS."""
    objects = rendered(SETS[name] | {"keda": {"enabled": True}})
    (trigger,) = one(objects, "ScaledObject")["spec"]["triggers"]
    assert metadata.items() <= trigger["metadata"].items()
    if parameters is None:
        assert "authenticationRef" not in trigger
        return
    spec = one(objects, "TriggerAuthentication")["spec"]
    secrets, texts = spec.get("secretTargetRef", []), spec.get("configMapTargetRef", [])
    assert {reference["parameter"] for reference in [*secrets, *texts]} == parameters
    mounted = [source.get("secret") for source in _sources(objects)]
    keys = {(secret["name"], item["key"]) for secret in mounted if secret for item in secret["items"]}
    assert {(reference["name"], reference["key"]) for reference in secrets} <= keys
    own = one(objects, "ConfigMap")
    assert [each for each in texts if each["parameter"] == "username" and each["key"] not in own["data"]] == []
    assert spec.get("podIdentity") == ({"provider": "aws"} if name == "msk-iam" else None)


def _sources(objects: list[Object]) -> list[Object]:
    """Of the volume with secrets."""
    volumes = {volume["name"]: volume for volume in pods(objects)[0]["volumes"]}
    sources: list[Object] = volumes.get("secrets", {}).get("projected", {}).get("sources", [])
    return sources


def test_templates_hold_no_tabs_and_end_with_a_newline() -> None:
    """YAML knows no tabs."""
    for path in [path for path in CHART.rglob("*") if path.is_file()]:
        text = path.read_text()
        assert "\t" not in text, path
        assert text.endswith("\n"), path


def test_examples_say_what_they_are_for() -> None:
    """Each begins with a comment."""
    assert [path.name for path in chart.EXAMPLES.values() if not path.read_text().startswith("# ")] == []
