"""The site file: documented key by key, and a wrong one ends in one line that names file, key and remedy."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from appliance.config import ClassPolicy, SiteSettings, load_site
from appliance.errors import ConfigError
from appliance.firmware import FIRMWARE_DIR
from appliance.geometry import load_array
from appliance.texts import TEXTS_DIR, load_texts

EXAMPLE = FIRMWARE_DIR / "sites" / "example.toml"
README = FIRMWARE_DIR / "README.md"


def written(folder: Path, text: str) -> Path:
    path = folder / "north.toml"
    path.write_text(text, encoding="utf-8")
    return path


def keys(model: type[BaseModel], table: str = "") -> Iterator[tuple[str, str, Any]]:
    """(table, key, default) of everything a site file may hold."""
    for name, info in model.model_fields.items():
        default = info.default
        if isinstance(default, BaseModel):
            yield from keys(type(default), name)
        elif name == "policy":
            yield from keys(ClassPolicy, "policy.<class>")
        else:
            yield table, info.alias or name, default


def as_documented(default: Any) -> str:
    """A default as the README writes it: TOML, or `empty` where the key is left out."""
    if default is None or default in ("", ()):
        return "empty"
    if isinstance(default, tuple):
        return f"`{json.dumps(default)}`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default}`" if isinstance(default, (int, float)) else f'`"{default}"`'


def documented_keys() -> dict[tuple[str, str], str]:
    """{(table, key): default} from the README's tables, one per section of the site file."""
    found: dict[tuple[str, str], str] = {}
    table = ""
    section = README.read_text(encoding="utf-8").split("\n## ")[1]
    assert section.startswith("The site file")
    for line in section.splitlines():
        if heading := re.fullmatch(r"### (?:Top level|`\[(.+)\]`.*)", line):
            table = heading[1] or ""
        elif row := re.fullmatch(r"\| `(\w+)` \| ([^|]*) \| ([^|]*) \| (.+) \|", line):
            assert (table, row[1]) not in found, f"[{table}] {row[1]} stands in the README twice"
            found[table, row[1]] = row[3].strip()
    return found


def test_every_key_is_documented_with_its_default_and_no_other() -> None:
    assert documented_keys() == {(table, key): as_documented(default) for table, key, default in keys(SiteSettings)}


def test_a_key_that_carries_a_unit_in_its_name_is_documented_with_that_unit() -> None:
    rows = re.findall(r"^\| `\w+?_(deg_s|deg|s|hz)` \| ([^|]*) \|", README.read_text(encoding="utf-8"), re.M)
    assert len(rows) >= 10
    words = {"deg": "degrees", "deg_s": "degrees/s", "s": "s", "hz": "Hz"}
    assert [unit.strip() for _, unit in rows] == [words[suffix] for suffix, _ in rows]


def test_the_example_site_is_a_fresh_unit_with_every_value_at_its_default() -> None:
    assert load_site(EXAMPLE) == SiteSettings()


def test_the_commented_lines_of_the_example_load_once_uncommented(tmp_path: Path) -> None:
    """A technician removes the `#`; a typing error there would cost a visit."""
    text = re.sub(r"^#(?! )", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.M)
    assert text != EXAMPLE.read_text(encoding="utf-8")
    site = load_site(written(tmp_path, text))
    assert (site.mqtt.tls, site.mqtt.port) == (True, 8883)
    assert site.policy["helicopter"].severity == "alert"


