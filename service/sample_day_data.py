"""Who works at the invented company of the sample day, and the calls they make on a day without an attack.

Text in a `Call` or an identity may hold `$names`; `service.sample_day` fills them in, record by record.
Everything is invented: AWS's documentation account, documentation addresses, ids that end in EXAMPLE.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

COMPANY = "Brightwater Logistics"
ACCOUNT_ID = "111122223333"
REGIONS = ("eu-west-1", "eu-central-1", "us-east-1")
BUCKETS = ("brightwater-parcels", "brightwater-invoices", "brightwater-telemetry", "brightwater-artifacts")
SESSION_TOKEN = "EXAMPLE-SESSION-TOKEN"  # noqa: S105  a placeholder, as its text says
HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"

READ, WRITE = True, False

Json = Mapping[str, object]


def example_id(prefix: str, name: str, length: int = 20) -> str:
    """An id in AWS's form, always the same for a name, that ends in EXAMPLE: keys have 20 characters."""
    digest = base64.b32encode(hashlib.sha256(f"{prefix} {name}".encode()).digest()).decode()
    return prefix + digest[: length - len(prefix) - len("EXAMPLE")] + "EXAMPLE"


# --- identities, as CloudTrail's userIdentity ---------------------------------------------------


def user(name: str) -> Json:
    return _iam_user(name) | {"accessKeyId": example_id("AKIA", name)}


def role(name: str, session: str, path: str = "") -> Json:
    principal_id = example_id("AROA", name, 21)
    return {
        "type": "AssumedRole",
        "principalId": f"{principal_id}:{session}",
        "arn": f"arn:aws:sts::{ACCOUNT_ID}:assumed-role/{name}/{session}",
        "accountId": ACCOUNT_ID,
        "accessKeyId": "$session_key",
        "sessionContext": {
            "sessionIssuer": {
                "type": "Role",
                "principalId": principal_id,
                "arn": f"arn:aws:iam::{ACCOUNT_ID}:role/{path}{name}",
                "accountId": ACCOUNT_ID,
                "userName": name,
            },
            "webIdFederationData": {},
            "attributes": {"creationDate": "$session_start", "mfaAuthenticated": "false"},
        },
    }


def federated(name: str, issuer: str, access_key_id: str, issued_at: str) -> Json:
    return {
        "type": "FederatedUser",
        "principalId": f"{ACCOUNT_ID}:{name}",
        "arn": f"arn:aws:sts::{ACCOUNT_ID}:federated-user/{name}",
        "accountId": ACCOUNT_ID,
        "accessKeyId": access_key_id,
        "sessionContext": {
            "sessionIssuer": _iam_user(issuer),
            "webIdFederationData": {},
            "attributes": {"creationDate": issued_at, "mfaAuthenticated": "false"},
        },
    }


def service_account(name: str) -> Json:
    """A Kubernetes service account, as it asks for its role with a web identity."""
    provider = f"oidc.eks.{REGIONS[0]}.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE"
    return {
        "type": "WebIdentityUser",
        "principalId": f"arn:aws:iam::{ACCOUNT_ID}:oidc-provider/{provider}:sts.amazonaws.com:{name}",
        "userName": name,
        "identityProvider": f"arn:aws:iam::{ACCOUNT_ID}:oidc-provider/{provider}",
    }


def _iam_user(name: str) -> dict[str, object]:
    return {
        "type": "IAMUser",
        "principalId": example_id("AIDA", name, 21),
        "arn": f"arn:aws:iam::{ACCOUNT_ID}:user/{name}",
        "accountId": ACCOUNT_ID,
        "userName": name,
    }


# --- callers: an identity at an address, with its client ----------------------------------------

CLI = "aws-cli/2.17.20 md/awscrt#0.20.11 ua/2.0 os/linux#6.5.0 md/arch#x86_64 lang/python#3.11.9"
BOTO3 = "Boto3/1.34.144 md/Botocore#1.34.144 ua/2.0 os/linux#6.1.94 md/arch#x86_64 lang/python#3.11.9"
GO_SDK = "aws-sdk-go-v2/1.30.3 os/linux lang/go#1.22.5 md/GOOS#linux md/GOARCH#amd64 m/F"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"


