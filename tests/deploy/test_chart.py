"""The chart's values: each has its effect, wrong ones are refused, and the program reads what comes of them."""

import json
import re
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings
from service.settings import load as load_settings
from service.settings_table import describe
from service.settings_values import REFUSED_PROPERTIES
from tests.broker import ROOT
from tests.deploy import chart
from tests.deploy.chart import CHART, EXAMPLES, Object, Where, changed, load, one, rendered, template

pytestmark = pytest.mark.usefixtures("helm")

MINIMAL: Object = {"kafka": {"bootstrapServers": "kafka:9092"}}
SETS = {name: load(path) for name, path in EXAMPLES.items()} | {
    "tuned": MINIMAL
    | {"tuning": "  [rules]\n'a b' = \"ü\"\n", "context": "# ü\n[accounts]\n", "detect": {"screen": True}},
    "tagged": MINIMAL | {"image": {"tag": "1.2.3"}},
    "kerberos": {
        "kafka": {
            "bootstrapServers": "a.example.com:9092,[2001:db8::1]:9093",
            "securityProtocol": "sasl_plaintext",
            "saslMechanism": "GSSAPI",
            "properties": {
                "a.text": 'q"\\\t\u2028ü',
                "a.flag": False,
                "a.zero": 0,
                "a.large": 67108864,
                "a.half": 0.5,
            },
        }
    },
    "scaled to zero": MINIMAL
    | {
        "keda": {
            "enabled": True,
            "minReplicas": 0,
            "activationLagThreshold": 6,
            "pollingInterval": 10,
            "cooldownPeriod": 60,
            "fallbackReplicas": 1,
        }
    },
}
# In the values' order: section or table of settings -> where it stands among the chart's values.
SECTIONS = ("kafka", "topics", "delivery", "detect", "findings", "registry", "http", "log", "limits")
NOT_IN_CHART = {
    "config": "the chart's own file",
    "tuning": "the chart's own file, from the value of that name",
    "context": "the same",
    "http.port": "a pod has its own address",
    "accounts.expected": "the value expectedAccounts",
    "canary.key": "a Secret's, by a file",
    "canary.key_file": "made from canary.secret",
    "kafka.sasl_password": "a Secret's, by a file",
    "kafka.sasl_username_file": "made from kafka.credentials",
    "kafka.sasl_password_file": "made from kafka.credentials",
    "registry.username": "a Secret's, by a file",
    "registry.password": "a Secret's, by a file",
    "registry.username_file": "made from registry.credentials",
    "registry.password_file": "made from registry.credentials",
    "registry.ca_location": "made from registry.tls",
    "registry.certificate_location": "made from registry.tls",
    "registry.key_location": "made from registry.tls",
}


def snake(name: str) -> str:
    return re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name)


# --- every value -------------------------------------------------------------------------------


def test_values_and_schema_know_the_same_names() -> None:
    """A value that values.yaml shows is in the schema, and the other way round."""
    schema = json.loads((CHART / "values.schema.json").read_text())

    def names(here: Object, above: Where) -> set[Where]:
        here = schema["definitions"][here["$ref"].rpartition("/")[2]] if "$ref" in here else here
        below = here.get("properties", {}).items()
        return set().union(*(names(inner, (*above, name)) for name, inner in below)) if below else {above}

    shown = {path[:2] if path[0] == "resources" else path for path in chart.defaults()}
    assert shown == names(schema, ()) - {("global",)}


# Where a set does not render without the value: another one.
OTHER = {
    ("kafka", "bootstrapServers"): "other:9092",
    ("kafka", "mskIamRegion"): "eu-west-1",
    ("kafka", "credentials", "secret"): "other",
    ("kafka", "securityProtocol"): "sasl_plaintext",
    ("canary", "secret"): "other",
}


