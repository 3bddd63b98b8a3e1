//! What the application's row of a job holds in `data`, as SQL.
//!
//! An ORM that encodes JSON by itself keeps the object as a text within `jsonb` (`"{\"a\":1}"`), and decodes that when
//! it reads. Such a text is merged as a text, since it would be lost to its application as an object. It is not parsed: a
//! text that only looks like JSON would fail the whole statement, and Postgres before 16 cannot try.

/// `data` with an image in it. `image` is `jsonb_build_object('imageId', …, 'imageUrl', …)`; doing it again changes nothing.
macro_rules! data_with_image {
    ($data:literal, $image:literal) => {
        concat!(
            "(CASE WHEN jsonb_typeof(",
            $data,
            ") = 'object' THEN ",
            $data,
            " || ",
            $image,
            " WHEN jsonb_typeof(",
            $data,
            ") = 'string' AND ",
            $data,
            r" #>> '{}' ~ '^\s*\{.*\}\s*$' THEN (SELECT to_jsonb(cut || CASE WHEN cut ~ '\{\s*$' THEN '' ELSE ', ' END || substr(",
            $image,
            "::text, 2)) FROM regexp_replace(",
            $data,
            r#" #>> '{}', '(,?\s*"imageId"\s*:\s*\d+\s*,\s*"imageUrl"\s*:\s*"[^"]*")?\s*\}\s*$', '') AS cut) ELSE "#,
            $image,
            " END)"
        )
    };
}

/// The number of the image in `data`, or NULL.
macro_rules! image_id_in {
    ($data:literal) => {
        concat!(
            "coalesce(CASE WHEN jsonb_typeof(",
            $data,
            "->'imageId') = 'number' THEN (",
            $data,
            "->'imageId')::integer END, substring(CASE WHEN jsonb_typeof(",
            $data,
            ") = 'string' THEN ",
            $data,
            r#" #>> '{}' END FROM '.*"imageId"\s*:\s*(\d{1,9})')::integer)"#
        )
    };
}

/// The URL of the image in `data`, or NULL.
macro_rules! image_url_in {
    ($data:literal) => {
        concat!(
            "coalesce(",
            $data,
            "->>'imageUrl', substring(CASE WHEN jsonb_typeof(",
            $data,
            ") = 'string' THEN ",
            $data,
            r#" #>> '{}' END FROM '.*"imageUrl"\s*:\s*"([^"]*)"'))"#
        )
    };
}

pub(super) use {data_with_image, image_id_in, image_url_in};
