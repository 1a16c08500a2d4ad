-- Rows are only ever added: what a table no longer says when it is imported again is named here.

CREATE TABLE withdrawn_observations (
    observation_id VARCHAR NOT NULL,
    batch BIGINT NOT NULL                   -- nanoseconds since 1970: earlier statements of that observation do not count
);
