"""Buckets: a folder, memory, or S3, each an implementation of core.ports.Remote."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from gdcbuild.errors import Problem
from gdcbuild.files import bucket_url

if TYPE_CHECKING:
    from gdcbuild.core.ports import Remote

WAIT_SECONDS = 5.0


def open_remote(
    url: str, root: Path, *, endpoint: str | None = None, region: str | None = None, ca_file: Path | None = None
) -> Remote:
    """The bucket at `url`: `s3://NAME`, `s3://NAME/PREFIX`, or a folder, relative to `root`.

    Nothing is sent or written yet. Raises ManifestError for what is not a bucket, and for a folder that holds `root`;
    RemoteError when the settings of the S3 client do not fit together.
    """
    folder = bucket_url.folder(url, root)
    if folder is not None:
        from gdcbuild.remotes.directory import DirectoryRemote

        return DirectoryRemote(folder)
    scheme, _, rest = url.partition("://")
    opened: Remote = import_module(f"gdcbuild.remotes.{scheme}").open_bucket(rest, endpoint, region, ca_file)
    return opened


@contextmanager
def waited(remote: Remote, warn: Callable[[Problem], None]) -> Iterator[None]:
    """Warn if the context takes long that the bucket is slow to answer. Not for folders."""
    if remote.lookups == 1:
        yield
        return
    from threading import Timer

    hint = "press Ctrl-C to give up; a server that does not answer is given up after 4 to 5 minutes"
    watch = Timer(WAIT_SECONDS, warn, [Problem(f"still waiting for {remote.url}", hint)])
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()


def remembered(remote: Remote, folder: Path, warn: Callable[[Problem], None]) -> AbstractContextManager[None]:
    """Inside the context, in which everything is listed, listings of a folder bucket are cached below `folder`.

    `warn` is called if the cached listing is damaged.
    """
    from gdcbuild.remotes.directory import DirectoryRemote

    if not isinstance(remote, DirectoryRemote):
        return nullcontext()
    name = hashlib.sha256(os.fsencode(Path(remote.url).absolute())).hexdigest()[:32]
    return remote.listings.remembered(folder / name, warn)
