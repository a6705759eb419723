"""The data dictionary (PS3.6): tags, keywords and VRs. pydicom has it; it is loaded when first
asked, since most commands never do. What was asked last is remembered: peers ask for the same
attributes over and over, and may ask for any."""

from functools import cache, lru_cache

_REMEMBERED = 1024


@cache
def tag_of(keyword: str) -> int:
    """The tag of a keyword, 0 where there is none of this name."""
    from pydicom.datadict import tag_for_keyword

    return (keyword and tag_for_keyword(keyword)) or 0  # some retired tags have no keyword


@lru_cache(_REMEMBERED)
def keyword_of(tag: int) -> str:
    """The keyword of a tag, empty for private and unknown ones."""
    from pydicom.datadict import keyword_for_tag

    return keyword_for_tag(tag)


@lru_cache(_REMEMBERED)
def vr_of(tag: int) -> str:
    """The VR of a tag, the first one where the dictionary leaves a choice; UN where it does not
    know it. Group lengths are UL, private creators LO (PS3.5 7.8.1)."""
    from pydicom.datadict import dictionary_VR

    if tag & 0xFFFF == 0:
        return "UL"
    if is_private_creator(tag):
        return "LO"
    try:
        return dictionary_VR(tag)[:2]
    except KeyError:
        return "UN"


def is_private(tag: int) -> bool:
    return bool(tag >> 16 & 1)


def is_private_creator(tag: int) -> bool:
    return is_private(tag) and 0x10 <= tag & 0xFFFF <= 0xFF
