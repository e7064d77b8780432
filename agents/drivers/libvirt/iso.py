"""A tree of files as an ISO 9660 image with long names (Rock Ridge for Linux, Joliet for Windows)."""

import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path, PurePosixPath

import pycdlib


def write_iso(tree: Mapping[str, bytes], label: str, path: Path) -> None:
    """Blocking. Only the owner may read it, for it may hold passwords. `tree` maps `a/b/name` to content.

    Raises OSError; replaces what is at `path`.
    """
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, vol_ident=label, joliet=3, rock_ridge="1.09")
    short: dict[PurePosixPath, str] = {PurePosixPath("."): ""}
    for number, name in enumerate(sorted(tree)):
        file = PurePosixPath(name)
        for folder in reversed(file.parents):
            if folder not in short:
                # Plain ISO names are short and upper-case; nobody reads them, so they are just numbers.
                short[folder] = f"{short[folder.parent]}/D{len(short)}"
                iso.add_directory(short[folder], rr_name=folder.name, joliet_path=f"/{folder}")
        iso.add_fp(
            BytesIO(tree[name]),
            len(tree[name]),
            f"{short[file.parent]}/F{number}.;1",
            rr_name=file.name,
            joliet_path=f"/{file}",
        )
    part = path.with_suffix(".part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as image:
            iso.write_fp(image)
        part.replace(path)
    finally:
        iso.close()
        part.unlink(missing_ok=True)
