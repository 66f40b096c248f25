//! Bodies that are not JSON, have another shape, or values out of range.

use contract::ShowId;

use super::{JSON, good, nothing_came_through, refused};
use crate::{
    harness::{Plan, System},
    witness::Witness,
};

/// A body, and the answer to a caller who is signed in.
struct Case {
    what: &'static str,
    body: Vec<u8>,
    status: u16,
    code: &'static str,
    /// The pointer in the answer; `None` if the whole body is refused.
    pointer: Option<&'static str>,
}

fn malformed(what: &'static str, body: impl Into<Vec<u8>>) -> Case {
    Case { what, body: body.into(), status: 400, code: "MALFORMED_JSON", pointer: None }
}

fn invalid(what: &'static str, body: impl Into<Vec<u8>>, pointer: &'static str) -> Case {
    let pointer = Some(pointer);
    Case { what, body: body.into(), status: 400, code: "VALIDATION_FAILED", pointer }
}

fn impossible(what: &'static str, body: impl Into<Vec<u8>>, code: &'static str) -> Case {
    let status = if code == "SHOW_NOT_FOUND" { 404 } else { 422 };
    Case { what, body: body.into(), status, code, pointer: None }
}

fn too_long(what: &'static str, body: impl Into<Vec<u8>>) -> Case {
    Case { what, body: body.into(), status: 413, code: "BODY_TOO_LARGE", pointer: None }
}

fn with(show: ShowId, rest: &str) -> String {
    format!(r#"{{"showId":"{show}","tier":"STANDARD",{rest}}}"#)
}

/// Bodies that are not one whole JSON value.
fn broken(show: ShowId) -> Vec<Case> {
    let good = good(show);
    let brackets = "[".repeat(10_000);
    vec![
        malformed("truncated", &good[..20]),
        malformed("with something behind it", format!("{good}x")),
        malformed("twice", format!("{good}{good}")),
        malformed("after a BOM", format!("\u{feff}{good}")),
        malformed("invalid UTF-8", b"{\"showId\":\"\xff\"}"),
        malformed("a lone surrogate", r#"{"showId":"\ud800"}"#),
        malformed("a raw NUL", "{\"showId\":\"\0\"}"),
        malformed("empty", ""),
        malformed("NaN", with(show, r#""quantity":NaN"#)),
        malformed("single quotes", "{'showId':1}"),
        malformed("a comment", format!("{good}//")),
        malformed("too big for any number", with(show, r#""quantity":1e400"#)),
        malformed("10,000 deep", brackets.as_bytes()),
        invalid(
            "10,000 deep in a field",
            with(show, &format!(r#""quantity":{brackets}"#)),
            "/quantity",
        ),
        invalid("10,000 deep in an unknown field", with(show, &format!(r#""x":{brackets}"#)), "/x"),
        invalid("an array", "[]", ""),
        invalid("the values alone", format!(r#"["{show}","STANDARD",null,1]"#), ""),
        invalid("null", "null", ""),
        invalid("a number", "1", ""),
        too_long("16 KiB and a byte", vec![b' '; 16 * 1024 + 1]),
        too_long("a million seats", with(show, &format!(r#""seats":[{}1]"#, "1,".repeat(999_999)))),
    ]
}

/// Bodies of the wrong shape or with values out of range.
fn misshapen(show: ShowId) -> Vec<Case> {
    let wrong = |what, rest: &str, pointer| invalid(what, with(show, rest), pointer);
    let instead = |of: &str, text: &str| good(show).replace(of, text);
    let seats = format!(r#""seats":[{}"A1"]"#, r#""A1","#.repeat(2_000));
    let id = show.to_string();
    vec![
        wrong("a field twice", r#""quantity":1,"quantity":2"#, ""),
        wrong("an unknown field", r#""quantity":1,"price":1"#, "/price"),
        wrong(
            "the field of a prototype",
            r#""quantity":1,"__proto__":{"role":"admin"}"#,
            "/__proto__",
        ),
        wrong("text for a number", r#""quantity":"2""#, "/quantity"),
        wrong("2^63", r#""quantity":9223372036854775808"#, "/quantity"),
        wrong("2^16", r#""quantity":65536"#, "/quantity"),
        wrong("minus zero", r#""quantity":-0"#, "/quantity"),
        wrong("none", r#""quantity":0"#, "/quantity"),
        wrong("minus one", r#""quantity":-1"#, "/quantity"),
        wrong("one and a half", r#""quantity":1.5"#, "/quantity"),
        wrong("one, as if it were a fraction", r#""quantity":1.0"#, "/quantity"),
        wrong("more than anybody may", r#""quantity":21"#, "/quantity"),
        wrong("neither", r#""seats":null"#, "/seats"),
        wrong("both", r#""seats":["A1"],"quantity":1"#, "/quantity"),
        wrong("a seat twice", r#""seats":["A1","A1"]"#, "/seats"),
        wrong("no seats", r#""seats":[]"#, "/seats"),
        wrong("two thousand seats", &seats, "/seats"),
        wrong("a seat that is a number", r#""seats":[12]"#, "/seats/0"),
        wrong("a seat that is none", r#""seats":["A1","'; drop table seats"]"#, "/seats/1"),
        invalid("a tier in lower case", instead("STANDARD", "royal"), "/tier"),
        invalid("no show's id", instead(&id, "premiere"), "/showId"),
        impossible("a seat that is not there", with(show, r#""seats":["Z99"]"#), "SEAT_UNKNOWN"),
        impossible("a seat of another tier", with(show, r#""seats":["A1","B1"]"#), "SEAT_UNKNOWN"),
        impossible("a tier that is not sold", instead("STANDARD", "ROYAL"), "SEAT_UNKNOWN"),
        impossible("over the limit", with(show, r#""quantity":11"#), "LIMIT_EXCEEDED"),
        impossible("an unknown show", instead(&id, &ShowId::new().to_string()), "SHOW_NOT_FOUND"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_get_the_promised_problem_and_reach_no_queue() {
    let system = System::start().await;
    let show = system.show(Plan { balcony: true, ..Plan::default() }).await;
    let witness = Witness::of(&system, show).await;
    let token = system.visitor().await;
    for case in broken(show).into_iter().chain(misshapen(show)) {
        let refusal = refused(&system, Some(&token), &[JSON], case.body).await;
        let what = case.what;
        assert_eq!(
            (refusal.status, refusal.code()),
            (case.status, case.code),
            "{what}: {refusal:?}"
        );
        let pointer = refusal.body["errors"][0]["pointer"].as_str();
        assert_eq!(pointer, case.pointer, "{what}: {refusal:?}");
    }
    nothing_came_through(&system, &witness, show, &token).await;
    system.stop().await;
}
