"""How much power an IAM policy document asks for, read as AWS reads it.

The grade answers one question about a session policy: what could its holder do, if the caller behind it
may do everything? It is decided on *witnesses*, sample actions of every AWS service, so that wildcards,
`NotAction` and `Deny` need no case of their own. Only a `Deny` that is unconditional, readable and on every
resource takes power away; whatever cannot be read never does.

Grammar: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
"""

import contextlib
import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final, Literal
from urllib.parse import unquote, unquote_plus

Grade = Literal["full_admin", "broad", "iam_admin", "scoped", "no_power", "absent", "unknown"]

# The API takes 2,048 characters; URL-encoding makes up to three of one. What is beyond was never granted.
MAX_POLICY_CHARACTERS: Final = 10_240

# "Every action save a stated few": the share of all witnesses that must remain allowed.
BROAD_SHARE: Final = 0.75

_LONGEST_REMEMBERED: Final = 2_048  # so that what others write cannot make memory grow: 4 MiB at most

# Actions that make or widen an identity, or let one be borrowed.
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html
IAM_ADMIN_ACTIONS: Final = tuple(
    f"iam:{name}"
    for name in (
        "AddUserToGroup AttachGroupPolicy AttachRolePolicy AttachUserPolicy CreateAccessKey "
        "CreateInstanceProfile CreateLoginProfile CreateOpenIDConnectProvider CreatePolicyVersion CreateRole "
        "CreateSAMLProvider CreateServiceSpecificCredential CreateUser CreateVirtualMFADevice "
        "DeactivateMFADevice DeleteRolePermissionsBoundary DeleteUserPermissionsBoundary EnableMFADevice "
        "PutGroupPolicy PutRolePermissionsBoundary PutRolePolicy PutUserPermissionsBoundary PutUserPolicy "
        "ResyncMFADevice SetDefaultPolicyVersion UpdateAccessKey UpdateAssumeRolePolicy UpdateLoginProfile "
        "UpdateOpenIDConnectProviderThumbprint UpdateSAMLProvider UploadSigningCertificate UploadSSHPublicKey"
    ).split()
)
ROLE_PASSING: Final = "iam:PassRole"

# Prefixes of the service authorization reference. A missing one costs precision of BROAD_SHARE, no more.
_SERVICES: Final = (
    "access-analyzer account acm acm-pca airflow amplify apigateway app-integrations appconfig appflow "
    "application-autoscaling applicationinsights appmesh apprunner appstream appsync aps arc-zonal-shift "
    "artifact athena auditmanager autoscaling aws-marketplace aws-portal backup batch bedrock billing braket "
    "budgets cassandra ce chatbot chime cloud9 cloudformation cloudfront cloudhsm cloudsearch cloudshell "
    "cloudtrail cloudwatch codeartifact codebuild codecommit codedeploy codepipeline codestar "
    "cognito-identity cognito-idp cognito-sync comprehend compute-optimizer config connect controltower cur "
    "databrew dataexchange datapipeline datasync datazone dax detective devicefarm directconnect discovery "
    "dlm dms docdb-elastic drs ds dynamodb ebs ec2 ec2-instance-connect ec2messages ecr ecr-public ecs eks "
    "elasticache elasticbeanstalk elasticfilesystem elasticloadbalancing elasticmapreduce elastictranscoder "
    "emr-containers emr-serverless es events evidently execute-api finspace firehose fis fms forecast "
    "frauddetector fsx gamelift geo glacier globalaccelerator glue grafana greengrass groundstation "
    "guardduty health healthlake iam identitystore imagebuilder inspector inspector2 internetmonitor iot "
    "iotanalytics iotevents iotsitewise ivs kafka kafka-cluster kafkaconnect kendra kinesis kinesisanalytics "
    "kinesisvideo kms lakeformation lambda lex license-manager lightsail logs lookoutmetrics m2 "
    "machinelearning macie2 managedblockchain mediaconvert medialive mediapackage memorydb mgn "
    "mobiletargeting mq neptune-db network-firewall networkmanager oam organizations outposts payments "
    "personalize pi pipes polly pricing profile proton qldb quicksight ram rds rds-data rds-db redshift "
    "redshift-data redshift-serverless rekognition resiliencehub resource-explorer-2 resource-groups "
    "rolesanywhere route53 route53domains route53resolver rum s3 s3-object-lambda s3-outposts sagemaker "
    "savingsplans scheduler schemas sdb secretsmanager securityhub securitylake serverlessrepo "
    "servicecatalog servicediscovery servicequotas ses shield signer signin sms-voice snow-device-management "
    "snowball sns sqs ssm ssm-incidents ssmmessages sso sso-directory states storagegateway sts support swf "
    "synthetics tag textract timestream transcribe transfer translate trustedadvisor vpc-lattice waf "
    "waf-regional wafv2 wellarchitected wisdom workdocs workmail workspaces xray"
).split()
_VERBS: Final = "batchwrite create delete describe get list modify put start tag update".split()
_WITNESSES: Final = sorted(f"{service}:{verb}thing" for service in _SERVICES for verb in _VERBS)
# A pattern of wildcards and colons tells two actions apart by how long their two parts are, if at all.
_OF_EACH_LENGTH: Final = tuple({tuple(map(len, action.split(":"))): action for action in _WITNESSES}.values())


