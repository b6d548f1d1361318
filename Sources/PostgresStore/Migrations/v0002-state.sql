-- Desired state. `spec` is the validated form, `document` what the user sent. Rows are never deleted, so that events
-- and metrics keep what they refer to and revisions go on rising: `deleted_at` marks a deleted app.
CREATE TABLE applications (
    name VARCHAR(253) PRIMARY KEY,
    spec JSONB NOT NULL,
    status VARCHAR(50) NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    replicas INTEGER DEFAULT 0,
    last_scaled_at TIMESTAMP WITH TIME ZONE,
    mode VARCHAR(20) DEFAULT 'auto',
    document JSONB NOT NULL,
    revision INTEGER NOT NULL,
    deleted_at TIMESTAMP WITH TIME ZONE
);

CREATE TABLE revisions (
    app_name VARCHAR(253) NOT NULL REFERENCES applications (name),
    revision INTEGER NOT NULL,
    document JSONB NOT NULL,
    spec JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (app_name, revision)
);

-- Instances whose container exists and has an address.
CREATE TABLE instances (
    id SERIAL PRIMARY KEY,
    app_name VARCHAR(253) NOT NULL REFERENCES applications (name),
    container_id VARCHAR(128) UNIQUE NOT NULL,
    ip INET NOT NULL,
    port INTEGER NOT NULL,
    status VARCHAR(50) NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    failure_count INTEGER DEFAULT 0,
    last_health_check TIMESTAMP WITH TIME ZONE,
    instance_id VARCHAR(80) UNIQUE NOT NULL,
    node_id VARCHAR(63) NOT NULL,
    revision INTEGER NOT NULL,
    restarts INTEGER NOT NULL DEFAULT 0,
    exit_code INTEGER,
    out_of_memory BOOLEAN NOT NULL DEFAULT FALSE,
    message TEXT NOT NULL DEFAULT '',
    started_at TIMESTAMP WITH TIME ZONE,
    since TIMESTAMP WITH TIME ZONE NOT NULL
);
CREATE INDEX idx_instances_app_name ON instances (app_name);
CREATE INDEX idx_instances_status ON instances (status);

-- The audit trail, one partition a month. A partitioned table's key must contain the partition key.
CREATE TABLE events (
    id BIGSERIAL,
    app_name VARCHAR(253) REFERENCES applications (name),
    event_type VARCHAR(50) NOT NULL,
    message TEXT NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    details JSONB,
    node_id VARCHAR(63) NOT NULL,
    sequence BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    PRIMARY KEY (id, timestamp)
) PARTITION BY RANGE (timestamp);
CREATE INDEX idx_events_app_name_timestamp ON events (app_name, timestamp DESC);
CREATE INDEX idx_events_type_timestamp ON events (event_type, timestamp DESC);
CREATE INDEX idx_events_timestamp ON events (timestamp DESC, id DESC);
-- Takes what no partition covers (a clock far off), so that an event is never refused.
CREATE TABLE events_default PARTITION OF events DEFAULT;

-- One partition a day.
CREATE TABLE metrics (
    id BIGSERIAL,
    app_name VARCHAR(253) NOT NULL REFERENCES applications (name),
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    cpu_percent REAL,
    memory_percent REAL,
    rps REAL,
    latency_p95_ms REAL,
    active_connections INTEGER,
    replicas INTEGER,
    PRIMARY KEY (id, timestamp)
) PARTITION BY RANGE (timestamp);
CREATE INDEX idx_metrics_app_timestamp ON metrics (app_name, timestamp DESC);
CREATE TABLE metrics_default PARTITION OF metrics DEFAULT;

-- No foreign key: a decision is recorded whatever became of its app.
CREATE TABLE scaling_decisions (
    id BIGSERIAL PRIMARY KEY,
    app_name VARCHAR(253) NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    from_replicas INTEGER NOT NULL,
    to_replicas INTEGER NOT NULL,
    reason TEXT NOT NULL,
    triggered_by VARCHAR(50) NOT NULL,
    metrics JSONB,
    explanation JSONB,
    node_id VARCHAR(63) NOT NULL,
    sequence BIGINT NOT NULL,
    epoch BIGINT NOT NULL
);
CREATE INDEX idx_scaling_decisions_app_timestamp ON scaling_decisions (app_name, timestamp DESC, id DESC);

-- How far each node's outbox has been taken over, per stream ('events', 'decisions').
CREATE TABLE outbox_progress (
    node_id VARCHAR(63) NOT NULL,
    stream VARCHAR(20) NOT NULL,
    last_seq BIGINT NOT NULL,
    PRIMARY KEY (node_id, stream)
);

CREATE TABLE cluster_nodes (
    id VARCHAR(63) PRIMARY KEY,
    role VARCHAR(20) NOT NULL,
    host TEXT NOT NULL,
    cluster_port INTEGER NOT NULL,
    api_url TEXT NOT NULL,
    first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
    last_seen_at TIMESTAMP WITH TIME ZONE NOT NULL
);

-- Writes that were carried out, by idempotency key, with the answer that was given.
CREATE TABLE requests (
    key VARCHAR(200) PRIMARY KEY,
    response JSONB NOT NULL,
    actor TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL
);
CREATE INDEX idx_requests_created_at ON requests (created_at);

CREATE TABLE settings (
    key VARCHAR(200) PRIMARY KEY,
    value JSONB NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_by TEXT NOT NULL
);

CREATE TABLE api_tokens (
    id BIGSERIAL PRIMARY KEY,
    name VARCHAR(200) UNIQUE NOT NULL,
    token_hash VARCHAR(128) UNIQUE NOT NULL,
    role VARCHAR(20) NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    expires_at TIMESTAMP WITH TIME ZONE,
    last_used_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE
);

-- Makes the partition of `parent` that begins at `starts`, named `<parent>_YYYYMMDD`, and moves into it what the default
-- partition holds of its time. Returns whether it was missing.
CREATE FUNCTION orchestry_add_partition(parent TEXT, starts TIMESTAMP WITH TIME ZONE, step INTERVAL)
RETURNS BOOLEAN LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    child TEXT := parent || '_' || to_char(starts, 'YYYYMMDD');
    ends TIMESTAMP WITH TIME ZONE := starts + step;
BEGIN
    IF to_regclass(quote_ident(child)) IS NOT NULL THEN
        RETURN FALSE;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', child, parent);
    EXECUTE format(
        'WITH moved AS (DELETE FROM %I WHERE timestamp >= %L AND timestamp < %L RETURNING *) '
        'INSERT INTO %I SELECT * FROM moved', parent || '_default', starts, ends, child);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child, starts, ends);
    RETURN TRUE;
END
$$;

-- Drops the partitions of `parent` that end at or before `cutoff`, and the default partition's rows before it.
-- Returns how many partitions were dropped.
CREATE FUNCTION orchestry_drop_partitions(parent TEXT, cutoff TIMESTAMP WITH TIME ZONE, step INTERVAL)
RETURNS INTEGER LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    child TEXT;
    dropped INTEGER := 0;
BEGIN
    FOR child IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = quote_ident(parent)::regclass AND c.relname ~ ('^' || parent || '_[0-9]{8}$')
            AND to_timestamp(right(c.relname, 8), 'YYYYMMDD') + step <= cutoff
        ORDER BY c.relname
    LOOP
        EXECUTE format('DROP TABLE %I', child);
        dropped := dropped + 1;
    END LOOP;
    EXECUTE format('DELETE FROM %I WHERE timestamp < %L', parent || '_default', cutoff);
    RETURN dropped;
END
$$;
