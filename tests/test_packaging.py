"""What is said of the package in several files is the same in all of them."""

from __future__ import annotations

import re
from configparser import ConfigParser
from importlib import metadata
from pathlib import Path

import pytest

import optvis
from optvis.versions import own_version

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def config() -> ConfigParser:
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def lowest(requirements: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w-]+)>=([\d.]+)$", requirements, re.MULTILINE))


def test_the_version_is_that_of_the_installed_package() -> None:
    assert optvis.__version__ == metadata.version("optvis")


def test_without_metadata_the_version_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("optvis.versions.version", missing)
    assert own_version.__wrapped__() == "unknown"


def test_changelog_and_citation_have_the_version(config: ConfigParser) -> None:
    version = config["metadata"]["version"]
    assert re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[1] == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_the_lowest_versions_are_those_that_are_admitted(config: ConfigParser) -> None:
    extras = config["options.extras_require"]
    admitted = lowest(
        "\n".join([config["options"]["install_requires"], *(extras[x] for x in ("cli", "timm", "hf", "plot"))])
    )
    held = (ROOT / ".ci" / "lowest.txt").read_text(encoding="utf-8")
    found = dict(re.findall(r"^([\w-]+)==([\d.]+)", held, re.MULTILINE))
    assert found.keys() == admitted.keys()
    for name, version in admitted.items():
        assert found[name].removesuffix(".0") == version