@dataclass(frozen=True)
class Caller:
    identity: Json
    address: str
    user_agent: str
    region: str = REGIONS[0]
    from_console: bool = False


def person(name: str, permission_set: str, address: str) -> Caller:
    """Somebody at the console through single sign-on."""
    suffix = hashlib.sha256(permission_set.encode()).hexdigest()[:16]
    path = f"aws-reserved/sso.amazonaws.com/{REGIONS[0]}/"
    identity = role(f"AWSReservedSSO_{permission_set}_{suffix}", f"{name}@example.com", path)
    return Caller(identity, address, BROWSER, from_console=True)


def aws_service(host: str, region: str) -> Caller:
    return Caller({"type": "AWSService", "invokedBy": host}, host, host, region)


SECURITY_ADMIN = person("ines.duarte", "SecurityAdmin", "192.0.2.20")
PEOPLE = (
    SECURITY_ADMIN,
    person("amal.haddad", "Developer", "192.0.2.31"),
    person("joost.de.wit", "Developer", "192.0.2.32"),
    person("maja.lind", "Developer", "192.0.2.33"),
    person("tomas.reyes", "PlatformAdmin", "192.0.2.41"),
    person("yuki.ono", "ReadOnly", "192.0.2.52"),
)
CALL_CENTRE = tuple(
    Caller(role("connect-call-centre", f"{name}@example.com"), f"192.0.2.{seat}", BROWSER)
    for seat, name in enumerate(("bea.novak", "carl.otieno", "dina.petrov", "emre.kaya"), start=70)
)
NODES = tuple(
    Caller(role("eks-node", f"i-0{seat:016x}"), f"198.51.100.{seat % 256}", GO_SDK, region)
    for seat, region in enumerate(REGIONS * 3, start=0xA1B2C3D4E5F60764)
)
PODS = tuple(
    Caller(service_account(f"system:serviceaccount:{name}"), "198.51.100.90", BOTO3)
    for name in ("routing:route-planner", "parcels:label-printer", "kube-system:external-dns")
)
FUNCTIONS = tuple(
    Caller(role(f"{name}-lambda", name), "198.51.100.60", f"{BOTO3} exec-env/AWS_Lambda_python3.11", region)
    for name in ("order-intake", "parcel-events", "invoice-pdf", "eta-notify")
    for region in REGIONS
)
PIPELINES = tuple(
    Caller(role("ci-deploy", f"run-{number}"), "198.51.100.10", CLI, region)
    for number, region in enumerate(REGIONS, start=48211)
)
UPLOADER = Caller(user("ci-artifacts-upload"), "198.51.100.10", CLI)
ANALYSTS = tuple(
    Caller(role("data-team", name), f"192.0.2.{seat}", BOTO3)
    for seat, name in enumerate(("li.chen", "oda.berg", "sam.quist"), start=61)
)
SERVICES = tuple(
    aws_service(f"{name}.amazonaws.com", region)
    for name in ("config", "inspector2", "ec2", "lambda")
    for region in REGIONS
)


# --- calls --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """One API call; `extra` replaces or adds top-level fields of the record."""

    service: str
    name: str
    read_only: bool
    parameters: Json | None = None
    response: Json | None = None
    extra: Json = field(default_factory=dict)


def read(service: str, name: str, /, **parameters: object) -> Call:
    return Call(service, name, READ, parameters or None)


def write(service: str, name: str, response: Json | None = None, /, **parameters: object) -> Call:
    return Call(service, name, WRITE, parameters, response)


def s3_object(name: str, bucket: str, key: str, *, read_only: bool) -> Call:
    arn = f"arn:aws:s3:::{bucket}"
    extra = {
        "eventCategory": "Data",
        "managementEvent": False,
        "resources": [
            {"type": "AWS::S3::Object", "ARN": f"{arn}/{key}"},
            {"accountId": ACCOUNT_ID, "type": "AWS::S3::Bucket", "ARN": arn},
        ],
        "additionalEventData": {
            "SignatureVersion": "SigV4",
            "CipherSuite": "TLS_AES_128_GCM_SHA256",
            "AuthenticationMethod": "AuthHeader",
            "bytesTransferredIn": 0 if read_only else "$bytes",
            "bytesTransferredOut": "$bytes" if read_only else 0,
        },
    }
    return Call("s3", name, read_only, {"bucketName": bucket, "key": key}, extra=extra)


