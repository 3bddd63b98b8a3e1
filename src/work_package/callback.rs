//! `callbackUrl` of a package, and the origins that an operator allows it to be of.

use std::collections::BTreeSet;
use std::fmt;

use url::Url;

/// Longer ones are nobody's address.
const MOST_CHARS: usize = 2_048;

/// Origins to which the ends of jobs may be posted, such as `https://hooks.example.org`; made from `CALLBACK_HOSTS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallbackOrigins(BTreeSet<String>);

impl FromIterator<String> for CallbackOrigins {
    fn from_iter<T: IntoIterator<Item = String>>(origins: T) -> Self {
        Self(origins.into_iter().collect())
    }
}

/// A URL that the end of a job may be posted to. Its path and query may be secret: prints as its origin.
#[derive(Clone, PartialEq, Eq)]
pub struct CallbackUrl(Box<str>);

impl CallbackUrl {
    /// The whole URL, for the database and for whoever posts to it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CallbackUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = Url::parse(&self.0).map(|url| url.origin().ascii_serialization());
        write!(f, "CallbackUrl({}/***)", origin.unwrap_or_default())
    }
}

impl CallbackOrigins {
    /// All of them, in the order of their letters.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Reads a URL as a package writes it. Compared is what the URL means: `HTTPS://Hooks.example.org:443` is
    /// `https://hooks.example.org`, and `http://2130706433` is `http://127.0.0.1`.
    ///
    /// # Errors
    /// What was found and what to do, to stand behind the name of the field. No more of the URL than its origin is quoted.
    pub(super) fn read(&self, text: &str) -> Result<CallbackUrl, String> {
        let url = Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "https" | "http"));
        let Some(mut url) = url else {
            return Err(
                "what was found is no http or https URL; one whose host stands in CALLBACK_HOSTS is accepted"
                    .to_owned(),
            );
        };
        if self.0.is_empty() {
            return Err(
                "a URL was found, and this service posts to none yet; leave it out, or have the operator set CALLBACK_HOSTS to its \
                 host, such as hooks.example.org"
                    .to_owned(),
            );
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "a URL with a user or password in it was found; one without is accepted: the signature says who posts"
                    .to_owned(),
            );
        }
        url.set_fragment(None);
        if url.as_str().len() > MOST_CHARS {
            return Err(format!(
                "a URL of {} characters was found; at most {MOST_CHARS} are accepted",
                url.as_str().len()
            ));
        }
        let origin = url.origin().ascii_serialization();
        if !self.0.contains(&origin) {
            return Err(format!(
                "a URL of {origin} was found, which CALLBACK_HOSTS does not allow; leave it out, or have the operator add its host there"
            ));
        }
        Ok(CallbackUrl(String::from(url).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let allowed = [
            "https://hooks.example.org",
            "http://127.0.0.1:3000",
            "http://[::1]:80",
        ];
        let origins: CallbackOrigins = allowed
            .iter()
            .map(|origin| origin.parse::<Url>().unwrap().origin().ascii_serialization())
            .collect();
        origins.read(text).map(|read| read.expose().to_owned())
    }

    #[test]
    fn every_way_of_writing_an_allowed_origin_is_that_origin() {
        for (text, meant) in [
            ("https://hooks.example.org", "https://hooks.example.org/"),
            (
                "HTTPS://Hooks.Example.ORG:443/a?b=c#d",
                "https://hooks.example.org/a?b=c",
            ),
            ("http://127.0.0.1:3000/done", "http://127.0.0.1:3000/done"),
            ("http://2130706433:3000/", "http://127.0.0.1:3000/"),
            ("http://0x7f.1:3000/", "http://127.0.0.1:3000/"),
            ("http://0177.0.0.1:3000/", "http://127.0.0.1:3000/"),
            ("http://[0:0::1]/x", "http://[::1]/x"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(meant), "{text}");
        }
    }

    #[test]
    fn no_other_address_is_reached_however_it_is_written() {
        for text in [
            "http://hooks.example.org/",
            "https://hooks.example.org:8443/",
            "https://hooks.example.org./",
            "https://hooks.example.org.evil.example/",
            "https://evil.example/hooks.example.org",
            "https://evil.example/?https://hooks.example.org",
            "https://evil.example#hooks.example.org",
            "https://evil.example\\@hooks.example.org/",
            "https:\\\\evil.example/hooks.example.org",
            "https://xhooks.example.org/",
            "https://example.org/",
            "http://127.0.0.1/",
            "http://127.0.0.1:3001/",
            "https://127.0.0.1:3000/",
            "http://127.1.1.1:3000/",
            "http://localhost:3000/",
            "http://[::ffff:127.0.0.1]:3000/",
            "http://[::1]:3000/",
            "http://169.254.169.254/",
            "http://0xa9fea9fe/",
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains("CALLBACK_HOSTS does not allow"), "{text}: {said}");
        }
        for text in [
            "",
            "hooks.example.org",
            "//hooks.example.org/",
            "ftp://hooks.example.org/",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "data:text/plain,hooks.example.org",
            "https://",
            "https://[::1",
            "https://hooks.example.org:99999/",
        ] {
            let said = read(text).unwrap_err();
            assert!(
                said.starts_with("what was found is no http or https URL"),
                "{text}: {said}"
            );
        }
    }

    #[test]
    fn what_may_be_secret_is_not_quoted() {
        for text in [
            "https://user:hunter2@hooks.example.org/",
            "https://hunter2@hooks.example.org/",
            "https://evil.example/hunter2?hunter2#hunter2",
            "hunter2",
            &format!("https://hooks.example.org/hunter2{}", "x".repeat(2_048)),
        ] {
            let said = read(text).unwrap_err();
            assert!(!said.contains("hunter2"), "{said}");
        }
        let origins: CallbackOrigins = ["https://hooks.example.org".to_owned()].into_iter().collect();
        let url = origins.read("https://hooks.example.org/hunter2").unwrap();
        assert_eq!(format!("{url:?}"), "CallbackUrl(https://hooks.example.org/***)");
        let none = CallbackOrigins::default()
            .read("https://hunter2.example/")
            .unwrap_err();
        assert!(
            none.contains("set CALLBACK_HOSTS") && !none.contains("hunter2"),
            "{none}"
        );
    }
}
