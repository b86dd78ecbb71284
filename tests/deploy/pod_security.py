"""Kubernetes' Pod Security Standard "restricted", as a check of a rendered pod.

Controls and allowed values are those of https://kubernetes.io/docs/concepts/security/pod-security-standards/,
the Linux rows of "baseline" and "restricted".
"""

from collections.abc import Iterator
from typing import Any, Final

VOLUMES: Final = frozenset(
    "configMap csi downwardAPI emptyDir ephemeral image persistentVolumeClaim projected secret".split()
)
SYSCTLS: Final = frozenset(
    "kernel.shm_rmid_forced net.ipv4.ip_local_port_range net.ipv4.ip_unprivileged_port_start "
    "net.ipv4.tcp_syncookies net.ipv4.ping_group_range net.ipv4.ip_local_reserved_ports "
    "net.ipv4.tcp_keepalive_time net.ipv4.tcp_fin_timeout net.ipv4.tcp_keepalive_intvl "
    "net.ipv4.tcp_keepalive_probes net.ipv4.tcp_rmem net.ipv4.tcp_wmem".split()
)
SELINUX_TYPES: Final = (None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
PROFILES: Final = ("RuntimeDefault", "Localhost")

Spec = dict[str, Any]


def violations(pod: Spec) -> Iterator[str]:
    """A word or two for each control that the pod's spec breaks."""
    context = pod.get("securityContext", {})
    yield from (name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name))
    yield from (f"volume {v['name']}" for v in pod.get("volumes", []) if not (v.keys() - {"name"}) <= VOLUMES)
    yield from (f"sysctl {s['name']}" for s in context.get("sysctls", []) if s["name"] not in SYSCTLS)
    yield from _of_context(context, "pod")
    containers = [
        *pod.get("initContainers", []),
        *pod.get("containers", []),
        *pod.get("ephemeralContainers", []),
    ]
    for container in containers:
        yield from _of_container(container, context)


def _of_container(container: Spec, of_pod: Spec) -> Iterator[str]:
    context = container.get("securityContext", {})
    capabilities = context.get("capabilities", {})
    effective = {**of_pod, **context}  # what a container says wins
    broken = {
        "privileged": context.get("privileged"),
        "allowPrivilegeEscalation": context.get("allowPrivilegeEscalation") is not False,
        "capabilities dropped": "ALL" not in capabilities.get("drop", []),
        "capabilities added": not set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
        "hostPort": any(port.get("hostPort") for port in container.get("ports", [])),
        "procMount": context.get("procMount", "Default") != "Default",
        "runAsNonRoot": effective.get("runAsNonRoot") is not True,
        "seccomp": effective.get("seccompProfile", {}).get("type") not in PROFILES,
    }
    yield from (f"{container['name']}: {control}" for control, is_broken in broken.items() if is_broken)
    yield from _of_context(context, container["name"])


def _of_context(context: Spec, name: str) -> Iterator[str]:
    """What a pod and a container may each say."""
    selinux = context.get("seLinuxOptions", {})
    broken = {
        "runAsUser": context.get("runAsUser") == 0,
        "hostProcess": context.get("windowsOptions", {}).get("hostProcess"),
        "AppArmor": context.get("appArmorProfile", {}).get("type") not in (None, *PROFILES),
        "SELinux": selinux.get("type") not in SELINUX_TYPES or bool(selinux.get("user") or selinux.get("role")),
    }
    yield from (f"{name}: {control}" for control, is_broken in broken.items() if is_broken)
