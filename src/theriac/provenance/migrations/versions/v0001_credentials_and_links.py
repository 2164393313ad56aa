"""The first form: credentials, their links, and triggers that let nobody change what was signed."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_PK = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_FIXED = {
    "credential": [
        *("pk", "digest", "key", "id", "kind", "label", "name", "content", "issuer", "signer", "profile", "signature"),
        *("valid", "reason", "starts", "ends", "fanout", "document"),
    ],
    "link": ["source", "position", "relation", "target", "hash"],
}


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "credential",
        sa.Column("pk", _PK, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("key", sa.LargeBinary, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("id", "kind", "label", "name", "content")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("issuer", "signer", "profile", "signature")),
        sa.Column("valid", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("starts", sa.BigInteger),
        sa.Column("ends", sa.BigInteger),
        sa.Column("fanout", sa.Integer, nullable=False),
        sa.Column("retracted", sa.BigInteger),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "link",
        sa.Column("source", _PK, sa.ForeignKey("credential.pk"), primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("relation", sa.SmallInteger, nullable=False),
        sa.Column("target", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("to", _PK),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("plain", sa.Boolean, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_credential_key", "credential", ["key"])
    op.create_index("ix_credential_kind", "credential", ["kind"])
    op.create_index("link_target", "link", ["target", "relation", "source"])
    walk, claim = sa.text("NOT plain"), sa.text("relation >= 20")
    op.create_index("link_walk", "link", ["source"], sqlite_where=walk, postgresql_where=walk)
    op.create_index("link_claim", "link", ["relation", "target", "source"], sqlite_where=claim, postgresql_where=claim)
    (_sqlite_triggers if op.get_bind().dialect.name == "sqlite" else _postgres_triggers)()


def _sqlite_triggers() -> None:
    for table, columns in _FIXED.items():
        for change in (f"UPDATE OF {', '.join(columns)}", "DELETE"):
            name = f"{table}_no_{change.split()[0].lower()}"
            op.execute(
                f"CREATE TRIGGER {name} BEFORE {change} ON {table} BEGIN SELECT RAISE(ABORT, 'append-only'); END"
            )


def _postgres_triggers() -> None:
    op.execute(
        "CREATE FUNCTION theriac_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'append-only'; END $$"
    )
    for table, columns in _FIXED.items():
        for change in (f"UPDATE OF {', '.join(columns)}", "DELETE"):
            name = f"{table}_no_{change.split()[0].lower()}"
            op.execute(
                f"CREATE TRIGGER {name} BEFORE {change} ON {table} FOR EACH ROW EXECUTE FUNCTION theriac_append_only()"
            )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION theriac_append_only()"
        )