@pytest.mark.parametrize("path", [pytest.param(path, id=".".join(path)) for path in chart.defaults()])
def test_every_value_has_an_effect(path: Where) -> None:
    """Some set has a value of its own, and with the default in its place renders something else."""
    other = OTHER.get(path, chart.defaults()[path])
    within = [values for values in SETS.values() if any(p[: len(path)] == path for p, _ in chart.leaves(values))]
    assert any(template(values) != template(changed(values, path, other)) for values in within)


@pytest.mark.parametrize("name", SETS)
def test_lint(name: str) -> None:
    """`helm lint --strict` has nothing to say."""
    done = chart.helm("lint", CHART, "--strict", "--kube-version", chart.KUBERNETES, values=SETS[name])
    assert "0 chart(s) failed" in done.stdout
    assert "[WARNING]" not in done.stdout
    assert done.stderr == ""


def test_files_made_from_others_are_up_to_date() -> None:
    """`python -m tests.deploy.chart` would change nothing: README's table, rules, refused properties."""
    assert {path.name: path.read_text() for path in chart.made_files()} == {
        path.name: text for path, text in chart.made_files().items()
    }


def test_every_value_is_explained() -> None:
    """Each row of the README's table has a meaning."""
    rows = chart.values_table().splitlines()[2:]
    assert len(rows) == len(chart.defaults())
    assert [row for row in rows if row.endswith("|  |")] == []


