"""x"""

from tests.fakes.messages import message


def test_x():
    assert message().key
