"""How often Python looks for what nobody needs any more."""

import gc


def collect_less_often() -> None:
    """Most of what is made here lives on: with the usual 700 a tenth of a storm goes into looking for what does not."""
    gc.set_threshold(20_000, 10, 10)