def assume_role(name: str, role_name: str, **parameters: object) -> Call:
    arn = f"arn:aws:iam::{ACCOUNT_ID}:role/{role_name}"
    response = {
        "credentials": {
            "accessKeyId": "$issued_key",
            "sessionToken": SESSION_TOKEN,
            "expiration": "$expiration",
        },
        "assumedRoleUser": {
            "assumedRoleId": f"{example_id('AROA', role_name, 21)}:session-$hex",
            "arn": f"arn:aws:sts::{ACCOUNT_ID}:assumed-role/{role_name}/session-$hex",
        },
    }
    extra = {"resources": [{"accountId": ACCOUNT_ID, "type": "AWS::IAM::Role", "ARN": arn}]}
    requested = {"roleArn": arn, "roleSessionName": "session-$hex", **parameters}
    return Call("sts", name, READ, requested, response, extra)


def kms(name: str) -> Call:
    key = f"arn:aws:kms:$region:{ACCOUNT_ID}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    parameters = {"keyId": key, "encryptionContext": {"aws:s3:arn": "arn:aws:s3:::$bucket"}}
    extra = {"resources": [{"accountId": ACCOUNT_ID, "type": "AWS::KMS::Key", "ARN": key}]}
    return Call("kms", name, READ, parameters, extra=extra)


def sign_in(name: str, user_agent: str = BROWSER, **response: object) -> Call:
    extra = {
        "eventType": "AwsConsoleSignIn",
        "userAgent": user_agent,
        "additionalEventData": {"MobileVersion": "No", "MFAUsed": "No"},
    }
    return Call("signin", name, WRITE, None, {**response, name: "Success"}, extra)


PORTAL = "Jersey/2.41 (HttpUrlConnection 17.0.11)"
WHO_AM_I = read("sts", "GetCallerIdentity")
LIST_BUCKETS = read("s3", "ListBuckets", Host="s3.amazonaws.com")
DESCRIBE_INSTANCES = read("ec2", "DescribeInstances", instancesSet={"items": [{"instanceId": "i-$hex"}]})
RUN_INSTANCES = write(
    "ec2",
    "RunInstances",
    {"ownerId": ACCOUNT_ID, "instancesSet": {"items": [{"instanceId": "i-$hex", "imageId": "ami-$hex"}]}},
    instanceType="m6i.large",
    instancesSet={"items": [{"imageId": "ami-$hex", "minCount": 1, "maxCount": 1}]},
)
# Amazon Connect's API of the same name: agents opening their call centre desktop.
CONNECT_LOGIN = write(
    "connect",
    "GetFederationToken",
    {"Credentials": {"AccessToken": HIDDEN, "RefreshToken": HIDDEN}, "SignInUrl": "https://example.com/"},
    InstanceId="12345678-90ab-4cde-8f01-234567890abc",
)


@dataclass(frozen=True)
class Team:
    """Callers who make the same calls: how many a day, how spread over 24 hours, with which weights."""

    calls_a_day: int
    rhythm: tuple[int, ...]
    callers: tuple[Caller, ...]
    calls: tuple[tuple[int, Call], ...]
    error_share: float = 0.0


ALL_DAY = (1,) * 24
OFFICE_HOURS = (0, 0, 0, 0, 0, 0, 2, 6, 12, 14, 14, 11, 9, 13, 14, 13, 10, 6, 3, 2, 1, 1, 1, 0)
UNTIL_THREE = OFFICE_HOURS[:15] + (0,) * 9

