"""Zip archives that others wrote, checked before anything in them is used."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

from tfprune.errors import TfpruneError

ALWAYS = 256 * 2**20
"""Bytes that an archive may unpack to whatever its size."""

RATIO = 100
"""Times its size that an archive may unpack to: weights that are mostly zeros reach 30, a bomb 1000."""

_MOST_MEMBERS = 100_000
_PIECE = 2**20


@contextmanager
def checked_archive(
    path: Path, error: type[TfpruneError], unreadable: str, *, thorough: bool = True
) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive whose members have plain names and a plausible size, and hold what was written.

    Nothing is unpacked to disk, and no more than a piece is held at a time.

    Args:
        path: of the archive.
        error: what to raise.
        unreadable: what to say of a file that is no archive, or a damaged one.
        thorough: read all of it once, to check the sums; else who reads a member finds out about that.

    Raises:
        TfpruneError: of the class `error`: no zip archive, or truncated or altered; a member whose name leads out of
            the folder or stands twice, that is a link, is encrypted or of an unknown packing; or more content than the
            archive can sensibly hold.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if problem := _problem(archive, path.stat().st_size):
                raise error(f"{path}: {problem}")
            for member in archive.infolist() if thorough else ():
                with archive.open(member) as file:
                    while file.read(_PIECE):  # checks the sums, and never reads on past the size that was told
                        pass
            yield archive
    except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error, OverflowError) as problem:
        raise error(f"{path}: {unreadable}") from problem


def _problem(archive: zipfile.ZipFile, packed: int) -> str:
    """What speaks against unpacking an archive; empty if nothing does."""
    members = archive.infolist()
    if len(members) > _MOST_MEMBERS:
        return f"an archive of {len(members)} files, of which {_MOST_MEMBERS} are allowed"
    for name, count in Counter(member.filename for member in members).items():
        if count > 1:
            return f"an archive with two files of the name {name[:60]!r}"
    for member in members:
        if leads_out(member.filename):
            return f"an archive with a file {member.filename[:60]!r}, which leads out of its folder"
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            return f"an archive with a link, {member.filename[:60]!r}"
        if member.flag_bits & 1:
            return f"an archive with an encrypted file, {member.filename[:60]!r}"
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return f"an archive with a file {member.filename[:60]!r} that is packed in an unusual way"
    unpacked, most = sum(member.file_size for member in members), max(ALWAYS, RATIO * packed)
    if unpacked > most:
        return f"an archive of {packed} bytes that unpacks to {unpacked}, of which {most} are plausible"
    return ""


def leads_out(name: str) -> bool:
    """Whether a file name of an archive is absolute, or goes up, on any system.

    Example:
        >>> leads_out("../x"), leads_out("C:/x"), leads_out("assets/x")
        (True, True, False)
    """
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    rooted = posix.is_absolute() or bool(windows.drive or windows.root)
    return rooted or ".." in posix.parts or ".." in windows.parts
