"""The smallest reader of findings that does what docs/soar.md says: a message in, an alert for TheHive out.

It is an example to copy from, so it knows nothing of the service: only of messages, and of the names in the page.
"""

import io
import json
import re
import struct
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import fastavro

Fields = dict[str, Any]
SchemaOf = Callable[[int], Fields]  # a schema registry's answer to "GET /schemas/ids/<id>"

# Where OCSF has what other findings have under these names; all else stands under `unmapped`, by its name.
PLACES: Final = {
    "finding_id": "finding_info.uid",
    "related_finding_ids": "finding_info.related_events",
    "rule_id": "finding_info.analytic.uid",
    "title": "finding_info.title",
    "description": "finding_info.desc",
    "runbook": "remediation.desc",
    "severity_id": "severity_id",
    "mitre": "finding_info.attacks",
    "event_time": "metadata.original_time",
    "detected_at": "time",
    "principal_arn": "evidences[0].actor.user.uid",
    "principal_access_key_id": "evidences[0].actor.user.credential_uid",
    "source_ip": "evidences[0].src_endpoint.ip",
    "account_id": "cloud.account.uid",
}
SEVERITIES: Final = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4}  # TheHive: low, medium, high, critical
OBSERVABLES: Final = {
    "source_ip": "ip",
    "containment_arn": "other",
    "federated_user_arn": "other",
    "principal_access_key_id": "other",
    "issued_access_key_id": "other",
}


def finding(value: bytes, headers: Mapping[str, bytes], schema_of: SchemaOf) -> Fields:
    """A finding's fields by their names, whichever format the topic has."""
    if headers["content-type"] == b"application/avro":
        return _from_avro(value, schema_of)
    document: Fields = json.loads(value)
    return _from_ocsf(document) if "class_uid" in document else document


def is_alert(found: Fields) -> bool:
    """Canaries prove that findings arrive, trials and suppressed findings are for the record: no one is woken."""
    return not (found.get("canary") or found.get("stage") or found.get("suppressed_by"))


def alert(found: Fields) -> Fields:
    """TheHive's InputAlert. It refuses a second one of the same type, source and sourceRef."""
    when = _milliseconds(found.get("event_time") or found["detected_at"])
    return {
        "type": "tokentrail",  # 32 characters at most: a rule's id may have more
        "source": "tokentrail",
        "sourceRef": found["finding_id"],  # 128 at most
        "title": found["title"][:512],
        "description": "\n\n".join([found["description"], *found["runbook"]]),
        "severity": SEVERITIES[found["severity_id"]],
        "date": when,
        "tags": [found["rule_id"], found["outcome"], *found["clauses"]],
        "observables": [
            {"dataType": kind, "data": found[name]} for name, kind in OBSERVABLES.items() if found.get(name)
        ],
        "procedures": [
            {"patternId": each["technique_id"], "tactic": each["tactic_id"], "occurDate": when}
            for each in found["mitre"]
        ],
        "customFields": {name: found.get(name) for name in ("session_key", "containment_arn", "account_id")},
    }


def _from_avro(value: bytes, schema_of: SchemaOf) -> Fields:
    """Confluent's wire format: a zero byte, the schema's id in four, then Avro."""
    _, schema_id = struct.unpack(">bI", value[:5])
    decoded = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema_of(schema_id), None)
    assert isinstance(decoded, dict)
    return {**decoded, "event": json.loads(decoded["event"])}


def _from_ocsf(document: Fields) -> Fields:
    found = {name: at(document, path) for name, path in PLACES.items()}
    attacks = found["mitre"] or []
    steps = found["runbook"].splitlines()
    others = [event["uid"] for event in found["related_finding_ids"] or [] if event.get("type_uid")]
    return {
        **document["unmapped"],
        **found,
        "event": json.loads(document["unmapped"]["event"]),
        "related_finding_ids": others,
        "runbook": [step.partition(". ")[2] for step in steps],
        "mitre": [
            {
                "tactic_id": attack["tactic"]["uid"],
                "technique_id": attack.get("sub_technique", attack["technique"])["uid"],
            }
            for attack in attacks
        ],
    }


def at(document: Any, path: str) -> Any:
    """What stands at a path such as `a.b[0].c`, None where it leads nowhere."""
    for step in re.findall(r"\w+", path):
        if document is None:
            return None
        document = document[int(step)] if isinstance(document, list) else document.get(step)
    return document


def _milliseconds(moment: str | int) -> int:
    return moment if isinstance(moment, int) else int(datetime.fromisoformat(moment).timestamp() * 1000)
