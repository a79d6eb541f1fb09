"""Git LFS pointers: small texts in the place of files that were never fetched."""

import re

_BEGIN = b"version https://git-lfs"
_SIZE = re.compile(rb"^size (\d{1,18})$", re.MULTILINE)


def pointer(head: bytes) -> str | None:
    r"""Return what a file is that begins so, and what to do, where it is a pointer; None for any other.

    >>> pointer(b"version https://git-lfs.github.com/spec/v1\nsize 12345\n")
    'a Git LFS pointer (12,345 bytes expected); run git lfs pull'
    """
    if not head.startswith(_BEGIN):
        return None
    found = _SIZE.search(head)
    expected = f" ({int(found[1]):,} bytes expected)" if found else ""
    return f"a Git LFS pointer{expected}; run git lfs pull"
