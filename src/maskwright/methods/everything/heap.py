"""A binary heap in two arrays: keys and items; of equal keys, the smaller item comes first."""

from __future__ import annotations

from maskwright.compiled import compiled
from maskwright.methods.everything.borders import Counts, Values


@compiled
def push(keys: Values, items: Counts, size: int, key: float, item: int) -> int:
    """Add an item to a heap of `size` items; give its new size."""
    place = size
    while place > 0:
        parent = (place - 1) >> 1
        if not _before(key, item, keys[parent], items[parent]):
            break
        keys[place], items[place] = keys[parent], items[parent]
        place = parent
    keys[place], items[place] = key, item
    return size + 1


@compiled
def pop(keys: Values, items: Counts, size: int) -> int:
    """Take the first item, keys[0] and items[0], off a heap of `size` items; give its new size."""
    size -= 1
    key, item = keys[size], items[size]
    place = 0
    while True:
        child = 2 * place + 1
        if child + 1 < size and _before(keys[child + 1], items[child + 1], keys[child], items[child]):
            child += 1
        if child >= size or not _before(keys[child], items[child], key, item):
            break
        keys[place], items[place] = keys[child], items[child]
        place = child
    keys[place], items[place] = key, item
    return size


@compiled
def _before(key: float, item: int, other_key: float, other_item: int) -> bool:
    return key < other_key or (key == other_key and item < other_item)
