//! The rivals: what this program is when it takes packages itself. Told what to do by a line on standard input.

mod ceiling;
mod naive;
mod plain;
mod pool;

pub(crate) use plain::shrink;
use serde::Deserialize;

use crate::peer::{Kind, Orders};

/// What a rival reads of a package.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    job_id: i32,
    user_id: Option<i32>,
    collection_type: String,
    collection_id: i64,
    prompt: String,
}

impl Package {
    /// Where its picture is supposed to be.
    fn url(&self, base: &str, ending: &str) -> String {
        format!(
            "{base}/ypGenAi/{}/{}/{}{ending}.png",
            self.collection_type, self.collection_id, self.job_id
        )
    }
}

pub(crate) async fn run() -> anyhow::Result<()> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let orders: Orders = serde_json::from_str(&line)?;
    match orders.kind {
        Kind::Naive | Kind::NaivePop => naive::run(orders, None).await,
        Kind::Plain => {
            let maker = plain::Maker::new(&orders)?;
            naive::run(orders, Some(maker)).await
        }
        Kind::Ceiling => ceiling::run(orders).await,
        Kind::Worker => anyhow::bail!("the worker is a program of its own"),
    }
}
