"""The grade of an inline policy: tables of documents, and what must hold for any document at all."""

import json
import re
import string
import tracemalloc
from fnmatch import fnmatchcase
from importlib.resources import files
from itertools import product
from typing import Any, get_args
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.policy import IAM_ADMIN_ACTIONS, MAX_POLICY_CHARACTERS, Grade, assess
from service.policy.witnesses import WITNESSES
from tests.rules.iam_api import OPERATIONS
from tests.unit.strategies import json_values, oddities, policies, statements

DENY_ALL = {"Effect": "Deny", "Action": "*", "Resource": "*"}
PARTITIONS = ("aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f", "aws-eusc")
CONDITION = {"Bool": {"aws:SecureTransport": "true"}}
# From nothing to everything; `unknown` may hide anything, so no denial may turn it into less either.
STRENGTH = {"no_power": 0, "scoped": 1, "unknown": 1, "iam_admin": 2, "broad": 3, "full_admin": 4}


def policy(*statements: Any) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(action: Any = "*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: Any = "*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": action, "Resource": resource, **more}


def grade(document: object) -> str:
    return assess(document).grade


NESTED: list[Any] = []
for _ in range(100_000):
    NESTED = [NESTED]
A_TO_Z = [f"{letter}*:*" for letter in string.ascii_lowercase]
THREE_QUARTERS = -(-len(WITNESSES) * 3 // 4)


def first_witnesses(count: int) -> list[str]:
    """Patterns for so many of the sample actions that a grade is decided on, and for no other."""
    letter = WITNESSES[count][0]
    return [
        *(f"{before}*" for before in string.ascii_lowercase if before < letter),
        *(f"{action}*" for action in WITNESSES[:count] if action[0] == letter),
    ]


# Nearly every service, a few actions of each that it does not have.
SHAM = [f"{service}:*thing" for service in sorted({name.split(":")[0] for name in WITNESSES}, key=len)[:60]]


OF_ONE_LENGTH = [f"*:{verb}{'?' * 7}" for verb in sorted({re.sub(r".*:|\W", "", name) for name in WITNESSES})]


FULL_ADMIN = {
    "star on star": policy(allow()),
    "statement not in a list": {"Statement": allow()},
    "no version": {"Statement": [allow()]},
    "lists": policy(allow(["*"], ["*"])),
    "among others": policy(allow(["s3:GetObject", "*"], ["arn:aws:s3:::b", "*"])),
    "a line break in a text": json.dumps(policy(allow(Sid="a#b"))).replace("#", "\n"),
    "percent signs in a text": policy(allow(Sid="100%22")),
    "second statement": policy(allow("s3:GetObject", "arn:aws:s3:::b/*"), allow()),
    "lower-case keys": {"statement": {"effect": "allow", "action": "*", "resource": "*"}},
    "upper-case keys": {"STATEMENT": {"EFFECT": "ALLOW", "ACTION": "*", "RESOURCE": "*"}},
    "star colon star": policy(allow("*:*")),
    "two stars": policy(allow("**")),
    "question mark and star": policy(allow("?*")),
    "stars and colons": policy(allow("**:**")),
    "question mark, stars and colon": policy(allow("?*:*")),
    "resource arn:*": policy(allow("*", "arn:*")),
    **{f"resource arn:{name}:*": policy(allow("*", f"arn:{name}:*")) for name in PARTITIONS},
    "resource of wildcards only": policy(allow("*", "arn:*:*:*:*:*")),
    "resource **": policy(allow("*", "**")),
    "resource that AWS completes": policy(allow("*", "arn:aws")),
    "deny of a resource that AWS may complete": policy(allow(), deny("*", "arn:aws")),
    "conditional allow": policy(allow(Condition=CONDITION)),
    "NotAction of nothing": policy({"Effect": "Allow", "NotAction": [], "Resource": "*"}),
    "NotResource of nothing": policy({"Effect": "Allow", "Action": "*", "NotResource": []}),
    "conditional deny": policy(allow(), deny(Condition=CONDITION)),
    "deny of one resource": policy(allow(), deny("*", "arn:aws:s3:::b")),
    "deny of all resources but some": policy(
        allow(), {"Effect": "Deny", "Action": "*", "NotResource": "arn:aws:s3:::b"}
    ),
    "deny of no action": policy(allow(), deny([])),
    "deny of all actions but all": policy(allow(), {"Effect": "Deny", "NotAction": "*", "Resource": "*"}),
    "deny of all actions but some and all": policy(
        allow(), {"Effect": "Deny", "NotAction": ["s3:*", "*"], "Resource": "*"}
    ),
    "deny that is unreadable": policy(allow(), {"Effect": "Deny", "Action": {"not": "readable"}, "Resource": "*"}),
    "deny in part unreadable": policy(allow(), deny(["*", 7])),
    "deny of resources in part unreadable": policy(allow(), deny("*", ["*", 7])),
    "deny with both kinds of action": policy(allow(), deny(NotAction="iam:*")),
    "beside an unreadable statement": policy(allow(), 7),
    "beside an unreadable action": policy(allow(["*", 7])),
    "beside an unreadable effect": policy(allow(), {"Effect": "Perhaps", "Action": "*", "Resource": "*"}),
}
BROAD = {
    "NotAction": policy({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}),
    "NotAction, list": policy({"Effect": "Allow", "NotAction": ["iam:*", "organizations:*"], "Resource": "*"}),
    "deny of a service beside allow all": policy(allow(), deny("iam:*")),
    "deny of one action beside allow all": policy(allow(), deny("s3:GetObject")),
    "deny written before allow": policy(deny("iam:*"), allow()),
    "a letter that nearly every action has": policy(allow("*t*")),
    "a to z": policy(allow(A_TO_Z)),
    "a to z over statements": policy(*(allow(pattern) for pattern in A_TO_Z)),
    "all but one bucket": policy({"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::b/*"}),
    "NotAction on arn:aws:*": policy({"Effect": "Allow", "NotAction": "iam:*", "Resource": "arn:aws:*"}),
    "deny on all ARNs": policy(allow(), deny("iam:*", "arn:aws:*")),
    "NotAction beside a deny of the same": policy(
        {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}, deny("iam:*")
    ),
    "deny of what no service has": policy(allow(), deny(["iam:*", *SHAM])),
    "deny of names of a length": policy(allow(), deny(["iam:*", *OF_ONE_LENGTH])),
    "deny of names of a length, IAM's not": policy(allow(), deny(OF_ONE_LENGTH)),
    "NotAction of names of a length": policy({"Effect": "Allow", "NotAction": OF_ONE_LENGTH, "Resource": "*"}),
    "names of any length beside a deny": policy(allow("*:*?"), deny("iam:*")),
    "NotAction of what no service has": policy(
        {"Effect": "Allow", "NotAction": ["iam:*", *SHAM], "Resource": "*"}
    ),
    "three quarters of the sample actions": policy(allow(first_witnesses(THREE_QUARTERS))),
}
IAM_ADMIN = {
    "iam:*": policy(allow("iam:*")),
    "any case": policy(allow("IAM:*")),
    "question mark": policy(allow("i?m:*")),
    "question marks": policy(allow("i?m:create?ser")),
    "wildcard inside": policy(allow("iam:*User")),
    "on one user": policy(allow("iam:CreateAccessKey", "arn:aws:iam::111122223333:user/alice")),
    "on one role": policy(allow("iam:UpdateAssumeRolePolicy", "arn:aws:iam::111122223333:role/r")),
    "on all of IAM": policy(allow("*", "arn:aws:iam::*:*")),
    "pass any role": policy(allow("iam:PassRole")),
    "pass any role of twelve digits": policy(allow("iam:PassRole", f"arn:aws:iam::{'?' * 12}:role/*")),
    **{
        f"pass any role, {resource}": policy(allow("iam:PassRole", resource))
        for resource in (
            "arn:*:role/*",
            "arn:aws:*:role/*",
            "arn:aws:iam*role/*",
            "arn:aws:*:111122223333:role/*",
            "arn:aws:iam:*123456789012:role/*",
        )
    },
    "pass any role of ten accounts": policy(allow("iam:PassRole", "arn:aws:iam::12345678901?:role/*")),
    "pass any role of many accounts": policy(allow("iam:PassRole", "arn:aws:iam::1*:role/*")),
    "on a resource that AWS completes": policy(allow("iam:*", "arn:aws:iam")),
    "pass any role, and something in S3": policy(
        allow("iam:PassRole", ["arn:aws:s3:::b", "arn:aws:iam::111122223333:role/*"])
    ),
    "on one user, and something in S3": policy(
        allow("iam:CreateAccessKey", ["arn:aws:s3:::b", "arn:aws:iam::111122223333:user/alice"])
    ),
    **{
        f"in {name}": policy(allow("iam:PutUserPolicy", f"arn:{name}:iam::111122223333:user/*"))
        for name in PARTITIONS
    },
    **{
        f"pass any role in {name}": policy(allow("iam:PassRole", f"arn:{name}:iam::111122223333:role/*"))
        for name in PARTITIONS
    },
    "pass any role, but in S3": policy(
        {"Effect": "Allow", "Action": "iam:PassRole", "NotResource": "arn:aws:s3:::*"}
    ),
    "everywhere but in S3": policy(
        {"Effect": "Allow", "Action": "iam:CreateUser", "NotResource": "arn:aws:s3:::*"}
    ),
    "all but IAM denied": policy(allow(), {"Effect": "Deny", "NotAction": "iam:*", "Resource": "*"}),
    "denied on a condition": policy(allow("iam:*"), deny("iam:*", Condition=CONDITION)),
    "on the ARNs that are long": policy(allow("*", "?" * 32 + "*")),
    "on the ARNs that have seven parts": policy(allow("*", "arn:*:*:*:*:*:*")),
    "one sample action less than three quarters": policy(allow(first_witnesses(THREE_QUARTERS - 1))),
    **{action: policy(allow(action)) for action in IAM_ADMIN_ACTIONS},
}
SCOPED = {
    "read S3": policy(allow("s3:Get*")),
    "all of one service": policy(allow("s3:*")),
    "everything on one bucket": policy(allow("*", "arn:aws:s3:::b/*")),
    "every bucket": policy(allow("*", "arn:aws:s3:::*")),
    "read IAM": policy(allow(["iam:Get*", "iam:List*"])),
    "pass one role": policy(allow("iam:PassRole", "arn:aws:iam::111122223333:role/job")),
    "IAM action on a bucket": policy(allow("iam:CreateUser", "arn:aws:s3:::b")),
    "iam denied": policy(allow(["iam:*", "s3:*"]), deny("iam:*")),
    "a to h": policy(allow(A_TO_Z[:8])),
    "NotAction of a to m": policy({"Effect": "Allow", "NotAction": A_TO_Z[:13], "Resource": "*"}),
    "deny of one character beside allow any": policy(allow("s3:*"), deny("s3:?")),
    "one character": policy(allow("?")),
    "pass the roles of no account": policy(
        allow("iam:PassRole", ["arn:aws:iam::aws:role/*", "arn:aws:iam:*:user/*"])
    ),
    "one region of one service": policy(allow("*", "arn:aws:ec2:eu-west-1:*:*")),
}
NO_POWER = {
    "empty": {},
    "no statements": policy(),
    "null statement": {"Statement": None},
    "deny all": policy(DENY_ALL),
    "allow all, deny all": policy(allow(), DENY_ALL),
    "deny all on arn:aws:*": policy(allow(), deny("*:*", "arn:aws:*")),
    "deny all but nothing": policy(allow(), {"Effect": "Deny", "NotAction": [], "Resource": "*"}),
    "no action": policy(allow([])),
    "no resource": policy(allow("*", [])),
    "NotAction everything": policy({"Effect": "Allow", "NotAction": "*", "Resource": "*"}),
    "NotResource everything": policy({"Effect": "Allow", "Action": "*", "NotResource": "*"}),
    "the same taken away": policy(allow("s3:Get*"), deny("s3:*")),
    "deny by wildcard": policy(allow("s3:Get*"), deny("s3:G*")),
    "deny all but another": policy(allow("s3:*"), {"Effect": "Deny", "NotAction": "ec2:*", "Resource": "*"}),
    "deny all but longer names": policy(
        allow("s3:a"), {"Effect": "Deny", "NotAction": ["s3:a*a", "s3:*x*", "*x*"], "Resource": "*"}
    ),
    "deny all but a name that is too short": policy(
        allow("s3:a*a"), {"Effect": "Deny", "NotAction": "s3:a", "Resource": "*"}
    ),
    "deny all beside rubbish": policy(7, DENY_ALL),
    "deny all among others": policy(
        {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}, deny(["s3:*", "*"], ["arn:aws:s3:::b", "*"])
    ),
    "only an unreadable deny": policy({"Effect": "Deny", "Action": 7}),
}
UNKNOWN = {
    "empty text": ("", "policy_not_json"),
    "no JSON": ("{", "policy_not_json"),
    "prose": ("let me in", "policy_not_json"),
    "number": (7, "policy_not_an_object"),
    "true": (True, "policy_not_an_object"),
    "list": ([allow()], "policy_not_an_object"),
    "JSON text of a list": (json.dumps([allow()]), "policy_not_an_object"),
    "text thrice encoded": (json.dumps(json.dumps(json.dumps(policy(allow())))), "policy_not_an_object"),
    "too deep": ("[" * 5_000, "policy_too_deep"),
    "too deep an object": ({"Statement": NESTED}, "policy_too_deep"),
    "a number too long to write": ({"Statement": 10**5_000}, "policy_not_json"),
    "too long": (json.dumps(policy(allow(["s3:GetObject"] * 1_000))), "policy_too_long"),
    "too long an object": (policy(allow(["s3:GetObject"] * 1_000)), "policy_too_long"),
    "statement a number": (policy(7), "policy_statement_unreadable"),
    "statement text": ({"Statement": "Allow"}, "policy_statement_unreadable"),
    "effect missing": (policy({"Action": "*", "Resource": "*"}), "policy_statement_unreadable"),
    "effect of another kind": (policy({**allow(), "Effect": "Perhaps"}), "policy_statement_unreadable"),
    "effect a number": (policy({**allow(), "Effect": 1}), "policy_statement_unreadable"),
    "action missing": (policy({"Effect": "Allow", "Resource": "*"}), "policy_statement_unreadable"),
    "action and NotAction": (policy(allow(NotAction="s3:*")), "policy_statement_unreadable"),
    "resource missing": (policy({"Effect": "Allow", "Action": "*"}), "policy_statement_unreadable"),
    "resource and NotResource": (policy(allow(NotResource="*")), "policy_statement_unreadable"),
    "action a number": (policy(allow(7)), "policy_statement_unreadable"),
    "action in part unreadable": (policy(allow(["s3:Get*", {}])), "policy_statement_unreadable"),
    "resource in part unreadable": (policy(allow("s3:Get*", ["*", 7])), "policy_statement_unreadable"),
    "NotAction in part unreadable": (
        policy({"Effect": "Allow", "NotAction": ["iam:*", 7], "Resource": "*"}),
        "policy_statement_unreadable",
    ),
    "scoped beside rubbish": (policy(allow("s3:Get*"), "?"), "policy_statement_unreadable"),
}
GRADES: dict[Grade, dict[str, Any]] = {
    "full_admin": FULL_ADMIN,
    "broad": BROAD,
    "iam_admin": IAM_ADMIN,
    "scoped": SCOPED,
    "no_power": NO_POWER,
    "unknown": {name: document for name, (document, _) in UNKNOWN.items()},
    "absent": {"null": None},
}
CASES = [
    pytest.param(document, expected, id=f"{expected}-{name}")
    for expected, documents in GRADES.items()
    for name, document in documents.items()
]


def test_every_grade_has_documents() -> None:
    assert set(GRADES) == set(get_args(Grade))


@pytest.mark.parametrize(("document", "expected"), CASES)
def test_a_document_has_its_grade(document: object, expected: str) -> None:
    assert grade(document) == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [case for case in CASES if isinstance(case.values[0], dict) and case.values[1] not in ("absent", "unknown")],
)
@pytest.mark.parametrize(
    "encode",
    [
        json.dumps,
        lambda document: json.dumps(document, indent=2),
        lambda document: quote(json.dumps(document)),
        lambda document: quote(json.dumps(document), safe=""),
        lambda document: quote_plus(json.dumps(document)),
        lambda document: json.dumps(json.dumps(document)),
        lambda document: json.dumps(document).replace("*", "\\u002a"),
    ],
    ids=["json", "indented", "quoted", "quoted-all", "quoted-plus", "json-in-json", "escaped"],
)
def test_an_encoding_does_not_change_the_grade(document: object, expected: str, encode: Any) -> None:
    assert grade(encode(document)) == expected


@pytest.mark.parametrize(("document", "reason"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_cannot_be_read_says_why(document: object, reason: str) -> None:
    assert assess(document).unread == reason


def test_a_part_that_cannot_be_read_is_named_beside_the_grade_that_the_rest_has() -> None:
    assessment = assess(policy(allow(), 7))
    assert (assessment.grade, assessment.unread) == ("full_admin", "policy_statement_unreadable")


@pytest.mark.parametrize("first", [True, False])
def test_a_key_given_twice_hides_no_allow(first: bool) -> None:  # noqa: FBT001  a parameter of the table
    """Readers differ in which of two equal keys they keep: an attacker may not choose for us."""
    pair = ('"Action": "*"', '"Action": "s3:GetObject"')
    inner = ", ".join(pair if first else reversed(pair))
    assert grade(f'{{"Statement": {{"Effect": "Allow", {inner}, "Resource": "*"}}}}') == "full_admin"
    mild, wild = json.dumps(allow("s3:Get*")), json.dumps(allow())
    both = f'"Statement": {mild}, "Statement": {wild}' if first else f'"statement": {wild}, "Statement": {mild}'
    assert grade(f"{{{both}}}") == "full_admin"
    effects = '"Effect": "Allow", "Effect": "Deny"' if first else '"Effect": "Deny", "Effect": "Allow"'
    assert grade(f'{{"Statement": {{{effects}, "Action": "*", "Resource": "*"}}}}') == "full_admin"


# Documents, their grade, and whether something is said not to be read.
TWICE = {
    "actions of a denial": (
        '[{ALLOW}, {"Effect": "Deny", "Action": "*", "Action": "s3:x", "Resource": "*"}]',
        ("full_admin", None),
    ),
    "resources of a denial": (
        '[{ALLOW}, {"Effect": "Deny", "Action": "*", "Resource": "*", "Resource": "arn:b"}]',
        ("full_admin", None),
    ),
    "effect of a denial": (
        '[{ALLOW}, {"Effect": "Deny", "Effect": null, "Action": "*", "Resource": "*"}]',
        ("full_admin", None),
    ),
    "spared actions": (
        '{"Effect": "Allow", "NotAction": "*", "NotAction": "s3:x", "Resource": "*"}',
        ("unknown", "policy_statement_unreadable"),
    ),
    "spared resources": (
        '{"Effect": "Allow", "Action": "*", "NotResource": "*", "NotResource": "arn:b"}',
        ("unknown", "policy_statement_unreadable"),
    ),
    "statements": (
        '{"Effect": "Deny", "Action": "*", "Resource": "*"}, "Statement": {ALLOW}',
        ("full_admin", "policy_statement_unreadable"),
    ),
}


@pytest.mark.parametrize(("statement", "expected"), TWICE.values(), ids=TWICE)
def test_a_key_given_twice_takes_no_power_away(statement: str, expected: tuple[str, str | None]) -> None:
    found = assess('{"Statement": ' + statement.replace("{ALLOW}", json.dumps(allow())) + "}")
    assert (found.grade, found.unread) == expected


def test_a_condition_is_told_in_the_explanation() -> None:
    assert "under a condition" in assess(policy(allow(Condition=CONDITION))).explanation
    assert "condition" not in assess(policy(allow(Condition={}))).explanation


def test_a_condition_on_one_of_two_statements_of_equal_power_is_none() -> None:
    assert "condition" not in assess(policy(allow(Condition=CONDITION), allow())).explanation


@pytest.mark.parametrize(
    ("document", "explanation"),
    [
        (
            policy(allow("s3:*"), allow()),
            "Statement 2 of the inline policy allows every action on every resource.",
        ),
        (
            policy(allow(), allow("**")),
            "Statements 1, 2 of the inline policy allow every action on every resource.",
        ),
        (
            policy(*[allow()] * 7),
            "Statements 1, 2, 3, 4, 5 of the inline policy allow every action on every resource.",
        ),
        (
            policy({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}),
            (
                "Statement 1 of the inline policy allows every action save a stated few"
                " on effectively every resource."
            ),
        ),
        (
            policy(allow("iam:CreateUser")),
            "Statement 1 of the inline policy allows iam:CreateUser, which makes or widens identities.",
        ),
        (None, "No inline policy was given."),
        (policy(), "The inline policy allows nothing."),
        (
            policy(allow("s3:*")),
            "Statement 1 of the inline policy allows a limited set of actions or resources.",
        ),
    ],
)
def test_the_explanation_names_the_statements(document: object, explanation: str) -> None:
    assert assess(document).explanation == explanation


POWERS = re.compile(
    "(Attach|Put)(Group|Role|User)Policy|AddUserToGroup|AddRoleToInstanceProfile|SetDefaultPolicyVersion|"
    "Create(AccessKey|InstanceProfile|LoginProfile|OpenIDConnectProvider|PolicyVersion|Role|SAMLProvider)|"
    "Create(User|VirtualMFADevice)|UploadSigningCertificate|(Update|Upload)SSHPublicKey|"
    "(Create|Reset|Update)ServiceSpecificCredential|AddClientIDToOpenIDConnectProvider|"
    "(Put|Delete)(Role|User)PermissionsBoundary|(Deactivate|Enable|Resync)MFADevice|"
    "Update(AccessKey|AssumeRolePolicy|LoginProfile|OpenIDConnectProviderThumbprint|SAMLProvider)"
)


def test_every_partition_of_aws_is_known() -> None:
    known = json.loads((files("botocore") / "data" / "partitions.json").read_text())
    assert {partition["id"] for partition in known["partitions"]} == set(PARTITIONS)


def test_the_actions_that_make_or_widen_an_identity_are_operations_of_iam() -> None:
    """As AWS's own model of the API names them."""
    assert {f"iam:{name}" for name in OPERATIONS if POWERS.fullmatch(name)} == set(IAM_ADMIN_ACTIONS)


def test_the_longest_policy_that_is_read_is_long_enough_for_an_encoded_one() -> None:
    """The API takes 2,048 characters; URL-encoded each may become three."""
    sid = "x" * (2_048 - len(json.dumps(policy(allow(Sid="")), separators=(",", ":"))))
    text = json.dumps(policy(allow(Sid=sid)), separators=(",", ":"))
    assert len(text) == 2_048
    assert grade("".join(f"%{ord(character):02X}" for character in text)) == "full_admin"
    assert len(text) * 3 < MAX_POLICY_CHARACTERS


def test_a_longer_text_is_not_read_at_all() -> None:
    text = json.dumps(policy(allow()))
    assert grade(text.ljust(10_240)) == "full_admin"
    assert assess(text.ljust(10_241)).unread == "policy_too_long"


# --- properties ----------------------------------------------------------------------------------


@given(json_values | oddities | st.text() | policies())
def test_anything_at_all_gets_a_grade(value: object) -> None:
    assessment = assess(value)
    assert assessment.grade in get_args(Grade)
    assert (assessment.grade == "unknown") <= (assessment.unread is not None)
    assert assessment.explanation


@given(policies(), st.data())
def test_text_cut_anywhere_gets_a_grade(document: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(document)
    cut = data.draw(st.integers(0, len(text)))
    assert grade(text[:cut]) in get_args(Grade)


@given(policies(), st.data())
def test_the_order_of_statements_is_nothing(document: dict[str, Any], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(document["Statement"]))
    assert grade(policy(*shuffled)) == grade(document)


@given(policies(statements()), st.data())
def test_the_order_of_patterns_is_nothing(document: dict[str, Any], data: st.DataObject) -> None:
    shuffled = [
        {key: data.draw(st.permutations(value)) if isinstance(value, list) else value for key, value in s.items()}
        for s in document["Statement"]
    ]
    assert grade(policy(*shuffled)) == grade(document)


@given(policies(statements()), st.data())
def test_a_pattern_alone_is_the_same_as_in_a_list(document: dict[str, Any], data: st.DataObject) -> None:
    listed = [
        {key: [value] if "Action" in key and isinstance(value, str) else value for key, value in statement.items()}
        for statement in document["Statement"]
    ]
    assert grade(policy(*listed)) == grade(document)


def recased(document: dict[str, Any], data: st.DataObject) -> dict[str, Any]:
    """Letter case of keys, effects and actions drawn anew; resources keep theirs."""

    def any_case(text: str) -> str:
        return "".join(data.draw(st.sampled_from([c.lower(), c.upper()])) for c in text)

    def value_of(key: str, value: Any) -> Any:
        if "Action" not in key and key != "Effect":
            return value
        return [any_case(text) for text in value] if isinstance(value, list) else any_case(value)

    return {
        any_case("Statement"): [
            {any_case(key): value_of(key, value) for key, value in statement.items()}
            for statement in document["Statement"]
        ]
    }


@given(policies(statements()), st.data())
def test_letter_case_is_nothing(document: dict[str, Any], data: st.DataObject) -> None:
    assert grade(recased(document, data)) == grade(document)


@given(
    policies(),
    st.sampled_from(["*", "*:*", ["s3:*", "**"], "?*"]),
    st.sampled_from(["*", "arn:*", ["arn:aws:*"], "arn:*:*:*:*:*"]),
    st.integers(0, 5),
)
def test_denying_everything_leaves_no_power(
    document: dict[str, Any], actions: Any, resources: Any, place: int
) -> None:
    """Whatever else there is, readable or not."""
    document["Statement"].insert(place, deny(actions, resources))
    assert grade(document) == "no_power"


WEAK_DENIALS = st.one_of(
    statements(effects=("Deny",)).map(lambda statement: {**statement, "Condition": CONDITION}),
    statements(effects=("Deny",)).map(
        lambda statement: (
            {k: v for k, v in statement.items() if "Resource" not in k} | {"Resource": "arn:aws:s3:::bucket"}
        )
    ),
    statements(effects=("Deny",)).map(
        lambda statement: {k: v for k, v in statement.items() if "Resource" not in k} | {"NotResource": "arn:x"}
    ),
    statements(effects=("Deny",)).map(lambda statement: {k: v for k, v in statement.items() if "Action" not in k}),
    statements(effects=("Deny",)).map(lambda statement: {**statement, "Resource": ["*", 7], "NotResource": "*"}),
    st.builds(lambda odd: deny(["*", odd]), st.integers() | st.none() | st.just({})),
)


@given(policies(), WEAK_DENIALS, st.integers(0, 5))
def test_a_denial_that_holds_only_somewhere_or_sometimes_lowers_nothing(
    document: dict[str, Any], denial: dict[str, Any], place: int
) -> None:
    before = grade(document)
    document["Statement"].insert(place, denial)
    assert grade(document) == before


@given(policies(statements()), statements(effects=("Allow",)))
def test_one_more_allow_never_lowers_the_grade(document: dict[str, Any], more: dict[str, Any]) -> None:
    before = grade(document)
    document["Statement"].append(more)
    assert STRENGTH[grade(document)] >= STRENGTH[before]


# Everything short that can be said with two letters, and patterns of them: AWS's `*` and `?` are fnmatch's.
WORDS = ["".join(word) for length in range(9) for word in product("ab", repeat=length)]
SHORT_PATTERNS = st.text("ab*?", min_size=1, max_size=5)


def _words(pattern: str) -> set[str]:
    return {word for word in WORDS if fnmatchcase(word, pattern)}


@given(SHORT_PATTERNS, st.lists(SHORT_PATTERNS, max_size=3))
def test_an_allowance_dies_where_all_is_denied_but_what_it_cannot_meet(allowed: str, spared: list[str]) -> None:
    """Two patterns of five characters that meet at all meet in a word of eight."""
    denied = {"Effect": "Deny", "NotAction": [*spared, "other:action"], "Resource": "*"}
    meet = any(_words(allowed) & _words(one) for one in spared)
    others = fnmatchcase("other:action", allowed)
    assert (grade(policy(allow(allowed), denied)) == "no_power") is not (meet or others)


NAMING_PATTERNS = SHORT_PATTERNS.filter(lambda pattern: not set(pattern) <= set("*?"))  # none is every action


@given(SHORT_PATTERNS, st.lists(NAMING_PATTERNS, max_size=3))
def test_an_allowance_dies_only_where_all_of_it_is_denied(allowed: str, denied: list[str]) -> None:
    dead = grade(policy(allow(allowed), deny([*denied, "other:action"]))) == "no_power"
    assert not dead or _words(allowed) <= set().union(*map(_words, denied))
    assert dead or allowed not in denied


def test_all_short_patterns_meet_where_a_word_says_so() -> None:
    patterns = ["".join(pattern) for length in (1, 2, 3) for pattern in product("ab*?", repeat=length)]
    words = {pattern: _words(pattern) for pattern in patterns}
    for allowed, spared in product(patterns, [one for one in patterns if len(one) < 3]):
        denied = {"Effect": "Deny", "NotAction": spared, "Resource": "*"}
        dead = grade(policy(allow(allowed), denied)) == "no_power"
        assert dead is words[allowed].isdisjoint(words[spared]), (allowed, spared)


ACTION_PATTERNS = st.lists(st.sampled_from(["*", "?", "iam:", "i", "create", "put", "u", "user", "policy", "key"]))


@given(st.lists(ACTION_PATTERNS.map("".join), min_size=1, max_size=4))
def test_the_first_power_over_identities_is_named(patterns: list[str]) -> None:
    """On one user, so that no policy is broad; by fnmatch, which knows no shorter way."""
    found = assess(policy(allow(patterns, "arn:aws:iam::111122223333:user/alice")))
    powers = [name for name in IAM_ADMIN_ACTIONS if any(fnmatchcase(name.lower(), one) for one in patterns)]
    assert found.grade == ("iam_admin" if powers else "scoped")
    assert not powers or f" {powers[0]}," in found.explanation


@pytest.mark.parametrize(
    ("resource", "reached"),
    [
        ("arn:aws:iam::", True),
        ("arn:aws:iam:", True),
        ("arn:aws:iam", True),
        ("arn:aws:s3", False),
        ("arn:aws:iam:?", True),
        ("arn:aws-cn:iam::1", True),
        ("arn:aws:ia?::user", True),
        ("arn:aws:s*", False),
        ("arn:aws:i*x", True),
        ("?" * 13, True),
        ("?" * 12, False),
        ("", False),
    ],
)
def test_power_over_identities_needs_a_resource_that_iam_may_have(resource: str, reached: bool) -> None:  # noqa: FBT001  a column
    assert grade(policy(allow("iam:CreateUser", resource))) == ("iam_admin" if reached else "scoped")


# --- hostile ones: no assertion on time, but a pattern matched by backtracking would never end -----


NAMES = [first + second for first in string.ascii_lowercase for second in string.ascii_lowercase + string.digits]
HOSTILE = {
    "stars that backtrack": policy(allow("*a*" * 600, "*a*" * 600)),
    "stars against stars": policy(allow("*a" * 1_200), deny("*a*b" * 600)),
    "stars against spared stars": policy(
        allow("*a" * 1_200), {"Effect": "Deny", "NotAction": "*a*b" * 600, "Resource": "*"}
    ),
    "a few of both": policy(allow("?*" * 9 + "#", "?*" * 12 + "#"), deny("a*?*" * 5 + "#")),
    "question marks": policy(allow("?*" * 2_000 + "x", "?*" * 2_000 + "x")),
    "spared stars": policy({"Effect": "Allow", "NotAction": "*e*" * 1_000, "NotResource": "*a*" * 1_000}),
    "many patterns": policy(allow([f"*{a}*e*{b}z" for a in "abcdefghij" for b in NAMES[:70]])),
    "many patterns against many": policy(
        allow([f"z{name}" for name in NAMES[:800]]), deny([f"{name}?*q" for name in NAMES[:350]] + ["z*"])
    ),
    "many statements": policy(*(allow(f"*{name}?zz", f"*{name}") for name in NAMES[:150])),
    "many patterns against many spared": policy(
        allow([f"*{name}?x" for name in NAMES[:500]]),
        {"Effect": "Deny", "NotAction": [f"*{name}?y" for name in NAMES[:500]], "Resource": "*"},
    ),
    "many conditions": policy(*(allow(f"{name}:*", Condition=CONDITION) for name in NAMES[:90])),
    "many resources": policy(allow("iam:PassRole", [f"arn:*{name}*x" for name in NAMES[:600]])),
}


@pytest.mark.parametrize("document", HOSTILE.values(), ids=HOSTILE)
def test_hostile_patterns_are_graded(document: dict[str, Any]) -> None:
    """Near the limit of what is read, so that each is really worked through."""
    text = json.dumps(document, separators=(",", ":"))
    assert len(text) <= MAX_POLICY_CHARACTERS
    assert grade(text) in ("scoped", "no_power", "broad")


def test_more_patterns_than_can_be_compared_in_time_keep_their_power() -> None:
    """All of it is denied, which takes two seconds to find out; the API takes no policy of that length."""
    allowed, spared = NAMES[:500], NAMES[500:]
    denial = {"Effect": "Deny", "NotAction": [f"?{name}?" for name in spared], "Resource": "*"}
    assert grade(policy(allow([f"?{name}?" for name in allowed[:50]]), denial)) == "no_power"
    assert grade(policy(allow([f"?{name}?" for name in allowed]), denial)) == "scoped"
    split = [allow([f"?{name}?" for name in allowed[first:][:50]]) for first in range(0, 500, 50)]
    assert grade(policy(*split, denial)) == "scoped"


@pytest.mark.parametrize(("count", "characters"), [(3_000, 2_000), (600, 10_000)])
def test_invented_policies_fill_no_memory(count: int, characters: int) -> None:
    """Those that were graded before are remembered: in 4 MiB, where these are 6 MB."""
    tracemalloc.start()
    try:
        for number in range(count):
            assess(f'{{"Statement": [], "Id": "{number:0{characters}}"}}')
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 4 * 2**20


def test_an_object_may_hold_what_json_cannot() -> None:
    """Keys and values that were made by another reader than that of JSON."""
    document: dict[Any, Any] = {("a", "b"): 1, "Id": b"x", **policy(allow())}
    assert grade(document) == "full_admin"


def test_an_object_is_bounded_like_text() -> None:
    """Millions of patterns in a policy that arrived as an object would hold up the stream."""
    patterns = [f"*{a}*{b}*{c}" for a in NAMES[:100] for b in NAMES[:100] for c in "abc"]
    assert assess(policy(allow(patterns))).unread == "policy_too_long"