# Sample ARNs, by partition: with and without region and account, short and long.
_PARTITIONS: Final = ("aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b")
_ARNS: Final = tuple(
    tuple(
        f"arn:{partition}:{rest}"
        for rest in (
            "iam::210987654321:user/some-user",
            "s3:::some-bucket",
            "s3:::other-bucket/key",
            "ec2:eu-west-1:210987654321:instance/i-0abc",
            "lambda:us-east-2:345678901234:function:job",
            "sqs:ap-south-1:345678901234:queue",
        )
    )
    for partition in _PARTITIONS
)


@dataclass(frozen=True, slots=True)
class Assessment:
    """`unread` says why a part that could have allowed more was not read; None when all was."""

    grade: Grade
    explanation: str
    conditional: bool = False
    unread: str | None = None


ABSENT: Final = Assessment("absent", "No inline policy was given.")
_NO_POWER: Final = Assessment("no_power", "The inline policy allows nothing.")


@dataclass(frozen=True, eq=False)
class _Statement:
    number: int
    actions: tuple[str, ...]  # lower case; all actions but these if `inverted`
    inverted: bool
    resources: tuple[str, ...]  # lower case; all resources but these if `resources_inverted`
    resources_inverted: bool
    conditional: bool

    @cached_property
    def _names_every_resource(self) -> bool:
        return any(map(_every_resource, self.resources))

    @property
    def every_resource(self) -> bool:
        return self._names_every_resource != self.resources_inverted

    @property
    def dead(self) -> bool:
        """Whether it says nothing, whatever else the policy says."""
        nowhere = self._names_every_resource if self.resources_inverted else not self.resources
        nothing = any(map(_every_action, self.actions)) if self.inverted else not self.actions
        return nowhere or nothing

    @property
    def denies_everywhere(self) -> bool:
        return not self.conditional and not self.resources_inverted and self.every_resource

    @cached_property
    def _fitting(self) -> "_Patterns":
        return _Patterns(self.actions)

    @cached_property
    def _containing(self) -> "_Patterns":
        """Of patterns: whether they match all that another does. Only `*` can stand for the `*` of another."""
        return _Patterns(self.actions, any_one="[^*]")

    def covered(self, witnesses: set[str]) -> set[str]:
        """Those of the witnesses that the statement covers."""
        named = self._fitting.among(witnesses)
        return witnesses - named if self.inverted else named

    def covers(self, action: str) -> bool:
        return self._fitting.fit(action) != self.inverted

    def swallows(self, pattern: str) -> bool:
        """Whether the statement covers all actions that the pattern fits."""
        if self.inverted:
            return not any(_overlap(spared, pattern) for spared in self.actions)
        return self._containing.fit(pattern)

    def reaches(self, beginning: str) -> bool:
        """Whether some ARN of this beginning fits the statement's resources."""
        if self.resources_inverted:
            return not self._names_every_resource
        return any(_may_begin(pattern, beginning) for pattern in self.resources)


def assess(policy: object) -> Assessment:
    """Grade a session policy: JSON text, URL-encoded or not, or the object itself. Never raises."""
    if policy is None:
        return ABSENT
    try:
        text = policy if isinstance(policy, str) else json.dumps(policy, default=str, skipkeys=True)
    except RecursionError:
        return _unreadable("policy_too_deep")
    except ValueError:
        return _unreadable("policy_not_json")
    return _assess_remembered(text) if len(text) <= _LONGEST_REMEMBERED else _assess(text)


