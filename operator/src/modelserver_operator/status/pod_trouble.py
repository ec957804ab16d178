"""What keeps single pods from running: checks of WorkloadAvailable, the surest cause first."""

from collections.abc import Callable

from modelserver_operator.observed import PodSnapshot
from modelserver_operator.status.facts import Facts, Finding
from modelserver_operator.status.reasons import Reason
from modelserver_operator.status.scheduling import causes, hints
from modelserver_operator.status.wording import last_line, pods, sentence, times

_IMAGE_WAITS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_CREATION_WAITS = frozenset({"CreateContainerConfigError", "CreateContainerError"})
_OOM_KILLED = "OOMKilled"


def image_cannot_be_pulled(facts: Facts) -> Finding | None:
    """The kubelet does not get the image."""
    stuck = _pods(facts, lambda pod: pod.waiting_reason in _IMAGE_WAITS)
    if not stuck:
        return None
    message = (
        f"The image of {_named(stuck)} cannot be pulled: check spec.image and "
        "spec.imagePullSecrets."
    )
    return Finding("False", Reason.IMAGE_PULL_FAILED, message, stuck[0].waiting_message)


def container_cannot_be_created(facts: Facts) -> Finding | None:
    """The container names something that does not exist, such as a key of a ConfigMap."""
    stuck = _pods(facts, lambda pod: pod.waiting_reason in _CREATION_WAITS)
    if not stuck:
        return None
    message = (
        f"The container of {_named(stuck)} cannot be created: check what spec.env and "
        "spec.podTemplate refer to."
    )
    return Finding("False", Reason.CREATE_CONTAINER_CONFIG_ERROR, message, stuck[0].waiting_message)


def memory_is_exceeded(facts: Facts) -> Finding | None:
    """The kernel ended the server because it used more memory than its limit."""
    killed = _pods(facts, lambda pod: not pod.ready and _ended_for(pod) == _OOM_KILLED)
    if not killed:
        return None
    restarts = max(pod.restart_count for pod in killed)
    often = f" ({times(restarts)})" if restarts else ""
    message = (
        f"The server in {_named(killed)} was ended{often} for using more memory than it may: raise "
        "spec.resources.limits.memory. Under AvailabilityPreserving, two versions of a model are "
        "in memory at once."
    )
    return Finding("False", Reason.OOM_KILLED, message)


def server_crashes(facts: Facts) -> Finding | None:
    """The server ends again and again, or has ended and not come back yet."""
    crashing = _pods(facts, _is_crashing)
    if not crashing:
        return None
    first = crashing[0]
    message = (
        f"The server in {_named(crashing)} has ended {times(first.restart_count or 1)}"
        f"{_exit(first)}: `kubectl logs {first.name} --previous` says more."
    )
    last_words = last_line(first.last_exit.message) if first.last_exit else ""
    return Finding("False", Reason.CRASH_LOOPING, message, last_words)


def no_node_is_suitable(facts: Facts) -> Finding | None:
    """The scheduler finds no node."""
    homeless = _pods(facts, _is_homeless)
    if not homeless:
        return None
    said = homeless[0].unschedulable_message or homeless[0].waiting_message
    why = "; ".join(causes(said))
    advice = " ".join(sentence(hint) for hint in hints(said))
    message = f"No node is suitable for {_named(homeless)}: {why or 'held back'}. {advice}"
    return Finding("False", Reason.UNSCHEDULABLE, message.strip())


def _is_crashing(pod: PodSnapshot) -> bool:
    # A crashed container is running again for a while between crashes: counting its restarts keeps
    # the reason from changing back and forth.
    if pod.ready or pod.last_exit is None:
        return False
    backs_off = pod.waiting_reason in ("CrashLoopBackOff", "RunContainerError")
    return backs_off or pod.restart_count >= 2


def _is_homeless(pod: PodSnapshot) -> bool:
    return bool(pod.unschedulable_message) or pod.waiting_reason == "SchedulingGated"


def _ended_for(pod: PodSnapshot) -> str:
    return pod.last_exit.reason if pod.last_exit else ""


def _exit(pod: PodSnapshot) -> str:
    if pod.last_exit is None:
        return ""
    reason = f" ({pod.last_exit.reason})" if pod.last_exit.reason else ""
    return f", last with exit code {pod.last_exit.code}{reason}"


def _pods(facts: Facts, are_so: Callable[[PodSnapshot], bool]) -> list[PodSnapshot]:
    return [pod for pod in facts.view.pods if are_so(pod)]


def _named(chosen: list[PodSnapshot]) -> str:
    return pods([pod.name for pod in chosen])
