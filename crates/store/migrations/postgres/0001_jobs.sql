-- Jobs, steps and leases; leaders, settings and the outbox.

CREATE TABLE jobs (
    id TEXT COLLATE "C" PRIMARY KEY,
    asset TEXT NOT NULL,
    tenant TEXT NOT NULL,
    state TEXT NOT NULL,
    recipe TEXT NOT NULL,
    recipe_version BIGINT NOT NULL,
    priority BIGINT NOT NULL,
    context TEXT NOT NULL,
    error TEXT,
    -- Steps that are not done.
    open BIGINT NOT NULL,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    started BIGINT,
    finished BIGINT
);
CREATE INDEX jobs_asset ON jobs (asset, id);
CREATE INDEX jobs_newest ON jobs (created DESC, id DESC);

CREATE TABLE steps (
    id TEXT COLLATE "C" PRIMARY KEY,
    job TEXT COLLATE "C" NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    asset TEXT NOT NULL,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    -- Order in the job.
    seq BIGINT NOT NULL,
    kind TEXT NOT NULL,
    rendition TEXT,
    cap TEXT NOT NULL,
    class BIGINT NOT NULL,
    weight DOUBLE PRECISION NOT NULL,
    spec TEXT NOT NULL,
    -- From the spec: may fail without failing its job, and how long one attempt may take.
    optional BIGINT NOT NULL,
    wall_ms BIGINT,
    -- Copies of the job's, so that a claim reads one index.
    priority BIGINT NOT NULL,
    job_created BIGINT NOT NULL,
    state TEXT NOT NULL,
    -- Steps before it that are not done.
    waiting BIGINT NOT NULL,
    -- cap/class/tenant while it may be claimed, else NULL: state ready, job running.
    lane TEXT COLLATE "C",
    -- When it came into its lane: promotion counts from here.
    lane_since BIGINT NOT NULL,
    -- Nodes failed it for want of capacity: see step_nodes.
    avoid BIGINT NOT NULL DEFAULT 0,
    attempt BIGINT NOT NULL DEFAULT 0,
    attempts_max BIGINT NOT NULL,
    token BIGINT NOT NULL DEFAULT 0,
    worker TEXT,
    node TEXT,
    lease_until BIGINT,
    progress TEXT,
    -- The furthest of the attempt: a report beyond them is progress.
    at_permille BIGINT NOT NULL DEFAULT 0,
    at_media_ms BIGINT NOT NULL DEFAULT 0,
    at_bytes BIGINT NOT NULL DEFAULT 0,
    moved BIGINT,
    output TEXT,
    error TEXT,
    ready_at BIGINT NOT NULL,
    created BIGINT NOT NULL,
    started BIGINT,
    finished BIGINT,
    UNIQUE (job, name)
);
CREATE INDEX steps_job ON steps (job, seq);
CREATE INDEX steps_lane ON steps (lane, priority, job_created, job, seq, ready_at) WHERE lane IS NOT NULL;
CREATE INDEX steps_leased ON steps (tenant) WHERE state = 'leased';
CREATE INDEX steps_lease_until ON steps (lease_until) WHERE state = 'leased';
CREATE INDEX steps_lane_since ON steps (lane_since) WHERE lane IS NOT NULL AND class > 0;

CREATE TABLE step_needs (
    step TEXT COLLATE "C" NOT NULL REFERENCES steps (id) ON DELETE CASCADE,
    needs TEXT COLLATE "C" NOT NULL REFERENCES steps (id) ON DELETE CASCADE,
    PRIMARY KEY (step, needs)
);
CREATE INDEX step_needs_needs ON step_needs (needs);

-- Nodes that lost a step, or failed it for want of capacity.
CREATE TABLE step_nodes (
    step TEXT COLLATE "C" NOT NULL REFERENCES steps (id) ON DELETE CASCADE,
    node TEXT NOT NULL,
    kind TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (step, node, kind)
);

CREATE TABLE workers (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT NOT NULL,
    caps TEXT NOT NULL,
    info TEXT NOT NULL,
    draining BIGINT NOT NULL,
    registered BIGINT NOT NULL,
    seen BIGINT NOT NULL
);
CREATE INDEX workers_name ON workers (name);
CREATE INDEX workers_seen ON workers (seen);

-- By node, not by process: a restart does not lift one.
CREATE TABLE cordons (
    name TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    at BIGINT NOT NULL,
    -- By the platform: then the attempts that the node consumed are refunded.
    automatic BIGINT NOT NULL
);

-- Steps that a node lost or failed of late, one row per attempt.
CREATE TABLE strikes (
    step TEXT COLLATE "C" NOT NULL REFERENCES steps (id) ON DELETE CASCADE,
    token BIGINT NOT NULL,
    node TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (step, token)
);
CREATE INDEX strikes_node ON strikes (node, at);

CREATE TABLE leaders (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    token BIGINT NOT NULL,
    until BIGINT NOT NULL
);

CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE events (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The writing transaction: readers stop below the oldest one that is still under way.
    xid BIGINT NOT NULL DEFAULT (CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT)),
    kind TEXT NOT NULL,
    tenant TEXT NOT NULL,
    asset TEXT,
    job TEXT,
    data TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX events_order ON events (xid, seq);
CREATE INDEX events_at ON events (at);
