"""What Home Assistant is told so that a board shows up in it: one device with its sensors, over MQTT discovery.

Source: Home Assistant, *MQTT, Discovery messages, device discovery*: a retained message at
``<prefix>/device/<id>/config``, an empty one removes the device, and it is published again on the birth message.
"""

from __future__ import annotations

from typing import Any

import edgedefend

__all__ = ["discovery", "discovery_topic"]

# key -> (name, topic, template, further fields)
_SENSORS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "label": ("Label", "result", "{{ value_json.label }}", {"icon": "mdi:eye"}),
    "score": (
        "Score",
        "result",
        "{{ (100 * value_json.score) | round(1) }}",
        {"unit_of_measurement": "%", "state_class": "measurement"},
    ),
    "fps": (
        "Frames",
        "statistics",
        "{{ value_json.fps }}",
        {"unit_of_measurement": "fps", "state_class": "measurement", "entity_category": "diagnostic"},
    ),
    "age": (
        "Age of a result",
        "statistics",
        "{{ value_json.age_ms }}",
        {
            "unit_of_measurement": "ms",
            "device_class": "duration",
            "state_class": "measurement",
            "entity_category": "diagnostic",
        },
    ),
    "dropped": (
        "Dropped frames",
        "statistics",
        "{{ value_json.dropped }}",
        {"state_class": "total_increasing", "entity_category": "diagnostic"},
    ),
    "temperature": (
        "Temperature",
        "statistics",
        "{{ value_json.temperature_c }}",
        {
            "unit_of_measurement": "°C",
            "device_class": "temperature",
            "state_class": "measurement",
            "entity_category": "diagnostic",
        },
    ),
}
_BINARY: dict[str, tuple[str, str]] = {
    "source_lost": ("Source lost", "{{ 'OFF' if value_json.source_connected else 'ON' }}"),
    "throttled": ("Throttled", "{{ 'ON' if value_json.throttled else 'OFF' }}"),
}


def discovery_topic(prefix: str, name: str) -> str:
    """Return the topic of a device's configuration."""
    return f"{prefix}/device/edgedefend-{name}/config"


def discovery(name: str, topics: dict[str, str], model: str) -> dict[str, Any]:
    """Return a device's configuration.

    Parameters
    ----------
    name : str
        Of the device; letters, digits, ``-`` and ``_``.
    topics : dict
        The topics "available", "result" and "statistics".
    model : str
        What runs there.
    """
    device = f"edgedefend-{name}"
    components: dict[str, Any] = {}
    for key, (title, topic, template, more) in _SENSORS.items():
        components[key] = {
            "p": "sensor",
            "name": title,
            "state_topic": topics[topic],
            "value_template": template,
            **more,
        }
    for key, (title, template) in _BINARY.items():
        components[key] = {
            "p": "binary_sensor",
            "name": title,
            "state_topic": topics["statistics"],
            "value_template": template,
            "device_class": "problem",
            "entity_category": "diagnostic",
        }
    for key, component in components.items():
        component["unique_id"] = f"{device}-{key}"
    return {
        "dev": {"ids": [device], "name": name, "mf": "edgedefend", "mdl": model, "sw": edgedefend.__version__},
        "o": {"name": "edgedefend", "sw": edgedefend.__version__},
        "availability_topic": topics["available"],
        "cmps": components,
    }
