//! Tables as diesel sees them, for the statements that are not batches.

diesel::table! {
    ac_background_jobs (id) {
        id -> Integer,
        progress -> Nullable<Integer>,
        error -> Nullable<Text>,
        data -> Nullable<Jsonb>,
        internal_data -> Nullable<Jsonb>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    generative_ai.installation (only_row) {
        only_row -> Bool,
        key_namespace -> Uuid,
    }
}

diesel::table! {
    generative_ai.dead_packages (id) {
        id -> Uuid,
        job_id -> Nullable<Integer>,
        payload -> Bytea,
        reason -> Text,
        details -> Nullable<Text>,
        error_class -> Text,
        attempts -> Integer,
        worker_id -> Text,
        dead_at -> Timestamptz,
        retried_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    images (id) {
        id -> Integer,
        formats -> Nullable<Text>,
        user_id -> Nullable<Integer>,
    }
}
