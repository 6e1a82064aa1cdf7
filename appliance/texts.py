"""What the unit says to people: one file of sentences, `firmware_configs/texts/en.toml`, that can be translated."""

import functools
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from appliance.errors import ConfigError
from appliance.firmware import FIRMWARE_DIR
from appliance.toml_file import read_toml
from appliance.types import EventState
from appliance.validation import one_line

TEXTS_DIR = FIRMWARE_DIR / "texts"

_WORDS = ("class", "bearing", "sigma", "elevation", "confidence", "site", "node")
_PHRASE_WORDS: Mapping[str, Sequence[str]] = {"anomaly": ("class", "nearest"), "elevation": ("degrees",)}


class Texts(BaseModel):
    """Sentences of one language."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = Field(alias="schema")
    """Version of this format."""
    event: Mapping[EventState, str]
    """A sentence for each state, with the words it may use in braces."""
    anomaly: str = "{class}"
    """What stands for the class of an anomaly, with the words it may use in braces."""
    elevation: str = ""
    """What stands for the elevation of what is heard from well above or below the horizon, with the words it may use in braces."""
    classes: Mapping[str, str] = {}
    """What a class, or a sound that an anomaly is like, is called."""

    @field_validator("event")
    @classmethod
    def _sentences_are_whole(cls, event: Mapping[EventState, str]) -> Mapping[EventState, str]:
        for state in ("new", "update", "end"):
            if state not in event:
                raise ValueError(f'"{state}" is missing')
            try:
                _check_words(event[state], _WORDS)
            except ValueError as error:
                raise ValueError(f'"{state}": {error}') from None
        return event

    @field_validator(*_PHRASE_WORDS)
    @classmethod
    def _phrases_are_whole(cls, phrase: str, info: ValidationInfo) -> str:
        _check_words(phrase, _PHRASE_WORDS[str(info.field_name)])
        return phrase

    def event_text(
        self,
        state: EventState,
        class_label: str,
        words: Mapping[str, str],
        *,
        elevation_degrees: str | None,
        nearest: str | None,
    ) -> str:
        """The sentence for `state`; `words` are those of the format but `class` and `elevation`.

        `elevation_degrees` is to be told where there is one, `nearest` is the sound that an anomaly is most like.
        """
        name = self._called(class_label)
        if nearest is not None:
            name = self.anomaly.format_map({"class": name, "nearest": self._called(nearest)})
        elevation = "" if elevation_degrees is None else self.elevation.format_map({"degrees": elevation_degrees})
        return self.event[state].format_map({"class": name, "elevation": elevation, **words})

    def _called(self, label: str) -> str:
        return self.classes.get(label, label.replace("_", " "))


def _check_words(sentence: str, words: Sequence[str]) -> None:
    """Raises `ValueError` where the sentence names others in braces, or a brace is left open."""
    for _, word, form, conversion in string.Formatter().parse(sentence):
        if word is not None and (word not in words or form or conversion):
            raise ValueError(f"{{{word}}} is none of {', '.join(f'{{{known}}}' for known in words)}")


@functools.cache
def load_texts(name_or_path: str) -> Texts:
    """The sentences of a shipped language or of a file; raises `ConfigError` that names file, key and remedy."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = TEXTS_DIR / f"{name_or_path}.toml"
    try:
        raw = read_toml(path)
    except FileNotFoundError:
        known = ", ".join(sorted(path.stem for path in TEXTS_DIR.glob("*.toml")))
        raise ConfigError(f"{path}: no such file of texts; give a path to a .toml file or one of: {known}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a readable TOML file: {error}") from error
    try:
        return Texts.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: {one_line(error, Texts)}") from None
