"""One operation, many examples: what is sent, and what is noted of the answers."""

import zlib
from collections import Counter
from random import Random
from typing import Final

import requests
from attrs import define, field, frozen
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, serializer
from schemathesis import openapi as specs
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.generation.case import Case
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.fuzz.informed import inform
from tests.fuzz.people import TIMEOUT, Person
from tests.fuzz.rooms import Laid
from tests.fuzz.targets import Target

CHECKS: Final = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
AGAIN: Final = 20
"""examples of something that uses objects up, after which there are new ones"""
NEGATIVE: Final = 0.2
"""how many examples do not fit the document on purpose"""

serializer.alias("application/openstack-images-v2.1-json-patch", "application/json")
specs.format("name", st.text(st.characters(min_codepoint=33, max_codepoint=0x2FFF, categories=("L", "N")), min_size=1))
specs.format("base64", st.sampled_from(["", "eA==", "IyEvYmluL3NoCg==", "eA==\n"]))


@frozen
class Broken:
    """A promise that an answer broke. `sent` repeats it."""

    check: str
    told: str
    sent: str


@define(eq=False)
class Outcome:
    target: Target
    allowed: bool
    codes: Counter[int] = field(factory=Counter)
    broken: dict[str, Broken] = field(factory=dict)
    """one of each kind"""

    @property
    def reached(self) -> bool:
        return any(200 <= code < 300 for code in self.codes)

    def note(self, check: str, told: str, case: Case, person: Person) -> None:
        key = f"{check} {told[:200]}"
        if key not in self.broken:
            self.broken[key] = Broken(check, told, case.as_curl_command(headers=person.headers))


def run(target: Target, person: Person, ground: Laid, examples: int, url: str) -> Outcome:
    """Never raises for what an answer says; the outcome has it."""
    outcome = Outcome(target, target.allowed(person.role))
    cases = _cases(target)
    sent = 0

    def once(case: Case, dice: Random) -> None:
        nonlocal sent
        if sent % AGAIN == 0 and (sent == 0 or target.method != "GET"):
            ground.prepare(target.name)
        sent += 1
        inform(case, target, ground, dice)
        case.headers.clear()  # of those that were made up many are no HTTP, which the server refuses before the API
        case.headers.update(person.headers | ground.headers(target))
        _send(case, person, outcome, url)

    test = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )(given(case=cases, dice=st.integers(0, 2**48).map(Random))(once))
    seed(zlib.crc32(f"{target.name} {person.role} {person.version}".encode()))(test)()
    return outcome


def _cases(target: Target) -> st.SearchStrategy[Case]:
    fitting = target.operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if target.example is None and not target.operation.query and not target.operation.path_parameters:
        return fitting
    odd = target.operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    return st.integers(1, 100).flatmap(lambda n: odd if n <= NEGATIVE * 100 else fitting)


def _send(case: Case, person: Person, outcome: Outcome, url: str) -> None:
    try:
        answer = case.call(base_url=url, session=person.http, headers=person.headers, timeout=TIMEOUT)
    except requests.RequestException as error:
        outcome.note("no answer", repr(error), case, person)
        return
    outcome.codes[answer.status_code] += 1
    if answer.status_code < 300 and not outcome.allowed:
        outcome.note("policy", f"{person.role} was let in: {answer.status_code}", case, person)
    # 501 is an answer as any other, where the document knows it: hypervisors that cannot
    checks = CHECKS if answer.status_code == 501 else [not_a_server_error, *CHECKS]
    try:
        case.validate_response(answer, checks=checks, headers=person.headers)
    except FailureGroup as group:
        for failure in group.exceptions:
            outcome.note(failure.title, str(failure), case, person)
    except Failure as failure:
        outcome.note(failure.title, str(failure), case, person)
