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


@MIGRATIONS()
def m004_retention(db: Database) -> None:
    """What was removed and why, counted; and a hash of each row since the chain was begun, which outlives the row."""
    db.execute(
        """
        CREATE TABLE removals (
            kind TEXT NOT NULL,
            cause TEXT NOT NULL CHECK (cause IN ('age', 'size', 'full')),
            items INTEGER NOT NULL,
            bytes INTEGER NOT NULL,
            last_utc_ns INTEGER NOT NULL,
            PRIMARY KEY (kind, cause)
        ) STRICT, WITHOUT ROWID
        """
    )
    db.execute(
        """
        CREATE TABLE chain (
            event_row INTEGER PRIMARY KEY,
            digest BLOB,
            link BLOB NOT NULL,
            removed INTEGER NOT NULL DEFAULT 0
        ) STRICT
        """
    )


@MIGRATIONS()
def m005_commands(db: Database) -> None:
    """What operators asked of the unit, who and when, and what of it holds."""
    db.execute(
        """
        CREATE TABLE commands (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            command_id TEXT UNIQUE,
            name TEXT NOT NULL,
            asked_by TEXT,
            request TEXT NOT NULL,
            response_topic TEXT NOT NULL,
            correlation BLOB,
            answer TEXT,
            answered_utc_ns INTEGER,
            sent INTEGER NOT NULL DEFAULT 0,
            utc_ns INTEGER NOT NULL,
            boot_id TEXT NOT NULL,
            boot_ns INTEGER NOT NULL
        ) STRICT
        """
    )
    db.execute("CREATE INDEX commands_unsent ON commands (id) WHERE sent = 0")
    db.execute(
        """
        CREATE TABLE acknowledgements (
            event_id TEXT PRIMARY KEY,
            asked_by TEXT NOT NULL,
            utc_ns INTEGER NOT NULL
        ) STRICT
        """
    )
    db.execute(
        """
        CREATE TABLE mutes (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            class_label TEXT,
            from_deg REAL,
            to_deg REAL,
            duration_s REAL NOT NULL,
            asked_by TEXT NOT NULL,
            utc_ns INTEGER NOT NULL,
            boot_id TEXT NOT NULL,
            boot_ns INTEGER NOT NULL
        ) STRICT
        """
    )
    db.execute(
        """
        CREATE TABLE thresholds (
            class_label TEXT PRIMARY KEY,
            threshold REAL NOT NULL,
            asked_by TEXT NOT NULL,
            utc_ns INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
        """
    )
    db.execute(
        "ALTER TABLE events ADD COLUMN muted INTEGER GENERATED ALWAYS AS (coalesce(json_extract(payload, '$.muted'), 0)) VIRTUAL"
    )


@MIGRATIONS()
def m006_room(db: Database) -> None:
    """What is written here and deleted again leaves free pages in the file: room for alerts on a full disk."""
    db.execute("CREATE TABLE room (bytes BLOB) STRICT")


@MIGRATIONS()
def m007_clips(db: Database) -> None:
    """The audio clip that an event refers to: promised with its first message, settled once it is written or never will be."""
    db.execute(
        """
        CREATE TABLE clips (
            name TEXT PRIMARY KEY,
            event_row INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
            event_id TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('recording', 'written', 'failed')),
            reason TEXT NOT NULL DEFAULT '',
            start_utc_ns INTEGER NOT NULL DEFAULT 0,
            seconds REAL NOT NULL DEFAULT 0,
            bytes INTEGER NOT NULL DEFAULT 0,
            sha256 TEXT NOT NULL DEFAULT '',
            gaps TEXT NOT NULL DEFAULT '[]'
        ) STRICT, WITHOUT ROWID
        """
    )
    db.execute("CREATE INDEX clips_by_event ON clips (event_id)")
    db.execute("CREATE INDEX clips_by_event_row ON clips (event_row)")
    # What each message said of the clip, as its payload has it.
    for column in ("clip", "clip_state", "clip_sha256"):
        db.execute(
            f"ALTER TABLE events ADD COLUMN {column} TEXT GENERATED ALWAYS AS (json_extract(payload, '$.{column}')) VIRTUAL"
        )
