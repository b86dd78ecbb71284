"""What errors of brokers and of librdkafka mean: which of them no waiting changes, and in which words to tell."""

import re
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from service.errors import DeliveryError, Refused, TooLarge, Unreachable, Untrusted

# Errors that librdkafka itself makes. They are public, though an underscore begins their names:
# https://docs.confluent.io/platform/current/clients/confluent-kafka-python/html/index.html#kafkaerror
ALL_BROKERS_DOWN: Final = KafkaError._ALL_BROKERS_DOWN
AUTHENTICATION: Final = KafkaError._AUTHENTICATION
AUTO_OFFSET_RESET: Final = KafkaError._AUTO_OFFSET_RESET
FATAL: Final = KafkaError._FATAL
PARTITION_EOF: Final = KafkaError._PARTITION_EOF
PURGE_QUEUE: Final = KafkaError._PURGE_QUEUE
TIMED_OUT: Final = KafkaError._TIMED_OUT
TRANSPORT: Final = KafkaError._TRANSPORT
UNKNOWN_TOPIC: Final = KafkaError._UNKNOWN_TOPIC
UNSUPPORTED_FEATURE: Final = KafkaError._UNSUPPORTED_FEATURE

# Answers that no waiting changes: the login, an ACL, a name.
_FINAL: Final = frozenset(
    {
        AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        UNKNOWN_TOPIC,
        KafkaError.TOPIC_EXCEPTION,
    }
)

# Where and when it happened inside librdkafka and OpenSSL: of use to their authors.
_NOISE: Final = re.compile(r"error:[0-9A-F]{8}:[^:]*:[^:]*:| \(after \d+ ?ms[^)]*\)|/bootstrap(?=:)")
_ALERT: Final = re.compile(r"alert (?P<alert>[a-z ]*(certificate|ca)[a-z ]*)")


def is_final(error: KafkaError) -> bool:
    """Whether no waiting changes it. Groups of KIP-848 wrap a denied access in a fatal error."""
    wrapped = error.code() == FATAL and "authorization failed" in error.str()
    return wrapped or error.code() in _FINAL


def refusal(error: KafkaError, what: str) -> Refused:
    return Refused(f"{what}: {in_words(error)} ({error.name()})")


def no_answer(error: KafkaError) -> Unreachable:
    text = in_words(error)
    return Untrusted(text) if "certificate" in text else Unreachable(f"no broker answers: {text}")


def in_words(error: KafkaError) -> str:
    """One sentence, with what to look at where a certificate is the trouble."""
    text = _NOISE.sub("", error.str())
    broker = text.partition(": ")[0]
    if "certificate verify failed" in text:
        return (
            f"{broker}: the broker's certificate cannot be trusted: is ssl.ca.location its authority's, does it "
            "name this host, has it expired?"
        )
    if alert := _ALERT.search(text):
        return (
            f"{broker}: the broker does not take our certificate ({alert['alert'].strip()}): are "
            "ssl.certificate.location and ssl.key.location set, is it of an authority it trusts, has it expired?"
        )
    return text


def in_our_terms(failure: KafkaException, doing: str) -> DeliveryError | Refused:
    error = failure.args[0]
    if is_final(error):
        return refusal(error, doing)
    if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE):
        return TooLarge(f"{doing}: {error.str()} ({error.name()})")
    return DeliveryError(f"{doing}: {error.str()} ({error.name()})")
