"""The simplest function that a bus can carry."""

from attrs import frozen

from schemas.codec import record


@record(1)
@frozen
class Question:
    text: str


@record(1)
@frozen
class Answer:
    text: str


async def echo(question: Question, _: str) -> Answer:
    return Answer(question.text)
