//! Packages as the field writes them are drawn, and where one cannot be read its job is told whenever its number stands there.

use serde_json::{Value, json};

use crate::harness::stack::{Stack, logo, with};

#[tokio::test(flavor = "multi_thread")]
async fn what_encoders_of_the_field_write_is_drawn() {
    let stack = Stack::start().await;
    let _replica = stack.replica(&[]).await;
    let now = chrono::Utc::now().timestamp();
    let jobs = stack.jobs(9).await;
    let text = |i: usize| logo(jobs[i]).to_string();
    let prompt = |i: usize, end: &str| text(i).replace("a paper boat", &format!("a cat {end}"));
    let later = |i: usize, value: serde_json::Value| with(logo(jobs[i]), "deadline", value).to_string();
    for package in [
        prompt(0, "\\ud83d"),
        prompt(1, "\\udc31"),
        format!("\u{feff}{}", text(2)),
        serde_json::Value::String(text(3)).to_string(),
        text(4).replacen('{', "{\"extra\":NaN,\"seed\":Infinity,", 1),
        later(5, (now + 600).into()),
        later(6, ((now + 600) * 1_000).into()),
        later(7, (now as f64 + 600.5).into()),
        with(logo(jobs[8]), "jobId", jobs[8] as f64).to_string(),
    ] {
        stack.push_raw(package.as_bytes()).await;
    }
    stack.all_done_once(&jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_kept_to_the_byte_and_its_job_is_told() {
    let stack = Stack::start().await;
    let _replica = stack.replica(&[]).await;
    let jobs = stack.jobs(11).await;
    let text = |i: usize| logo(jobs[i]).to_string();
    let latin1 = |i: usize| [text(i).replace("boat", "b").as_bytes(), b"\xe9"].concat();
    let utf16 = |i: usize| {
        let units = text(i);
        std::iter::once(0xfeff)
            .chain(units.encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>()
    };
    let id = |i: usize, value: String| {
        text(i).replace(&format!("\"jobId\":{}", jobs[i]), &format!("\"jobId\":{value}"))
    };
    let packages: Vec<Vec<u8>> = vec![
        latin1(0),
        format!("{}\0", text(1)).into_bytes(),
        format!("{},", text(2)).into_bytes(),
        format!("[{}]", text(3)).into_bytes(),
        id(4, format!("\"{} \"", jobs[4])).into_bytes(),
        text(5)[..text(5).len() - 1].to_owned().into_bytes(),
        serde_json::Value::String(format!("{},", text(6)))
            .to_string()
            .into_bytes(),
        text(7).replace('"', "'").into_bytes(),
        text(8).replace("jobId", "job_id").into_bytes(),
        utf16(9),
        with(logo(jobs[10]), "deadline", "soon").to_string().into_bytes(),
    ];
    for package in &packages {
        stack.push_raw(package).await;
    }
    for job_id in &jobs {
        let job = stack.ended(*job_id).await;
        assert!(job.error.is_some_and(|error| !error.is_empty()), "job {job_id}");
    }
    stack.idle().await;
    let rows = stack
        .sql("SELECT payload FROM generative_ai.dead_packages", &[])
        .await;
    let mut kept: Vec<Vec<u8>> = rows.iter().map(|row| row.get(0)).collect();
    let mut pushed = packages;
    kept.sort();
    pushed.sort();
    assert_eq!(kept, pushed);
}

/// `data` of a job as its application keeps it: a text in `jsonb`.
async fn set_text(stack: &Stack, job_id: i32, text: &str) {
    let set = "UPDATE ac_background_jobs SET data = to_jsonb($2::text) WHERE id = $1";
    stack.sql(set, &[&job_id, &text]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_orm_has_encoded_as_a_text_is_merged_as_a_text() {
    let stack = Stack::start().await;
    let _replica = stack.replica(&[]).await;
    for (number, (before, kept)) in (1..).zip([
        (r#"{"note":"a \"b\" }"}"#, json!({"note": "a \"b\" }"})),
        ("{}", json!({})),
        (" { } \n", json!({})),
        (
            r#"{"imageId":1,"imageUrl":"old","deep":{"a":[1]}}"#,
            json!({"deep": {"a": [1]}}),
        ),
    ]) {
        let job_id = stack.job().await;
        set_text(&stack, job_id, before).await;
        stack.push(&logo(job_id)).await;
        stack.idle_and_done(job_id).await;
        let first = stack.job_row(job_id).await.data;
        let told: Value = serde_json::from_str(first.as_str().expect(before)).expect(before);
        let mut expected = kept;
        expected["imageId"] = told["imageId"].clone();
        expected["imageUrl"] = told["imageUrl"].clone();
        assert_eq!(told, expected);
        assert!(told["imageId"].is_i64() && told["imageUrl"].is_string(), "{told}");
        // Repeated, it stays as it is; overwritten, it is put right.
        stack.push(&logo(job_id)).await;
        stack.idle().await;
        assert_eq!(stack.job_row(job_id).await.data, first);
        set_text(&stack, job_id, before).await;
        stack.push(&logo(job_id)).await;
        stack
            .until("it is put right", async || {
                (stack.job_row(job_id).await.data == first).then_some(())
            })
            .await;
        // What the ledger has forgotten is known by its row.
        stack
            .sql(
                "DELETE FROM generative_ai.provider_calls WHERE job_id = $1",
                &[&job_id],
            )
            .await;
        stack
            .sql("DELETE FROM generative_ai.jobs WHERE job_id = $1", &[&job_id])
            .await;
        stack.push(&logo(job_id)).await;
        stack.idle().await;
        assert_eq!(stack.job_row(job_id).await.data, first);
        assert_eq!(stack.count("SELECT count(*) FROM images").await, number);
    }
}

impl Stack {
    async fn idle_and_done(&self, job_id: i32) {
        self.until(&format!("job {job_id} is done"), async || {
            (self.job_row(job_id).await.progress == Some(100)).then_some(())
        })
        .await;
        self.idle().await;
    }
}