def test_versions() -> None:
    """The chart is for the program's version, which its image is tagged with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert load(CHART / "Chart.yaml")["appVersion"] == project["version"]


# --- wrong values ------------------------------------------------------------------------------

LOGIN = {"securityProtocol": "sasl_ssl", "saslMechanism": "PLAIN", "credentials": {"secret": "login"}}
WRONG: list[tuple[str, Any, str]] = [
    ("kafka.bootstrapServers", None, "at '/kafka/bootstrapServers': got null, want string"),
    ("kafka.bootstrapServers", "broker", "at '/kafka/bootstrapServers': 'broker' does not match pattern"),
    ("kafka.bootstrapServers", "a:9092,b:99999", "kafka.bootstrapServers: 99999 is no port"),
    ("kafka.bootstrapServer", "a:9092", "at '/kafka': additional properties 'bootstrapServer' not allowed"),
    ("kafka.start", "yesterday", "at '/kafka/start': 'yesterday' is not valid date-time"),
    ("kafka.start", "2026-02-31T00:00:00Z", "at '/kafka/start': '2026-02-31T00:00:00Z' is not valid date-time"),
    (
        "kafka.groupProtocol",
        "eager",
        "at '/kafka/groupProtocol': value must be one of 'auto', 'classic', 'consumer'",
    ),
    (
        "kafka.saslMechanism",
        "SCRAM-SHA-512",
        "kafka.saslMechanism: SCRAM-SHA-512 needs kafka.securityProtocol sasl_",
    ),
    (
        "kafka",
        {"bootstrapServers": "a:1", **LOGIN, "credentials": {}},
        "kafka.credentials.secret: PLAIN needs the name of a Secret",
    ),
    (
        "kafka",
        {"bootstrapServers": "a:1", "securityProtocol": "sasl_ssl", "saslMechanism": "AWS_MSK_IAM"},
        "kafka.mskIamRegion: AWS_MSK_IAM needs the cluster's region",
    ),
    ("kafka.tls.ca", {"secret": "a", "configMap": "b"}, "kafka.tls.ca: a secret or a configMap, not both"),
    (
        "kafka.credentials",
        {"password": "hunter2"},
        "at '/kafka/credentials': additional properties 'password' not allow",
    ),
    ("kafka.properties", {"ssl.key.password": "hunter2"}, "kafka.properties: ssl.key.password is a secret"),
    (
        "topics.findings",
        "cloudtrail.events",
        "topics: events, findings, deadLetters and staged must be different",
    ),
    ("topics", None, "at '': missing property 'topics'"),
    ("delivery.mode", "at-most-once", "at '/delivery/mode': value must be one of 'exactly-once', 'at-least-once'"),
    ("registry.url", "https://me:hunter2@registry", "at '/registry/url'"),
    ("expectedAccounts", [111122223333], "at '/expectedAccounts/0': got number, want string"),
    ("expectedAccounts", ["1111-2222-3333"], "at '/expectedAccounts/0': '1111-2222-3333' does not match pattern"),
    ("canary.enabled", True, "canary.secret: canary.enabled needs the name of a Secret with the key"),
    ("canary.schedule", "every minute", "at '/canary/schedule': 'every minute' does not match pattern"),
    ("canary.key", "0123", "at '/canary': additional properties 'key' not allowed"),
    ("replicas", 1.5, "at '/replicas': got number, want integer"),
    ("limits.batchMessages", 0, "at '/limits/batchMessages': minimum: got 0, want 1"),
    ("keda", {"enabled": True, "minReplicas": 9}, "keda.minReplicas: more than keda.maxReplicas"),
    ("networkPolicy.scrapers", [{"namespace": "monitoring"}], "additional properties 'namespace' not allowed"),
    (
        "extraEnv",
        [{"name": "TOKENTRAIL_LOG__LEVEL", "value": "debug"}],
        "at '/extraEnv/0': missing property 'valueFrom'",
    ),
    ("image.tag", "a tag", "at '/image/tag': 'a tag' does not match pattern"),
    ("securityContext", {"privileged": True}, "additional properties 'securityContext' not allowed"),
    *(
        ("kafka.consumerProperties", {name: "x"}, f"kafka.consumerProperties: {name} is")
        for name in REFUSED_PROPERTIES
    ),
]


@pytest.mark.parametrize(("where", "value", "line"), WRONG)
def test_wrong_values_are_refused(where: str, value: object, line: str) -> None:
    """Helm renders nothing and says where the mistake is."""
    with pytest.raises(ValueError, match=re.escape(line)):
        template(changed(MINIMAL, tuple(where.split(".")), value))


def test_wrong_combination_with_keda() -> None:
    """KEDA cannot be given every login."""
    values = changed(SETS["kerberos"], ("keda", "enabled"), value=True)
    with pytest.raises(ValueError, match=re.escape("keda.enabled: this chart cannot log KEDA in by GSSAPI")):
        template(values)


def test_older_kubernetes_is_refused() -> None:
    """What the objects rely on came with 1.29."""
    with pytest.raises(ValueError, match=re.escape("requires kubeVersion: >=1.29.0-0")):
        template(MINIMAL, "--kube-version", "1.28.9")


# --- the program's settings ----------------------------------------------------------------------


def loaded(values: Object, folder: Path) -> Settings:
    """What the program's own loader makes of the container's environment and files, which lie below `folder`."""
    objects = rendered(values)
    pod = one(objects, "Deployment")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    own = {
        mount["name"]: mount["mountPath"]
        for mount in container["volumeMounts"]
        if mount["name"] in ("config", "secrets")
    }
    texts = {f"{own['config']}/{name}": text for name, text in one(objects, "ConfigMap")["data"].items()}
    for source in volumes.get("secrets", {}).get("projected", {}).get("sources", []):
        (item_source,) = source.values()
        for item in item_source["items"]:
            size = 32 if item["path"] == "canary/key" else 0  # a shorter one is refused
            texts[f"{own['secrets']}/{item['path']}"] = f"from {item['key']}".ljust(size, ".")

    def moved(text: str) -> str:
        for path in own.values():
            text = text.replace(path, f"{folder}{path}")
        return text

    for path, text in texts.items():
        target = Path(moved(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(moved(text))
    environment = {
        each["name"]: moved(each.get("value", '{"ssl.key.password": "x"}')) for each in container["env"]
    }
    return load_settings({}, environment, folder)


@pytest.mark.parametrize("name", SETS)
def test_the_program_reads_what_is_rendered(name: str, tmp_path: Path) -> None:
    """Its loader accepts environment and files, and each value arrives as the setting of its name."""
    values = SETS[name]
    settings = loaded(values, tmp_path)
    given = [(where, value) for where, value in chart.leaves(values) if where[0] in SECTIONS and len(where) == 2]
    assert given
    for (section, name_), value in given:
        if value is None:
            continue
        setting = getattr(getattr(settings, section), snake(name_))
        setting = str(setting) if isinstance(setting, Path) else setting
        setting = getattr(setting, "get_secret_value", lambda setting=setting: setting)()
        expected = datetime.fromisoformat(value) if isinstance(setting, datetime) else value
        assert setting == expected, (section, name_)
    assert list(settings.accounts.expected) == values.get("expectedAccounts", [])
    assert (settings.tuning is None) == ("tuning" not in values)


def test_properties_arrive_as_they_are(tmp_path: Path) -> None:
    """Text of any kind, numbers and truth values of librdkafka's properties reach the program unchanged."""
    assert loaded(SETS["kerberos"], tmp_path).kafka.properties == {
        "a.text": 'q"\\\t\u2028ü',
        "a.flag": "false",
        "a.zero": "0",
        "a.large": "67108864",
        "a.half": "0.5",
    }


