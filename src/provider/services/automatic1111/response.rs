//! What the server answers: pictures as base64, and JSON in a string.

use serde_json::Value;

use crate::provider::wire::json;
use crate::provider::wire::picture::{self, Looked};
use crate::provider::wire::reading::Dialect;
use crate::provider::wire::self_hosted::judge;

/// What these servers mean by their answers.
pub(super) const DIALECT: Dialect = Dialect {
    judge,
    find,
    usage: |_| None,
    ..Dialect::PLAIN
};

/// Finds the picture: where there are several, the first is an overview of them.
fn find(answer: &Value) -> Option<Looked> {
    let Some(images) = answer.get("images").and_then(Value::as_array) else {
        return picture::find(answer);
    };
    let at = first_picture(images.len(), answer.get("info"));
    let image = images.get(at).or_else(|| images.last())?;
    picture::find_here(image).or_else(|| picture::find(answer))
}

/// Where the first picture stands that is none of several in one.
///
/// Source: AUTOMATIC1111 wiki, "API": `info` is JSON in a string, with `index_of_first_image` and `all_seeds`.
fn first_picture(images: usize, info: Option<&Value>) -> usize {
    if images < 2 {
        return 0;
    }
    let info = match info {
        Some(Value::String(text)) => json::parse(text.as_bytes()).unwrap_or_default(),
        Some(info) => info.clone(),
        None => Value::Null,
    };
    let told = info.get("index_of_first_image").and_then(Value::as_u64);
    let told = told.and_then(|index| usize::try_from(index).ok());
    told.unwrap_or_else(|| {
        let seeds = info.get("all_seeds").and_then(Value::as_array);
        usize::from(seeds.is_none_or(|seeds| seeds.len() < images))
    })
}

/// How far the server is with what it draws.
#[derive(Debug, PartialEq)]
pub(super) struct Progress {
    pub(super) fraction: f32,
    /// Whose drawing it is; older servers do not say.
    task: Option<String>,
}

impl Progress {
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let body = json::parse(body).ok()?;
        let fraction = body.get("progress")?.as_f64()?;
        let task = body.get("current_task").and_then(Value::as_str);
        Some(Self {
            fraction: fraction.clamp(0.0, 1.0) as f32,
            task: task.filter(|task| !task.is_empty()).map(str::to_owned),
        })
    }

    /// Whether it can be about this task.
    pub(super) fn is_of(&self, task: &str) -> bool {
        self.task.as_deref().is_none_or(|of| of == task)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::failure::ErrorClass;
    use crate::provider::wire::picture::Picture;
    use crate::provider::wire::reading::outcome;

    fn bytes_of(body: &Value) -> Result<Vec<u8>, ErrorClass> {
        match outcome(&body.to_string(), DIALECT)? {
            Picture::Bytes(bytes) => Ok(bytes.to_vec()),
            Picture::Url(url) => panic!("{url} was found in place of bytes"),
        }
    }

    #[test]
    fn the_picture_is_found_behind_its_overview() {
        // "grid", "one", "two"
        let three = json!(["Z3JpZA==", "b25l", "dHdv"]);
        for (images, info, found) in [
            (json!(["b25l"]), json!("{}"), "one"),
            (json!(["data:image/png;base64,b25l"]), json!(null), "one"),
            (json!(["b25l"]), json!("no JSON"), "one"),
            (
                three.clone(),
                json!("{\"index_of_first_image\":1,\"all_seeds\":[1,2]}"),
                "one",
            ),
            (three.clone(), json!("{\"all_seeds\":[1,2]}"), "one"),
            (three.clone(), json!({"all_seeds": [1, 2]}), "one"),
            (three.clone(), json!("{\"index_of_first_image\":0}"), "grid"),
            (three.clone(), json!("{\"index_of_first_image\":99}"), "two"),
            (json!(["b25l", "dHdv"]), json!("{\"all_seeds\":[1,2]}"), "one"),
            (three, json!(null), "one"),
        ] {
            let body = json!({"images": images, "parameters": {}, "info": info});
            assert_eq!(bytes_of(&body).unwrap(), found.as_bytes(), "{body}");
        }
    }

    #[test]
    fn an_answer_without_a_picture_is_said_to_have_none() {
        for body in [
            json!({}),
            json!([]),
            json!({"images": []}),
            json!({"images": null, "info": "{}"}),
            json!({"images": [""]}),
            json!({"images": ["?"]}),
            json!({"images": [7]}),
        ] {
            assert_eq!(bytes_of(&body), Err(ErrorClass::BadOutput), "{body}");
        }
        assert_eq!(outcome("{\"images\":[\"b25", DIALECT), Err(ErrorClass::Ambiguous));
    }

    #[test]
    fn progress_of_others_is_known_where_the_server_tells() {
        let progress = |body: Value| Progress::read(body.to_string().as_bytes());
        let of_ours = progress(json!({"progress": 0.42, "current_task": "ours"})).unwrap();
        assert!(of_ours.is_of("ours") && !of_ours.is_of("another"));
        let old = progress(json!({"progress": 7, "state": {}})).unwrap();
        assert!(old.is_of("ours"));
        assert!((old.fraction - 1.0).abs() < f32::EPSILON);
        for body in [json!({}), json!({"progress": "half"}), json!(3)] {
            assert_eq!(progress(body), None);
        }
    }
}
