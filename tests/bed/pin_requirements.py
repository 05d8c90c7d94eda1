#!/usr/bin/env python3
"""Pins each requirements*.in and everything it needs, by version and hash, into a .txt of that name.

pip resolves the versions; the hashes are those of every Linux or pure wheel that the index lists for a
version, so that the file serves other Python versions and machines than the one it was made on.
"""

import email
import html.parser
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.request
import zipfile

HERE = pathlib.Path(__file__).parent
INDEX = "https://pypi.org/simple"


class Links(html.parser.HTMLParser):
    """Collects (file name, sha256) from an index page."""

    def __init__(self):
        super().__init__()
        self.files = []

    def handle_starttag(self, tag, attrs):
        match = re.search(r"/([^/#]+)#sha256=([0-9a-f]{64})$", dict(attrs).get("href") or "")
        if tag == "a" and match:
            self.files.append(match.groups())


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def resolved(wanted, folder):
    """Yields (name, version) of every wheel that pip chose for a file of requirements."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:", "-d", folder, "-r", wanted]
    subprocess.run(command, check=True)
    for wheel in pathlib.Path(folder).glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            path = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
            metadata = email.message_from_bytes(archive.read(path))
        yield normalised(metadata["Name"]), metadata["Version"]


def hashes(name, version):
    """Returns the hashes of the wheels of this version that run on glibc Linux."""
    links = Links()
    with urllib.request.urlopen(f"{INDEX}/{name}/") as page:
        links.feed(page.read().decode())
    found = []
    for file, digest in links.files:
        parts = file.removesuffix(".whl").split("-")
        fits = file.endswith(".whl") and (parts[-1] == "any" or re.search(r"linux.*_(x86_64|aarch64)", parts[-1]))
        if fits and "musllinux" not in parts[-1] and normalised(parts[0]) == name and parts[1] == version:
            found.append(digest)
    if not found:
        sys.exit(f"{name} {version}: the index lists no wheel")
    return sorted(set(found))


def pin(wanted):
    with tempfile.TemporaryDirectory() as folder:
        pins = sorted(resolved(wanted, folder))
    lines = [f"# Made by pin_requirements.py from {wanted.name}; do not edit.\n"]
    for name, version in pins:
        digests = "".join(f" \\\n    --hash=sha256:{digest}" for digest in hashes(name, version))
        lines.append(f"{name}=={version}{digests}\n")
    wanted.with_suffix(".txt").write_text("".join(lines))
    print(f"{wanted.with_suffix('.txt').name}: {len(pins)} packages")


def main():
    """Takes the .in files as arguments, by default all of them."""
    for wanted in [pathlib.Path(name) for name in sys.argv[1:]] or sorted(HERE.glob("requirements*.in")):
        pin(wanted)


main()