def _unreadable(reason: str) -> Assessment:
    return Assessment("unknown", "The inline policy could not be read.", unread=reason)


def _assess(text: str) -> Assessment:
    document = _parse(text)
    if isinstance(document, str):
        return _unreadable(document)
    allows, denies, unread = _read(document)
    denies = [deny for deny in denies if deny.denies_everywhere]
    if any(_denies_all(deny) for deny in denies):
        return _NO_POWER
    assessment = _grade(allows, denies)
    if unread is None:
        return assessment
    if assessment.grade in ("scoped", "no_power"):
        return Assessment("unknown", "A part of the inline policy could not be read.", unread=unread)
    return Assessment(assessment.grade, assessment.explanation, assessment.conditional, unread)


# A program passes the same few policies all day.
_assess_remembered: Final = lru_cache(maxsize=512)(_assess)


def _grade(allows: Sequence[_Statement], denies: Sequence[_Statement]) -> Assessment:
    alive = [allow for allow in allows if not (allow.dead or _denied(allow, denies))]
    if not alive:
        return _NO_POWER
    effective = [deny for deny in denies if not _takes_nothing(deny)]
    full = [] if effective else [allow for allow in alive if _is_full(allow)]
    if full:
        return _found("full_admin", full, "allows every action on every resource")
    wide = [allow for allow in alive if allow.every_resource]
    if wide and _is_broad(wide, effective):
        return _found("broad", wide, "allows every action save a stated few on effectively every resource")
    powers = {allow: power for allow in alive if (power := next(_iam_power(allow, effective), None))}
    if powers:
        what = f"allows {next(iter(powers.values()))}, which makes or widens identities"
        return _found("iam_admin", list(powers), what)
    return _found("scoped", alive, "allows a limited set of actions or resources")


def _found(grade: Grade, statements: Sequence[_Statement], what: str) -> Assessment:
    numbers = ", ".join(str(statement.number) for statement in statements[:5])
    conditional = all(statement.conditional for statement in statements)
    suffix = ", under a condition that was not evaluated" if conditional else ""
    noun = "Statement" if len(statements) == 1 else "Statements"
    verb = what if len(statements) == 1 else what.replace("allows", "allow", 1)
    return Assessment(grade, f"{noun} {numbers} of the inline policy {verb}{suffix}.", conditional)


def _is_full(allow: _Statement) -> bool:
    """One wildcard that is every action; patterns that merely add up are `broad`."""
    if not allow.every_resource or (allow.resources_inverted and allow.resources):
        return False
    return not allow.actions if allow.inverted else any(map(_every_action, allow.actions))


def _is_broad(allows: Iterable[_Statement], denies: Iterable[_Statement]) -> bool:
    left = set(_WITNESSES)
    for allow in allows:
        left -= allow.covered(left)
    allowed = set(_WITNESSES) - left
    for deny in denies:
        allowed -= deny.covered(allowed)
    return len(allowed) >= BROAD_SHARE * len(_WITNESSES)


def _iam_power(allow: _Statement, denies: Sequence[_Statement]) -> Iterator[str]:
    actions: list[str] = []
    if any(allow.reaches(f"arn:{partition}:iam::") for partition in _PARTITIONS):
        actions.extend(IAM_ADMIN_ACTIONS)
    if allow.every_resource or any(map(_every_role, allow.resources)):
        actions.append(ROLE_PASSING)
    for action in actions:
        asked = action.lower()
        if allow.covers(asked) and not any(deny.covers(asked) for deny in denies):
            yield action


def _takes_nothing(deny: _Statement) -> bool:
    return any(map(_every_action, deny.actions)) if deny.inverted else not deny.actions


def _denies_all(deny: _Statement) -> bool:
    return not deny.actions if deny.inverted else any(map(_every_action, deny.actions))


def _denied(allow: _Statement, denies: Sequence[_Statement]) -> bool:
    """Whether nothing that the statement allows survives: sound, not complete (denials may add up)."""
    return not allow.inverted and all(any(deny.swallows(action) for deny in denies) for action in allow.actions)


