//! A whole icon, as one writes it with everyday crates: reqwest, base64, `image` with its own resize and its defaults.

use anyhow::Context;
use base64::Engine;
use serde::Deserialize;
use serde_json::json;

use super::Package;
use crate::peer::Orders;

pub(super) struct Maker {
    http: reqwest::Client,
    services_url: String,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Drawn>,
}

#[derive(Deserialize)]
struct Drawn {
    b64_json: String,
}

impl Maker {
    pub(super) fn new(orders: &Orders) -> anyhow::Result<Self> {
        Ok(Self {
            http: reqwest::Client::new(),
            services_url: orders.services_url.clone().context("no services")?,
        })
    }

    /// Returns where the icon is.
    pub(super) async fn make(&self, package: &Package) -> anyhow::Result<String> {
        let body = json!({ "model": "gpt-image-2", "prompt": package.prompt, "n": 1, "size": "1024x1024" });
        let asking = self
            .http
            .post(format!("{}/v1/images/generations", self.services_url))
            .bearer_auth("sk-bench");
        let answer: Answer = asking
            .json(&body)
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        let drawn = answer.data.first().context("no picture")?;
        let png = base64::engine::general_purpose::STANDARD.decode(&drawn.b64_json)?;
        drop(answer);
        let icon = tokio::task::spawn_blocking(move || shrink(&png)).await??;
        let url = package.url(&format!("{}/bench", self.services_url), "-icon");
        let storing = self.http.put(&url).header("content-type", "image/png").body(icon);
        storing.send().await?.error_for_status()?;
        Ok(url)
    }
}

/// Fits a picture inside 400 × 400 px with `image` alone.
pub(crate) fn shrink(png: &[u8]) -> anyhow::Result<Vec<u8>> {
    let picture = image::load_from_memory(png)?;
    let small = picture.resize(400, 400, image::imageops::FilterType::Lanczos3);
    let mut file = std::io::Cursor::new(Vec::new());
    small.write_to(&mut file, image::ImageFormat::Png)?;
    Ok(file.into_inner())
}
