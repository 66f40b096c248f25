//! The origin of web pages, as an operator names it and a browser sends it.

use std::{fmt, str::FromStr};

use axum::http::{HeaderValue, Uri};

/// Where web pages come from: scheme, host and port, such as `https://tickets.example`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(HeaderValue);

impl Origin {
    /// Whether this is what a browser sent as `Origin`.
    #[must_use]
    pub fn is(&self, sent: &HeaderValue) -> bool {
        self.0 == sent
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` {why}: write it as https://tickets.example");
        let uri: Uri = text.trim().parse().map_err(|_| wrong("is not an origin"))?;
        let (Some(scheme @ ("http" | "https")), Some(authority)) =
            (uri.scheme_str(), uri.authority())
        else {
            return Err(wrong("begins with neither https:// nor http://"));
        };
        if uri.path_and_query().is_some_and(|rest| rest.as_str() != "/") {
            return Err(wrong("has a path, which no origin has"));
        }
        if authority.as_str().contains('@') {
            return Err(wrong("names a user, which no origin does"));
        }
        // As browsers write it: in lower case, and without the scheme's own port.
        let own_port = if scheme == "https" { ":443" } else { ":80" };
        let host = authority.as_str().to_ascii_lowercase();
        let host = host.strip_suffix(own_port).unwrap_or(&host);
        let origin = HeaderValue::try_from(format!("{scheme}://{host}"));
        origin.map(Self).map_err(|_| wrong("is not an origin"))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_read_as_browsers_write_it() {
        let shown = |text: &str| text.parse::<Origin>().map(|origin| origin.to_string());
        assert_eq!(shown("https://tickets.example").unwrap(), "https://tickets.example");
        assert_eq!(shown(" https://Tickets.Example/ ").unwrap(), "https://tickets.example");
        assert_eq!(shown("https://tickets.example:443").unwrap(), "https://tickets.example");
        assert_eq!(shown("http://localhost:8080").unwrap(), "http://localhost:8080");
        assert_eq!(shown("http://[::1]:3000").unwrap(), "http://[::1]:3000");
        for wrong in [
            "",
            "*",
            "null",
            "tickets.example",
            "https://",
            "https://a.example/shop",
            "https://a.example?x",
            "https://me@a.example",
            "ftp://a.example",
        ] {
            let refused = shown(wrong).unwrap_err();
            assert!(refused.ends_with("write it as https://tickets.example"), "{refused}");
        }
    }
}
