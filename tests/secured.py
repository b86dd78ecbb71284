"""A real Kafka that asks who is there: TLS, mutual TLS, SASL and ACLs on one broker.

Its plain listener is the administrator's, and of no use to a service under test.
"""

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # documented there, declared elsewhere
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.broker import Broker, poll_until


@dataclass(frozen=True)
class Need:
    """A row of the README's table: operations on a resource, without which the service cannot work."""

    resource: str
    name: str
    pattern: str
    operations: tuple[str, ...]


# With the names that the settings have by default.
NEEDS = (
    Need("topic", "cloudtrail.events", "literal", ("READ", "DESCRIBE")),
    Need("topic", "cloudtrail.findings", "literal", ("WRITE", "DESCRIBE")),
    Need("topic", "cloudtrail.dead-letters", "literal", ("WRITE", "DESCRIBE")),
    Need("group", "tokentrail", "literal", ("READ",)),
    Need("transactional id", "tokentrail-", "prefixed", ("WRITE", "DESCRIBE")),
)
# What `tokentrail check` asks besides; without it, it warns that it cannot tell.
NEEDS_OF_CHECK = tuple(
    Need("topic", name, "literal", ("DESCRIBE_CONFIGS",))
    for name in ("cloudtrail.events", "cloudtrail.findings", "cloudtrail.dead-letters")
)

# A stand-in for the package that signs logins for Amazon MSK: its tokens are those of the test broker.
SIGNER = """
import base64, json, time
def part(content): return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
class MSKAuthTokenProvider:
    def generate_auth_token(region):
        now = time.time()
        claims = {"sub": %(user)r, "iat": now - 60, "exp": now + %(valid_for)r}
        return part({"alg": "none"}) + "." + part(claims) + ".", int((now + %(told_to_last)r) * 1000)
"""

USER = "tokentrail"
PASSWORD = "correct-horse"
_LISTENERS = {"TLS": "SSL", "MTLS": "SSL", "SASL": "SASL_SSL"}
_LOGIN_MODULES = {
    "plain": f'plain.PlainLoginModule required user_{USER}="{PASSWORD}"',
    "scram-sha-512": "scram.ScramLoginModule required",
    # Tokens that nobody signed: for tests only.
    "oauthbearer": "oauthbearer.OAuthBearerLoginModule required",
}


class Certificates:
    """Files in `folder`: the authority, the broker's certificate, a good client's and an expired one's."""

    def __init__(self, folder: Path) -> None:
        authority, stranger = trustme.CA(), trustme.CA()
        yesterday = datetime.now(UTC) - timedelta(days=1)
        self.authority = folder / "ca.pem"
        self.strange_authority = folder / "strange-ca.pem"
        authority.cert_pem.write_to_path(self.authority)
        stranger.cert_pem.write_to_path(self.strange_authority)
        self.broker = _pem(folder / "broker.pem", authority.issue_cert("127.0.0.1"))
        self.client = _pem(folder / "client.pem", authority.issue_cert("client.test", common_name=USER))
        expired = authority.issue_cert(
            "client.test", common_name=USER, not_before=yesterday - timedelta(days=9), not_after=yesterday
        )
        self.expired_client = _pem(folder / "expired-client.pem", expired)


