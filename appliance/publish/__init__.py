"""MQTT: topics, the one connector, and the drain of the outbox."""
