"""The login of Amazon MSK: what the signer makes is handed to librdkafka as it wants it, and nothing leaks."""

import base64
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from service.errors import Refused, SettingsError
from service.kafka import msk_iam
from service.kafka.msk_iam import Tokens
from service.settings import load
from tests.broker import ROOT

ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG"
SESSION_TOKEN = "IQoJb3JpZ2luX2VjEXAMPLETOKEN"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    "AWS_SESSION_TOKEN": SESSION_TOKEN,
}
MSK = {
    "TOKENTRAIL_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "TOKENTRAIL_KAFKA__SECURITY_PROTOCOL": "sasl_ssl",
    "TOKENTRAIL_KAFKA__SASL_MECHANISM": "AWS_MSK_IAM",
}
NO_CREDENTIALS = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_CONFIG_FILE": "/nonexistent",
}


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in NO_CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("credentials")
def test_a_token_is_a_presigned_request_to_connect() -> None:
    token, expires_at = Tokens("eu-central-1")()
    url = urlsplit(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert (url.scheme, url.netloc) == ("https", "kafka.eu-central-1.amazonaws.com")
    assert query["Action"] == "kafka-cluster:Connect"
    assert query["X-Amz-Credential"].startswith(f"{ACCESS_KEY}/")
    assert query["X-Amz-Credential"].endswith("/eu-central-1/kafka-cluster/aws4_request")
    assert query["X-Amz-Security-Token"] == SESSION_TOKEN
    assert expires_at == pytest.approx(time.time() + float(query["X-Amz-Expires"]), abs=60), "seconds since 1970"


@pytest.mark.usefixtures("no_credentials")
def test_a_process_without_credentials_is_refused_in_one_line() -> None:
    with pytest.raises(Refused) as caught:
        Tokens("eu-central-1")
    assert str(caught.value) == "AWS_MSK_IAM needs AWS credentials: none were found"


def test_the_last_token_serves_while_aws_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    tokens = Tokens("eu-central-1")
    first = tokens()
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    for name, value in NO_CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    assert tokens() == first


def test_an_expired_token_is_offered_for_a_while_so_that_the_client_asks_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A token of the past would not be taken by librdkafka; the brokers then refuse it, which ends the program."""

    class Signer:
        expired = False

        @classmethod
        def generate_auth_token(cls, region: str) -> tuple[str, int]:
            if cls.expired:
                raise OSError("no route to AWS")
            cls.expired = True
            return f"token for {region}", 1_000

    monkeypatch.setattr(msk_iam, "MSKAuthTokenProvider", Signer)
    tokens = Tokens("eu-central-1")
    token, expires_at = tokens()
    assert token == "token for eu-central-1"
    assert expires_at > time.time()


@pytest.mark.usefixtures("credentials")
def test_debugging_shows_no_part_of_a_login(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token, _ = Tokens("eu-central-1")()
    told = "\n".join(record.getMessage() for record in caplog.records)
    assert not [secret for secret in (SECRET_KEY, SESSION_TOKEN, token[-40:]) if secret in told]


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION", "TOKENTRAIL_KAFKA__MSK_IAM_REGION"])
def test_the_region_may_come_from_the_environment(variable: str, tmp_path: Path) -> None:
    assert load({}, {**MSK, variable: "eu-west-1"}, tmp_path).kafka.msk_iam_region == "eu-west-1"


def test_a_set_region_wins_over_that_of_the_environment(tmp_path: Path) -> None:
    environ = {**MSK, "AWS_REGION": "eu-west-1", "TOKENTRAIL_KAFKA__MSK_IAM_REGION": "us-east-1"}
    assert load({}, environ, tmp_path).kafka.msk_iam_region == "us-east-1"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"TOKENTRAIL_KAFKA__SECURITY_PROTOCOL": "ssl"}, "AWS_MSK_IAM needs security_protocol sasl_ssl"),
        ({"AWS_REGION": ""}, "AWS_MSK_IAM needs msk_iam_region, or AWS_REGION in the environment"),
    ],
)
def test_half_a_configuration_is_a_wrong_setting(changes: dict[str, str], problem: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load({}, {**MSK, "AWS_REGION": "eu-west-1", **changes}, tmp_path)
    (line,) = caught.value.problems
    assert line == f"kafka.sasl_mechanism: {problem} (from environment TOKENTRAIL_KAFKA__SASL_MECHANISM)"


def test_a_region_that_is_none_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"kafka\.msk_iam_region: must be an AWS region, .*AWS_REGION"):
        load({}, {**MSK, "AWS_REGION": "evil.example/?"}, tmp_path)


def test_a_missing_extra_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "aws_msk_iam_sasl_signer.py").write_text("raise ImportError")
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    ended = subprocess.run(
        [sys.executable, "-m", "service", "run"],
        env={**kept, **MSK, "AWS_REGION": "eu-west-1", "PYTHONPATH": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    expected = 'tokentrail: kafka.sasl_mechanism: AWS_MSK_IAM needs: pip install "tokentrail[msk-iam]"\n'
    assert ended.stderr == expected


def test_the_signer_is_not_imported_by_those_who_do_not_use_it() -> None:
    asked = "import json, sys, service.cli.run; print(json.dumps([*sys.modules]))"
    ended = subprocess.run(
        [sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert not {"botocore", "aws_msk_iam_sasl_signer"} & set(json.loads(ended.stdout))
