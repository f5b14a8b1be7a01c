"""The tables of the log.

Rows are only ever appended; retention removes them from the old end, up to a snapshot.
"""

import sqlalchemy as sa

SCHEMA_VERSION = 1

metadata = sa.MetaData()
Big = sa.BigInteger().with_variant(sa.Integer, "sqlite")

store_table = sa.Table(
    "store",
    metadata,
    sa.Column("schema_version", sa.Integer, nullable=False),
    sa.Column("network_shape", sa.String, nullable=False),
    sa.Column("store_id", sa.String),  # another one for each store that was made or restored
    sa.Column("created_at", sa.Float),
    sa.Column("weights_digest", sa.LargeBinary),  # of the weights that it began with
)

versions_table = sa.Table(
    "versions",
    metadata,
    sa.Column("model_version", Big, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("count", sa.Integer),
    sa.Column("loss", sa.Float),
    sa.Column("accuracy", sa.Float),
    sa.Column("learning_rate", sa.Float),
    sa.Column("gradient_norm", sa.Float),
    sa.Column("clip_norm", sa.Float),
    sa.Column("rehearsed", sa.Integer),
    sa.Column("memory_size", sa.Integer),
    sa.Column("source_version", sa.BigInteger),
    sa.Column("event", sa.String),
    sa.Column("reason", sa.String),
    sa.Column("paused", sa.String),
    sa.Column("idempotency_key", sa.String),
    sa.Column("request_digest", sa.LargeBinary),
    sa.Column("unsnapped_bytes", sa.BigInteger),
    sa.Column("content_digest", sa.LargeBinary),
    sa.Column("snapshot_digest", sa.LargeBinary),
    sa.Column("previous", sa.LargeBinary),
    sa.Column("digest", sa.LargeBinary),
    sa.Column("pixel_type", sa.String),
    sa.Column("labels", sa.LargeBinary),
    sa.Column("pixels", sa.LargeBinary),  # last: SQLite reads what stands before it without touching it
)
sa.Index(
    "versions_idempotency_key",
    versions_table.c.idempotency_key,
    unique=True,
    sqlite_where=versions_table.c.idempotency_key.is_not(None),
    postgresql_where=versions_table.c.idempotency_key.is_not(None),
)

snapshots_table = sa.Table(
    "snapshots",
    metadata,
    sa.Column("model_version", Big, primary_key=True, autoincrement=False),
    sa.Column("weights", sa.LargeBinary, nullable=False),
)

predictions_table = sa.Table(  # that wait for a label; the newest has the highest number
    "predictions",
    metadata,
    sa.Column("number", Big, primary_key=True, autoincrement=False),
    sa.Column("prediction_id", sa.String, nullable=False, unique=True),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
    sa.Column("model_version", sa.BigInteger, nullable=False),
    sa.Column("label", sa.Integer, nullable=False),
    sa.Column("margin", sa.Float, nullable=False),
    sa.Column("bytes_so_far", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("pixel_type", sa.String, nullable=False),
    sa.Column("probabilities", sa.LargeBinary, nullable=False),
    sa.Column("pixels", sa.LargeBinary, nullable=False),
)
sa.Index("predictions_margin", predictions_table.c.margin, predictions_table.c.number.desc())

learnt_predictions_table = sa.Table(  # whose label came: so that none is learnt twice
    "learnt_predictions",
    metadata,
    sa.Column("prediction_id", sa.String, primary_key=True),
    sa.Column("model_version", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
)
sa.Index("learnt_predictions_expires_at", learnt_predictions_table.c.expires_at)

progress_table = sa.Table(  # a row for each of the last train-steps: sums since the first
    "progress",
    metadata,
    sa.Column("model_version", Big, primary_key=True, autoincrement=False),
    sa.Column("examples", sa.BigInteger, nullable=False),
    sa.Column("hits", sa.BigInteger, nullable=False),
    sa.Column("loss", sa.Float, nullable=False),
    sa.Column("alarm_examples", sa.Integer, nullable=False),
    sa.Column("counted_from", sa.BigInteger, nullable=False),
    sa.Column("accuracy", sa.Float),
    sa.Column("best_accuracy", sa.Float),
    sa.Column("best_version", sa.BigInteger),
    sa.Column("outcomes", sa.LargeBinary, nullable=False),
    sa.Column("by_class", sa.LargeBinary),
    sa.Column("digest", sa.LargeBinary, nullable=False),
)
sa.Index("progress_examples", progress_table.c.examples)
