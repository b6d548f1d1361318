-- What became of each revision of a running app. The leader that follows a rollout writes all but `paused`, which is
-- set in the transaction of whoever asked for it.
CREATE TABLE rollouts (
    app_name VARCHAR(253) NOT NULL REFERENCES applications (name),
    revision INTEGER NOT NULL,
    from_revision INTEGER,
    origin VARCHAR(20) NOT NULL,
    restores INTEGER,
    state VARCHAR(20) NOT NULL,
    phase VARCHAR(20) NOT NULL,
    paused BOOLEAN NOT NULL DEFAULT FALSE,
    reason TEXT NOT NULL DEFAULT '',
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (app_name, revision)
);

-- Earlier revisions whose containers are made from the same as the present one's: an array of numbers.
ALTER TABLE applications ADD COLUMN equal_revisions JSONB NOT NULL DEFAULT '[]';

-- As people set it. The deadline is by this database's clock.
ALTER TABLE cluster_nodes ADD COLUMN cordoned BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE cluster_nodes ADD COLUMN draining BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE cluster_nodes ADD COLUMN drain_deadline TIMESTAMP WITH TIME ZONE;
