"""The checks of `appliance-verify` that need the site file: array, card, model, policy, event log, sensor, broker.

Prints one line per check and ends with status 1 where one failed. It changes nothing; the broker alone gets a message,
below the unit's `answers`, which it does not keep.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from appliance import wire
from appliance.audio import alsa
from appliance.audio.open import capture_spec
from appliance.config import SiteSettings, load_site
from appliance.errors import ApplianceError, BrokerError, DeviceError, StoreError
from appliance.events import policies_for
from appliance.geometry import load_array
from appliance.model.meta import find_model, load_meta
from appliance.publish.connector import Connector
from appliance.publish.packets import Outgoing
from appliance.publish.presence import assess
from appliance.publish.topics import UnitTopics
from appliance.store import EventLog

PASSWORD_FILE = Path("/etc/appliance/mqtt-password")
BROKER_TIMEOUT_S = 5.0
# The sensor speaks every 2 s; just after a restart the last word is still that of the run before.
SENSOR_TIMEOUT_S = 5.0


def array(site: SiteSettings) -> str:
    """Name and size of the configured array."""
    geometry = load_array(site.array)
    return f"{geometry.name}, {geometry.mics} microphones"


def card(site: SiteSettings) -> str:
    """The name of the capture device, once there is a card or a PCM called so; whether it opens, `sensor` tells."""
    device = capture_spec(site.capture, load_array(site.array)).device
    alsa.check_present(device)
    return device


def event_log(site: SiteSettings) -> str:
    """The event log's file, once it can be read; the sensor has yet to make it where only its folder is there."""
    path = site.store.path
    if not path.parent.is_dir():
        raise StoreError(f"{path.parent} is missing; start appliance-sensor once, or correct [store] path")
    if not path.exists():
        return f"{path}, not there yet: the sensor makes it at its first start"
    with EventLog(path, read_only=True) as log:
        list(log.read(limit=1))
    return str(path)


def sensor(site: SiteSettings) -> str:
    """That the sensor hears and finds nothing wrong with itself."""
    deadline_s = time.monotonic() + SENSOR_TIMEOUT_S
    while reasons := _sensor_faults(site.store.path):
        if time.monotonic() > deadline_s:
            raise DeviceError(f"{'; '.join(reasons)}; look: journalctl -u appliance-sensor -n 20")
        time.sleep(0.2)
    return "hears"


def _sensor_faults(event_log: Path) -> list[str]:
    """As the publisher judges what the sensor has said last, by how old that is too."""
    with EventLog(event_log, read_only=True) as log:
        return assess(log.states().get("sensor"))[1]


def model(site: SiteSettings) -> str:
    """Name and precision of the model, once its hash and its front end are found right."""
    path = find_model(site.model.file)
    meta = load_meta(path)
    return f"{path.stem}, {meta.precision}, {len(meta.classes)} classes"


def policy(site: SiteSettings) -> str:
    """Classes whose policy the site file changes, once each is found to fit the model and itself."""
    meta = load_meta(find_model(site.model.file))
    policies_for(meta.classes, meta.thresholds, site.policy)
    return ", ".join(site.policy) or "as shipped"


def broker(site: SiteSettings) -> str:
    """The broker's address, once it has accepted this unit's name and password and taken a message of it."""
    settings, unit = site.mqtt, site.unit
    if settings.password_file is not None and not settings.password_file.exists():
        # The credential that systemd makes of it exists only for the running publisher.
        settings = settings.model_copy(update={"password_file": PASSWORD_FILE})
    # Not the unit's own client id: the broker would throw the running publisher out.
    connector = Connector(settings, client_id=f"{unit.node}-verify", will=None)
    deadline_s = time.monotonic() + BROKER_TIMEOUT_S
    while not connector.connected:
        if time.monotonic() > deadline_s:
            raise BrokerError(f"MQTT broker {connector.broker}: does not answer; check [mqtt] port and tls")
        connector.step(0.1)
    text = "appliance-verify asks the broker whether this unit may publish"
    trial = wire.answer_to_json(
        site=unit.site, node=unit.node, command="verify", command_id=None, utc_ns=time.time_ns(), text=text
    )
    topic = UnitTopics(unit.site, unit.node).answers("verify")
    connector.publish(Outgoing(topic, trial, (("schema", wire.ANSWER_SCHEMA),)), must_arrive=True)
    if not connector.flush(BROKER_TIMEOUT_S):
        raise BrokerError(f"MQTT broker {connector.broker}: acknowledges nothing; see the log of the broker")
    connector.close()
    if settings.protocol == "5.0":
        return connector.broker
    return f"{connector.broker}, but MQTT {settings.protocol} tells of no refusal: see whether status arrives"


CHECKS: tuple[Callable[[SiteSettings], str], ...] = (array, card, model, policy, event_log, sensor, broker)


def main(site_file: Path) -> int:
    """Run every check; 1 where one failed."""
    try:
        site = load_site(site_file)
    except ApplianceError as error:
        sys.stdout.write(f"FAIL  site: {error}\n")
        return 1
    sys.stdout.write(f"ok    site: {site.unit.site}/{site.unit.node} in {site_file}\n")
    failed = 0
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            sys.stdout.write(f"ok    {name}: {check(site)}\n")
        except ApplianceError as error:
            sys.stdout.write(f"FAIL  {name}: {error}\n")
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
