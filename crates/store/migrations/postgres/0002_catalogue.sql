-- Assets and what is delivered of them, recipes, uploads, users, tokens, webhooks, idempotency keys.
-- Times are milliseconds since the UNIX epoch, booleans 0 or 1, structures JSON as text.
-- Names that order a listing are collated by bytes, as SQLite does it.

CREATE TABLE assets (
    id             TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    tenant         TEXT   NOT NULL,
    title          TEXT   NOT NULL,
    -- The title in lower case, as the text filter compares it: the engines fold letters beyond ASCII differently.
    title_folded   TEXT   NOT NULL,
    state          TEXT   NOT NULL,
    recipe_name    TEXT   NOT NULL,
    recipe_version BIGINT NOT NULL,
    source         TEXT   NOT NULL,
    -- Size of the source, stored or announced: what a quota counts.
    source_bytes   BIGINT NOT NULL,
    media          TEXT,
    duration_ms    BIGINT,
    poster         TEXT,
    storyboard     TEXT,
    revision       BIGINT NOT NULL,
    error          TEXT,
    metadata       TEXT   NOT NULL,
    created        BIGINT NOT NULL,
    updated        BIGINT NOT NULL
);
CREATE INDEX assets_newest ON assets (created DESC, id DESC);
CREATE INDEX assets_of_tenant ON assets (tenant, created DESC, id DESC);
CREATE INDEX assets_deleted ON assets (updated, id) WHERE state = 'deleted';

CREATE TABLE renditions (
    asset             TEXT COLLATE "C" NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
    name              TEXT COLLATE "C" NOT NULL,
    kind              TEXT   NOT NULL,
    codecs            TEXT   NOT NULL,
    width             BIGINT,
    height            BIGINT,
    bandwidth         BIGINT NOT NULL,
    average_bandwidth BIGINT NOT NULL,
    language          TEXT,
    label             TEXT,
    is_default        BIGINT NOT NULL,
    media_key         TEXT   NOT NULL,
    media_bytes       BIGINT NOT NULL,
    index_key         TEXT   NOT NULL,
    quality           TEXT   NOT NULL,
    ready             BIGINT NOT NULL,
    PRIMARY KEY (asset, name)
);

CREATE TABLE recipes (
    name    TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    body    TEXT   NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (name, version)
);

CREATE TABLE uploads (
    id       TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    asset    TEXT,
    tenant   TEXT   NOT NULL,
    state    TEXT   NOT NULL,
    -- Total size; NULL while the client has not told it.
    bytes    BIGINT,
    -- Bytes stored so far: the next append begins here.
    stored   BIGINT NOT NULL,
    metadata TEXT   NOT NULL,
    partial  BIGINT NOT NULL,
    expires  BIGINT NOT NULL,
    created  BIGINT NOT NULL
);
CREATE INDEX uploads_newest ON uploads (created DESC, id DESC);
CREATE INDEX uploads_of_asset ON uploads (asset);
CREATE INDEX uploads_open ON uploads (tenant) WHERE state = 'open';
CREATE INDEX uploads_to_end ON uploads (expires) WHERE state <> 'complete' OR partial = 1;

-- The stored bytes of an upload, one row per object, so that an append writes what it adds and no more.
CREATE TABLE upload_parts (
    upload   TEXT COLLATE "C" NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    key      TEXT   NOT NULL,
    bytes    BIGINT NOT NULL,
    PRIMARY KEY (upload, position)
);
-- A concatenation names the objects of its parts: an object is free when no upload names it.
CREATE INDEX upload_parts_by_key ON upload_parts (key);

CREATE TABLE users (
    id      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name    TEXT COLLATE "C" NOT NULL UNIQUE,
    scopes  TEXT   NOT NULL,
    tenant  TEXT,
    created BIGINT NOT NULL
);

CREATE TABLE tokens (
    id      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    label   TEXT   NOT NULL,
    scopes  TEXT   NOT NULL,
    tenant  TEXT,
    owner   TEXT COLLATE "C" REFERENCES users (id) ON DELETE CASCADE,
    -- SHA-256 of the secret in lower-case hex. The secret itself is nowhere.
    hash    TEXT   NOT NULL UNIQUE,
    expires BIGINT,
    created BIGINT NOT NULL
);
CREATE INDEX tokens_of_owner ON tokens (owner);

CREATE TABLE webhooks (
    id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    tenant      TEXT   NOT NULL,
    url         TEXT   NOT NULL,
    events      TEXT   NOT NULL,
    secrets     TEXT   NOT NULL,
    enabled     BIGINT NOT NULL,
    -- Position in the outbox up to which events are deliveries already.
    queued_xid  BIGINT NOT NULL,
    queued_seq  BIGINT NOT NULL,
    created     BIGINT NOT NULL
);

CREATE TABLE deliveries (
    id       TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    webhook  TEXT COLLATE "C" NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    -- Position of the event in the outbox.
    xid      BIGINT NOT NULL,
    seq      BIGINT NOT NULL,
    -- The event itself: the outbox is trimmed sooner than an endpoint that is down comes back.
    kind     TEXT   NOT NULL,
    tenant   TEXT   NOT NULL,
    asset    TEXT,
    job      TEXT,
    data     TEXT   NOT NULL,
    at       BIGINT NOT NULL,
    state    TEXT   NOT NULL,
    attempt  BIGINT NOT NULL,
    next_at  BIGINT NOT NULL,
    last     TEXT,
    settled  BIGINT,
    UNIQUE (webhook, xid, seq)
);
CREATE INDEX deliveries_pending ON deliveries (webhook, xid, seq) WHERE state = 'pending';
CREATE INDEX deliveries_settled ON deliveries (settled) WHERE state <> 'pending';

CREATE TABLE idempotency (
    principal   TEXT   NOT NULL,
    key         TEXT   NOT NULL,
    fingerprint TEXT   NOT NULL,
    -- NULL while the first request is in flight.
    status      BIGINT,
    headers     TEXT,
    body        BYTEA,
    created     BIGINT NOT NULL,
    PRIMARY KEY (principal, key)
);
CREATE INDEX idempotency_age ON idempotency (created);
