"""The tables of the event log, as ordered migrations. A migration that was released is never edited; add another."""

from sqlite_utils import Database, Migrations

MIGRATIONS = Migrations("appliance.store")


@MIGRATIONS()
def m001_events(db: Database) -> None:
    """One row per state change: the columns of `types.Event`, and the message as it is published."""
    db.execute(
        """
        CREATE TABLE events (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            event_id TEXT NOT NULL,
            sequence INTEGER NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('new', 'update', 'end')),
            class_label TEXT NOT NULL,
            confidence REAL NOT NULL,
            severity TEXT NOT NULL CHECK (severity IN ('detection', 'alert')),
            track_id INTEGER NOT NULL,
            onset_utc_ns INTEGER NOT NULL,
            utc_ns INTEGER NOT NULL,
            azimuth_deg REAL NOT NULL,
            elevation_deg REAL NOT NULL,
            elevation_valid INTEGER NOT NULL,
            bearing_true_deg REAL NOT NULL,
            bearing_sigma_deg REAL NOT NULL,
            clock TEXT NOT NULL,
            after_gap INTEGER NOT NULL,
            site TEXT NOT NULL,
            node TEXT NOT NULL,
            payload TEXT NOT NULL,
            committed_utc_ns INTEGER NOT NULL,
            boot_id TEXT NOT NULL,
            boot_ns INTEGER NOT NULL,
            UNIQUE (event_id, sequence)
        ) STRICT
        """
    )
    db.execute("CREATE INDEX events_by_time ON events (utc_ns)")
    # Finds events without an end from the index alone.
    db.execute("CREATE INDEX events_by_state ON events (state, event_id)")


@MIGRATIONS()
def m002_outbox(db: Database) -> None:
    """One row per message to send; it is pending until it has an outcome."""
    db.execute(
        """
        CREATE TABLE outbox (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            event_row INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
            kind TEXT NOT NULL CHECK (kind IN ('events', 'alerts')),
            priority INTEGER NOT NULL,
            outcome TEXT CHECK (outcome IN ('delivered', 'superseded', 'expired')),
            settled_utc_ns INTEGER
        ) STRICT
        """
    )
    db.execute("CREATE INDEX outbox_pending ON outbox (priority, id) WHERE outcome IS NULL")
    db.execute("CREATE INDEX outbox_by_event ON outbox (event_row)")


@MIGRATIONS()
def m003_unit_state(db: Database) -> None:
    """What the sensor says about itself, for the publisher to pass on."""
    db.execute(
        """
        CREATE TABLE unit_state (
            key TEXT PRIMARY KEY,
            value TEXT NOT NULL,
            utc_ns INTEGER NOT NULL,
            boot_id TEXT NOT NULL,
            boot_ns INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
        """
    )
