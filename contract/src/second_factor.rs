//! One-time codes: of an authenticator app (RFC 6238: SHA-1, six digits, 30 s, as every such app
//! has them), and for recovery. Pure: who has used which code is not known here.

use aws_lc_rs::{constant_time, hmac};
use chrono::{DateTime, Utc};
use data_encoding::BASE32_NOPAD;

use crate::{
    AccountId,
    keys::{KeyError, MasterKey, Secret, random},
};

/// Seconds for which an app shows a code.
const STEP_S: i64 = 30;
/// Steps before and after the present one whose codes are taken: clocks differ, and people type.
const STEPS_AWAY: i64 = 1;
const DIGITS: usize = 6;
const SECRET_BYTES: usize = 20;
/// Recovery codes of an account.
pub const RECOVERY_CODES: usize = 10;
const RECOVERY_BYTES: usize = 10;
const RECOVERY_CHARS: usize = 16;
const ACCOUNT_BYTES: usize = 16;

/// What an authenticator app and the system share. Has no `Debug`, so that it cannot be logged.
pub struct TotpSecret([u8; SECRET_BYTES]);

impl TotpSecret {
    /// A new secret.
    #[must_use]
    pub fn generate() -> Self {
        Self(random())
    }

    /// Encrypts the secret for the row of its account.
    #[must_use]
    pub fn seal(&self, master: &MasterKey, account: AccountId) -> Vec<u8> {
        master.seal(&[account.0.as_bytes().as_slice(), &self.0].concat())
    }

    /// Decrypts what [`Self::seal`] made for this account.
    pub fn open(master: &MasterKey, account: AccountId, sealed: &[u8]) -> Result<Self, KeyError> {
        let plain = master.open(sealed)?;
        let (owner, secret) = plain.split_at_checked(ACCOUNT_BYTES).ok_or(KeyError::CannotOpen)?;
        if owner != account.0.as_bytes() {
            return Err(KeyError::CannotOpen);
        }
        secret.try_into().map(Self).map_err(|_| KeyError::CannotOpen)
    }

    /// The text that is typed into an app.
    #[must_use]
    pub fn text(&self) -> String {
        BASE32_NOPAD.encode(&self.0)
    }

    /// The address that an app reads from a picture.
    #[must_use]
    pub fn uri(&self, email: &str) -> String {
        let (label, secret) = (percent_encoded(email), self.text());
        format!(
            "otpauth://totp/Usher:{label}?secret={secret}&issuer=Usher&algorithm=SHA1&digits=6\
             &period=30"
        )
    }

    /// The step whose code this is, if it is the present one or a neighbour.
    #[must_use]
    pub fn step_of(&self, code: &str, now: DateTime<Utc>) -> Option<i64> {
        let present = now.timestamp().div_euclid(STEP_S);
        let mut steps = (-STEPS_AWAY..=STEPS_AWAY).map(|away| present + away);
        steps.find(|step| {
            let right = code_at(&self.0, *step, DIGITS);
            constant_time::verify_slices_are_equal(right.as_bytes(), code.as_bytes()).is_ok()
        })
    }

    /// The code of a moment, as the app shows it.
    #[must_use]
    pub fn code(&self, now: DateTime<Utc>) -> String {
        code_at(&self.0, now.timestamp().div_euclid(STEP_S), DIGITS)
    }

    /// Reads the secret's text, as an app does.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        BASE32_NOPAD.decode(text.as_bytes()).ok()?.try_into().ok().map(Self)
    }
}

/// The code of a step (RFC 4226, 5.3).
fn code_at(secret: &[u8], step: i64, digits: usize) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let from = usize::from(tag.last().expect("SHA-1 has 20 bytes") & 0x0f);
    let four = tag[from..from + 4].try_into().expect("four bytes, from the sixteenth at most");
    let number = u32::from_be_bytes(four) & 0x7fff_ffff;
    let text = format!("{number:010}");
    text[text.len() - digits..].to_owned()
}

/// Digits of a byte in an address.
const HEX: [char; 16] =
    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            encoded.extend(['%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        encoded
    })
}

/// A code that its owner has typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypedCode {
    /// Six digits of an authenticator app.
    Totp(String),
    /// A recovery code: base32 in capitals, without hyphens.
    Recovery(String),
}

impl TypedCode {
    /// Reads a code as people type it; `None` for what is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // Longer than any code with a space after each character.
        if text.len() > 4 * RECOVERY_CHARS {
            return None;
        }
        let code: String = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
        let code = code.to_ascii_uppercase();
        match code.len() {
            DIGITS if code.bytes().all(|b| b.is_ascii_digit()) => Some(Self::Totp(code)),
            RECOVERY_CHARS if BASE32_NOPAD.decode(code.as_bytes()).is_ok() => {
                Some(Self::Recovery(code))
            }
            _ => None,
        }
    }
}

