"""Reading of HDF5 files that others wrote: plain arrays only, and their sizes before any memory is taken."""

from __future__ import annotations

from collections.abc import Iterator

import h5py

MAX_BYTES = 2**32  # of all arrays of a file in memory
EXPANSION = 2_000  # times the file's size, which no allowed filter exceeds
FILTERS = frozenset({h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32})


def names(group: h5py.Group, above: str = "", depth: int = 0) -> Iterator[str]:
    """The paths of all arrays inside a group. Raises ValueError for links, or more than six levels."""
    if depth > 6:
        raise ValueError(f"{above}: more than six levels of groups")
    for name in map(str, group):
        path = f"{above}{name}"
        if group.get(name, getclass=True, getlink=True) is not h5py.HardLink:
            raise ValueError(f"{path}: a link in place of data")
        if group.get(name, getclass=True) is h5py.Group:
            yield from names(group[name], f"{path}/", depth + 1)  # type: ignore[arg-type]
        else:
            yield path


def insist_plain(file: h5py.File, name: str, size: int, kinds: str = "fuib") -> h5py.Dataset:
    """The dataset of this name.

    Args:
        size: bytes of the file.
        kinds: of numpy types that are allowed.

    Raises:
        ValueError: data outside the file, a filter of others, another type, or more data than the file can hold.
    """
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise ValueError(f"{name}: data outside the file")
    plist = dataset.id.get_create_plist()
    if {plist.get_filter(i)[0] for i in range(plist.get_nfilters())} - FILTERS:
        raise ValueError(f"{name}: a foreign filter")
    if dataset.dtype.kind not in kinds or dataset.nbytes > min(MAX_BYTES, EXPANSION * size):
        raise ValueError(f"{name}: {dataset.nbytes} bytes of {dataset.dtype}")
    return dataset


def insist_plain_file(file: h5py.File, size: int, kinds: str = "fuib") -> list[str]:
    """The paths of all arrays of a file, none of which is read.

    Raises:
        ValueError: as `insist_plain`; two names for one array, or more than `MAX_BYTES` in all.
    """
    found, total, places = list(names(file)), 0, set()
    for name in found:
        dataset = insist_plain(file, name, size, kinds)
        total += dataset.nbytes
        place = dataset.id  # equal for two names of one array
        if place in places or total > MAX_BYTES:
            raise ValueError(f"{name}: {'a second name of an array' if place in places else f'{total} bytes in all'}")
        places.add(place)
    return found