def test_an_empty_site_file_is_all_defaults_and_its_array_is_shipped(tmp_path: Path) -> None:
    site = load_site(written(tmp_path, ""))
    assert site == SiteSettings()
    assert load_array(site.array).mics == 4


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[policy.drone]\nactivaton = 0.4", "[policy.drone] activaton: unknown key"),
        ("[mqtt]\nhots = 'x'", '[mqtt] hots: unknown key; did you mean "host"?'),
        ("[mount]\nheading_deg = 3", '[mount] heading_deg: unknown key; did you mean "heading_true_deg"?'),
        ("[mout]\nheading_true_deg = 3", 'mout: unknown key; did you mean "mount"?'),
        ("[mqtt]\npassword = 'secret'", '[mqtt] password: unknown key; did you mean "password_file"?'),
        ("[mqtt]\nhost = ''", "[mqtt] host: string should have at least 1 character (got '')"),
        ("[mqtt]\nport = 70000", "[mqtt] port: input should be less than or equal to 65535 (got 70000)"),
        ("[mount]\nheading_true_deg = 360", "[mount] heading_true_deg: input should be less than 360"),
        ("[mount]\nheading_true_deg = nan", "[mount] heading_true_deg"),
        # What would end the sensor at its first sound, over and over.
        ("[tracking]\nprocess_noise_deg_s = inf", "[tracking] process_noise_deg_s: input should be a finite number"),
        ("[tracking]\nprocess_noise_deg_s = 1e300", "[tracking] process_noise_deg_s: input should be less than or"),
        ("[tracking]\nconfirm_window_frames = 18446744073709551616", "should be less than or equal to 6000"),
        ("[policy.drone]\nwindow_frames = 18446744073709551616", "should be less than or equal to 6000"),
        ("[policy.drone]\ncooldown_s = inf", "[policy.drone] cooldown_s: input should be a finite number (got inf)"),
        ("[unit]\nsite = 'a/b'", "[unit] site: may hold up to 64 letters, digits, _, . and -"),
        ("[unit]\nsite = 'a b'", "begins with a letter or digit (got 'a b')"),
        ("[unit]\nsite = 'Hügel'", "without accents"),
        ("[unit]\nnode = '#'", "[unit] node: may hold"),
        ("[home_assistant]\nprefix = 'a/b'", "[home_assistant] prefix: may hold"),
        ("unit = 'x'", "unit: must be a table; write [unit]"),
        ("[policy]\ndrone = 0.5", "[policy] drone: must be a table; write [policy.drone]"),
        ("[clips]\nseverities = 'alert'", """[clips] severities: must be a list, such as ["alert"] (got 'alert')"""),
        ("[commands]\nallow = 3", "[commands] allow: must be a list (got 3)"),
        ("[commands]\nthreshold_min = 0.95", "[commands]: threshold_min must not be above threshold_max"),
        ("[mqtt]\nprotocol = '3.1.1'\n[commands]\nallow = ['mute']", "toml: [commands] allow: needs [mqtt] protocol"),
        (
            "[mqtt]\nusername = 'gate'\nca_file = 'ca.crt'",
            "[mqtt] ca_file: tls is false, nothing would be encrypted; set tls = true, or remove it (got 'ca.crt')",
        ),
        ("[mqtt]\nkey_file = 'unit.key'\ntls = false", "[mqtt] key_file: tls is false"),
        ("[mqtt]\ncert_file = 'unit.crt'", "[mqtt] cert_file: tls is false"),
        (
            "[store]\npath = ''",
            "names no file; give one, such as /var/lib/appliance/events.db (got '')",
        ),
        ("[capture]\nbackend = 'alsa'", "[capture] backend: input should be 'sounddevice' or 'pyaudio'"),
        (
            "[capture]\nsample_rate_hz = 22050",
            "[capture] sample_rate_hz: input should be 16000, 44100 or 48000 (got 22050)",
        ),
        ("[tracking]\nconfirm_hits = 0", "[tracking] confirm_hits: input should be greater than or equal to 1"),
        (
            "[tracking]\nconfirm_hits = 6",
            "[tracking]: confirm_hits must not be above confirm_window_frames, and they are 6 and 5: no track",
        ),
        (
            "[tracking]\nconfirm_window_frames = 1",
            "they are 2 and 1: no track would ever be confirmed; lower the one or",
        ),
        ("schema = 2", "schema: input should be 1 (got 2)"),
        ("[mqtt\nhost = 'x'", "not a readable TOML file"),
    ],
)
def test_a_fault_names_file_key_and_remedy_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_site(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert says in message
    assert "\n" not in message
    assert caught.value.exit_status == 78


def test_a_relative_path_begins_where_the_site_file_lies(tmp_path: Path) -> None:
    """The services are started in `/`; what is shipped keeps its name."""
    text = (
        'array = "mine.toml"\n[model]\nfile = "m/mine.onnx"\n[unit]\ntexts = "de.toml"\n[store]\npath = "events.db"\n'
    )
    text += '[mqtt]\npassword_file = "/run/password"\ntls = true\nca_file = "ca.crt"\ncert_file = "a.crt"\nkey_file = "a.key"\n'
    site = load_site(written(tmp_path, text))
    assert (site.array, site.model.file) == (f"{tmp_path}/mine.toml", f"{tmp_path}/m/mine.onnx")
    assert (site.unit.texts, site.store.path) == (f"{tmp_path}/de.toml", tmp_path / "events.db")
    mqtt = site.mqtt
    assert (mqtt.ca_file, mqtt.cert_file, mqtt.key_file) == (
        tmp_path / "ca.crt",
        tmp_path / "a.crt",
        tmp_path / "a.key",
    )
    assert mqtt.password_file == Path("/run/password")
    assert load_site(written(tmp_path, 'array = "minidsp_uma8_v2"')).array == "minidsp_uma8_v2"


def test_a_file_that_an_editor_on_windows_saved_is_read(tmp_path: Path) -> None:
    """It begins with a byte order mark, which no editor shows."""
    assert load_site(written(tmp_path, "\ufeff[unit]\r\nnode = 'gate'\r\n")).unit.node == "gate"
    for shipped, load in (
        (FIRMWARE_DIR / "arrays/tetrahedron_4cm2.toml", load_array),
        (TEXTS_DIR / "en.toml", load_texts),
    ):
        marked = written(tmp_path, "\ufeff" + shipped.read_text(encoding="utf-8"))
        load(str(marked))


def test_a_missing_site_file_says_what_to_copy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such site file; copy firmware_configs/sites/example\.toml there"):
        load_site(tmp_path / "absent.toml")


def test_a_folder_is_no_site_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a readable TOML file"):
        load_site(tmp_path)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        SiteSettings().mqtt.host = "elsewhere"
