"""VersionMutated: do pods serve what is not there any more?

A version's files are not to change once they are written, and where they do, no two pods need have
the same under one number. What is loaded serves on: Ready and VersionsConverged do not mind.
"""

from modelserver_operator.status.facts import Facts, Finding
from modelserver_operator.status.reasons import Reason
from modelserver_operator.status.wording import names


def version_mutated(facts: Facts) -> Finding | None:
    """What was overwritten in place after a pod had loaded it, for as long as a pod has it so."""
    mutated = [row.name for row in facts.rows.rows if row.is_mutated]
    if not mutated:
        return None
    message = (
        f"The files of {names(mutated)} were overwritten after pods had loaded them, and the pods "
        "serve what they loaded. Export under a new number, which all pods will load; or, to load "
        "what is there now, replace the pods: "
        f"`kubectl rollout restart deployment/{facts.server.metadata.name}`."
    )
    return Finding("True", Reason.FILES_CHANGED, message)