# --- reading -----------------------------------------------------------------------------------


def _parse(text: str) -> dict[str, object] | str:
    """The document with lower-case keys, or the reason it cannot be read."""
    try:
        policy = _loads(text)
        if isinstance(policy, str):  # JSON text is sometimes encoded as JSON once more on its way
            policy = _loads(policy)
        return _fold(policy) if isinstance(policy, dict) else "policy_not_an_object"
    except RecursionError:
        return "policy_too_deep"
    except _TooLong:
        return "policy_too_long"
    except ValueError:
        return "policy_not_json"


class _TooLong(Exception):
    pass


def _loads(text: str) -> object:
    if len(text) > MAX_POLICY_CHARACTERS:
        raise _TooLong
    for decode in (str, unquote):
        with contextlib.suppress(ValueError):
            return json.loads(decode(text), object_pairs_hook=_merge, strict=False)
    return json.loads(unquote_plus(text), object_pairs_hook=_merge, strict=False)


def _merge(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Lower-case the keys. A key given twice holds all of its values: no reader may hide an `Allow`."""
    merged: dict[str, object] = {}
    for key, value in pairs:
        folded = key.lower()
        if folded in merged:
            merged[folded] = [*_listed(merged[folded]), *_listed(value)]
        else:
            merged[folded] = value
    return merged


def _fold(document: dict[str, object]) -> dict[str, object]:
    folded = _merge([(str(key), value) for key, value in document.items()])
    folded["statement"] = [
        _merge([(str(key), value) for key, value in statement.items()])
        if isinstance(statement, dict)
        else statement
        for statement in _listed(folded.get("statement"))
    ]
    return folded


def _listed(value: object) -> list[object]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _read(document: dict[str, object]) -> tuple[list[_Statement], list[_Statement], str | None]:
    allows: list[_Statement] = []
    denies: list[_Statement] = []
    unread: str | None = None
    for number, raw in enumerate(_listed(document.get("statement")), start=1):
        effects = _effects(raw)
        statement, whole = _statement(number, raw)
        if "deny" in effects and "allow" not in effects:
            if statement is not None and whole:
                denies.append(statement)
            continue
        if statement is not None and "allow" in effects:
            allows.append(statement)
        if statement is None or not whole or effects != {"allow"}:
            unread = "policy_statement_unreadable"
    return allows, denies, unread


def _effects(raw: object) -> set[str]:
    values = _listed(raw.get("effect")) if isinstance(raw, dict) else []
    return {value.lower() if isinstance(value, str) else "?" for value in values}


def _statement(number: int, raw: object) -> tuple[_Statement | None, bool]:
    """The statement as far as it can be read, and whether all of it could."""
    if not isinstance(raw, dict):
        return None, False
    actions, inverted, actions_whole = _patterns(raw, "action", "notaction")
    resources, resources_inverted, resources_whole = _patterns(raw, "resource", "notresource")
    if actions is None or resources is None:
        return None, False
    conditional = "condition" in raw and raw["condition"] != {}
    statement = _Statement(number, actions, inverted, resources, resources_inverted, conditional)
    return statement, actions_whole and resources_whole


def _patterns(raw: dict[str, object], plain: str, negated: str) -> tuple[tuple[str, ...] | None, bool, bool]:
    if (plain in raw) == (negated in raw):
        return None, False, False
    inverted = negated in raw
    values = _listed(raw[negated if inverted else plain])
    texts = tuple(dict.fromkeys(value.lower() for value in values if isinstance(value, str)))
    whole = all(isinstance(value, str) for value in values)
    if inverted and not whole:
        return None, False, False  # what an exception spares is unknown
    return texts, inverted, whole


# --- patterns: `*` is any run of characters, `?` any one -----------------------------------------


class _Patterns:
    """Patterns of which one has to fit. Most are a name, or a beginning and one `*`: these need no regular
    expression, and to make one costs more than all else about a policy.
    """

    def __init__(self, patterns: Iterable[str], *, any_one: str = ".") -> None:
        self._names: set[str] = set()
        self._others: list[str] = []
        self._any_one = any_one
        beginnings, of_others = [], []
        for pattern in patterns:
            beginning, star, rest = pattern.partition("*")
            if "?" in beginning or rest.strip("*"):
                self._others.append(pattern)
                of_others.append(beginning.partition("?")[0])
            elif star:
                beginnings.append(beginning)
            else:
                self._names.add(pattern)
        self._beginnings, self._beginnings_of_others = tuple(beginnings), tuple(of_others)

    def fit(self, text: str) -> bool:
        if text in self._names or text.startswith(self._beginnings):
            return True
        return text.startswith(self._beginnings_of_others) and self._regex.fullmatch(text) is not None

    def among(self, witnesses: set[str]) -> set[str]:
        """Those of the witnesses that fit."""
        found = self._names.union(*map(_witnesses_from, self._beginnings)) & witnesses
        if self._others:
            possible = set[str]().union(*map(_witnesses_from, set(self._beginnings_of_others)))
            found.update(filter(self._regex.fullmatch, (possible & witnesses) - found))
        return found

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        return re.compile("|".join(_regex(pattern, self._any_one) for pattern in self._others), re.DOTALL)


def _witnesses_from(beginning: str) -> Sequence[str]:
    first = bisect_left(_WITNESSES, beginning)
    return _WITNESSES[first : bisect_left(_WITNESSES, f"{beginning}\U0010ffff", first)]


def _every_action(pattern: str) -> bool:
    return set(pattern) <= set("*?:") and _fits_all(pattern, _OF_EACH_LENGTH)


def _every_resource(pattern: str) -> bool:
    """`*`, `arn:*`, `arn:aws:*`, and whatever else matches all the sample ARNs of a partition."""
    return any(_fits_all(pattern, arns) for arns in _ARNS)


def _every_role(pattern: str) -> bool:
    """Any role of one account is any role: that account is where the caller lives."""
    found = re.search(r"\d{12}", pattern)
    account = found[0] if found else "210987654321"
    roles = [f"iam::{account}:role/some-role", f"iam::{account}:role/with/path/other"]
    return any(_fits_all(pattern, [f"arn:{partition}:{role}" for role in roles]) for partition in _PARTITIONS)


def _fits_all(pattern: str, texts: Sequence[str]) -> bool:
    """A text that lacks what stands between the wildcards tells without a regular expression."""
    literals = re.split(r"[*?]+", pattern)
    if any(literal not in text for text in texts for literal in literals):
        return False
    return all(map(_Patterns([pattern]).fit, texts))


def _regex(pattern: str, any_one: str) -> str:
    """Atomic groups keep matching linear: the first place where a piece fits is as good as any later one."""
    first, *rest = (re.escape(piece).replace(r"\?", any_one) for piece in re.split(r"\*+", pattern))
    if not rest:
        return first
    return first + "".join(f"(?>.*?{piece})" for piece in rest[:-1]) + ".*" + rest[-1]


def _may_begin(pattern: str, beginning: str) -> bool:
    """Whether some text that fits the pattern has this beginning."""
    for one, wanted in zip(pattern, beginning, strict=False):
        if one == "*":
            return True
        if one not in ("?", wanted):
            return False
    return len(pattern) >= len(beginning)


def _overlap(one: str, other: str) -> bool:
    """Whether some text fits both patterns.

    A text is spelled out along `one`; `places` are those in `other` where it may have come to meanwhile, as the
    bits of a number: a pattern as long as a policy has thousands of them.
    """
    if _clash(one, other) or _clash(one[::-1], other[::-1]):
        return False
    other = re.sub(r"\*+", "*", other)
    bits = dict.fromkeys(f"{other}*?", 0)
    for place, char in enumerate(other):
        bits[char] |= 1 << place
    stars, end = bits["*"], 1 << len(other)
    places = 1 | (stars & 1) << 1  # a `*` may stand for nothing
    for char in one:
        if char == "*":
            places = -(places & -places) & (2 * end - 1)  # the first of them, and all that follow
        else:
            fitting = (end - 1) & ~stars if char == "?" else bits.get(char, 0) | bits["?"]
            places = (places & fitting) << 1 | (places & stars)
            places |= (places & stars) << 1
    return places & end != 0


def _clash(one: str, other: str) -> bool:
    """Whether the patterns differ before either has a wildcard."""
    for pair in zip(one, other, strict=False):
        if "*" in pair or "?" in pair:
            return False
        if pair[0] != pair[1]:
            return True
    return False
