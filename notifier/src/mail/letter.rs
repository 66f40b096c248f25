//! What a mail says, and in what form.

use anyhow::Context as _;
use askama::Template;
use contract::mail::{LinkTokens, MailKind};
use lettre::{
    Address, Message,
    message::{
        Mailbox, MultiPart,
        header::{HeaderName, HeaderValue},
    },
};
use store::mails::ClaimedMail;

/// Writes mails. Nothing that a user wrote gets into them, except the recipient's address, which
/// lettre checks.
pub(super) struct Writer {
    pub(super) from: Mailbox,
    /// Where the pages are, without a slash at its end.
    pub(super) public_url: String,
    pub(super) links: LinkTokens,
}

struct Words {
    subject: &'static str,
    greeting: &'static str,
    text: &'static str,
    /// What the link does.
    action: &'static str,
    otherwise: &'static str,
    /// The page of the link.
    page: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "mail.txt", escape = "none")]
struct Plain<'w> {
    words: &'w Words,
    link: Option<&'w str>,
}

#[derive(Template)]
#[template(path = "mail.html")]
struct Html<'w> {
    words: &'w Words,
    link: Option<&'w str>,
}

impl Writer {
    /// The mail as it is sent. The same mail has the same `Message-ID` and date every time.
    pub(super) fn write(&self, mail: &ClaimedMail, kind: MailKind) -> anyhow::Result<Message> {
        let words = words(kind);
        // In the fragment, which browsers send to nobody and no server logs.
        let link = words
            .page
            .map(|page| format!("{}/{page}#token={}", self.public_url, self.links.token(mail.id)));
        let (words, link) = (&words, link.as_deref());
        let (plain, html) = (Plain { words, link }.render()?, Html { words, link }.render()?);
        let recipient: Address = mail.recipient.parse().context("its address is not one")?;
        let id = format!("<{}@{}>", mail.id, self.from.email.domain());
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, recipient))
            .subject(words.subject)
            .date(mail.made_at.into())
            .message_id(Some(id))
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .multipart(MultiPart::alternative_plain_html(plain, html))
            .context("it cannot be put together")
    }
}

fn words(kind: MailKind) -> Words {
    match kind {
        MailKind::VerifyAddress => Words {
            subject: "Please confirm your e-mail address",
            greeting: "Welcome!",
            text: "Please confirm that this is your e-mail address. The link works once, \
                   for a day.",
            action: "Confirm the address",
            otherwise: "If you did not sign up, please ignore this mail.",
            page: Some("verify"),
        },
        MailKind::PasswordReset => Words {
            subject: "Set a new password",
            greeting: "Hello,",
            text: "You, or somebody else, asked for a new password. The link works once, \
                   for 30 minutes.",
            action: "Set a new password",
            otherwise: "If it was not you, please ignore this mail: your password stays as it is.",
            page: Some("password-reset"),
        },
        MailKind::PasswordChanged => Words {
            subject: "Your password was changed",
            greeting: "Hello,",
            text: "The password of your account was changed, and its other sessions have ended.",
            action: "",
            otherwise: "If it was not you, ask for a link that sets a new password at once.",
            page: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use contract::{MailId, keys::MasterKey};

    use super::*;

    fn writer() -> Writer {
        let key = MasterKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
        Writer {
            from: "Usher <tickets@example.org>".parse().unwrap(),
            public_url: "https://tickets.example".into(),
            links: LinkTokens::new(&key),
        }
    }

    fn mail(recipient: &str) -> ClaimedMail {
        ClaimedMail {
            id: MailId::new(),
            kind: "verify-address".into(),
            recipient: recipient.into(),
            made_at: platform::clock::now(),
            is_over: false,
            attempts: 1,
        }
    }

    #[test]
    fn a_mail_says_who_wrote_it_and_carries_its_link_in_both_parts() {
        for kind in MailKind::ALL {
            let (writer, mail) = (writer(), mail("ann@example.net"));
            let text = String::from_utf8(writer.write(&mail, kind).unwrap().formatted()).unwrap();
            assert!(text.contains("Auto-Submitted: auto-generated\r\n"), "{text}");
            assert!(text.contains(&format!("Message-ID: <{}@example.org>\r\n", mail.id)), "{text}");
            assert!(text.contains("To: ann@example.net\r\n"), "{text}");
            let whole = text.replace("=\r\n", "").replace("=3D", "=");
            let token = writer.links.token(mail.id);
            let links = if kind == MailKind::PasswordChanged { 0 } else { 3 };
            assert_eq!(whole.matches(&format!("#token={token}")).count(), links, "{whole}");
        }
    }

    #[test]
    fn an_address_cannot_bring_in_a_header() {
        for bad in [
            "ann@example.net\r\nBcc: all@example.net",
            "ann@example.net\nX: y",
            "\"a\r\nBcc: b\"@example.net",
            "ann@example.net, all@example.net",
            "ann@example.net\0",
        ] {
            let written = writer().write(&mail(bad), MailKind::PasswordReset);
            assert!(written.is_err(), "{bad:?}");
        }
        let odd = "a+<b>&'c@example.net";
        if let Ok(written) = writer().write(&mail(odd), MailKind::PasswordReset) {
            let text = String::from_utf8(written.formatted()).unwrap();
            assert_eq!(text.matches("\r\nTo: ").count(), 1, "{text}");
        }
    }
}
