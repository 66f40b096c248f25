//! The origins of web pages, as an operator names them and browsers send them.

use std::{fmt, str::FromStr, sync::Arc};

use axum::http::{HeaderMap, HeaderValue, Uri, header};

/// Origins whose pages may call: scheme, host and port, such as `https://tickets.example`, several
/// separated by commas. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Arc<[HeaderValue]>);

impl Origins {
    /// The origin of the page that makes a request with these headers, if it is one of these.
    #[must_use]
    pub fn of<'r>(&self, headers: &'r HeaderMap) -> Option<&'r HeaderValue> {
        headers.get(header::ORIGIN).filter(|sent| self.0.contains(sent))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Origins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
        named.map(read).collect::<Result<_, _>>().map(Self)
    }
}

fn read(text: &str) -> Result<HeaderValue, String> {
    let wrong = |why: &str| format!("`{text}` {why}: write it as https://tickets.example");
    if text.contains(['*', '#', '@']) {
        return Err(wrong("has a sign that no origin has"));
    }
    let uri: Uri = text.parse().map_err(|_| wrong("is not an origin"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong("does not begin with https:// or the like"));
    };
    if uri.path_and_query().is_some_and(|rest| rest.as_str() != "/") {
        return Err(wrong("has a path, which no origin has"));
    }
    // As browsers write it: in lower case, and without the scheme's own port.
    let own_port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => "",
    };
    let host = authority.as_str().to_ascii_lowercase();
    let host = host.strip_suffix(own_port).unwrap_or(&host);
    HeaderValue::try_from(format!("{scheme}://{host}")).map_err(|_| wrong("is not an origin"))
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origins: Vec<&str> = self.0.iter().filter_map(|origin| origin.to_str().ok()).collect();
        f.write_str(&origins.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_browsers_write_them() {
        let shown = |text: &str| text.parse::<Origins>().map(|origins| origins.to_string());
        assert_eq!(shown("").unwrap(), "");
        assert_eq!(shown("https://tickets.example").unwrap(), "https://tickets.example");
        assert_eq!(shown(" https://Tickets.Example/ ,").unwrap(), "https://tickets.example");
        assert_eq!(shown("https://tickets.example:443").unwrap(), "https://tickets.example");
        assert_eq!(
            shown("http://localhost:8080, http://[::1]:3000,capacitor://localhost").unwrap(),
            "http://localhost:8080,http://[::1]:3000,capacitor://localhost"
        );
        for wrong in [
            "*",
            "null",
            "tickets.example",
            "https://",
            "https://*.tickets.example",
            "https://a.example/shop",
            "https://a.example?x",
            "https://a.example#x",
            "https://me@a.example",
            "https://a.example, b.example",
        ] {
            let refused = shown(wrong).unwrap_err();
            assert!(refused.ends_with("write it as https://tickets.example"), "{refused}");
        }
    }
}