def test_logins_and_certificates_arrive_from_secrets(tmp_path: Path) -> None:
    """The files that the settings name hold what the Secrets' keys hold."""
    settings = loaded(SETS["confluent-cloud"], tmp_path)
    logins = (settings.kafka.sasl_username, settings.kafka.sasl_password, settings.registry.username)
    assert [login and login.get_secret_value() for login in logins] == [
        "from api-key",
        "from api-secret",
        "from api-key",
    ]
    properties = loaded(SETS["strimzi-mtls"], tmp_path).kafka.properties
    names = ("ssl.ca.location", "ssl.certificate.location", "ssl.key.location")
    contents = [Path(properties[name]).read_text() for name in names]
    assert contents == ["from bundle.pem", "from user.crt", "from user.key"]


def test_the_canarys_key_arrives_from_its_secret(tmp_path: Path) -> None:
    """The service has it too, or it would believe no canary."""
    key = loaded(SETS["monitoring"], tmp_path).canary.key
    assert key is not None
    assert key.get_secret_value() == "from canary-key".ljust(32, ".")


def test_tuning_arrives_as_it_is(tmp_path: Path) -> None:
    """The text of the value is the file that the program is pointed at."""
    settings = loaded(SETS["tuned"], tmp_path)
    assert settings.tuning is not None
    assert settings.context is not None
    assert settings.tuning.read_text() == SETS["tuned"]["tuning"]
    assert settings.context.read_text() == SETS["tuned"]["context"]


def test_every_setting_can_be_set() -> None:
    """A setting that the program grows needs a value here, or a reason why not."""
    in_chart = {(path[0], snake(path[1])) for path in chart.defaults() if path[0] in SECTIONS and len(path) == 2}
    settable = {".".join(name) for name in in_chart} | NOT_IN_CHART.keys()
    assert {".".join(row.name) for row in describe()} == settable


CHOICES = [
    (section, name, field)
    for section in SECTIONS
    for name, field in type(getattr(Settings(), section)).model_json_schema()["properties"].items()
]


@pytest.mark.parametrize(
    ("section", "name", "choices"),
    [
        pytest.param(section, name, kind["enum"], id=f"{section}.{name}")
        for section, name, field in CHOICES
        for kind in field.get("anyOf", [field])
        if "enum" in kind and name != "start"
    ],
)
def test_choices_are_the_programs(section: str, name: str, choices: list[str]) -> None:
    """Where the program takes one of a few words, the schema takes the same."""
    camel = re.sub("_(.)", lambda found: found[1].upper(), name)
    assert chart.schema_of((section, camel))["enum"] == [*choices, None]
