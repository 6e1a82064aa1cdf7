"""`appliance run` as a process of its own, on a real ALSA PCM that the test plays into."""

import os
import subprocess
import sys
from pathlib import Path

from test_daemon import ARRAY, Microphones

_PATIENCE_S = 90.0


class FieldUnit:
    """A sensor with a drone at 40° left before its microphones. Start, stop and kill it at will."""

    def __init__(self, folder: Path, model: Path, *tables: str, disk: Path | None = None) -> None:
        """`tables` are added to the site file; `disk` is where the event log lies, else `folder`."""
        self.log = (disk or folder) / "events.db"
        self.clips = self.log.parent / "clips"
        self.site = folder / "site.toml"
        microphones = folder / "microphones.raw"
        self._asound = folder / "asound.conf"
        self._asound.write_text(
            "</usr/share/alsa/alsa.conf>\n"
            f'pcm.yard {{ type file slave.pcm "null" file "/dev/null" infile "{microphones}" format "raw" }}\n'
        )
        self.site.write_text(
            f'array = "{ARRAY}"\n[unit]\nsite = "north"\nnode = "mast-1"\n'
            '[capture]\ndevice = "yard"\nchannels = 4\nsample_rate_hz = 16000\nsample_format = "S16_LE"\n'
            f'[model]\nfile = "{model}"\n[store]\npath = "{self.log}"\n' + "\n".join(tables)
        )
        self._microphones = Microphones(microphones)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to hear."""
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from appliance.cli.main import main; main()", "run", "--site", str(self.site)],
            env=os.environ | {"ALSA_CONFIG_PATH": str(self._asound)},
        )

    @property
    def runs(self) -> bool:
        """True until the process has ended."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> int:
        """As systemd does; returns the exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(_PATIENCE_S)

    def kill(self) -> None:
        """As the power does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End everything, whatever the test did."""
        if self.runs:
            self.kill()
        self._microphones.close()
