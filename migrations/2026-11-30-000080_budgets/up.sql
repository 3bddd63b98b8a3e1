-- What may be spent (BUDGETS): a row for each budget and its day or month, made by the first call that counts for it.
CREATE TABLE IF NOT EXISTS generative_ai.budget_periods (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- total, user, collection, or the name of a provider.
    scope text NOT NULL,
    -- Which user or collection; empty for the others.
    whose text NOT NULL,
    period text NOT NULL CHECK (period IN ('day', 'month')),
    begins_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    -- What ended calls have cost and what open ones may cost. A numeric, as cents are to add up exactly.
    used_usd numeric NOT NULL DEFAULT 0,
    -- When it was said that most of it is used up: once.
    warned_at timestamptz,
    UNIQUE (scope, whose, period, begins_at)
);
CREATE INDEX IF NOT EXISTS budget_periods_ends_at ON generative_ai.budget_periods (scope, period, ends_at);

-- The rows that a call counts for, and how much: the estimate while it is open, and what it has cost after that. NULL: for none.
ALTER TABLE generative_ai.provider_calls ADD COLUMN IF NOT EXISTS charged_to bigint[];
ALTER TABLE generative_ai.provider_calls ADD COLUMN IF NOT EXISTS charged_usd numeric;

-- Takes `usd` from each of these budgets, or from none: then `spent` is the one that has not got it, the one that opens last where
-- there are several. `near` are those that are used up for the most part, each said once.
--
-- Rows are locked in the order of their ids, here and where calls are settled, and until the intent is committed: so of two
-- replicas that ask at once the second sees what the first has taken.
CREATE OR REPLACE FUNCTION generative_ai.reserve(charges jsonb, usd double precision,
    OUT charged_to bigint[], OUT spent text, OUT opens_at timestamptz, OUT near text)
LANGUAGE plpgsql AS $$
DECLARE
    budget record;
    nears bigint[] := '{}';
BEGIN
    INSERT INTO generative_ai.budget_periods (scope, whose, period, begins_at, ends_at)
    SELECT asked.scope, asked.whose, asked.period, turns.begins_at, turns.ends_at
    FROM jsonb_to_recordset(charges) AS asked(scope text, whose text, period text, turns timestamptz[]),
    LATERAL (SELECT max(turn) FILTER (WHERE turn <= now()), min(turn) FILTER (WHERE turn > now())
        FROM unnest(asked.turns) AS turn) AS turns(begins_at, ends_at)
    WHERE NOT EXISTS (SELECT FROM generative_ai.budget_periods AS known
        WHERE known.scope = asked.scope AND known.whose = asked.whose AND known.period = asked.period
            AND known.begins_at = turns.begins_at)
    ORDER BY 1, 2, 3
    ON CONFLICT DO NOTHING;
    FOR budget IN
        SELECT found.id, found.used_usd, found.ends_at, found.warned_at, asked.limit_usd,
            concat_ws('/', found.scope, nullif(found.whose, ''), found.period) AS name
        FROM jsonb_to_recordset(charges) AS asked(scope text, whose text, period text, limit_usd numeric, turns timestamptz[])
        JOIN generative_ai.budget_periods AS found ON found.scope = asked.scope AND found.whose = asked.whose
            AND found.period = asked.period
            AND found.begins_at = (SELECT max(turn) FROM unnest(asked.turns) AS turn WHERE turn <= now())
        ORDER BY found.id FOR UPDATE OF found
    LOOP
        charged_to := charged_to || budget.id;
        IF budget.used_usd + usd::numeric > budget.limit_usd AND (opens_at IS NULL OR budget.ends_at > opens_at) THEN
            spent := budget.name;
            opens_at := budget.ends_at;
        END IF;
        IF budget.warned_at IS NULL AND budget.used_usd + usd::numeric >= 0.8 * budget.limit_usd THEN
            nears := nears || budget.id;
            near := concat_ws(', ', near, budget.name);
        END IF;
    END LOOP;
    IF spent IS NOT NULL THEN
        charged_to := NULL;
    END IF;
    UPDATE generative_ai.budget_periods AS used SET
        used_usd = used.used_usd + CASE WHEN spent IS NULL THEN usd::numeric ELSE 0 END,
        warned_at = CASE WHEN used.id = ANY (nears) THEN now() ELSE used.warned_at END
    WHERE used.id = ANY (charged_to) OR used.id = ANY (nears);
END
$$;

-- What a call has cost takes the place of its estimate, whichever statement ends it, one of an older version too. Nothing where it
-- has failed and was not billed. A picture that could not be used was, as far as anybody knows; and so may be what nobody
-- knows anything of.
CREATE OR REPLACE FUNCTION generative_ai.settle_charge() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    charge numeric := CASE
        WHEN NEW.state = 'succeeded' THEN coalesce(NEW.cost_usd::numeric, OLD.charged_usd)
        WHEN NEW.state = 'failed' AND coalesce(NEW.error_class, '') NOT IN ('bad_output', 'bad_image')
            THEN coalesce(NEW.cost_usd::numeric, 0)
        ELSE OLD.charged_usd END;
BEGIN
    IF charge <> OLD.charged_usd THEN
        PERFORM FROM generative_ai.budget_periods WHERE id = ANY (OLD.charged_to) ORDER BY id FOR UPDATE;
        UPDATE generative_ai.budget_periods SET used_usd = used_usd + charge - OLD.charged_usd WHERE id = ANY (OLD.charged_to);
        NEW.charged_usd := charge;
    END IF;
    RETURN NEW;
END
$$;

DROP TRIGGER IF EXISTS settle_charge ON generative_ai.provider_calls;
CREATE TRIGGER settle_charge BEFORE UPDATE OF state ON generative_ai.provider_calls FOR EACH ROW
    WHEN (OLD.charged_to IS NOT NULL AND NEW.state <> OLD.state)
    EXECUTE FUNCTION generative_ai.settle_charge();
