"""PodView: the pods that count, and what each of them says."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelserver_operator.observed import Observed, PodSnapshot
from modelserver_operator.reports import ModelReport, PodReport


@dataclass(frozen=True, slots=True)
class PodView:
    """The pods that are neither ending nor ended, by name, and their reports by uid.

    A *silent* pod is ready, as Kubernetes has it, but has no report: it was not asked yet, or did
    not answer (then `unreachable` says why). A pod that is not ready need not answer.
    """

    pods: tuple[PodSnapshot, ...] = ()
    reports: Mapping[str, PodReport] = field(default_factory=dict)
    unreachable: Mapping[str, str] = field(default_factory=dict)

    @property
    def ready(self) -> tuple[PodSnapshot, ...]:
        """The pods that the Services send calls to."""
        return tuple(pod for pod in self.pods if pod.ready)

    @property
    def reporting(self) -> tuple[tuple[PodSnapshot, PodReport], ...]:
        """The pods that have reported, and what."""
        return tuple((pod, self.reports[pod.uid]) for pod in self.pods if pod.uid in self.reports)

    @property
    def silent(self) -> tuple[PodSnapshot, ...]:
        """Ready pods that have not reported."""
        return tuple(pod for pod in self.ready if pod.uid not in self.reports)

    @property
    def unanswering(self) -> tuple[PodSnapshot, ...]:
        """Ready pods that were asked and did not answer."""
        return tuple(pod for pod in self.silent if pod.uid in self.unreachable)

    def reports_of(self, model: str) -> tuple[tuple[PodSnapshot, ModelReport], ...]:
        """What each pod that knows the model says about it."""
        return tuple(
            (pod, reported)
            for pod, report in self.reporting
            for reported in report.models
            if reported.name == model
        )


def pod_view(observed: Observed) -> PodView:
    """Pick the pods that count. Reports of other pods, such as of a predecessor that had the same
    address, are left out.
    """
    pods = [pod for pod in observed.pods if pod.is_live]
    uids = {pod.uid for pod in pods}
    return PodView(
        pods=tuple(sorted(pods, key=lambda pod: (pod.name, pod.uid))),
        reports={uid: said for uid, said in observed.reports.items() if uid in uids},
        unreachable={uid: why for uid, why in observed.unreachable.items() if uid in uids},
    )
