"""Home Assistant's MQTT discovery: a few retained messages from which it makes this unit's entities.

The entities read the topics that everybody reads; nothing is published twice. Home Assistant's own documentation:
https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery
"""

import json
from typing import Any

from appliance import __version__
from appliance.config import HomeAssistantSettings, UnitSettings
from appliance.publish.packets import Outgoing
from appliance.publish.topics import Topic, UnitTopics


def discovery(unit: UnitSettings, settings: HomeAssistantSettings, topics: UnitTopics) -> list[Outgoing]:
    """One retained message per entity; none where it is off."""
    if not settings.enabled:
        return []
    # Home Assistant takes letters, digits, _ and - in an id.
    node, site = unit.node.replace(".", "_"), unit.site.replace(".", "_")
    shared: dict[str, Any] = {
        "device": {
            "identifiers": [f"acoustic_{unit.site}_{unit.node}"],
            "name": f"{unit.site} {unit.node}",
            "manufacturer": "Appliance",
            "model": "Acoustic surveillance unit",
            "sw_version": __version__,
        },
        "origin": {"name": "appliance", "sw_version": __version__},
        "availability_topic": str(topics.status),
        "availability_template": "{{ 'offline' if value_json.state == 'offline' else 'online' }}",
    }
    status, alerts, health = str(topics.status), str(topics.alerts), str(topics.health)
    entities: dict[tuple[str, str], dict[str, Any]] = {
        ("event", "alert"): {
            "name": "Alert",
            "state_topic": alerts,
            "event_types": ["new", "update", "end"],
            "value_template": (
                "{{ {'event_type': value_json.state, 'text': value_json.text, 'class': value_json['class'],"
                " 'bearing_true_deg': value_json.bearing_true_deg, 'event_id': value_json.event_id} | to_json }}"
            ),
        },
        ("sensor", "last_alert"): {
            "name": "Last alert",
            "state_topic": alerts,
            "value_template": "{{ value_json.text[:255] }}",
            "json_attributes_topic": alerts,
            "icon": "mdi:ear-hearing",
        },
        ("binary_sensor", "problem"): {
            "name": "Problem",
            "device_class": "problem",
            "entity_category": "diagnostic",
            "state_topic": status,
            "value_template": "{{ 'OFF' if value_json.state == 'online' else 'ON' }}",
            "json_attributes_topic": status,
        },
        ("sensor", "mutes"): {
            "name": "Mutes",
            "entity_category": "diagnostic",
            "state_topic": status,
            "value_template": "{{ value_json.mutes | default([]) | count }}",
            "icon": "mdi:bell-off",
        },
        ("sensor", "temperature"): {
            "name": "Temperature",
            "device_class": "temperature",
            "unit_of_measurement": "°C",
            "entity_category": "diagnostic",
            "state_topic": health,
            "value_template": "{{ (value_json.sensor or {}).get('temperature_c') }}",
        },
    }
    return [
        Outgoing(
            Topic(f"{settings.prefix}/{component}") / node / f"{site}_{name}" / "config",
            json.dumps(entity | {"unique_id": f"acoustic_{unit.site}_{unit.node}_{name}"} | shared, ensure_ascii=False),
            retain=True,
        )
        for (component, name), entity in entities.items()
    ]
