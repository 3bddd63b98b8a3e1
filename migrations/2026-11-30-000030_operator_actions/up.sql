-- Who did what with a command: a row each, begun before anything is changed and ended after it.
CREATE TABLE IF NOT EXISTS generative_ai.operator_actions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    begun_at timestamptz NOT NULL DEFAULT now(),
    -- NULL: the command was cut off, or goes on.
    ended_at timestamptz,
    queue text NOT NULL,
    who text NOT NULL,
    action text NOT NULL,
    -- About what: a job, a user, a choice of dead packages. Never a prompt.
    subject text NOT NULL,
    -- How many jobs or packages it came to.
    count bigint,
    -- What came of it, in a sentence.
    outcome text
);
CREATE INDEX IF NOT EXISTS operator_actions_begun_at ON generative_ai.operator_actions (begun_at);
