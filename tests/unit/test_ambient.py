"""What shells take from the machine when no simulation has put itself there."""

from uuid import RFC_4122, UUID

from runtime import ambient


def test_new_ids_are_random_uuids() -> None:
    made = [ambient.new_uuid() for _ in range(200)]
    assert [str(UUID(one)) for one in made] == made
    assert {(UUID(one).version, UUID(one).variant) for one in made} == {(4, RFC_4122)}
    assert {one[19] for one in made} == set("89ab")
    assert len(set(made)) == len(made)