/// Makes recovery codes, and the keyed hashes by which they are stored.
#[derive(Clone)]
pub struct RecoveryKey(Secret);

impl RecoveryKey {
    /// The key of an installation.
    #[must_use]
    pub fn new(master: &MasterKey) -> Self {
        Self(master.derive("recovery-code"))
    }

    /// New codes of an account, as people read them, with their hashes.
    #[must_use]
    pub fn generate(&self, account: AccountId) -> (Vec<String>, Vec<Vec<u8>>) {
        let codes = (0..RECOVERY_CODES).map(|_| BASE32_NOPAD.encode(&random::<RECOVERY_BYTES>()));
        codes.map(|code| (in_fours(&code.to_ascii_lowercase()), self.mac(account, &code))).unzip()
    }

    /// The hash of a [`TypedCode::Recovery`].
    #[must_use]
    pub fn mac(&self, account: AccountId, code: &str) -> Vec<u8> {
        self.0.mac(&[account.0.as_bytes(), code.as_bytes()]).to_vec()
    }
}

fn in_fours(code: &str) -> String {
    let fours: Vec<&str> = (0..code.len()).step_by(4).map(|from| &code[from..from + 4]).collect();
    fours.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master() -> MasterKey {
        MasterKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap()
    }

    fn at(s: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(s, 0).unwrap()
    }

    #[test]
    fn the_codes_are_those_of_the_rfc() {
        // RFC 6238, appendix B, the rows for SHA-1.
        for (s, code) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            assert_eq!(code_at(b"12345678901234567890", s / STEP_S, 8), code, "{s}");
            let six = TotpSecret(*b"12345678901234567890").code(at(s));
            assert_eq!(six, code[2..], "{s}");
        }
        // RFC 4226, appendix D.
        for (step, code) in [(0, "755224"), (1, "287082"), (9, "520489")] {
            assert_eq!(code_at(b"12345678901234567890", step, 6), code);
        }
    }

    #[test]
    fn a_code_is_of_its_step_and_is_taken_a_step_early_or_late() {
        let secret = TotpSecret::generate();
        let code = secret.code(at(3_000_000));
        for (s, step) in [
            (2_999_969, None),
            (2_999_970, Some(100_000)),
            (3_000_059, Some(100_000)),
            (3_000_060, None),
        ] {
            assert_eq!(secret.step_of(&code, at(s)), step, "{s}");
        }
        assert_eq!(secret.step_of("", at(3_000_000)), None);
        assert_eq!(TotpSecret::generate().text().len(), 32);
    }

    #[test]
    fn a_secret_opens_for_its_account_and_reads_back_from_its_text() {
        let (account, secret) = (AccountId::new(), TotpSecret::generate());
        let sealed = secret.seal(&master(), account);
        let opened = TotpSecret::open(&master(), account, &sealed).unwrap();
        assert_eq!(opened.text(), secret.text());
        assert!(TotpSecret::open(&master(), AccountId::new(), &sealed).is_err());
        assert_eq!(TotpSecret::parse(&secret.text()).unwrap().text(), secret.text());
        let uri = secret.uri("ann+x@example.org");
        assert!(uri.starts_with("otpauth://totp/Usher:ann%2Bx%40example%2Eorg?secret="), "{uri}");
    }

    #[test]
    fn a_recovery_code_is_read_however_it_is_typed() {
        let (key, account) = (RecoveryKey::new(&master()), AccountId::new());
        let (codes, macs) = key.generate(account);
        assert_eq!((codes.len(), macs.len()), (RECOVERY_CODES, RECOVERY_CODES));
        for (code, mac) in codes.iter().zip(&macs) {
            assert_eq!(code.len(), 19, "{code}");
            let shouted = code.replace('-', " ").to_uppercase();
            for typed in [code, &shouted] {
                let Some(TypedCode::Recovery(read)) = TypedCode::parse(typed) else { panic!() };
                assert_eq!(&key.mac(account, &read), mac);
                assert_ne!(&key.mac(AccountId::new(), &read), mac);
            }
        }
        assert_eq!(TypedCode::parse("123 456"), Some(TypedCode::Totp("123456".into())));
        let long = " ".repeat(100);
        for none in ["", "12345", "1234567", "abcdef", "abcd-efgh-ijkl-mno1", "é23456", &long] {
            assert_eq!(TypedCode::parse(none), None, "{none}");
        }
    }
}