def _pem(file: Path, issued: trustme.LeafCert) -> Path:
    """Key and certificate in one file, the key as PKCS 8: the one form that Kafka reads."""
    key = load_pem_private_key(issued.private_key_pem.bytes(), password=None)
    as_pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(as_pkcs8 + b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return file


@dataclass(frozen=True)
class Tenant:
    user: str
    group: str
    events: str
    findings: str
    dead_letters: str

    def needs(self, needs: Iterable[Need] = NEEDS) -> list[Need]:
        """`needs`, with the tenant's names."""
        names = {
            "cloudtrail.events": self.events,
            "cloudtrail.findings": self.findings,
            "cloudtrail.dead-letters": self.dead_letters,
            "tokentrail": self.group,
            "tokentrail-": f"{self.group}-",
        }
        return [replace(need, name=names[need.name]) for need in needs]

    def environment(self) -> dict[str, str]:
        return {
            "TOKENTRAIL_KAFKA__GROUP_ID": self.group,
            "TOKENTRAIL_TOPICS__EVENTS": self.events,
            "TOKENTRAIL_TOPICS__FINDINGS": self.findings,
            "TOKENTRAIL_TOPICS__DEAD_LETTERS": self.dead_letters,
        }


class SecuredBroker(Broker):
    """A `Broker` with the listeners TLS, MTLS and SASL; who is not the administrator needs ACLs."""

    def __init__(self, folder: Path) -> None:
        self.certificates = Certificates(folder)
        properties = {
            "listener.security.protocol.map": ",".join(
                f"{name}:{protocol}"
                for name, protocol in {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **_LISTENERS}.items()
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.certificates.broker),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.certificates.authority),
            "listener.name.mtls.ssl.client.auth": "required",
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
            # Without it a broker takes no second login over a connection, as a new token asks for one.
            "connections.max.reauth.ms": "3600000",
            "sasl.enabled.mechanisms": ",".join(_LOGIN_MODULES).upper(),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # The plain listeners know nobody's name. A client on the listener TLS has none either.
            "super.users": "User:ANONYMOUS",
        } | {
            f"listener.name.sasl.{mechanism}.sasl.jaas.config": f"org.apache.kafka.common.security.{module};"
            for mechanism, module in _LOGIN_MODULES.items()
        }
        super().__init__(folder, properties, tuple(_LISTENERS))

    def tenant(self, user: str | None = None) -> "Tenant":
        """Topics and a group of one service, and who it is."""
        name = f"tenant-{uuid.uuid4()}"
        tenant = Tenant(user or name, name, f"{name}.events", f"{name}.findings", f"{name}.dead-letters")
        for topic in (tenant.events, tenant.findings, tenant.dead_letters):
            self.create_topic(topic)
        return tenant

    def add_scram_user(self, user: str, password: str) -> None:
        credential = UserScramCredentialUpsertion(
            user, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), password.encode()
        )
        admin = self._admin()
        for done in admin.alter_user_scram_credentials([credential]).values():
            done.result(timeout=30)

    def allow(self, user: str, needs: Iterable[Need]) -> None:
        admin = self._admin()
        wanted = [acl for need in needs for acl in _acls(user, need)]
        for done in admin.create_acls(wanted).values():
            done.result(timeout=30)
        of_user = AclBindingFilter(
            ResourceType.ANY,
            None,  # type: ignore[arg-type]  # any name
            ResourcePatternType.ANY,
            f"User:{user}",
            None,  # type: ignore[arg-type]  # any host
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        poll_until(
            lambda: len(admin.describe_acls(of_user).result(timeout=30)) >= len(set(wanted)), f"the ACLs of {user}"
        )


def _acls(user: str, need: Need) -> list[AclBinding]:
    return [
        AclBinding(
            ResourceType[need.resource.upper().replace(" ", "_")],
            need.name,
            ResourcePatternType[need.pattern.upper()],
            f"User:{user}",
            "*",
            AclOperation[operation],
            AclPermissionType.ALLOW,
        )
        for operation in need.operations
    ]


# --- settings that log in --------------------------------------------------------------------------------------

Environment = dict[str, str]


def kafka(address: str, protocol: str, properties: Mapping[str, object], **settings: str) -> Environment:
    named = {f"TOKENTRAIL_KAFKA__{name.upper()}": value for name, value in settings.items()}
    return {
        "TOKENTRAIL_KAFKA__BOOTSTRAP_SERVERS": address,
        "TOKENTRAIL_KAFKA__SECURITY_PROTOCOL": protocol,
        "TOKENTRAIL_KAFKA__PROPERTIES": json.dumps(properties),
        **named,
    }


def tls(broker: SecuredBroker, authority: Path | None = None) -> Environment:
    trusted = authority or broker.certificates.authority
    return kafka(broker.addresses["TLS"], "ssl", {"ssl.ca.location": str(trusted)})


def mutual_tls(broker: SecuredBroker, certificate: Path | None) -> Environment:
    properties = {"ssl.ca.location": str(broker.certificates.authority)}
    if certificate:
        properties |= {"ssl.certificate.location": str(certificate), "ssl.key.location": str(certificate)}
    return kafka(broker.addresses["MTLS"], "ssl", properties)


def sasl(broker: SecuredBroker, mechanism: str, /, *more: tuple[str, object], **settings: str) -> Environment:
    properties = {"ssl.ca.location": str(broker.certificates.authority), **dict(more)}
    return kafka(broker.addresses["SASL"], "sasl_ssl", properties, sasl_mechanism=mechanism, **settings)


def password(broker: SecuredBroker, mechanism: str, word: str = PASSWORD) -> Environment:
    return sasl(broker, mechanism, sasl_username=USER, sasl_password=word)


def token(broker: SecuredBroker, config: str) -> Environment:
    unsigned = ("enable.sasl.oauthbearer.unsecure.jwt", True)
    return sasl(broker, "OAUTHBEARER", unsigned, ("sasl.oauthbearer.config", config))


def callback(
    broker: SecuredBroker, folder: Path, user: str, valid_for: int = 900, told_to_last: int | None = None
) -> Environment:
    """The login of Amazon MSK, whose tokens come from a callback; they are `valid_for` that many seconds."""
    lasts = valid_for if told_to_last is None else told_to_last
    text = SIGNER % {"user": user, "valid_for": valid_for, "told_to_last": lasts}
    (folder / "aws_msk_iam_sasl_signer.py").write_text(text)
    return {**sasl(broker, "AWS_MSK_IAM"), "PYTHONPATH": str(folder), "AWS_REGION": "eu-central-1"}
