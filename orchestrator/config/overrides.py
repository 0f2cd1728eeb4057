"""What changes an experiment before it is checked: a profile, then `--set` options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from orchestrator.config import landscape
from orchestrator.config.documents import (
    MAX_DEPTH,
    Document,
    KeyPath,
    Place,
    printable,
    show,
    suggest,
)
from orchestrator.config.fields import STRICT, DatasetName, Text
from orchestrator.config.landscape import Landscape
from orchestrator.config.yaml_reader import parse_value
from results_schema.errors import ConfigError


class Profile(BaseModel):
    """What a profile's file says: stand-ins for data sets, and overrides by key path."""

    model_config = STRICT

    description: Text = Field(description="what this profile is for")
    cpu: bool = False
    datasets: dict[DatasetName, DatasetName] = {}
    auxiliary_datasets: dict[DatasetName, DatasetName] = {}
    overrides: dict[str, Any] = Field(default={}, alias="set")
    landscape: Landscape = Landscape()


def find_profile(profile: str, experiment: Path) -> Path:
    """The file of a profile for an experiment's.

    Args:
        profile: A path to a `.yaml`; or a name, looked up as `profiles/<name>.yaml` beside the
            experiment, then in `profiles` and `experiments/profiles` of each folder above.
        experiment: The experiment's file.

    Raises:
        ConfigError: No profile has this name.
    """
    if profile.endswith(".yaml"):
        return Path(profile)
    known: dict[str, Path] = {}
    for folder in experiment.resolve().parents:
        for place in ("profiles", "experiments/profiles"):
            for file in sorted((folder / place).glob("*.yaml")):
                known.setdefault(file.stem, file)
    if profile not in known:
        fix = suggest(profile, known) if known else f"write one in {experiment.parent / 'profiles'}"
        raise ConfigError(f"there is no profile {show(profile)}", where="--profile", fix=fix)
    found, here = known[profile], Path.cwd()
    return found.relative_to(here) if found.is_relative_to(here) else found


def apply_profile(settings: Document, document: Document) -> Document:
    """The document with the values that a sound profile sets."""
    for key in settings.data.get("set", {}):
        value = settings.part(("set", key))
        document = document.override(_key_path(key, value.place(())), value)
    if "landscape" in settings.data:
        document = landscape.apply_profile(settings.part(("landscape",)), document)
    return document


def apply_option(option: str, document: Document) -> Document:
    """The document with the value that one `--set` option sets, such as `recipe.epochs=2`.

    Raises:
        ConfigError: The option sets nothing, or something that cannot be set.
    """
    key, equals, value = option.partition("=")
    source = f"--set {printable(option)}"
    if not equals:
        raise ConfigError("no value is given", where=source, fix="write --set recipe.epochs=2")
    return document.override(_key_path(key.strip(), Place(source)), parse_value(value, source))


def _key_path(text: str, place: Place) -> KeyPath:
    keys = tuple(text.split("."))
    if not all(key and key.isprintable() for key in keys) or len(keys) > MAX_DEPTH:
        raise ConfigError(
            f"{show(text)} is no path of keys", where=str(place), fix="write it as recipe.epochs"
        )
    return keys
