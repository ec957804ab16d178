"""What the operator's service account may do, asked of a real API server."""

import json
import secrets
from typing import NamedTuple

import pytest
import yaml

from modelserver_operator.cluster import resources
from testcluster.waiting import wait_until

SERVERS = "modelserver.dev/modelservers"
CHILD_VERBS = ("get", "list", "watch", "create", "patch", "delete")
EVERY_VERB = (*CHILD_VERBS, "update", "deletecollection")
ELSEWHERE = "default"


class Question(NamedTuple):
    """`what` is GROUP/PLURAL or GROUP/PLURAL/SUBRESOURCE."""

    verb: str
    what: str
    namespace: str = ELSEWHERE
    name: str = ""


class Release:
    """The chart's rights, installed under a name of their own; no operator runs."""

    def __init__(self, cluster, render, values):
        self._cluster = cluster
        self.name = self.namespace = f"chart-{secrets.token_hex(3)}"
        values = {"fullnameOverride": self.name, "crds": {"enabled": False}, **values}
        objects = render(values, self.namespace)
        rights = [found for found in objects if found["kind"] not in {"Deployment", "Pod"}]
        self._manifests = yaml.safe_dump_all(rights)
        cluster.kubectl("create", "namespace", self.namespace)
        cluster.kubectl("apply", "-f", "-", input=self._manifests)

    def remove(self):
        self._cluster.kubectl("delete", "--ignore-not-found", "-f", "-", input=self._manifests)
        self._cluster.kubectl("delete", "namespace", self.namespace, "--wait=false")

    def allowed(self, questions):
        """Which of the questions the API server answers with yes for the service account."""
        user = f"system:serviceaccount:{self.namespace}:{self.name}"
        return allowed(self._cluster, user, questions)


def allowed(cluster, user, questions):
    reviews = {"apiVersion": "v1", "kind": "List", "items": [review(user, q) for q in questions]}
    answer = cluster.kubectl("create", "-o", "json", "-f", "-", input=json.dumps(reviews))
    decoder, answers = json.JSONDecoder(), []
    while answer.strip():
        found, end = decoder.raw_decode(answer.strip())
        answers += found["items"] if found["kind"] == "List" else [found]
        answer = answer.strip()[end:]
    yes = [found["status"]["allowed"] for found in answers]
    return {question for question, is_allowed in zip(questions, yes, strict=True) if is_allowed}


def review(user, question):
    group, plural, *subresource = question.what.split("/")
    attributes = {
        "verb": question.verb,
        "group": group,
        "resource": plural,
        "subresource": "".join(subresource),
        "namespace": question.namespace,
        "name": question.name,
    }
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user,
            "groups": ["system:authenticated"],
            "resourceAttributes": attributes,
        },
    }


def path_of(resource):
    return f"{resource.group}/{resource.plural}"


@pytest.fixture(scope="module")
def release(control_plane, render):
    made = Release(control_plane, render, {})
    yield made
    made.remove()


@pytest.fixture(scope="module")
def team(control_plane):
    name = f"team-{secrets.token_hex(3)}"
    control_plane.kubectl("create", "namespace", name)
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def team_release(control_plane, render, team):
    made = Release(control_plane, render, {"namespaces": [team]})
    yield made
    made.remove()


def test_the_operator_may_keep_every_kind_of_child(release):
    children = (*resources.CHILDREN, resources.POD_MONITOR)
    needed = [Question(verb, path_of(child)) for child in children for verb in CHILD_VERBS]

    assert set(needed) - release.allowed(needed) == set()


def test_the_operator_may_do_its_work(release):
    needed = {
        path_of(resources.MODEL_SERVER): ("get", "list", "watch"),
        f"{path_of(resources.MODEL_SERVER)}/status": ("patch",),
        f"{path_of(resources.MODEL_SERVER)}/finalizers": ("update",),
        path_of(resources.POD): ("get", "list", "watch", "patch"),
        path_of(resources.CLAIM): ("get",),
        path_of(resources.EVENT): ("get", "create", "patch"),
    }
    questions = [Question(verb, what) for what, verbs in needed.items() for verb in verbs]

    assert set(questions) - release.allowed(questions) == set()


def test_the_operator_may_hold_its_own_lease_and_no_other(release):
    lease = path_of(resources.LEASE)
    needed = {
        Question("create", lease, release.namespace),
        Question("get", lease, release.namespace, release.name),
        Question("update", lease, release.namespace, release.name),
    }
    more = {
        Question("update", lease, release.namespace, "another"),
        Question("delete", lease, release.namespace, release.name),
        Question("create", lease, "kube-system"),
    }

    assert release.allowed([*needed, *more]) == needed


def test_the_operator_may_do_nothing_with_secrets(release):
    anywhere = [
        Question(verb, "/secrets", place) for verb in EVERY_VERB for place in ("", ELSEWHERE)
    ]
    its_own = [Question(verb, "/secrets", release.namespace, "any") for verb in EVERY_VERB]

    assert release.allowed([*anywhere, *its_own]) == set()


def test_the_operator_may_do_no_more_than_its_work(release):
    more = [
        Question("create", "/pods"),
        Question("delete", "/pods"),
        Question("create", "/pods/exec"),
        Question("patch", "/pods/status"),
        Question("patch", "/pods/ephemeralcontainers"),
        Question("patch", "/pods/resize"),
        Question("create", "/serviceaccounts/token"),
        Question("create", SERVERS),
        Question("patch", SERVERS),
        Question("delete", SERVERS),
        Question("list", "/persistentvolumeclaims"),
        Question("create", "rbac.authorization.k8s.io/roles"),
        Question("list", "/namespaces"),
        Question("get", "apiextensions.k8s.io/customresourcedefinitions"),
    ]

    assert release.allowed(more) == set()


def test_in_listed_namespaces_the_operator_has_rights_in_these_only(team_release, team):
    places = (team, ELSEWHERE, team_release.namespace, "")
    questions = [
        Question("list", what, place)
        for what in (SERVERS, "/pods", "/services")
        for place in places
    ]

    assert {question.namespace for question in team_release.allowed(questions)} == {team}
    assert len(team_release.allowed(questions)) == 3


@pytest.mark.usefixtures("release")
def test_who_may_edit_a_namespace_may_edit_its_model_servers(control_plane, namespace):
    for role in ("view", "edit", "admin"):
        control_plane.kubectl(
            "create",
            "rolebinding",
            role,
            "-n",
            namespace,
            f"--clusterrole={role}",
            f"--user={role}",
        )
    reading = {Question(verb, SERVERS, namespace) for verb in ("get", "list", "watch")}
    every = {Question(verb, SERVERS, namespace) for verb in EVERY_VERB}

    def rights(user):
        return allowed(control_plane, user, sorted(every))

    wait_until(lambda: rights("view") == reading, "the role view to be extended")
    wait_until(lambda: rights("edit") == every, "the role edit to be extended")
    wait_until(lambda: rights("admin") == every, "the role admin to be extended")
