-- What people told the autoscaler about an app: a count fixed for a time, pauses. NULL: nothing.
ALTER TABLE applications ADD COLUMN scaling_control JSONB;
