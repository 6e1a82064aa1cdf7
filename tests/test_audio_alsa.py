"""Devices are found by name; numbers, which change at each boot, are refused."""

from pathlib import Path

import pytest

from appliance.audio import alsa
from appliance.errors import ConfigError, DeviceError

# As the kernel prints it for a ReSpeaker plugged in after the board's own sound.
_PROC_CARDS = """\
 0 [vc4hdmi0       ]: vc4-hdmi - vc4-hdmi-0
                      vc4-hdmi-0
 2 [ArrayUAC10     ]: USB-Audio - ReSpeaker 4 Mic Array (UAC1.0)
                      SEEED ReSpeaker 4 Mic Array (UAC1.0) at usb-0000:01:00.0-1.3, high speed
"""
_LISTED = [
    alsa.ListedDevice(0, "vc4-hdmi-0: MAI PCM i2s-hifi-0 (hw:0,0)", 0),
    alsa.ListedDevice(1, "ReSpeaker 4 Mic Array (UAC1.0): USB Audio (hw:2,0)", 6),
    alsa.ListedDevice(2, "ReSpeaker 4 Mic Array (UAC1.0): Second (hw:2,1)", 2),
    alsa.ListedDevice(3, "yard", 8),
    alsa.ListedDevice(4, "speakers", 0),
]


@pytest.fixture
def proc_asound(tmp_path: Path) -> Path:
    (tmp_path / "cards").write_text(_PROC_CARDS, encoding="ascii")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("ArrayUAC10", 1),
        ("hw:ArrayUAC10", 1),
        ("hw:CARD=ArrayUAC10", 1),
        ("hw:CARD=ArrayUAC10,DEV=0", 1),
        ("plughw:CARD=ArrayUAC10,DEV=1", 2),
        ("hw:ArrayUAC10,1", 2),
        ("yard", 3),
    ],
)
def test_a_name_leads_to_its_device_of_the_moment(proc_asound: Path, name: str, index: int) -> None:
    assert alsa.find_device(name, _LISTED, alsa.cards(proc_asound)).index == index


@pytest.mark.parametrize("name", ["2", "hw:2", "hw:2,0", "plughw:2", "hw:CARD=2,DEV=0"])
def test_a_number_is_no_name(proc_asound: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="card id"):
        alsa.find_device(name, _LISTED, alsa.cards(proc_asound))


def test_a_missing_device_is_told_with_what_there_is(proc_asound: Path) -> None:
    with pytest.raises(DeviceError, match=r'"UMA8".*card vc4hdmi0, card ArrayUAC10, PCM yard') as raised:
        alsa.find_device("UMA8", _LISTED, alsa.cards(proc_asound))
    assert "speakers" not in str(raised.value)
    assert raised.value.exit_status == 69


def test_portaudio_s_own_name_for_hardware_is_no_name(proc_asound: Path) -> None:
    """It has the card's number in it."""
    with pytest.raises(DeviceError, match="not found"):
        alsa.find_device(_LISTED[1].name, _LISTED, alsa.cards(proc_asound))


def test_a_busy_card_is_not_called_missing(proc_asound: Path) -> None:
    """PortAudio leaves a card out of its list while another program holds it."""
    with pytest.raises(DeviceError, match="in use by another program"):
        alsa.find_device("ArrayUAC10", _LISTED[3:], alsa.cards(proc_asound))


@pytest.mark.parametrize(
    "name", ["ArrayUAC10", "hw:ArrayUAC10", "hw:CARD=ArrayUAC10", "plughw:ArrayUAC10,0", "plughw:CARD=ArrayUAC10,DEV=1"]
)
def test_a_card_that_is_plugged_in_is_present_by_each_of_its_names(proc_asound: Path, name: str) -> None:
    alsa.check_present(name, proc_asound)


def test_a_pcm_of_the_configuration_is_present(
    proc_asound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = tmp_path / "asound.conf"
    configuration.write_text('pcm.my_dsnoop { type dsnoop ipc_key 7 slave.pcm "hw:CARD=ArrayUAC10" }\n')
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(configuration))
    alsa.check_present("my_dsnoop", proc_asound)
    with pytest.raises(DeviceError, match='"my_snoop": not found'):
        alsa.check_present("my_snoop", proc_asound)


@pytest.mark.parametrize("name", ["UMA8", "hw:UMA8", "plughw:CARD=UMA8,DEV=0"])
def test_a_card_that_is_not_plugged_in_is_not_present(proc_asound: Path, name: str) -> None:
    with pytest.raises(DeviceError, match=rf'"{name}": not found; ALSA has card vc4hdmi0, card ArrayUAC10; plug it in'):
        alsa.check_present(name, proc_asound)
    with pytest.raises(ConfigError, match="card id"):
        alsa.check_present("hw:2", proc_asound)


def test_no_sound_at_all(tmp_path: Path) -> None:
    assert alsa.cards(tmp_path) == {}
    with pytest.raises(DeviceError, match="no capture device"):
        alsa.find_device("ArrayUAC10", [], {})


def test_the_kernel_s_word_on_what_runs_is_final(proc_asound: Path) -> None:
    """The plug layer accepts 6 channels at 16 kHz from a stereo card at 48 kHz and invents the rest."""
    found = alsa.find_device("hw:CARD=ArrayUAC10", _LISTED, alsa.cards(proc_asound))
    alsa.check_hardware(found, "ArrayUAC10", 6, 16000, proc_asound)
    hw_params = proc_asound / "card2" / "pcm0c" / "sub0" / "hw_params"
    hw_params.parent.mkdir(parents=True)
    hw_params.write_text("access: MMAP_INTERLEAVED\nformat: S16_LE\nchannels: 6\nrate: 16000 (16000/1)\n", "ascii")
    alsa.check_hardware(found, "ArrayUAC10", 6, 16000, proc_asound)
    alsa.check_hardware(found, "ArrayUAC10", 5, 16000, proc_asound)
    for channels, rate_hz in ((8, 16000), (6, 48000)):
        with pytest.raises(DeviceError, match="runs 6 channels at 16000 Hz"):
            alsa.check_hardware(found, "ArrayUAC10", channels, rate_hz, proc_asound)
