//! Work on the bytes and pixels of pictures, which come from outside and may be anything: never on a thread that others need, no
//! more at once than there are cores and memory, and a panic of a decoder is a bad picture.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::Semaphore;

use crate::failure::Failure;
use crate::imaging::BadPicture;
use crate::memory;

/// To look at so many bytes, or to mark them, takes less than handing them to another thread and back.
const SMALL_BYTES: usize = 64 * 1024;

pub(super) struct PixelWork {
    /// As many as there are cores, since more at once would only cost memory.
    slots: Semaphore,
}

impl PixelWork {
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            slots: Semaphore::new(cores),
        }
    }

    /// Runs work that reads so many bytes once and decodes no pixel: here if they are few, else as work on pixels.
    pub(super) async fn on_bytes<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> Result<T, BadPicture> + Send + 'static,
    ) -> Result<T, Failure> {
        if bytes > SMALL_BYTES {
            return self.run(0, work).await;
        }
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => Ok(result?),
            Err(_) => Err(BadPicture::Unreadable.into()),
        }
    }

    /// Runs work on pixels, which takes so much memory, on a thread where it holds up nobody.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        memory_bytes: u64,
        work: impl FnOnce() -> Result<T, BadPicture> + Send + 'static,
    ) -> Result<T, Failure> {
        let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
        let _turn = memory::work(memory_bytes).await;
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(BadPicture::Unreadable.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::ErrorClass;

    #[tokio::test]
    async fn work_on_a_picture_that_panics_makes_it_a_bad_picture_wherever_it_runs() {
        let pixels = PixelWork::new();
        let panics = || -> Result<(), BadPicture> { panic!("the test's decoder") };
        for bytes in [SMALL_BYTES, SMALL_BYTES + 1] {
            let failure = pixels.on_bytes(bytes, panics).await.unwrap_err();
            assert_eq!(failure.class, ErrorClass::BadImage);
        }
        let failure = pixels.run(1, panics).await.unwrap_err();
        assert_eq!(failure.class, ErrorClass::BadImage);
    }
}