NODE_CALLS = (
    (8, DESCRIBE_INSTANCES),
    (4, read("ec2", "DescribeVolumes", volumeSet={}, maxResults=500, filterSet={})),
    (5, read("ecr", "GetAuthorizationToken", registryIds=[ACCOUNT_ID])),
    (3, read("ecr", "BatchGetImage", repositoryName="route-planner", imageIds=[{"imageTag": "v$number"}])),
    (3, read("elasticloadbalancing", "DescribeTargetHealth", targetGroupArn="parcels-$number")),
    (1, WHO_AM_I),
)
FUNCTION_CALLS = (
    (6, kms("Decrypt")),
    (4, s3_object("PutObject", "$bucket", "$date/$hex.json", read_only=False)),
    (4, s3_object("GetObject", "$bucket", "$date/$hex.json", read_only=True)),
    (3, read("secretsmanager", "GetSecretValue", secretId="prod/parcels-db")),
    (3, read("ssm", "GetParameter", name="/parcels/rate-limit", withDecryption=True)),
    (2, write("logs", "CreateLogStream", logGroupName="/aws/lambda/parcels", logStreamName="$date/$hex")),
)
PIPELINE_CALLS = (
    (3, WHO_AM_I),
    (4, read("cloudformation", "DescribeStacks", stackName="parcels-$number")),
    (2, write("cloudformation", "ExecuteChangeSet", changeSetName="run-$hex", stackName="parcels-$number")),
    (2, assume_role("AssumeRole", "ci-cloudformation", durationSeconds=3600)),
    (2, write("lambda", "UpdateFunctionCode20150331v2", functionName="order-intake", publish=True)),
    (1, RUN_INSTANCES),
)
ANALYST_CALLS = (
    (6, s3_object("GetObject", "brightwater-telemetry", "scans/part-$hex.parquet", read_only=True)),
    (3, write("athena", "StartQueryExecution", {"queryExecutionId": "$uuid"}, workGroup="logistics")),
    (4, read("athena", "GetQueryExecution", queryExecutionId="$uuid")),
    (3, read("glue", "GetPartitions", databaseName="logistics", tableName="scans", maxResults=100)),
    (2, read("glue", "GetTable", databaseName="logistics", name="scans")),
    (3, kms("Decrypt")),
)
CONSOLE_CALLS = (
    (5, DESCRIBE_INSTANCES),
    (3, LIST_BUCKETS),
    (3, read("monitoring", "DescribeAlarms", maxRecords=100, stateValue="ALARM")),
    (3, read("rds", "DescribeDBInstances", maxRecords=100)),
    (2, read("iam", "ListRoles", maxItems=1000)),
    (2, read("cloudtrail", "LookupEvents", maxResults=50)),
    (1, RUN_INSTANCES),
)
SIGN_INS = (
    (1, sign_in("GetSigninToken", PORTAL, credentials={"accessKeyId": "$session_key"})),
    (1, sign_in("ConsoleLogin")),
)
POD_CALLS = ((1, assume_role("AssumeRoleWithWebIdentity", "eks-pod", durationSeconds=3600)),)
SERVICE_CALLS = ((4, assume_role("AssumeRole", "aws-service-role")), (1, kms("GenerateDataKey")))
UPLOADS = ((1, s3_object("PutObject", "brightwater-artifacts", "builds/$number/$hex.zip", read_only=False)),)

TEAMS = (
    Team(1400, ALL_DAY, NODES, NODE_CALLS, error_share=0.02),
    Team(500, ALL_DAY, PODS, POD_CALLS),
    Team(1250, ALL_DAY, FUNCTIONS, FUNCTION_CALLS, error_share=0.01),
    Team(450, OFFICE_HOURS, PIPELINES, PIPELINE_CALLS, error_share=0.02),
    Team(900, OFFICE_HOURS, ANALYSTS, ANALYST_CALLS, error_share=0.03),
    Team(700, OFFICE_HOURS, PEOPLE, CONSOLE_CALLS, error_share=0.03),
    Team(90, OFFICE_HOURS, PEOPLE, SIGN_INS),
    Team(60, OFFICE_HOURS, CALL_CENTRE, ((1, CONNECT_LOGIN),)),
    Team(600, ALL_DAY, SERVICES, SERVICE_CALLS),
    # Not later: in the afternoon this user's key is stolen, and then deactivated.
    Team(80, UNTIL_THREE, (UPLOADER,), UPLOADS),
)
