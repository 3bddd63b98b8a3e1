//! The bytes of a picture that a service has made: once it has said so, they are fetched again and not bought again.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use tokio::time::{Instant, sleep};
use url::Url;

use super::incident::Incident;
use super::picture::Picture;
use crate::failure::ErrorClass;
use crate::http_client::{DownloadFault, Downloads, HttpClient, Outgoing};
use crate::imaging::{self, BadPicture};
use crate::provider::{Call, DrawnImage, NotDrawn};

/// How often something else is taken for a picture that is on its way: a page of a delivery network, half a file.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(300);

/// The service's own origin, the only one that may get its key.
#[derive(Clone, Copy)]
pub(in crate::provider) struct Origin<'a> {
    pub(in crate::provider) client: &'a HttpClient,
    pub(in crate::provider) headers: &'a HeaderMap,
}

/// The bytes of `picture`, of which nothing more is known than that they look like one, or that nothing better came.
///
/// An address on the service's own origin is asked without a key first, and with it where that is refused: an
/// operator has named that origin.
///
/// # Errors
/// [`DownloadFault`].
pub(in crate::provider) async fn fetch(
    picture: Picture,
    downloads: &Downloads,
    own: Origin<'_>,
    deadline: Instant,
) -> Result<Bytes, DownloadFault> {
    let url = match picture {
        Picture::Bytes(bytes) => return Ok(bytes),
        Picture::Url(url) => Url::parse(&url).map_err(no_address)?,
    };
    for tries in 1.. {
        let bytes = once(&url, downloads, own, deadline).await?;
        let late = Instant::now() + PAUSE >= deadline;
        if tries >= TRIES || late || is_whole(&bytes).await {
            return Ok(bytes);
        }
        tracing::debug!("what was fetched is no whole picture; it is fetched again");
        sleep(PAUSE).await;
    }
    unreachable!("the loop ends by itself")
}

/// The bytes of a picture that the answer to a call has brought, or said the address of, which is saved first: it is the
/// handle of the call from then on.
///
/// # Errors
/// [`NotDrawn::GoesOn`] where only fetching has failed.
pub(in crate::provider) async fn obtain(
    picture: Picture,
    incident: &Incident<'_>,
    call: &Call<'_>,
    downloads: &Downloads,
    own: Origin<'_>,
) -> Result<Bytes, NotDrawn> {
    let unfetched =
        |fault: DownloadFault| NotDrawn::unfetched(&fault, incident.error(fault.class(), &fault.to_string()));
    let picture = match picture {
        // Relative to the service's own, where it is none by itself.
        Picture::Url(url) => {
            let url = own
                .client
                .url("")
                .join(&url)
                .map_err(no_address)
                .map_err(unfetched)?;
            call.watch.accepted(url.as_str()).await;
            Picture::Url(url.into())
        }
        bytes => bytes,
    };
    fetch(picture, downloads, own, call.deadline)
        .await
        .map_err(unfetched)
}

/// The picture whose address [`obtain`] has saved.
///
/// # Errors
/// [`NotDrawn::Ended`] with `Ambiguous` for one that has not been there for long.
pub(in crate::provider) async fn resume(
    handle: &str,
    incident: &Incident<'_>,
    call: &Call<'_>,
    downloads: &Downloads,
    own: Origin<'_>,
) -> Result<DrawnImage, NotDrawn> {
    if Url::parse(handle).is_err() {
        return Err(incident.unreadable_handle());
    }
    let picture = Picture::Url(handle.to_owned());
    let fault = match fetch(picture, downloads, own, call.deadline).await {
        Ok(bytes) => return Ok(DrawnImage::by_model(bytes)),
        Err(fault) => fault,
    };
    let is_gone = matches!(fault, DownloadFault::Answered(_)) && call.may_be_forgotten;
    let class = if is_gone {
        ErrorClass::Ambiguous
    } else {
        fault.class()
    };
    let error = incident.error(class, &fault.to_string());
    Err(match is_gone {
        true => NotDrawn::Ended(error),
        false => NotDrawn::unfetched(&fault, error),
    })
}

fn no_address(error: url::ParseError) -> DownloadFault {
    DownloadFault::Unreadable(format!("its address is not a URL ({error})"))
}

async fn once(
    url: &Url,
    downloads: &Downloads,
    own: Origin<'_>,
    deadline: Instant,
) -> Result<Bytes, DownloadFault> {
    let fault = match downloads.fetch(url.as_str(), deadline).await {
        Err(fault @ (DownloadFault::Answered(401 | 403) | DownloadFault::Refused(_))) => fault,
        fetched => return fetched,
    };
    if url.origin() != own.client.url("").origin() {
        return Err(fault);
    }
    let asking = || Outgoing::get_url(url.clone()).headers(own.headers.clone());
    own.client.fetch(asking, deadline).await
}

async fn is_whole(bytes: &Bytes) -> bool {
    let bytes = bytes.clone();
    // A large file is walked through to its end.
    let inspected = tokio::task::spawn_blocking(move || imaging::inspect(&bytes)).await;
    !matches!(
        inspected,
        Ok(Err(BadPicture::NotAPicture { .. } | BadPicture::CutOff { .. }))
    )
}
