"""Draws that a seed repeats on any machine: SplitMix64, in integers throughout.

Source of the generator: Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014. Nothing here guards a secret.
"""

from typing import Final

_BITS: Final = 64
_MASK: Final = (1 << _BITS) - 1
_GAMMA: Final = 0x9E3779B97F4A7C15


def mix(number: int) -> int:
    """Scatter a number over 64 bits; equal numbers give equal results."""
    number = (number + _GAMMA) & _MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)


def draw(seed: int, *parts: int | str) -> int:
    """Return the 64-bit draw that belongs to a seed and a place, whatever was drawn elsewhere.

    Numbers are of 64 bits at most.
    """
    state = mix(seed & _MASK)
    for part in parts:
        for number in part.encode() if isinstance(part, str) else (part,):
            state = mix(state ^ number)
    return state


def share(chance: float) -> int:
    """Return the bound below which a 64-bit draw falls with the given chance (0 to 1)."""
    return int(chance * (1 << _BITS))


class Seeded:
    """A sequence of draws that the seed fixes."""

    def __init__(self, seed: int) -> None:
        self._state = mix(seed & _MASK)

    def bits(self) -> int:
        """Return the next 64 bits as a number."""
        self._state = (self._state + _GAMMA) & _MASK
        return mix(self._state)

    def below(self, bound: int) -> int:
        """Return a number from 0 to `bound` - 1, each as likely as the other."""
        return (self.bits() * bound) >> _BITS

    def between(self, least: int, most: int) -> int:
        """Return a number from `least` to `most`, both included."""
        return least + self.below(most - least + 1)

    def chance(self, chance: float) -> bool:
        """Return True with the given chance."""
        return self.bits() < share(chance)
